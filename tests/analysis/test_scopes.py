"""The folded scope tree: nothing is lost, twins stay visible."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ckpttool.analysis.scopes import Scope, build
from ckpttool.analysis.tree import VariableRow


def row(name: str, shape: tuple[int, ...] = (2,), **more: object) -> VariableRow:
    size = 1
    for length in shape:
        size *= length
    base = VariableRow(
        name, "float32", shape, size, size * 4, "variable", None, None, None, True, 1, None
    )
    return base._replace(**more)  # type: ignore[arg-type]


def outline(node: Scope, level: int = 0) -> list[str]:
    lines = []
    for child in node.children:
        times = f" x{child.repeats}" if child.repeats > 1 else ""
        lines.append("  " * level + child.label + times)
        lines += outline(child, level + 1)
    return lines


def test_numbered_repeats_fold_and_keep_their_sums() -> None:
    rows = [row(f"enc/layer_{i}/{part}") for i in range(12) for part in ("w", "b")]
    root = build(rows)
    assert outline(root) == ["enc", "  layer_{0…11} x12", "    b", "    w"]
    assert (root.variables, root.parameters, root.bytes) == (24, 48, 192)


def test_a_pair_is_never_folded() -> None:
    root = build([row("tower/w"), row("tower_1/w"), row("tower_2/w")])
    assert outline(root) == ["tower/w", "tower_1/w", "tower_2/w"]


def test_three_alike_fold_but_not_the_bare_one() -> None:
    root = build([row(f"w{suffix}") for suffix in ("", "_1", "_2", "_3")])
    assert outline(root) == ["w", "w_{1…3} x3"]


def test_other_structure_stays_out_of_a_fold() -> None:
    rows = [row(f"l_{i}/w") for i in range(4)] + [row("l_4/w", (7,)), row("l_6/w")]
    assert outline(build(rows)) == ["l_{0…3,6}/w x5", "l_4/w"]


def test_zero_padding_stays() -> None:
    rows = [row(f"b_{i:03}") for i in range(3)] + [row("b_1")]
    assert outline(build(rows)) == ["b_{000…002} x3", "b_1"]


def test_slots_follow_their_owner_unless_expanded() -> None:
    rows = [row("w"), row("w/Adam", role="slot", owner="w")]
    folded = build(rows)
    assert outline(folded) == ["w"]
    assert [item.name for item in folded.children[0].followers] == ["w/Adam"]
    assert (folded.parameters, build(rows, expand_slots=True).parameters) == (2, 4)
    assert outline(build(rows, expand_slots=True)) == ["w", "  Adam"]


def test_sort_by_size() -> None:
    rows = [row("a/x", (1,)), row("b/x", (9,)), row("c", (4,))]
    assert outline(build(rows, sort="size")) == ["b/x", "c", "a/x"]


def test_stripped_suffix() -> None:
    rows = [row("m/w/.A/V"), row("m/w")]
    labels = outline(build(rows, strip_suffix="/.A/V"))
    assert labels == ["m", "  w", "  w"]


def test_endless_scopes_cost_little() -> None:
    root = build([row("/".join("a" * 30_000)), row("//"), row("/"), row("a//b")])
    assert root.variables == 4


component = st.sampled_from(["a", "b", "w", "l_0", "l_1", "l_2", "l_3", "", "x9"])
names = st.lists(component, min_size=1, max_size=4).map("/".join)


@settings(max_examples=80, deadline=None)
@given(st.lists(names, unique=True, max_size=25), st.booleans(), st.sampled_from(["name", "size"]))
def test_every_variable_is_counted_once(items: list[str], fold: bool, sort: str) -> None:
    root = build([row(name) for name in items], fold=fold, sort=sort)
    assert root.variables == len(items)
    assert root.parameters == 2 * len(items)
    if not fold:
        assert _rows(root) == sorted(items)


def _rows(node: Scope) -> list[str]:
    found = [child.row.name for child in node.children if child.row is not None]
    for child in node.children:
        found += _rows(child)
    return sorted(found)
