"""Which tensors of one checkpoint are those of another under other names.

Three kinds of evidence, in this order, again and again until nothing new is found:

1. content: the same bytes, and no other unmatched tensor on either side has them;
2. scope: what the matches so far did to their names turns this name, too, into an unmatched one
   of the same dtype and shape;
3. neighbourhood: of all with this dtype and shape, these two names are most alike, clearly.

What stays ambiguous is not claimed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ckpttool.tensors import Shape, TensorSpec

_MAX_SCORES = 40_000  # name pairs of one dtype and shape that are scored
_ALL_SCORES = 400_000  # name pairs in all
_MAX_ROUNDS = 30
_MAX_DEPTH = 40  # components of a name that are looked at for scopes
_MAX_WORDS = 60  # words of a name that is scored
_MARGIN = 0.1  # by which the best of several must be better than the second
_ENOUGH = 0.34  # below this two names have next to nothing in common
_TOKENS = re.compile(r"[0-9]+|[^0-9/_.:]+")

Content = Callable[[str], object | None]
Path = tuple[str, ...]


class Match(NamedTuple):
    """Two names for one tensor, and why they are."""

    a: str
    b: str
    evidence: str


def find_renames(
    removed: Mapping[str, TensorSpec],
    added: Mapping[str, TensorSpec],
    content_a: Content,
    content_b: Content,
) -> list[Match]:
    """Matches between what only one and only the other side has, in the order of ``removed``.

    ``content_a`` and ``content_b`` give something to compare contents by: equal for equal bytes
    only; None where it is not known.  They are asked only about tensors that have a counterpart.
    """
    search = _Search(removed, added, content_a, content_b)
    search.by_content()
    for _ in range(_MAX_ROUNDS):
        before = len(search.matches)
        search.by_scope()
        if len(search.matches) == before:
            search.by_likeness()
        if len(search.matches) == before:
            break
    order = {name: index for index, name in enumerate(removed)}
    return sorted(search.matches, key=lambda match: order[match.a])


class _Search:
    """What is still unmatched on both sides, by dtype and shape."""

    def __init__(
        self,
        removed: Mapping[str, TensorSpec],
        added: Mapping[str, TensorSpec],
        content_a: Content,
        content_b: Content,
    ) -> None:
        self.matches: list[Match] = []
        kinds = {_kind(spec) for spec in removed.values()} & {
            _kind(spec) for spec in added.values()
        }
        self._a = {name: spec for name, spec in removed.items() if _kind(spec) in kinds}
        self._b = {name: spec for name, spec in added.items() if _kind(spec) in kinds}
        self._content_a = {name: content_a(name) for name in self._a}
        self._content_b = {name: content_b(name) for name in self._b}
        self._scores_left = _ALL_SCORES

    def _claim(self, a: str, b: str, evidence: str) -> None:
        del self._a[a], self._b[b]
        self.matches.append(Match(a, b, evidence))

    def by_content(self) -> None:
        """Equal bytes that are there once on each side."""
        groups_a = _grouped(self._a, lambda name: self._key(name, self._content_a, self._a))
        groups_b = _grouped(self._b, lambda name: self._key(name, self._content_b, self._b))
        for key, names in groups_a.items():
            others = groups_b.get(key, [])
            if len(names) != 1 or len(others) != 1:
                continue
            a, b = names[0], others[0]
            # One number may well be the same by chance: it needs its last name too.
            if self._a[a].parameters > 1 or a.rpartition("/")[2] == b.rpartition("/")[2]:
                self._claim(a, b, "content")

    @staticmethod
    def _key(
        name: str, contents: Mapping[str, object | None], specs: Mapping[str, TensorSpec]
    ) -> object | None:
        content = contents[name]
        return None if content is None else (_kind(specs[name]), content)

    def by_scope(self) -> None:
        """Names that become unmatched ones by what the matches did to theirs."""
        if not self.matches:
            return
        moves = _moves(self.matches)
        for name in list(self._a):
            for target in _moved(name, moves):
                if target in self._b and _kind(self._a[name]) == _kind(self._b[target]):
                    same = self._same_content(name, target)
                    what = "content" if same else "dtype and shape"
                    self._claim(name, target, f"{what}; its scope moved")
                    break

    def by_likeness(self) -> None:
        """Pairs of one dtype and shape whose names are most alike, from either side."""
        groups_b = _grouped(self._b, lambda name: _kind(self._b[name]))
        for kind, names in _grouped(self._a, lambda name: _kind(self._a[name])).items():
            others = groups_b.get(kind, [])
            count = len(names) * len(others)
            if others and count <= min(_MAX_SCORES, self._scores_left):
                self._scores_left -= count
                for a, b in _clear_pairs(names, others):
                    self._claim(a, b, "dtype and shape; alike in name")

    def _same_content(self, a: str, b: str) -> bool:
        content = self._content_a[a]
        return content is not None and content == self._content_b[b]


def _kind(spec: TensorSpec) -> tuple[str, Shape]:
    return spec.dtype, spec.shape


def _grouped(names: Iterable[str], key: Callable[[str], object | None]) -> dict[object, list[str]]:
    groups: dict[object, list[str]] = {}
    for name in names:
        found = key(name)
        if found is not None:
            groups.setdefault(found, []).append(name)
    return groups


# --- what matches did to their names -----------------------------------------------------------


class _Moves(NamedTuple):
    heads: Mapping[Path, list[Path]]  # leading components and what they became, most often first
    middles: Mapping[Path, list[Path]]  # components anywhere, between equal ones


def _moves(matches: Sequence[Match]) -> _Moves:
    heads: dict[Path, Counter[Path]] = {}
    middles: dict[Path, Counter[Path]] = {}
    for match in matches:
        a, b = tuple(match.a.split("/")), tuple(match.b.split("/"))
        tail = _common(a[::-1], b[::-1])
        lead = _common(a[: len(a) - tail], b[: len(b) - tail])
        heads.setdefault(a[: len(a) - tail], Counter())[b[: len(b) - tail]] += 1
        middle = a[lead : len(a) - tail]
        if middle:
            middles.setdefault(middle, Counter())[b[lead : len(b) - tail]] += 1
    return _Moves(_ranked(heads), _ranked(middles))


def _ranked(moves: Mapping[Path, Counter[Path]]) -> dict[Path, list[Path]]:
    return {old: [new for new, _ in count.most_common(3)] for old, count in moves.items()}


def _moved(name: str, moves: _Moves) -> Iterator[str]:
    """What ``name`` may have become: by its longest leading scope first."""
    parts = tuple(name.split("/"))
    if len(parts) > _MAX_DEPTH:
        return
    for size in range(len(parts), -1, -1):
        for new in moves.heads.get(parts[:size], ()):
            yield "/".join((*new, *parts[size:]))
    for start in range(len(parts)):
        for stop in range(len(parts), start, -1):
            for new in moves.middles.get(parts[start:stop], ()):
                yield "/".join((*parts[:start], *new, *parts[stop:]))


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    count = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        count += 1
    return count


# --- likeness of names ---------------------------------------------------------------------------


def _clear_pairs(names: Sequence[str], others: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs that are each other's best, by a margin."""
    tokens = {name: _tokens(name) for name in (*names, *others)}
    scores = {(a, b): _likeness(tokens[a], tokens[b]) for a in names for b in others}
    best_a = {a: _clear_best([(scores[a, b], b) for b in others]) for a in names}
    best_b = {b: _clear_best([(scores[a, b], a) for a in names]) for b in others}
    return [(a, b) for a, b in best_a.items() if b is not None and best_b[b] == a]


