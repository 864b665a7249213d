"""From one line a tensor to rules: numbers become captures, words that vary become lists."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ckpttool.mapping.language.patterns import Pattern, PatternError, escape
from ckpttool.mapping.suggest.pieces import Cutter, Number, skeleton, values, written

_LETTERS = "ijklmnopqrstuvwxyz"
_MAX_RULES = 1000  # more of them are not compared for words in common
_MAX_NUMBERS = 8  # of one name that become captures


class Line(NamedTuple):
    """Tensors that become variables, with what speaks for it."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    chain: tuple[str, ...]
    confidence: str
    evidence: tuple[str, ...]
    words: tuple[str, ...] = ()


class Table(NamedTuple):
    """Texts of a capture, and what each becomes: itself, one text, or one for each column."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


class FoldedRule(NamedTuple):
    """A rule for one or more lines."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    where: tuple[tuple[str, Table], ...]
    chain: tuple[str, ...]
    lines: tuple[Line, ...]

    @property
    def confidence(self) -> str:
        """That of the least sure line."""
        found = {line.confidence for line in self.lines}
        return next(word for word in ("low", "medium", "high") if word in found)

    @property
    def evidence(self) -> tuple[str, ...]:
        """What speaks for every line."""
        return tuple(
            word
            for word in dict.fromkeys(word for line in self.lines for word in line.evidence)
            if all(word in line.evidence for line in self.lines)
        )


def fold(lines: Sequence[Line], names: Iterable[str]) -> list[FoldedRule]:
    """The fewest rules that take exactly what ``lines`` do out of ``names``, all of the source."""
    folder = _Folder(lines, list(names))
    rules = folder.by_numbers()
    rules = folder.by_words(rules)
    place = {line: at for at, line in enumerate(lines)}
    return sorted(rules, key=lambda rule: place[rule.lines[0]])


# --- folding ----------------------------------------------------------------------------------


class _Cut(NamedTuple):
    line: Line
    sources: tuple[tuple[object, ...], ...]
    targets: tuple[tuple[object, ...], ...]

    @property
    def before(self) -> list[int]:
        """The numbers of the first source."""
        return values(self.sources[0])

    @property
    def after(self) -> list[int]:
        """The numbers of the other sources and of the targets."""
        return [value for pieces in (*self.sources[1:], *self.targets) for value in values(pieces)]


