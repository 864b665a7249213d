"""What mapping files say of themselves, and checks of one without a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpttool.errors import MappingError, Problem
from ckpttool.mapping.language.document import Document, Scalar, load_document
from ckpttool.mapping.language.guesses import check_guesses
from ckpttool.mapping.language.includes import expand
from ckpttool.mapping.language.library import built_in, find_mapping
from ckpttool.mapping.language.rules import compile_rules
from ckpttool.storage.files import read_all

if TYPE_CHECKING:
    from ckpttool.mapping.language.ruleset import Rule
    from ckpttool.mapping.planning.plan import Plan

_FILE_CAP = 32 << 20


class MappingInfo(NamedTuple):
    """One mapping file.

    ``params`` have their defaults, None where one has to be given.  ``free`` is what the file
    says for people alone (``source``, ``proof``); ``text`` is the file itself.
    """

    name: str
    path: str
    description: str
    target: str | None
    params: Mapping[str, Scalar]
    assumes: Mapping[str, Scalar]
    caveats: tuple[str, ...]
    rules: int
    free: Mapping[str, Any]
    text: str = ""

    @property
    def status(self) -> str | None:
        """What the proof says: ``equal``, ``equal_after_change``, ``weights_only``, ``unproven``.

        None where the file has no proof.
        """
        proof = self.free.get("proof")
        status = proof.get("status") if isinstance(proof, dict) else None
        return status if isinstance(status, str) else None

    def data(self) -> dict[str, Any]:
        """As plain data, without the text."""
        body = {**self._asdict(), "status": self.status}
        del body["text"]
        body.update(body.pop("free"))
        body["caveats"] = list(self.caveats)
        return body


class Linted(NamedTuple):
    """A mapping file without mistakes: its rules, and the plan where there is a checkpoint."""

    path: str
    rules: int
    plan: Plan | None = None


def mappings() -> list[MappingInfo]:
    """The built-in mapping files, by name; those that cannot be read are left out."""
    found = []
    for name, path in built_in().items():
        try:
            found.append(_info(name, load_document(path, f"mappings/{name}.yaml")))
        except MappingError:
            continue
    return found


def mapping_info(name: str) -> MappingInfo:
    """What a mapping file, or a built-in one, is."""
    path, label = find_mapping(name)
    text = read_all(path, _FILE_CAP).decode("utf-8", "replace")
    return _info(name, load_document(path, label))._replace(text=text)


def lint(
    name: str, params: Mapping[str, Scalar] | None = None, against: str | None = None
) -> Linted:
    """Check a mapping file; ``against`` is the path of a checkpoint to plan for.

    A parameter that has to be given counts as 1 where it is not.  Raises :class:`MappingError`
    with everything that is wrong.
    """
    from ckpttool.mapping.planning.plan import Wanted, make_plan

    document = load_document(*find_mapping(name))
    given = dict(params or {})
    if against is None:
        required = [key for key, value in document.params.items() if value is None]
        given = {**dict.fromkeys(required, 1), **given}
    rules = compile_rules(document, params=given)
    problems = [*_odd(rules.rules), *check_guesses(document)]
    if problems:
        raise MappingError(*problems)
    plan = None
    if against is not None:
        from ckpttool.checkpoint import open_checkpoint

        target = rules.target.text if rules.target else "tf1"
        with open_checkpoint(against) as checkpoint:
            plan = make_plan(
                checkpoint.specs,
                rules,
                checkpoint.roles,
                source=against,
                wanted=Wanted(target, written=False),
            )
    return Linted(document.label, len(rules.rules), plan)


def _odd(rules: Sequence[Rule]) -> list[Problem]:
    """What can never be right, whatever the checkpoint: rules that an earlier one hides."""
    seen: dict[str, Rule] = {}
    problems: list[Problem] = []
    for rule in rules:
        if rule.pattern is None or (rule.extra is not None and rule.extra.when):
            continue
        literal = rule.pattern.literal
        if literal is None:
            continue
        if literal in seen:
            message = "an earlier rule takes this name already"
            problems.append(
                Problem("MAP012", message, rule.place, literal, hint=f"see {seen[literal].where}")
            )
        elif not rule.optional:
            seen[literal] = rule
    return problems


def _info(name: str, document: Document) -> MappingInfo:
    try:
        expanded = expand(document, {})
        rules = len(expanded.rules) + len(expanded.assign)
        assumes = {key: value for key, value, _ in expanded.assumes}
        caveats = expanded.caveats
    except MappingError:
        rules, assumes, caveats = len(document.rules), dict(document.assumes), document.caveats
    return MappingInfo(
        name,
        document.path or document.label,
        document.description,
        document.target.text if document.target else None,
        dict(document.params),
        assumes,
        caveats,
        rules,
        dict(document.free),
    )
