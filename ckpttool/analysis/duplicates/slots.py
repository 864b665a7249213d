"""Names with numbers that are no copies: the second slot, the second optimizer, its powers."""

from __future__ import annotations

from collections.abc import Iterable

from ckpttool.analysis.duplicates.candidates import split_number
from ckpttool.analysis.duplicates.model import CONFIRMED, INFERRED, DuplicateGroup, Evidence
from ckpttool.analysis.tree import VariableRow
from ckpttool.names import natural_key


def slot_groups(rows: Iterable[VariableRow]) -> list[DuplicateGroup]:
    """Slots and optimizer state whose names differ by a number, one group for each name.

    ``Adam`` and ``Adam_1`` of all variables are one group of two: first and second moment.
    """
    families: dict[tuple[str, str], dict[str, list[VariableRow]]] = {}
    for row in rows:
        if row.role != "slot":
            continue
        head, _, leaf = row.name.rpartition("/")
        base, digits = split_number(leaf)
        # A slot's scope is its variable; other state has its place in the name alone.
        where = "" if row.owner is not None else head
        families.setdefault((where, base), {}).setdefault(digits, []).append(row)
    groups = []
    for (where, base), copies in sorted(families.items()):
        if len(copies) > 1:
            groups.append(_group(where, base, copies))
    return groups


def _group(where: str, base: str, copies: dict[str, list[VariableRow]]) -> DuplicateGroup:
    order = sorted(copies, key=lambda digits: int(digits or -1))
    members = [copies[digits] for digits in order]
    owned = any(row.owner is not None for row in members[0])
    certainty = INFERRED if any(row.inferred for rows in members for row in rows) else CONFIRMED
    text = f"state that the optimizer keeps, numbered from {base} on"
    if owned:
        text = f"optimizer slots: {base} numbers the slots of a variable, one after the other"
    evidence = [Evidence("slots", text, certainty)]
    if base in ("beta1_power", "beta2_power"):
        evidence.append(Evidence("slots", f"{len(order)} optimizers were built", INFERRED))
    prefix = where + "/" if where else ""
    return DuplicateGroup(
        copies=tuple(
            tuple(sorted((row.name for row in rows), key=natural_key)) for rows in members
        ),
        scopes=tuple(
            (f"{prefix}{base}_{digits}" if digits else prefix + base,) for digits in order
        ),
        verdict="slot",
        confidence=0.95 if certainty == CONFIRMED else 0.85,
        evidence=tuple(evidence),
    )