class _Folder:
    def __init__(self, lines: Sequence[Line], names: list[str]) -> None:
        self._names = names
        sources = Cutter(names)
        targets = Cutter(target for line in lines for target in line.targets)
        self._cuts = [
            _Cut(
                line,
                tuple(sources.cut(name) for name in line.sources),
                tuple(targets.cut(name) for name in line.targets),
            )
            for line in lines
        ]

    # --- numbers ---------------------------------------------------------------------------

    def by_numbers(self) -> list[FoldedRule]:
        """Rules for lines that differ in numbers alone."""
        groups: dict[object, list[_Cut]] = {}
        for cut in self._cuts:
            names = (*cut.sources, *cut.targets)
            skeletons = tuple(skeleton(pieces) for pieces in names)
            key = (skeletons, len(cut.sources), cut.line.chain, cut.line.confidence == "low")
            groups.setdefault(key, []).append(cut)
        return [rule for group in groups.values() for rule in self._rules(group)]

    def _rules(self, group: list[_Cut]) -> Iterator[FoldedRule]:
        if len(group) == 1 or len(group[0].before) > _MAX_NUMBERS:
            yield from (_literal(cut.line) for cut in group)
            return
        rule = self._rule(group)
        if rule is not None:
            yield rule
            return
        # One number at a time is made fixed, the one with the fewest values first.
        columns = list(zip(*(cut.before for cut in group), strict=True))
        varying = [at for at, column in enumerate(columns) if len(set(column)) > 1]
        if not varying:
            yield from (_literal(cut.line) for cut in group)
            return
        at = min(varying, key=lambda at: len(set(columns[at])))
        parts: dict[int, list[_Cut]] = {}
        for cut in group:
            parts.setdefault(cut.before[at], []).append(cut)
        for part in parts.values():
            yield from self._rules(part)

    def _rule(self, group: list[_Cut]) -> FoldedRule | None:
        """One rule for all of a group; None where there is none that takes nothing else."""
        before = list(zip(*(cut.before for cut in group), strict=True))
        captures, letters = _captures(before)
        after = list(zip(*(cut.after for cut in group), strict=True))
        tables: dict[str, list[tuple[int, ...]]] = {}
        places = [_place(column, captures, tables) for column in after]
        if None in places:
            return None
        cut = group[0]
        source = _pattern(cut.sources[0], letters)
        rest = iter(places)
        others = tuple(_template(pieces, rest) for pieces in cut.sources[1:])
        targets = tuple(_template(pieces, rest) for pieces in cut.targets)
        where = {name: _table(captures[name], columns) for name, columns in tables.items()}
        lines = tuple(item.line for item in group)
        rule = FoldedRule((source, *others), targets, tuple(where.items()), cut.line.chain, lines)
        if others and any("." in text for text in others):
            return None
        return self._exact(rule, captures)

    def _exact(self, rule: FoldedRule, captures: Mapping[str, Sequence[int]]) -> FoldedRule | None:
        """The rule, limited by `where` if it would take other names too; None if that fails."""
        wanted = {line.sources[0] for line in rule.lines}
        if self._takes(rule) == wanted:
            return rule
        where = dict(rule.where)
        for name, column in captures.items():
            if name not in where:
                where[name] = Table((), tuple((str(n), (str(n),)) for n in sorted(set(column))))
        limited = rule._replace(where=tuple(where.items()))
        return limited if self._takes(limited) == wanted else None

    def _takes(self, rule: FoldedRule) -> set[str]:
        where = {name: tuple(text for text, _ in table.rows) for name, table in rule.where}
        try:
            pattern = Pattern(rule.sources[0], where)
        except PatternError:
            return set()
        return {name for name in self._names if pattern.match(name) is not None}

    # --- words -----------------------------------------------------------------------------

    def by_words(self, rules: list[FoldedRule]) -> list[FoldedRule]:
        """Rules that differ in one component of both names become one, as often as it goes."""
        while len(rules) <= _MAX_RULES:
            best: list[FoldedRule] = []
            for same in _differing_once(rules):
                if len(same) > len(best) and self._together(same) is not None:
                    best = same
            made = self._together(best) if len(best) > 1 else None
            if made is None:
                return rules
            gone = {id(rule) for rule in best}
            at = next(at for at, rule in enumerate(rules) if id(rule) in gone)
            rules = [rule for rule in rules if id(rule) not in gone]
            rules.insert(at, made)
        return rules

    def _together(self, rules: list[FoldedRule]) -> FoldedRule | None:
        p, q = _difference(rules[0], rules[1])
        if p < 0:
            return None
        name = _free(rules[0])
        rows = []
        for rule in rules:
            old, new = _components(rule.sources[0])[p], _components(rule.targets[0])[q]
            rows.append((_plain(old), (_plain(new),)))
        if len({old for old, _ in rows}) < len(rows):
            return None
        source, target = _components(rules[0].sources[0]), _components(rules[0].targets[0])
        source[p] = target[q] = "{" + name + "}"
        made = FoldedRule(
            ("/".join(source),),
            ("/".join(target),),
            (*rules[0].where, (name, Table((), tuple(rows)))),
            rules[0].chain,
            tuple(line for rule in rules for line in rule.lines),
        )
        wanted = {line.sources[0] for line in made.lines}
        return made if self._takes(made) == wanted else None


def _literal(line: Line) -> FoldedRule:
    return FoldedRule(
        tuple(map(escape, line.sources)), tuple(map(escape, line.targets)), (), line.chain, (line,)
    )


def _captures(
    columns: Sequence[Sequence[int]],
) -> tuple[dict[str, Sequence[int]], list[str | None]]:
    """A letter for each number that varies; numbers that are always equal share one."""
    captures: dict[str, Sequence[int]] = {}
    letters: list[str | None] = []
    for column in columns:
        if len(set(column)) == 1:
            letters.append(None)
            continue
        known = next((name for name, other in captures.items() if other == column), None)
        if known is None:
            known = _LETTERS[len(captures)]
            captures[known] = column
        letters.append(known)
    return captures, letters


