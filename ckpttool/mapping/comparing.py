"""``diff`` for programs: two or more checkpoints, through a mapping file if one is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ckpttool.analysis.diff import DiffOptions, DiffResult
from ckpttool.analysis.diff import diff as compare
from ckpttool.analysis.metrics import Tolerance
from ckpttool.errors import MappingError, Problem

if TYPE_CHECKING:
    from ckpttool.analysis.comparing import Progress
    from ckpttool.analysis.series import SeriesResult
    from ckpttool.checkpoint import Checkpoint
    from ckpttool.mapping.plan import Plan
    from ckpttool.mapping.rules import RuleSet


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
    built-in name) renames the first one's tensors before they are compared: no difference is then
    the proof that the second is what the mapping makes of it.  ``options`` are the fields of
    :class:`ckpttool.analysis.diff.DiffOptions`.
    """
    settings = DiffOptions(tolerance=Tolerance(rtol, atol), **options)
    if others:
        from ckpttool.analysis.series import series

        return series([a, b, *others], settings, watch=watch, progress=progress)
    return compare(a, b, through(settings, a, mapping), progress=progress)


def through(options: DiffOptions, a: Checkpoint, mapping: RuleSet | str | None) -> DiffOptions:
    """The options with the names that a mapping gives to the first checkpoint's tensors."""
    if mapping is None:
        return options
    from ckpttool.mapping.remap import load_rules, plan_remap

    rules = load_rules(mapping) if isinstance(mapping, str) else mapping
    plan = plan_remap(a, rules)
    dropped = tuple(item.name for item in plan.dropped)
    return options._replace(keys_a=source_names(plan), dropped=dropped)


def source_names(plan: Plan) -> dict[str, str]:
    """The source of every target of a plan that only renames."""
    names: dict[str, str] = {}
    for step in plan.steps:
        if step.operations or len(step.sources) != 1:
            raise MappingError(
                Problem(
                    "MAP008",
                    "this rule transforms tensors: diff compares through renames only",
                    step.rule,
                    found=", ".join(step.operations) or f"{len(step.sources)} sources",
                    hint="remap the checkpoint first, then compare its output",
                )
            )
        names[step.target] = step.sources[0]
    return names