def _clear_best(scored: list[tuple[float, str]]) -> str | None:
    scored.sort(reverse=True)
    if scored[0][0] < _ENOUGH:
        return None
    if len(scored) > 1 and scored[0][0] - scored[1][0] < _MARGIN:
        return None
    return scored[0][1]


def _tokens(name: str) -> list[str]:
    return [token.lower() for token in _TOKENS.findall(name)]


def _likeness(a: list[str], b: list[str]) -> float:
    """From 0 to 1: words in common, in order; the last ones count most, numbers must agree."""
    import difflib

    if max(len(a), len(b)) > _MAX_WORDS:
        return 0.0
    if [t for t in a if t.isdigit()] != [t for t in b if t.isdigit()]:
        return 0.0
    last = 0.3 * (a[-1:] == b[-1:])
    words = set(b)
    common = sum(word in words for word in a)
    if 0.7 * 2 * common / max(1, len(a) + len(b)) + last < _ENOUGH:
        return 0.0  # too little even if the words are in order
    return 0.7 * difflib.SequenceMatcher(None, a, b, autojunk=False).ratio() + last


# --- rules for a mapping file --------------------------------------------------------------------


class RenameRule(NamedTuple):
    """``old`` becomes ``new``; with ``scope`` everything under them does ("" is the root)."""

    old: str
    new: str
    scope: bool
    covers: int


def rename_rules(renames: Mapping[str, str], names: Iterable[str]) -> list[RenameRule]:
    """The fewest rules that do ``renames`` to ``names`` (all of the source) and nothing else.

    A scope-to-scope rule is made where every name under the old scope goes to the new one; widest
    scopes first, then single names.
    """
    below: dict[Path, int] = {}
    for name in names:
        parts = name.split("/")
        for size in range(_deepest(parts)):
            below[tuple(parts[:size])] = below.get(tuple(parts[:size]), 0) + 1
    moved: Counter[tuple[Path, Path]] = Counter()
    for old, new in renames.items():
        for pair in _heads(old, new):
            moved[pair] += 1
    whole = {pair for pair, count in moved.items() if count == below[pair[0]] and count > 1}
    rules: dict[tuple[Path, Path], int] = {}
    single = []
    for old, new in renames.items():
        pairs = [pair for pair in _heads(old, new) if pair in whole]
        if pairs:
            widest = min(pairs, key=lambda pair: len(pair[0]))
            rules[widest] = moved[widest]
        else:
            single.append(RenameRule(old, new, False, 1))
    scopes = [
        RenameRule("/".join(old), "/".join(new), True, count) for (old, new), count in rules.items()
    ]
    return [*scopes, *single]


def _heads(old: str, new: str) -> Iterator[tuple[Path, Path]]:
    """What stands before each common ending of two names."""
    a, b = tuple(old.split("/")), tuple(new.split("/"))
    for size in range(1, _common(a[::-1], b[::-1]) + 1):
        heads = a[: len(a) - size], b[: len(b) - size]
        # A rule says `scope/**`: that is not the root for a scope without a name, and not a name
        # that ends with the slash.
        if ("",) not in heads and any(a[len(a) - size :]) and len(heads[0]) < _deepest(a):
            yield heads


def _deepest(parts: Sequence[str]) -> int:
    return min(len(parts), _MAX_DEPTH)
