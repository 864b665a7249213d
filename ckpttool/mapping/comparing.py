"""``diff`` for programs: two or more checkpoints, through a mapping file if one is given."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ckpttool.analysis.diff import DiffOptions, DiffResult
from ckpttool.analysis.diff import diff as compare
from ckpttool.analysis.metrics import Tolerance
from ckpttool.analysis.selecting import comparison_keys
from ckpttool.errors import Problem, UsageError
from ckpttool.mapping.language.patterns import escape
from ckpttool.names import OBJECT_GRAPH_KEY

if TYPE_CHECKING:
    from ckpttool.analysis.comparing import Progress
    from ckpttool.analysis.renames import RenameRule
    from ckpttool.analysis.series import SeriesResult
    from ckpttool.checkpoint import Checkpoint
    from ckpttool.mapping.language.rules import RuleSet
    from ckpttool.mapping.planning.building import Made
    from ckpttool.mapping.planning.checks import Checks
    from ckpttool.mapping.planning.fitting import Template
    from ckpttool.mapping.planning.plan import Plan


def diff(
    a: Checkpoint,
    b: Checkpoint,
    *others: Checkpoint,
    mapping: RuleSet | str | None = None,
    rtol: float = 0.0,
    atol: float = 0.0,
    watch: int = 0,
    progress: Callable[[int], Progress] | None = None,
    **options: Any,
) -> DiffResult | SeriesResult:
    """Compare open checkpoints of any formats.

    Two give a :class:`DiffResult`, more a :class:`SeriesResult`.  ``mapping`` (rules, a path or a
    built-in name) renames and transforms the first one's tensors before they are compared: no
    difference is then the proof that the second is what the mapping makes of it.  ``options`` are
    the fields of :class:`ckpttool.analysis.diff.DiffOptions`.
    """
    settings = DiffOptions(tolerance=Tolerance(rtol, atol), **options)
    if others:
        from ckpttool.analysis.series import series

        if mapping is not None:
            raise UsageError(Problem("USE001", "a mapping is for two checkpoints"))
        return series([a, b, *others], settings, watch=watch, progress=progress)
    return compare(a, b, through(settings, a, mapping, b), progress=progress)


def through(
    options: DiffOptions,
    a: Checkpoint,
    mapping: RuleSet | str | None,
    b: Checkpoint | None = None,
) -> DiffOptions:
    """The options with the names that a mapping gives to the first checkpoint's tensors.

    Tensors that it transforms are computed as they are compared.  Names that are not those of a
    file (``dense_1/kernel``) are looked up in ``b``.
    """
    if mapping is None:
        return options
    from ckpttool.mapping.execution.planned import PlannedReader
    from ckpttool.mapping.planning.plan import Wanted, make_plan
    from ckpttool.mapping.remap import load_rules

    rules = load_rules(mapping) if isinstance(mapping, str) else mapping
    target = rules.target.text if rules.target else "tf1"
    wanted = Wanted(target, fitting=_resolving(b), written=False)
    plan = make_plan(a.specs, rules, a.roles, source=a.info.path, wanted=wanted)
    dropped = tuple(item.name for item in plan.dropped)
    if plan.only_renames:
        return options._replace(keys_a=source_names(plan), dropped=dropped)
    reader = PlannedReader(plan, a.reader, _scratch_folder(a.info.path))
    keys = {step.target: step.target for step in plan.steps}
    return options._replace(keys_a=keys, dropped=dropped, reader_a=reader)


def _scratch_folder(path: str) -> str:
    """Where large tensors are kept meanwhile: beside the checkpoint, else the system's folder.

    The system's folder may be memory, which is what large tensors are to be kept out of.
    """
    folder = os.path.abspath(path)
    if not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder if os.access(folder, os.W_OK | os.X_OK) else tempfile.gettempdir()


def source_names(plan: Plan) -> dict[str, str]:
    """The source of every target of a plan that only renames."""
    return {step.target: step.sources[0] for step in plan.steps}


class _Resolving:
    """Calls tensors as the second checkpoint's file does, where that is known."""

    def __init__(self, template: Template) -> None:
        self._template = template

    def fit(self, made: Sequence[Made], checks: Checks) -> list[Made]:
        """The same tensors."""
        del checks  # what differs is for the comparison to say
        return [
            item._replace(target=self._template.resolve(item.target) or item.target)
            for item in made
        ]


def _resolving(b: Checkpoint | None) -> _Resolving | None:
    if b is None or not b.info.format.startswith(("keras", "tf2")):
        return None
    from ckpttool.mapping.like.template import checkpoint_template

    return _Resolving(checkpoint_template(b))


# --- a mapping of what was found -----------------------------------------------------------------


def moved_keys(
    a: Checkpoint, b: Checkpoint, options: DiffOptions, result: DiffResult
) -> dict[str, str]:
    """The keys of ``a`` that ``b`` has under other keys: renamed, or without a prefix."""
    keys_a = comparison_keys(a, options)
    keys_b = comparison_keys(b, options, first=False)
    moved = {keys_a[item.a]: keys_b[item.b] for item in result.renamed}
    both = (*result.identical, *(item.name for item in (*result.changed, *result.close)))
    for name in both:
        if keys_a[name] != keys_b[name]:
            moved[keys_a[name]] = keys_b[name]
    return {key: moved[key] for key in a.specs if key in moved}


def exact_rules(a: Checkpoint, moved: Mapping[str, str]) -> list[RenameRule]:
    """Rules that do ``moved`` to the checkpoint's keys and, slots that follow included, no more.

    A key that the rules for others would take elsewhere gets a rule of its own before them.
    """
    from ckpttool.analysis.renames import RenameRule, rename_rules
    from ckpttool.mapping.planning.slots import Fates
    from ckpttool.mapping.remap import load_rules

    rules = rename_rules(moved, a.specs)
    data = [dict(zip(("from", "to"), rule_texts(rule), strict=True)) for rule in rules]
    compiled = load_rules({"version": 1, "unmatched": "keep", "slots": "follow", "rules": data})
    fates = Fates(a.specs, compiled, a.roles)
    first = []
    for key in a.specs:
        fate, wanted = fates.of(key), moved.get(key, key)
        if fate.target != wanted and key != OBJECT_GRAPH_KEY:
            first.append(RenameRule(key, wanted, False, 1))
    alone = {rule.old for rule in first}
    return [*first, *(rule for rule in rules if rule.scope or rule.old not in alone)]


def rule_texts(rule: RenameRule) -> tuple[str, str]:
    """The ``from`` and ``to`` of a rule, as a mapping file has them."""
    if not rule.scope:
        return escape(rule.old), escape(rule.new)
    source = escape(rule.old) + "/**" if rule.old else "**"
    return source, escape(rule.new) + "/**" if rule.new else "**"
