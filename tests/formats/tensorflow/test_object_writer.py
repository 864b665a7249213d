"""Object-based checkpoints as written here: names, graphs and refusals.  No TensorFlow."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from writer_support import FLOATS, PLAIN, full_disk, noise, outputs, same, write

from ckpttool.errors import OutputError
from ckpttool.formats.base import Reader
from ckpttool.formats.registry import open_reader
from ckpttool.formats.tensorflow import object_writer
from ckpttool.formats.tensorflow.bundle_writer import BundleWriter
from ckpttool.formats.tensorflow.object_graph import ObjectGraph
from ckpttool.formats.tensorflow.object_names import (
    ObjectName,
    SlotName,
    object_key,
    parse_object_name,
)
from ckpttool.formats.tensorflow.object_tracking import (
    lost_variables,
    refuse_silent_loss,
    tracked,
    variable_paths,
)
from ckpttool.formats.tensorflow.object_writer import create, refusals
from ckpttool.formats.writing import Output, WriteOptions
from ckpttool.names import OBJECT_GRAPH_KEY
from ckpttool.storage.wire import encode_bytes_field as field
from ckpttool.storage.wire import encode_varint_field as number

Array = np.ndarray[Any, Any]
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
COUNTER = f"save_counter{VALUE}"


def graph(reader: Reader) -> ObjectGraph:
    found = reader.object_graph()
    assert found is not None
    return found


# Names.


@pytest.mark.parametrize(
    ("name", "path", "slot", "attribute"),
    [
        ("model/w", ("model", "w"), None, "VARIABLE_VALUE"),
        (f"model/w{VALUE}", ("model", "w"), None, "VARIABLE_VALUE"),
        ("a.Sb..c/0", ("a/b.c", "0"), None, "VARIABLE_VALUE"),
        ("a..S", ("a.S",), None, "VARIABLE_VALUE"),
        ("/.ATTRIBUTES/OBJECT_CONFIG_JSON", (), None, "OBJECT_CONFIG_JSON"),
        ("m/w/.OPTIMIZER_SLOT/o/p/m", ("m", "w"), SlotName(("o", "p"), "m"), "VARIABLE_VALUE"),
        (f"w/.OPTIMIZER_SLOT/m..1{VALUE}", ("w",), SlotName((), "m.1"), "VARIABLE_VALUE"),
    ],
)
def test_names(name: str, path: tuple[str, ...], slot: SlotName | None, attribute: str) -> None:
    found = parse_object_name(name)
    assert found == ObjectName(path, slot, attribute)
    assert found.key == (name if ".ATTRIBUTES" in name else name + VALUE)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.sampled_from("a./S\0é_"), min_size=1, max_size=5), min_size=1))
def test_names_escape_and_back(path: list[str]) -> None:
    assert parse_object_name(object_key(path)).path == tuple(path)
    assert parse_object_name(object_key(path) + VALUE).path == tuple(path)


@pytest.mark.parametrize(
    "name",
    [
        "", "/a", "a/", "a//b", "a.b", "a.", "model.ckpt/w", "a/.ATTRIBUTES", "a/.ATTRIBUTES/",
        "a/.ATTRIBUTES/x/y", "/.OPTIMIZER_SLOT/o/m", "a/.OPTIMIZER_SLOT/", "a/.OPTIMIZER_SLOT",
        "a/.OPTIMIZER_SLOT/o/m/.OPTIMIZER_SLOT/o/m", "/".join("x" * 257),
    ],
)  # fmt: skip
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match=r"empty|written|deep|more than one"):
        parse_object_name(name)
    ((found, _, _),) = refusals([(name, "int8", ())], WriteOptions())
    assert found == name


# Graphs from names.


def test_every_dtype_comes_back(tmp_path: Path) -> None:
    arrays = {
        f"model/{dtype}": noise(dtype, (2, 3), n) for n, dtype in enumerate((*PLAIN, *FLOATS))
    }
    arrays |= {"model/int4": np.arange(-8, 8).astype(noise("int4", ()).dtype)}
    arrays |= {
        "model/empty": noise("float32", (0, 3)),
        f"model/l/0{VALUE}": noise("complex128", ()),
    }
    written = write(create, tmp_path / "ckpt", arrays)
    assert [Path(file).name for file in written.files] == ["ckpt.data-00000-of-00001", "ckpt.index"]
    with open_reader(str(tmp_path / "ckpt")) as reader:
        assert reader.info.format == "tf2"
        keys = {name.removesuffix(VALUE) + VALUE: array for name, array in arrays.items()}
        assert set(reader.specs) == {*keys, COUNTER, OBJECT_GRAPH_KEY}
        for key, array in keys.items():
            same(reader.read(key), array)
        same(reader.read(COUNTER), np.array(1, np.int64))
        nodes = graph(reader).nodes_by_key()
        paths = graph(reader).shortest_paths()
    assert {key: paths[node] for key, node in nodes.items()} == {
        key: parse_object_name(key).path for key in {*keys, COUNTER}
    }


def test_strings_come_back(tmp_path: Path) -> None:
    text = np.array([b"a\0", b"", b"\xff" * 300], object)
    with create(str(tmp_path / "ckpt")) as writer:
        writer.declare(outputs({"model/words": text})[0])
        writer.write()
        writer.commit()
    with open_reader(str(tmp_path / "ckpt")) as reader:
        assert reader.read(f"model/words{VALUE}").tolist() == text.tolist()


def test_slots(tmp_path: Path) -> None:
    arrays = {
        "w": noise("float32", (2,)),
        "w/.OPTIMIZER_SLOT/opt/m": noise("float32", (2,), 1),
        "w/.OPTIMIZER_SLOT/opt/v": noise("float32", (2,), 2),
        "save_counter": np.array(7, np.int64),
    }
    write(create, tmp_path / "ckpt", arrays)
    with open_reader(str(tmp_path / "ckpt")) as reader:
        same(reader.read(COUNTER), np.array(7, np.int64))
        slots = graph(reader).slot_keys()
    assert {(key, slot.name, slot.owner) for key, slot in slots.items()} == {
        (f"w/.OPTIMIZER_SLOT/opt/{name}{VALUE}", name, f"w{VALUE}") for name in "mv"
    }


def test_the_same_bytes_again(tmp_path: Path) -> None:
    arrays = {f"m/{n}/w": noise("float32", (n,)) for n in range(20)}
    one = write(create, tmp_path / "ckpt", arrays)
    before = [Path(file).read_bytes() for file in one.files]
    two = write(create, tmp_path / "ckpt", arrays, force=True)
    assert before == [Path(file).read_bytes() for file in two.files]


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.lists(st.text(st.sampled_from("ab./S"), min_size=1, max_size=3), min_size=1, max_size=4)
        .map(tuple)
        .filter(lambda path: path != ("save_counter",)),
        st.tuples(
            st.sampled_from((*PLAIN, *FLOATS)), st.lists(st.integers(0, 3), max_size=3).map(tuple)
        ),
        max_size=8,
    )
)
def test_round_trip(tensors: dict[tuple[str, ...], tuple[str, tuple[int, ...]]]) -> None:
    arrays = {object_key(path): noise(*spec, 5) for path, spec in tensors.items()}
    with tempfile.TemporaryDirectory() as folder:
        write(create, Path(folder) / "ckpt", arrays)
        with open_reader(str(Path(folder) / "ckpt")) as reader:
            found = graph(reader)
            paths = found.shortest_paths()
            for key, node in found.nodes_by_key().items():
                path = paths[node]
                if path != ("save_counter",):
                    same(reader.read(key), arrays[object_key(path or ())])


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ((OBJECT_GRAPH_KEY, "string", ()), "drop"),
        (("a", "variant", ()), "variant"),
        (("a", "resource", ()), "resource"),
        (("a\udcff", "int8", ()), "UTF-8"),
        (("a.b", "int8", ()), "`..`"),
        (("save_counter", "int32", ()), "int64"),
        (("save_counter", "int64", (1,)), "int64"),
        ((f"fine{VALUE}", "int8", ()), "same object as fine"),
        (("x/.OPTIMIZER_SLOT/opt/m", "int8", ()), "not written"),
    ],
)
def test_refusals(tmp_path: Path, spec: tuple[str, str, tuple[int, ...]], words: str) -> None:
    good = ("fine", "int8", ())
    ((found, why, _),) = refusals([good, spec], WriteOptions())
    assert found == spec[0]
    assert words in why
    with pytest.raises(OutputError) as caught:
        run(tmp_path / "ckpt", [Output(*good, list), Output(*spec, list)])
    assert caught.value.problems[0].code == "OUT005"
    assert words in caught.value.problems[0].message
    assert not list(tmp_path.iterdir())


def run(path: Path, declared: list[Output]) -> None:
    with create(str(path)) as writer:
        for output in declared:
            writer.declare(output)
        writer.write()


def test_too_many_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_writer, "MAX_NODES", 20)
    specs = [(f"a/b/{n}", "int8", ()) for n in range(30)]
    assert not list(refusals(specs[:16], WriteOptions()))
    assert "20 objects" in next(iter(refusals(specs, WriteOptions())))[1]


def test_what_a_program_must_not_do(tmp_path: Path) -> None:
    with create(str(tmp_path / "ckpt")) as writer:
        writer.declare(Output("a", "int8", (2,), lambda: [np.zeros(2, np.uint8)]))
        with pytest.raises(ValueError, match="twice"):
            writer.declare(Output("a", "int8", (2,), list))
        with pytest.raises(ValueError, match="uint8"):
            writer.write()
    assert not list(tmp_path.iterdir())


def test_an_index_path_is_its_prefix(tmp_path: Path) -> None:
    with create(str(tmp_path / "ckpt.index")) as writer:
        writer.write()
        assert writer.commit().path == str(tmp_path / "ckpt")
    with pytest.raises(OutputError) as caught:
        create(str(tmp_path / "ckpt"))
    assert caught.value.problems[0].code == "OUT001"


def test_a_full_disk(tmp_path: Path) -> None:
    said = full_disk("ckpttool.formats.tensorflow.object_writer", tmp_path / "x")
    assert said == "OUT002 free some space, or write elsewhere"
    assert not list(tmp_path.iterdir())


# Graphs of templates.


def reference(node: int, name: str) -> bytes:
    return number(1, node) + field(2, name.encode())


def attribute(key: str) -> bytes:
    texts = (b"VARIABLE_VALUE", b"name of " + key.encode(), key.encode())
    return field(2, b"".join(field(n, text) for n, text in enumerate(texts, 1)))


def template(path: Path, *, counter: bool = True) -> str:
    """Two ways to one kernel, which has a slot; a saver of its own kind, and a cycle."""
    kernel, slot = f"layers/0/kernel{VALUE}", f"layers/0/kernel/.OPTIMIZER_SLOT/opt/m{VALUE}"
    bias = f"layers/0/bias{VALUE}"
    nodes = [
        b"".join(
            field(1, reference(node, name))
            for node, name in ((1, "layers"), (2, "dense"), (5, "opt"), (0, "self"))
        )
        + (field(1, reference(7, "save_counter")) if counter else b""),
        field(1, reference(2, "0")),
        field(1, reference(3, "kernel")) + field(1, reference(4, "bias")),
        attribute(kernel) + field(5, number(1, 1)),
        attribute(bias) + field(4, field(1, b"saver") + field(2, b"object")),
        field(3, number(1, 3) + field(2, b"m") + number(3, 6)) + field(5, number(1, 1)),
        attribute(slot),
        *([attribute(COUNTER)] if counter else ()),
    ]
    raw = b"".join(field(1, node) for node in nodes)
    text = np.array([raw], object)
    with BundleWriter(str(path)) as writer:
        for key in (kernel, bias, slot):
            writer.encode(key, 1, (2,), lambda: [np.zeros(2, np.float32)])
        if counter:
            writer.encode(COUNTER, 9, (), lambda: [np.zeros(1, np.int64)])
        writer.encode(OBJECT_GRAPH_KEY, 7, (), lambda: [text])
        writer.write()
        return writer.commit().path


def raw_graph(path: Path) -> bytes:
    with open_reader(str(path)) as reader:
        return bytes(reader.read(OBJECT_GRAPH_KEY).reshape(-1)[0])


@pytest.mark.parametrize("counter", [True, False])
def test_a_template_is_copied(tmp_path: Path, counter: bool) -> None:
    path = template(tmp_path / "template", counter=counter)
    arrays = {
        "dense/kernel": noise("float32", (2,), 1),
        f"self/self/dense/bias{VALUE}": noise("float32", (2,), 2),
        "self/dense/kernel/.OPTIMIZER_SLOT/opt/m": noise("float32", (2,), 3),
    }
    write(create, tmp_path / "out", arrays, options=WriteOptions(template=path))
    assert raw_graph(tmp_path / "out") == raw_graph(tmp_path / "template")
    with open_reader(str(tmp_path / "out")) as reader, open_reader(path) as other:
        assert set(reader.specs) == set(other.specs)
        keys = ("layers/0/kernel", "layers/0/bias", "layers/0/kernel/.OPTIMIZER_SLOT/opt/m")
        for key, array in zip(keys, arrays.values(), strict=True):
            same(reader.read(key + VALUE), array)


def test_what_is_not_given_leaves_the_graph(tmp_path: Path) -> None:
    path = template(tmp_path / "template")
    write(create, tmp_path / "out", {"dense/bias": noise("float32", (2,))},
          options=WriteOptions(template=path))  # fmt: skip
    with open_reader(str(tmp_path / "out")) as reader:
        found = graph(reader)
        assert set(reader.specs) == {f"layers/0/bias{VALUE}", COUNTER, OBJECT_GRAPH_KEY}
        assert found.nodes_by_key() == {f"layers/0/bias{VALUE}": 4, COUNTER: 7}
        assert not found.slot_keys()
        assert not found.nodes[5].slots
        assert found.nodes[4].saver == "saver"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (("layer/0/kernel", "float32", (2,)), "nearest: layers/0/kernel"),
        (("dense/kernel", "float64", (2,)), "float32 [2]"),
        (("dense/kernel", "float32", (1, 2)), "float32 [2]"),
        (("layers/0/bias", "float32", (2,)), "same object as dense/bias"),
        (("dense/bias/.OPTIMIZER_SLOT/opt/m", "float32", (2,)), "no variable here"),
    ],
)
def test_what_a_template_refuses(
    tmp_path: Path, spec: tuple[str, str, tuple[int, ...]], words: str
) -> None:
    options = WriteOptions(template=template(tmp_path / "template"))
    specs = [("dense/bias", "float32", (2,)), spec]
    ((found, why, _),) = refusals(specs, options)
    assert found == spec[0]
    assert words in why


def test_the_template_is_not_replaced(tmp_path: Path) -> None:
    path = template(tmp_path / "template")
    with pytest.raises(OutputError) as caught:
        create(path, options=WriteOptions(template=path), force=True)
    assert caught.value.problems[0].code == "OUT003"


def test_another_kind_of_template_is_left_alone(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.zeros(2))
    options = WriteOptions(template=str(tmp_path / "x.npz"))
    write(create, tmp_path / "out", {"a": noise("int8", ())}, options=options)


# Live models, with objects that only look like TensorFlow's.


class Thing:
    """An object with tracked and other attributes."""

    def __init__(self, **children: Any) -> None:
        self.children = children

    def _trackable_children(self, save_type: str) -> dict[str, Any]:
        assert save_type == "checkpoint"
        return self.children


def test_tracking() -> None:
    one, two, three = (Thing() for _ in range(3))
    for name, thing in zip(("one", "two", "three"), (one, two, three), strict=True):
        thing.path = name  # type: ignore[attr-defined]
    layer = Thing(**{"kernel": one, "a/b": two})
    model = Thing(long=Thing(way=layer), short=layer)
    layer.children["back"] = model
    model.weights = [one, two, one]  # type: ignore[attr-defined]
    assert variable_paths(model) == {"short/kernel": one, "short/a.Sb": two}
    assert list(variable_paths(model, ("model",))) == ["model/short/kernel", "model/short/a.Sb"]
    assert len(list(tracked(model))) == 5
    refuse_silent_loss(model)
    model.weights.append(three)  # type: ignore[attr-defined]
    assert lost_variables(model) == ["three"]
    with pytest.raises(OutputError) as caught:
        refuse_silent_loss(model)
    problem = caught.value.problems[0]
    assert problem.code == "OUT005"
    assert problem.found == "1 of 3 variables lost: three"
