"""Which layer is which: an assignment by names, order and neighbours among those that fit.

The score of a pair says how much speaks for it; the assignment with the best sum is found by the
``lap`` package.  What the neighbours were matched to then counts too, and it is done again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ckpttool.errors import ExtraMissingError, MappingError, Problem
from ckpttool.mapping.suggest.pairing import Pairing, pair
from ckpttool.mapping.suggest.units import Unit, sortable
from ckpttool.mapping.suggest.words import Likeness, prefixes, suffixes

MAX_PAIRS = 2_000_000  # layers of one side times those of the other that are compared
_ROUNDS = 4
_NAMES, _NEAR, _TAIL, _BASE = 1.0, 1.0, 0.5, 0.2
_MOST = 0.6  # of a kind's layers: an ending that more of them have tells nothing
_RANK, _STEEP = 0.3, 8.0  # how far layers are from the beginning, and how fast it counts less
_TIED = 0.2  # what an order says of names that only their words put in order: less than _LIKELY
_ORDER, _SORTED = 0.5, 0.12  # the graph's order; that of names, which may be the alphabet's
_CLEAR, _LIKELY = 0.3, 0.06  # margins, in scores, above which a pair is taken as told
# Of costs, and the cost of a pair that cannot be: the solver takes 1,000,000 for infinity.
_SCALE, _NO = 10_000, 900_000.0
_LETTER = re.compile(r"^[a-z](?![a-zA-Z])")


class Pair(NamedTuple):
    """A layer told apart: its place on both sides, how, how surely, and by what.

    ``margin`` is how much worse the best other way is; None where there is none.
    """

    source: int
    target: int
    pairing: Pairing
    margin: float | None
    evidence: tuple[str, ...]

    @property
    def confidence(self) -> str:
        """``high``, ``medium``, or ``low`` for what is better left open."""
        if self.margin is None or (self.margin >= _CLEAR and self.evidence != ("order",)):
            return "high"
        return "medium" if self.margin >= _LIKELY else "low"


class Matcher:
    """Pairs the layers of two sides."""

    def __init__(self, sources: Sequence[Unit], targets: Sequence[Unit], *, torch: bool) -> None:
        if len(sources) * len(targets) > MAX_PAIRS:
            count = f"{len(sources)} and {len(targets)} layers"
            most = f"≤ {MAX_PAIRS} pairs"
            raise MappingError(Problem("MAP007", "too many layers to compare", None, count, most))
        self._sources, self._targets = sources, targets
        known = all(unit.order[0] == 0 for side in (sources, targets) for unit in side)
        self._order = _ORDER if known else _SORTED
        # Without a graph only the numbers in names tell an order; their words are just sorted.
        self._numbers = (_order_keys(sources), _order_keys(targets))
        self._pairings: dict[tuple[int, int], Pairing] = {}
        for s, source in enumerate(sources):
            for t, target in enumerate(targets):
                pairing = pair(source, target, torch=torch)
                if pairing is not None:
                    self._pairings[s, t] = pairing
        names = Likeness([unit.scope for unit in sources], [unit.scope for unit in targets])
        self._names = {(s, t): names.score(s, t) for s, t in self._pairings}
        self._aligned = dict(self._alignments())
        self._ranks = self._distances()
        self._near: Mapping[tuple[int, int], float] = {}
        self._tails: Mapping[tuple[int, int], float] = {}
        self._ends = (_endings(sources), _endings(targets))
        self._above = (
            [prefixes(unit.scope) for unit in sources],
            [prefixes(unit.scope) for unit in targets],
        )

    def match(self) -> list[Pair]:
        """The best assignment, in the order of the source."""
        assigned = self._assign()
        for _ in range(_ROUNDS):
            self._near = self._neighbours(assigned)
            self._tails = self._translations(assigned)
            again = self._assign()
            if again == assigned:
                break
            assigned = again
        margins = self._margins(assigned)
        return [
            Pair(s, t, self._pairings[s, t], margins[s], self._evidence(s, t, margins[s]))
            for s, t in sorted(assigned.items())
        ]

    def fits(self, s: int, t: int) -> bool:
        """Whether two layers can be one."""
        return (s, t) in self._pairings

    def score(self, s: int, t: int) -> float:
        """How much speaks for a pair that fits."""
        return (
            _BASE
            + _NAMES * self._names[s, t]
            + self._order * self._aligned.get((s, t), 0.0)
            + _RANK * self._ranks.get((s, t), 0.0)
            + _NEAR * self._near.get((s, t), 0.0)
            + _TAIL * self._tails.get((s, t), 0.0)
            - self._pairings[s, t].cost
        )

    # --- assignment ------------------------------------------------------------------------

    def _assign(self) -> dict[int, int]:
        lap, np = _library()
        found: dict[int, int] = {}
        for rows, columns in self._components():
            place = {t: at for at, t in enumerate(columns)}
            costs = np.full((len(rows), len(columns)), _NO)
            for at, s in enumerate(rows):
                for t in columns:
                    if (s, t) in self._pairings:
                        # Whole numbers: the solver's sums are then exact, and ties are ties.
                        costs[at, place[t]] = round((10.0 - self.score(s, t)) * _SCALE)
            _, chosen, _ = lap.lapjv(costs, extend_cost=True)
            for at, column in enumerate(chosen):
                if column >= 0 and costs[at, column] < _NO:
                    found[rows[at]] = columns[int(column)]
        return found

    def _components(self) -> Iterator[tuple[list[int], list[int]]]:
        """Groups of layers that fit each other and no others."""
        by_source: dict[int, list[int]] = {}
        by_target: dict[int, list[int]] = {}
        for s, t in self._pairings:
            by_source.setdefault(s, []).append(t)
            by_target.setdefault(t, []).append(s)
        seen: set[int] = set()
        for start in by_source:
            if start in seen:
                continue
            rows, columns = {start}, set(by_source[start])
            todo = list(columns)
            while todo:
                for s in by_target[todo.pop()]:
                    if s not in rows:
                        rows.add(s)
                        fresh = [t for t in by_source[s] if t not in columns]
                        columns.update(fresh)
                        todo += fresh
            seen |= rows
            yield sorted(rows), sorted(columns)

    # --- order -----------------------------------------------------------------------------

    def _alignments(self) -> Iterator[tuple[tuple[int, int], float]]:
        """Pairs of the longest common order, for each kind of layer of the target.

        With how much that says: little of layers whose names are just sorted by their words.
        """
        left, right = self._numbers
        for family in sorted({unit.family for unit in self._targets}):
            columns = [t for t, unit in enumerate(self._targets) if unit.family == family]
            wanted = set(columns)
            rows = sorted({s for s, t in self._pairings if t in wanted})
            tied_s = Counter(left[s] for s in rows)
            tied_t = Counter(right[t] for t in columns)
            for s, t in self._align(rows, columns):
                tied = tied_s[left[s]] > 1 or tied_t[right[t]] > 1
                yield (s, t), _TIED if tied else 1.0

    def _align(self, rows: list[int], columns: list[int]) -> Iterator[tuple[int, int]]:
        """The best pairs that keep the order of both sides."""
        height, width = len(rows), len(columns)
        best = [[0.0] * (width + 1) for _ in range(height + 1)]
        for i in range(height - 1, -1, -1):
            here, below = best[i], best[i + 1]
            for j in range(width - 1, -1, -1):
                value = max(below[j], here[j + 1])
                gain = self._gain(rows[i], columns[j])
                here[j] = max(value, gain + below[j + 1]) if gain else value
        i = j = 0
        while i < height and j < width:
            gain = self._gain(rows[i], columns[j])
            if gain and best[i][j] == gain + best[i + 1][j + 1]:
                yield rows[i], columns[j]
                i, j = i + 1, j + 1
            elif best[i][j] == best[i + 1][j]:
                i += 1
            else:
                j += 1

    def _gain(self, s: int, t: int) -> float:
        found = self._pairings.get((s, t))
        if found is None:
            return 0.0
        names = self._names[s, t] * (0.2 if self._order == _ORDER else 1.0)
        return max(0.05, 1.0 - found.cost + names)

    def _distances(self) -> dict[tuple[int, int], float]:
        """1 for pairs that stand equally far from the beginning, among those of one kind."""
        found: dict[tuple[int, int], float] = {}
        for family in {unit.family for unit in self._targets}:
            pairs = [key for key in self._pairings if self._targets[key[1]].family == family]
            rows = _ranks({s: self._numbers[0][s] for s, _ in pairs})
            columns = _ranks({t: self._numbers[1][t] for _, t in pairs})
            for s, t in pairs:
                found[s, t] = max(0.0, 1.0 - _STEEP * abs(rows[s] - columns[t]))
        return found

    # --- neighbours ------------------------------------------------------------------------

    def _neighbours(self, assigned: Mapping[int, int]) -> dict[tuple[int, int], float]:
        """For each pair how far the scopes of the two hold the same other pairs."""
        left: Counter[str] = Counter()
        right: Counter[str] = Counter()
        both: Counter[tuple[str, str]] = Counter()
        for s, t in assigned.items():
            left.update(self._above[0][s])
            right.update(self._above[1][t])
            both.update((p, q) for p in self._above[0][s] for q in self._above[1][t])
        total = len(assigned)
        by_target = {t: s for s, t in assigned.items()}
        near: dict[tuple[int, int], float] = {}
        for s, t in self._pairings:
            # What the two are paired with now says nothing for or against them.
            now_t = set(self._above[1][assigned[s]]) if s in assigned else set()
            now_s = set(self._above[0][by_target[t]]) if t in by_target else set()
            own = assigned.get(s) == t
            # The mean over the scopes of the source: a wide one alone says little.
            scores = [
                max(
                    (
                        _overlap(
                            left[p] - bool(now_t) - (not own and p in now_s),
                            right[q] - bool(now_s) - (not own and q in now_t),
                            both[p, q] - (own or (q in now_t) + (p in now_s)),
                        )
                        for q in self._above[1][t]
                        if right[q] < total and both[p, q]
                    ),
                    default=0.0,
                )
                for p in self._above[0][s]
                if 1 < left[p] < total
            ]
            near[s, t] = sum(scores) / len(scores) if scores else 0.0
        return near

    def _translations(self, assigned: Mapping[int, int]) -> dict[tuple[int, int], float]:
        """For each pair how often the last words of the one became those of the other."""
        ends_s, ends_t = self._ends
        left = Counter(ends_s[s] for s in assigned)
        right = Counter(ends_t[t] for t in assigned.values())
        both = Counter((ends_s[s], ends_t[t]) for s, t in assigned.items())
        by_target = {t: s for s, t in assigned.items()}
        found: dict[tuple[int, int], float] = {}
        for s, t in self._pairings:
            p, q = ends_s[s], ends_t[t]
            own = assigned.get(s) == t
            now_t = ends_t[assigned[s]] if s in assigned else None
            now_s = ends_s[by_target[t]] if t in by_target else None
            found[s, t] = _overlap(
                left[p] - (now_t is not None) - (not own and p == now_s),
                right[q] - (now_s is not None) - (not own and q == now_t),
                both[p, q] - (own or (q == now_t) + (p == now_s)),
            )
        return found

    # --- how sure --------------------------------------------------------------------------

    def _margins(self, assigned: Mapping[int, int]) -> dict[int, float | None]:
        """For each layer how much is lost by the best other choice for it alone."""
        by_target = {t: s for s, t in assigned.items()}
        margins: dict[int, float | None] = dict.fromkeys(assigned)
        for s, t in self._pairings:
            if assigned.get(s) == t:
                continue
            loss = self._loss(s, t, assigned, by_target)
            if loss is None:
                continue
            for one in (s, by_target.get(t)):
                if one is None or one not in margins:
                    continue
                known = margins[one]
                margins[one] = loss if known is None else min(known, loss)
        return margins

    def _loss(
        self, s: int, t: int, assigned: Mapping[int, int], by_target: Mapping[int, int]
    ) -> float | None:
        """What it costs to pair ``s`` with ``t``; the two that they leave are paired if they can.

        None where one of these would be left over: that is no other way.
        """
        other_t, other_s = assigned.get(s), by_target.get(t)
        before = [(s, other_t), (other_s, t)]
        after = [(s, t), (other_s, other_t)]
        if other_s is not None and other_t is not None and after[1] not in self._pairings:
            return None
        return sum(self._worth(*key) for key in before) - sum(self._worth(*key) for key in after)

    def _worth(self, s: int | None, t: int | None) -> float:
        return 0.0 if s is None or t is None else self.score(s, t)

    def _evidence(self, s: int, t: int, margin: float | None) -> tuple[str, ...]:
        found = []
        if margin is None:
            found.append("no other way fits")
        if self._names[s, t] >= 0.3:
            found.append("names")
        if (s, t) in self._aligned and self._order == _ORDER:
            found.append("order")
        elif self._order == _SORTED and self._ranks[s, t] >= 0.8 and margin is not None:
            found.append("numbers in order")
        if self._near.get((s, t), 0.0) >= 0.3:
            found.append("neighbours")
        return tuple(found) or ("shapes",)


def _endings(units: Sequence[Unit]) -> list[tuple[str, str]]:
    """For each layer its kind, and as many last words as tell it from most others of the kind."""
    tails = [(unit.family, list(reversed(suffixes(unit.scope)))) for unit in units]
    counts = Counter((family, tail) for family, some in tails for tail in some)
    kinds = Counter(family for family, _ in tails)
    return [
        (
            family,
            next((tail for tail in some if counts[family, tail] < _MOST * kinds[family]), some[-1]),
        )
        for family, some in tails
    ]


def _order_keys(units: Sequence[Unit]) -> list[tuple[object, ...]]:
    return [unit.order[1:] if unit.order[0] == 0 else _counted(unit.order[1:]) for unit in units]


def _counted(order: Sequence[object]) -> tuple[object, ...]:
    """The numbers of a name, and letters that count (``Mixed_5b``)."""
    return tuple(
        part if isinstance(part, int) else "".join(_LETTER.findall(str(part))) for part in order
    )


def _ranks(keys: Mapping[int, tuple[object, ...]]) -> dict[int, float]:
    """Places from 0 to 1 in the order of the keys; what has the same key shares one place."""
    places: dict[tuple[object, ...], list[int]] = {}
    for at, key in enumerate(sorted(keys.values(), key=sortable)):
        places.setdefault(key, []).append(at)
    last = max(1, len(keys) - 1)
    return {item: sum(places[key]) / len(places[key]) / last for item, key in keys.items()}


def _overlap(left: int, right: int, shared: int) -> float:
    """How far two sets are the same, less where there is little of them."""
    union = left + right - shared
    return shared / union * shared / (shared + 0.5) if shared > 0 and union > 0 else 0.0


def _library() -> tuple[Any, Any]:
    try:
        import lap
        import numpy as np
    except ImportError as error:
        message = "suggest needs an assignment solver, the `suggest` extra"
        hint = "pip install 'ckpttool[suggest]'"
        raise ExtraMissingError(Problem("EXT001", message, found=str(error), hint=hint)) from error
    return lap, np
