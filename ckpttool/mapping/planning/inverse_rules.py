"""Rules turned around, without a checkpoint: `to` becomes a pattern and `from` a template."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ckpttool.errors import MappingError, Problem
from ckpttool.mapping.language.atoms import (
    DEEP,
    DIRS,
    FLAT,
    INT,
    NAME,
    NAMED,
    STAR,
    SUFFIX,
    TEXT,
    Allowed,
    Atom,
    PatternError,
)
from ckpttool.mapping.language.numbers import Formula, Term
from ckpttool.mapping.language.patterns import Matcher, Pattern, Template
from ckpttool.mapping.language.ruleset import Extra, Rule, RuleSet
from ckpttool.mapping.language.tables import Table
from ckpttool.mapping.language.templates import as_template
from ckpttool.mapping.transforms.chain import StepError

_HINT = "give the original checkpoint: --inverse --like ORIGINAL"


class _NoInverseError(ValueError):
    """Why a rule cannot be turned around."""


def inverse_rules(rules: RuleSet) -> RuleSet:
    """The rules that undo ``rules``; names that they drop are not given back.

    Raises :class:`MappingError` with MAP028 for each rule that cannot be turned around.
    """
    made: list[Rule] = []
    problems: list[Problem] = []
    for rule in rules.rules:
        try:
            made += _inverse(rule, len(made))
        except (_NoInverseError, PatternError) as error:
            place = f"{rule.where}   {rule.text}"
            problems.append(Problem("MAP028", f"no inverse: {error}", place, hint=_HINT))
        except StepError as error:
            message = f"{error.transform} cannot be undone: {error.message}"
            where = error.where or rule.place
            problems.append(Problem("MAP028", message, where, hint=_HINT))
    if problems:
        raise MappingError(*problems)
    return RuleSet(
        made,
        label=rules.label,
        slots=rules.slots,
        averages=None,
        unmatched=rules.unmatched,
    )


def _inverse(rule: Rule, number: int) -> list[Rule]:
    if rule.pattern is None:
        targets = rule.extra.targets if rule.extra else ()
        return [_drop(rule, number + at, _literal(item)) for at, item in enumerate(targets)]
    if rule.template is None:
        return []
    if not isinstance(rule.pattern, Pattern):
        raise _NoInverseError("`from` is a regular expression")
    extra = rule.extra or Extra(targets=(rule.template,))
    if extra.when:
        raise _NoInverseError("`when` asks for names of the original")
    if extra.collect or extra.spread:
        raise _NoInverseError("the number of sources or targets is not known")
    sources = [rule.pattern, *(pattern for pattern, _ in extra.others)]
    inverted = _Captures(sources, extra.targets, extra.tables)
    patterns = [inverted.pattern(template) for template in extra.targets]
    templates = [inverted.template(pattern) for pattern in sources if isinstance(pattern, Pattern)]
    chain = extra.chain
    tied: list[Pattern] = []
    if (chain.outputs(len(sources)) if chain else len(sources)) == 1:
        patterns, tied = patterns[:1], patterns[1:]
    for template in templates:
        lacking = template.lacking(patterns[0])
        if lacking:
            raise _NoInverseError(f"{lacking} is not in `to`")
    made = Extra(
        tuple((item, as_template(item.text, item.atoms)) for item in patterns[1:]),
        tuple(templates),
        extra.places,
        inverted.tables,
        chain=chain.inverse(None, len(sources)) if chain else None,
    )
    simple = len(patterns) == len(templates) == 1 and made.chain is None and not made.tables
    kept = None if simple else made
    text = f"inverse of {rule.text}"
    back = Rule(number, rule.where, text, patterns[0], templates[0], rule.optional, kept)
    return [back, *(_drop(rule, number + 1 + at, item) for at, item in enumerate(tied))]


def _drop(rule: Rule, number: int, pattern: Pattern) -> Rule:
    return Rule(number, rule.where, f"inverse of {rule.text}", pattern, None, True)


def _literal(template: Template) -> Pattern:
    return Pattern(template.text, atoms=template.atoms)


class _Captures:
    """What becomes of each capture on the way back."""

    def __init__(
        self, sources: Sequence[Matcher], targets: Sequence[Template], tables: Sequence[Table]
    ) -> None:
        self._kinds = {
            atom.text: atom
            for source in sources
            if isinstance(source, Pattern)
            for atom in source.atoms
            if atom.kind in NAMED
        }
        self._back: dict[str, Formula] = {}
        self._tables: dict[str, Table] = {}
        for table in tables:
            inverse = table.inverse()
            if inverse is None:
                raise _NoInverseError(f"the table of {{{table.name}}} is not one to one")
            self._tables[table.name] = inverse
        uses: dict[str, Formula | None] = {}
        for target in targets:
            for atom in target.atoms:
                if atom.kind in (TEXT, STAR, DEEP, DIRS):
                    continue
                name, back = self._use(atom)
                if uses.setdefault(name, back) != back:
                    raise _NoInverseError(f"{{{name}}} is in `to` in two ways")
                if back is not None:
                    self._back[name] = back

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables, turned around."""
        return tuple(self._tables.values())

    def _use(self, atom: Atom) -> tuple[str, Formula | None]:
        """The capture behind a place of `to`, and what gives it back where it is counted."""
        if atom.kind == FLAT:
            raise _NoInverseError(f"{{{atom.text}:flat}} does not tell where the slashes were")
        if atom.formula is None:
            if "." in atom.text:
                raise _NoInverseError(f"{{{atom.text}}} is a column of a table")
            return atom.text, None
        inverse = atom.formula.inverse()
        if inverse is None or "." in inverse[0]:
            raise _NoInverseError(f"{{{atom.formula}}} cannot be counted back")
        return inverse

    def pattern(self, template: Template) -> Pattern:
        """The pattern of the names that a template makes."""
        return Pattern(template.text, atoms=tuple(map(self._caught, template.atoms)))

    def _caught(self, atom: Atom) -> Atom:
        if atom.kind in (TEXT, STAR, DEEP, DIRS):
            return atom
        name, _ = self._use(atom)
        known = self._kinds[name]
        allowed: Iterable[str] | None = known.allowed
        if name in self._tables:
            allowed = self._tables[name].rows
        if atom.formula is not None:
            return Atom(atom.kind, name, 0 if atom.kind == SUFFIX else 1)
        kind = INT if known.kind == SUFFIX else known.kind
        if name in self._tables:
            kind = NAME if known.kind in (SUFFIX, INT) else known.kind
        elif known.kind == SUFFIX:
            allowed = None
        if allowed is None:
            return Atom(kind, name, 1)
        longest_first = Allowed(sorted(allowed, key=lambda item: (-len(item), item)))
        return Atom(kind, name, 1, longest_first)

    def template(self, pattern: Pattern) -> Template:
        """What makes the names that a pattern matched."""
        return Template(pattern.text, atoms=tuple(map(self._made, pattern.atoms)))

    def _made(self, atom: Atom) -> Atom:
        if atom.kind not in NAMED:
            return atom._replace(allowed=None)
        back = self._back.get(atom.text)
        if back is None and atom.kind != SUFFIX:
            return Atom(NAME, atom.text)
        formula = back or Formula((Term(1, (atom.text,)),))
        return Atom(SUFFIX if atom.kind == SUFFIX else INT, atom.text, formula=formula)