def _place(
    column: Sequence[int],
    captures: Mapping[str, Sequence[int]],
    tables: dict[str, list[tuple[int, ...]]],
) -> str | None:
    """What stands for a number of the result: a formula, or a column of a table."""
    if len(set(column)) == 1:
        return ""
    for name, other in captures.items():
        offsets = {value - number for value, number in zip(column, other, strict=True)}
        if len(offsets) == 1:
            offset = offsets.pop()
            return f"{name}{offset:+d}" if offset else name
    for name, other in captures.items():
        if len(set(zip(other, column, strict=True))) == len(set(other)):
            columns = tables.setdefault(name, [])
            if tuple(column) not in columns:
                columns.append(tuple(column))
            return f"{name}.n{columns.index(tuple(column)) + 1}"
    return None


def _table(numbers: Sequence[int], columns: Sequence[Sequence[int]]) -> Table:
    rows = sorted(set(zip(numbers, *columns, strict=True)))
    return Table(
        tuple(f"n{at + 1}" for at in range(len(columns))),
        tuple((str(first), tuple(map(str, rest))) for first, *rest in rows),
    )


def _pattern(pieces: Sequence[object], letters: Sequence[str | None]) -> str:
    """The pattern of a name: its varying numbers are captures."""
    seen: dict[str, bool] = {}
    out = []
    names = iter(letters)
    for piece in pieces:
        if not isinstance(piece, Number):
            out.append(escape(str(piece)))
            continue
        name = next(names)
        if name is None:
            out.append(written(piece))
            continue
        # A capture that is there twice has one type; digits are right for both.
        counter = seen.setdefault(name, piece.counter)
        kind = "suffix" if counter and piece.counter else "int"
        out.append(f"{{{name}:{kind}}}")
    return "".join(out)


def _template(pieces: Sequence[object], places: Iterator[str | None]) -> str:
    out = []
    for piece in pieces:
        if not isinstance(piece, Number):
            out.append(escape(str(piece)))
            continue
        place = next(places)
        if not place:
            out.append(written(piece))
        else:
            out.append(f"{{{place}:suffix}}" if piece.counter else f"{{{place}}}")
    return "".join(out)


def _components(text: str) -> list[str]:
    return text.split("/")


def _plain(text: str) -> str:
    """A component without captures, without its escapes."""
    return re.sub(r"\\(.)", r"\1", text)


def _is_plain(component: str) -> bool:
    return "{" not in component.replace("\\{", "") and "$" not in component


def _free(rule: FoldedRule) -> str:
    used = {name for name, _ in rule.where}
    text = "".join((*rule.sources, *rule.targets))
    return next(
        name
        for name in ("part", "kind", "piece", "word", "more", "other", "else", "last")
        if name not in used and "{" + name + "}" not in text
    )


def _difference(a: FoldedRule, b: FoldedRule) -> tuple[int, int]:
    """Where two rules differ: a component of the source and one of the target; (-1, -1) if not."""
    none = (-1, -1)
    if a.where != b.where or a.chain != b.chain or len(a.sources) > 1 or len(a.targets) != 1:
        return none
    if len(b.sources) > 1 or len(b.targets) != 1:
        return none
    if (a.confidence == "low") != (b.confidence == "low") or len(a.where) > 5:
        return none
    found = []
    for x, y in ((a.sources[0], b.sources[0]), (a.targets[0], b.targets[0])):
        left, right = _components(x), _components(y)
        if len(left) != len(right):
            return none
        at = [n for n, (p, q) in enumerate(zip(left, right, strict=True)) if p != q]
        if len(at) != 1 or not _is_plain(left[at[0]]) or not _is_plain(right[at[0]]):
            return none
        found.append(at[0])
    return found[0], found[1]


def _differing_once(rules: Sequence[FoldedRule]) -> Iterator[list[FoldedRule]]:
    """Groups of rules of which any two differ in the same component of both names."""
    groups: dict[object, list[FoldedRule]] = {}
    for rule in rules:
        if len(rule.sources) > 1 or len(rule.targets) != 1:
            continue
        source, target = _components(rule.sources[0]), _components(rule.targets[0])
        low = rule.confidence == "low"
        for p, old in enumerate(source):
            for q, new in enumerate(target):
                if _is_plain(old) and _is_plain(new):
                    rest = (
                        tuple(source[:p]), tuple(source[p + 1 :]),
                        tuple(target[:q]), tuple(target[q + 1 :]),
                    )  # fmt: skip
                    key = (p, q, rest, rule.where, rule.chain, low)
                    groups.setdefault(key, []).append(rule)
    yield from (group for group in groups.values() if len(group) > 1)
