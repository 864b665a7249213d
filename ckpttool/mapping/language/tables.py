"""Tables of `where`: the texts that a capture may have, and what `to` makes of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ckpttool.errors import Problem
from ckpttool.mapping.language.document import Text
from ckpttool.mapping.language.nodes import MAP, SCALAR, Node

MAX_ROWS = 100_000


class Table(NamedTuple):
    """What `to` has for each text of the capture ``name``.

    A table with ``columns`` has a text for each, used as ``{name.column}``; without, the one text
    takes the capture's place.
    """

    name: str
    where: str
    rows: dict[str, tuple[str, ...]]
    columns: tuple[str, ...] = ()

    @property
    def gives(self) -> frozenset[str]:
        """The names that it adds to the captures."""
        return frozenset(f"{self.name}.{column}" for column in self.columns)

    @property
    def numbers(self) -> frozenset[str]:
        """Those of its names that are numbers in every row."""
        names = [f"{self.name}.{column}" for column in self.columns] or [self.name]
        rows = self.rows.values()
        return frozenset(
            name for at, name in enumerate(names) if all(row[at].isdecimal() for row in rows)
        )

    def add(self, values: dict[str, str]) -> None:
        """Put what the table has for a capture among the ``values``."""
        row = self.rows[values[self.name]]
        if not self.columns:
            values[self.name] = row[0]
        else:
            for column, text in zip(self.columns, row, strict=True):
                values[f"{self.name}.{column}"] = text

    def inverse(self) -> Table | None:
        """The table from what this one gives; None where two rows give the same, or columns do."""
        if self.columns or len({row[0] for row in self.rows.values()}) < len(self.rows):
            return None
        rows: dict[str, tuple[str, ...]] = {row[0]: (text,) for text, row in self.rows.items()}
        return Table(self.name, self.where, rows)


def read_table(
    name: Text, node: Node, fill: Callable[[Text], str], problems: list[Problem]
) -> Table | None:
    """The table of a node; ``fill`` puts parameters into texts.  None where it is no table."""
    before = len(problems)
    rows: dict[str, tuple[str, ...]] = {}
    columns: tuple[str, ...] | None = None
    if not node.value:
        problems.append(Problem("MAP003", "a table has rows", node.where, "nothing"))
    if len(node.value) > MAX_ROWS:
        found = f"{len(node.value)} rows"
        problems.append(
            Problem("MAP007", "a table is too long", node.where, found, f"≤ {MAX_ROWS}")
        )
        return None
    for key, value in node.value:
        text = fill(Text(key.text, key.where))
        named, row = _row(value, fill, problems)
        if columns is None:
            columns = named
        elif columns != named:
            expected = ", ".join(columns) or "one text"
            found = ", ".join(named) or "one text"
            message = "every row of a table has the same columns"
            problems.append(Problem("MAP003", message, value.where, found, expected))
        if key.kind != SCALAR or text in rows:
            message = f"the key {text} is there twice" if key.kind == SCALAR else "a key is a text"
            problems.append(Problem("MAP002", message, key.where))
        rows[text] = row
    if len(problems) > before:
        return None
    return Table(name.text, name.where, rows, columns or ())


def _row(
    value: Node, fill: Callable[[Text], str], problems: list[Problem]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Columns and texts of a row; no columns where it is one text."""
    if value.kind == MAP:
        for key, cell in value.value:
            if cell.kind != SCALAR or key.kind != SCALAR:
                problems.append(Problem("MAP003", "a table holds texts", cell.where))
        pairs = sorted((key.text, fill(Text(cell.text, cell.where))) for key, cell in value.value)
        return tuple(name for name, _ in pairs), tuple(text for _, text in pairs)
    if value.kind != SCALAR:
        problems.append(Problem("MAP003", "a table holds texts", value.where, f"a {value.kind}"))
        return (), ("",)
    return (), (fill(Text(value.text, value.where)),)
