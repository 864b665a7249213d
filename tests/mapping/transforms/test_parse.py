"""Reading `apply`: what may be written, and every mistake with its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from ckpttool.errors import MappingError, Problem
from ckpttool.mapping.language.nodes import parse_yaml
from ckpttool.mapping.transforms import reference, schema
from ckpttool.mapping.transforms.base import ArraySpec, TransformError
from ckpttool.mapping.transforms.chain import Chain, StepError
from ckpttool.mapping.transforms.parse import chain_of, parse_chain
from ckpttool.mapping.transforms.sizes import parse_size
from ckpttool.mapping.transforms.table import TRANSFORMS

PARAMS: Mapping[str, Any] = {
    "heads": 12,
    "rate": 0.5,
    "text": "7",
    "word": "abc",
    "kind": "float64",
    "gates": "ijfo",
}


def value(name: str, where: str) -> Any:
    """The value of a parameter, as the language gives it."""
    if name not in PARAMS:
        raise MappingError(Problem("MAP003", f"unknown parameter ${name}", where))
    return PARAMS[name]


def read(text: str) -> Chain:
    """The chain of a YAML list."""
    return parse_chain(parse_yaml(text, "m.yaml"), value)


def told(text: str) -> list[tuple[str, str | None, str]]:
    """Code, place and message of each problem of a YAML list."""
    with pytest.raises(MappingError) as caught:
        read(text)
    return [(item.code, item.where, item.message) for item in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[transpose]", "transpose"),
        ("[transpose: ]", "transpose"),
        ("[{transpose: [1, 0]}]", "transpose [1, 0]"),
        ("transpose", "transpose"),
        ("[{reshape: [0, $heads, -1]}]", "reshape [0, 12, -1]"),
        ("[{reshape: {dims: [d1//4, '2*(d0-1)', $text]}}]", "reshape [d1//4, 2*(d0-1), 7]"),
        ("[{reshape: 6}]", "reshape [6]"),
        ("[{cast: $kind}]", "cast float64"),
        ("[{cast: half}]", "cast float16"),
        ("[{scale: -$rate*2}]", "scale -1.0"),
        ("[{scale: 1/4}]", "scale 0.25"),
        ("[{constant: {value: true, dtype: bool}}]", "constant {value: true, dtype: bool}"),
        ("[{reorder_gates: {from: $gates, to: ifgo}}]", "reorder_gates {from: ijfo, to: ifgo}"),
        ("[{each: [[transpose], []]}]", "each [[transpose], []]"),
        ("[{index: -1}]", "index -1"),
        ("[{index: {axis: 1, at: 2}}]", "index {axis: 1, at: 2}"),
        ("[{pad: {axis: 0, after: 1}}]", "pad {axis: 0, after: 1}"),
        ("[square, {concat: 1}]", "square, concat 1"),
        ("[]", ""),
        (
            "[{permute_blocks: {axis: -1, of: 3, order: [2, zero, 0]}}]",
            "permute_blocks {axis: -1, of: 3, order: [2, zero, 0]}",
        ),
    ],
)
def test_what_may_be_written(text: str, shown: str) -> None:
    chain = read(text)
    assert chain.describe() == shown
    if "{" in shown:  # what is shown may be written again
        name, _, arguments = shown.partition(" ")
        assert chain_of([{name: yaml.safe_load(arguments)}]) == chain


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[{tranpose: [1, 0]}]", ("MAP020", "m.yaml:1:3", "unknown transform")),
        ("[transpose, sqare]", ("MAP020", "m.yaml:1:13", "unknown transform")),
        ("[reshape]", ("MAP021", "m.yaml:1:2", "reshape needs arguments")),
        ("[{slice: {start: 1}}]", ("MAP021", "m.yaml:1:3", "slice needs `axis`")),
        ("[{slice: 3}]", ("MAP021", "m.yaml:1:10", "the arguments of slice have names")),
        (
            "[{slice: {axis: 0, begin: 1}}]",
            ("MAP021", "m.yaml:1:20", "the argument begin of slice is unknown"),
        ),
        ("[{flip: {axis: 0, axis: 1}}]", ("MAP021", "m.yaml:1:19", "is there twice")),
        ("[{transpose: [1, 1]}]", ("MAP021", "m.yaml:1:3", "each axis stands")),
        ("[{transpose: [0, d1]}]", ("MAP021", "m.yaml:1:18", "size of an axis cannot stand")),
        ("[{reshape: [0, $nope]}]", ("MAP003", "m.yaml:1:16", "unknown parameter $nope")),
        ("[{reshape: [2, $word]}]", ("MAP021", "m.yaml:1:16", "dims of reshape")),
        ("[{reshape: [2, $word*2]}]", ("MAP021", "m.yaml:1:16", "is no number")),
        ("[{reshape: [2, 1.5]}]", ("MAP021", "m.yaml:1:16", "dims of reshape")),
        ("[{reshape: [2, 7//2]}]", ("MAP021", "m.yaml:1:16", "leaves a rest")),
        ("[{reshape: [2, d0/2]}]", ("MAP021", "m.yaml:1:16", "cannot read the expression")),
        ("[{reshape: [2, os.system]}]", ("MAP021", "m.yaml:1:16", "cannot read")),
        ("[{reshape: [2, true]}]", ("MAP021", "m.yaml:1:16", "dims of reshape")),
        ("[{reshape: {dims: {a: 1}}}]", ("MAP021", "m.yaml:1:19", "dims of reshape")),
        ("[{cast: string}]", ("MAP021", "m.yaml:1:9", "no dtype to compute with")),
        ("[{scale: d0}]", ("MAP021", "m.yaml:1:10", "no array's size")),
        ("[{scale: .inf}]", ("MAP021", "m.yaml:1:3", "a finite number")),
        ("[{split: {axis: 0}}]", ("MAP021", "m.yaml:1:3", "either `sizes` or `parts`")),
        ("[{add: {value: 1, axis: 0}}]", ("MAP021", "m.yaml:1:3", "an axis and a part")),
        ("[{add: {value: 1, start: 0}}]", ("MAP021", "m.yaml:1:3", "an axis and a part")),
        ("[{add: {value: 1, axis: 0, block: 1}}]", ("MAP021", "m.yaml:1:3", "go together")),
        (
            "[{reorder_gates: {from: ijfo, to: ifc}}]",
            ("MAP021", "m.yaml:1:3", "name the same gates"),
        ),
        ("[{reorder_gates: {from: cjfo, to: ifco}}]", ("MAP021", "m.yaml:1:3", "twice")),
        ("[{reorder_gates: {from: '', to: ifco}}]", ("MAP021", "m.yaml:1:25", "from of")),
        (
            "[{permute_blocks: {axis: 0, of: 2, order: [0, 2]}}]",
            ("MAP021", "m.yaml:1:3", "there is no such block"),
        ),
        (
            "[{permute_blocks: {axis: 0, of: 2, order: [-1]}}]",
            ("MAP021", "m.yaml:1:44", "blocks are counted from 0"),
        ),
        ("[{concat: {axis: 0, arrays: [0, 2]}}]", ("MAP021", "m.yaml:1:3", "neighbours")),
        ("[{each: [[flop]]}]", ("MAP020", "m.yaml:1:11", "unknown transform")),
        ("[{each: 3}]", ("MAP021", "m.yaml:1:9", "chains of each")),
        ("[{flip: 0, square: }]", ("MAP021", "m.yaml:1:2", "a transform is its name")),
        ("[[transpose]]", ("MAP021", "m.yaml:1:2", "a transform is its name")),
        ("[{[1]: 2}]", ("MAP020", "m.yaml:1:3", "unknown transform")),
    ],
)
def test_a_mistake_and_its_place(text: str, problem: tuple[str, str, str]) -> None:
    problems = told(text)
    assert len(problems) == 1
    code, where, message = problems[0]
    assert (code, where) == problem[:2]
    assert problem[2] in message


def test_all_mistakes_are_told_at_once() -> None:
    text = "- reshap: [1]\n- flip: x\n- each: [[{cast: no}], [sqare]]\n"
    text += "- slice: {axis: $nope, start: d}\n"
    assert [(code, where) for code, where, _ in told(text)] == [
        ("MAP020", "m.yaml:1:3"),
        ("MAP021", "m.yaml:2:9"),
        ("MAP021", "m.yaml:3:18"),
        ("MAP020", "m.yaml:3:25"),
        ("MAP003", "m.yaml:4:17"),
        ("MAP021", "m.yaml:4:31"),
    ]


def test_the_nearest_transform_is_named() -> None:
    with pytest.raises(MappingError) as caught:
        read("[tranpose]")
    assert caught.value.problems[0].hint == "did you mean transpose?"


@pytest.mark.parametrize(
    ("text", "shape", "size"),
    [
        ("d0", (5,), 5),
        ("d1//4", (1, 12), 3),
        ("-d0", (5,), -5),
        ("d0 - 2 - 1", (5,), 2),
        ("2*(d0+1)//3", (5,), 4),
        ("2+3*4", (), 14),
        ("-(2-5)", (), 3),
        ("--2", (), 2),
        ("d0-(d1-2)", (9, 5), 6),
        ("d0//(d1//2)", (8, 4), 4),
    ],
)
def test_sizes(text: str, shape: tuple[int, ...], size: int) -> None:
    parsed = parse_size(text, "", value)
    assert parsed.resolve(shape) == size
    again = parse_size(str(parsed), "", value)
    assert again.resolve(shape) == size


@pytest.mark.parametrize(
    "text",
    ["", "d", "1+", "(1", "1)", "1 2", "d0 d1", "1//0", "2**3", "9" * 30, "1+" * 99 + "1", "$",
     "d0." , "0x10", "1_000", "(" * 60 + "1", "٣", "4611686018427387904*4"],
)  # fmt: skip
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(TransformError):
        parse_size(text, "", value)


@pytest.mark.parametrize(
    ("steps", "shapes", "index", "message"),
    [
        (["transpose", {"reshape": [4, -1]}], [(5, 3)], 1, "no size in the place of -1"),
        ([{"transpose": [1, 0]}], [(2, 3, 4)], 0, "names each axis"),
        ([{"slice": {"axis": 0, "start": 2, "stop": 6}}], [(5,)], 0, "not a part of axis 0"),
        ([{"slice": {"axis": 0, "start": 4, "stop": 2}}], [(5,)], 0, "not a part"),
        ([{"slice": {"axis": 0, "start": -6}}], [(5,)], 0, "not a part"),
        ([{"slice": {"axis": 2, "start": 1}}], [(5,)], 0, "no axis 2"),
        ([{"index": {"axis": 0, "at": 5}}], [(5,)], 0, "no place 5"),
        ([{"split": {"axis": 0, "parts": 2}}], [(5,)], 0, "no 2 equal blocks"),
        ([{"split": {"axis": 0, "sizes": [2, 2]}}], [(5,)], 0, "not the whole"),
        ([{"split": {"axis": 0, "sizes": [6, -1]}}], [(5,)], 0, "larger than axis"),
        ([{"split": {"axis": 0, "sizes": [-2, 7]}}], [(5,)], 0, "at most one size is -1"),
        ([{"split": {"axis": 0, "parts": "d0"}}], [(10**9, 0)], 0, "a number of arrays"),
        ([{"reshape": [-1, -1]}], [(4,)], 0, "at most one size is -1"),
        ([{"reshape": [3]}], [(4,)], 0, "number of elements"),
        ([{"reshape": [0, 0]}], [(4,)], 0, "no axis 1"),
        ([{"reshape": ["d0//3"]}], [(4,)], 0, "leaves a rest"),
        ([{"reshape": ["d2"]}], [(4,)], 0, "no axis 2"),
        ([{"squeeze": 0}], [(4,)], 0, "not of size 1"),
        ([{"expand": [0, 0]}], [(4,)], 0, "named twice"),
        ([{"pad": {"axis": 0, "before": -1}}], [(4,)], 0, "not negative"),
        ([{"pad": {"axis": 0, "after": 2**60}}], [(4,)], 0, "too large"),
        ([{"zeros": [2**40, 2**40]}], [], 0, "too large"),
        ([{"zeros": [-1]}], [], 0, "negative"),
        (["zeros"], [], 0, "needs a shape"),
        ([{"zeros": ["d0"]}], [], 0, "no axis 0"),
        ([{"concat": 0}], [(2, 3), (2, 4)], 0, "do not fit together"),
        (["stack"], [(2, 3), (3, 2)], 0, "do not fit together"),
        (["interleave"], [(2,), (3,)], 0, "differ by one at most"),
        (["concat"], [], 0, "no array"),
        ([{"each": [[], []]}], [(1,), (1,), (1,)], 0, "a chain for each array"),
        ([{"each": [[], [{"flip": 3}]]}], [(1,)], 0, "no axis 3"),
        ([{"pick": [2]}], [(1,)], 0, "no such array"),
        ([{"permute_blocks": {"axis": 0, "of": 3, "order": [0]}}], [(4,)], 0, "equal blocks"),
        ([{"permute_blocks": {"axis": 0, "of": "d0", "order": [4]}}], [(4,)], 0, "such block"),
        ([{"sum_blocks": 0}], [(4,)], 0, "at least one block"),
        ([{"expand": list(range(40))}], [(4,)], 0, "too many axes"),
        ([{"add": {"value": 1, "axis": 0, "block": 2, "of": 2}}], [(4,)], 0, "no such block"),
    ],
)
def test_what_does_not_fit(
    steps: list[Any], shapes: list[tuple[int, ...]], index: int, message: str
) -> None:
    with pytest.raises(StepError, match=message) as caught:
        chain_of(steps).infer([ArraySpec("float32", shape) for shape in shapes])
    assert caught.value.index == index


@pytest.mark.parametrize(
    ("step", "dtype"),
    [
        ({"add": 1.0}, "int32"),
        ({"scale": 2}, "string"),
        ("square", "bool"),
        ({"sum_blocks": 2}, "qint8"),
        ({"cast": "float32"}, "string"),
        ({"cast": "float32"}, "complex64"),
        ({"constant": 2}, "bool"),
        ({"constant": 1.5}, "int32"),
        ({"constant": 300}, "uint8"),
        ({"constant": 1e39}, "float32"),
        ({"constant": 70000}, "float16"),
        ("ones", "string"),
        ({"add": 1e300}, "float32"),
        ({"pad": {"axis": 0, "after": 1, "value": -1}}, "uint8"),
        ({"zeros": {"shape": [1]}}, "resource"),
    ],
)
def test_dtypes_that_do_not_fit(step: Any, dtype: str) -> None:
    with pytest.raises(StepError):
        chain_of([step]).infer([ArraySpec(dtype, (4,))])


def test_a_failure_within_each_has_its_own_place() -> None:
    chain = read("- each:\n  - []\n  - [transpose, {flip: 3}]\n")
    with pytest.raises(StepError) as caught:
        chain.infer([ArraySpec("float32", (2,))])
    assert (caught.value.index, caught.value.where) == (0, "m.yaml:3:17")


@pytest.mark.parametrize(
    "steps",
    [
        [{"slice": {"axis": 0, "start": 1}}],
        [{"index": 0}],
        ["square"],
        [{"sum_blocks": 2}],
        ["zeros"],
        [{"scale": 0}],
        [{"pick": [1]}],
        [{"permute_blocks": {"axis": 0, "of": 2, "order": [0, 0]}}],
        [{"each": [["square"], [{"index": 0}]]}],
    ],
)
def test_what_is_not_undone(steps: list[Any]) -> None:
    specs = [ArraySpec("float32", (4,))] * (2 if "pick" in str(steps) else 1)
    with pytest.raises(StepError):
        chain_of(steps).inverse(specs)
    with pytest.raises(StepError):
        chain_of(steps).inverse()


def test_casts_that_round() -> None:
    chain = chain_of([{"cast": "float32"}])
    assert not chain.rounds([ArraySpec("bfloat16", ())])
    assert not chain.rounds([ArraySpec("int16", ())])
    assert chain.rounds([ArraySpec("float64", ())])
    assert chain.rounds([ArraySpec("int32", ())])
    assert chain_of([{"cast": "uint32"}]).rounds([ArraySpec("int8", ())])
    assert chain_of([{"scale": 3}]).rounds()
    assert not chain_of([{"scale": -0.25}]).rounds()


@pytest.mark.parametrize(
    ("steps", "left"),
    [
        ([{"add": 1.0}, "transpose"], "transpose"),
        ([{"cast": "float32"}], "cast float32"),
        ([{"pad": {"axis": 0, "after": 2, "value": 1}}], "pad {axis: 0, after: 2}"),
        ([{"each": [[{"add": 1}], ["transpose"]]}], "each [[], [transpose]]"),
        ([{"scale": 2}], None),
        (["square"], None),
        ([{"sum_blocks": 2}], None),
        (["zeros"], None),
        ([{"each": [["ones"]]}], None),
    ],
)
def test_what_slots_do(steps: list[Any], left: str | None) -> None:
    if left is None:
        with pytest.raises(StepError, match="slots cannot follow"):
            chain_of(steps).for_slots()
    else:
        assert chain_of(steps).for_slots().describe() == left


def test_what_was_done_to_each_output() -> None:
    chain = chain_of([{"each": [["transpose"], []]}, {"concat": {"arrays": [0, 1], "axis": 0}}])
    steps = chain.infer([ArraySpec("float32", (2, 2))] * 2).steps
    assert steps == (("each [transpose | as it is]", "concat"),)
    steps = (
        chain_of([{"pick": [1, 0]}, {"each": [[], ["unstack"]]}])
        .infer([ArraySpec("float32", (2,))] * 2)
        .steps
    )
    assert steps == ((), ("unstack #0",), ("unstack #1",))


def test_the_schema_and_the_reference_know_every_transform() -> None:
    forms = schema()["items"]["anyOf"]
    named = {next(iter(form["properties"])) for form in forms[1:]}
    assert named == set(TRANSFORMS)
    assert set(forms[0]["enum"]) <= named
    rows = reference()
    assert [row[0] for row in rows] == list(TRANSFORMS)
    for name, summary, params, short, undone, slots in rows:
        assert summary, name
        assert undone, name
        assert slots, name
        assert all(param.help for param in params), name
        assert short is None or short in {param.name for param in params}
