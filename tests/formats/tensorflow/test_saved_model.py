"""SavedModels, Hub modules, and graphs without tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from format_makers import Bundle

from ckpttool.errors import CkptError, TensorNotFoundError
from ckpttool.formats.base import GraphSource
from ckpttool.formats.locating.located import Located
from ckpttool.formats.tensorflow.meta_graph import open_meta_graph
from ckpttool.formats.tensorflow.saved_model import open_saved_model


def exported(folder: Path, *, kind: str = "saved-model", variables: bool = True) -> Located:
    """A SavedModel folder with two tensors, or none."""
    graph = folder / "saved_model.pb"
    graph.write_bytes(b"\x08\x01")
    graphs = (GraphSource(str(graph), "saved_model"),)
    if not variables:
        return Located(str(folder), kind, None, (), graphs)
    (folder / "variables").mkdir()
    bundle = Bundle()
    bundle.add(b"fc/bias", np.arange(2, dtype=np.float32))
    bundle.add(b"global_step", np.array(7))
    found = bundle.write(folder / "variables", "variables")
    shards = (f"{found.path}.data-00000-of-00001",)
    return Located(str(folder), kind, found.index, shards, graphs)


@pytest.mark.parametrize("kind", ["saved-model", "hub-module"])
def test_variables_are_a_bundle(kind: str, tmp_path: Path) -> None:
    located = exported(tmp_path, kind=kind)
    with open_saved_model(located) as reader:
        assert list(reader.specs) == ["fc/bias", "global_step"]
        assert reader.read("fc/bias").tolist() == [0, 1]
        assert reader.info.format == kind  # not that of the bundle inside
        assert reader.info.path == str(tmp_path)
        assert reader.info.graphs == located.graphs
        assert not reader.info.notices
        assert not reader.info.damage


def test_without_variables_there_is_a_notice(tmp_path: Path) -> None:
    with open_saved_model(exported(tmp_path, variables=False)) as reader:
        assert not reader.specs
        assert not reader.info.damage  # it is legal: a frozen model has none
        assert [problem.code for problem in reader.info.notices] == ["INP012"]
        assert reader.info.shards == 0
        assert reader.object_graph() is None
        with pytest.raises(TensorNotFoundError):
            reader.read("fc/bias")
        with pytest.raises(TensorNotFoundError):
            reader.stored_bytes("fc/bias")


def test_a_missing_shard_leaves_the_names(tmp_path: Path) -> None:
    located = exported(tmp_path)
    Path(located.shards[0]).unlink()
    with open_saved_model(located._replace(missing=located.shards)) as reader:
        assert list(reader.specs) == ["fc/bias", "global_step"]
        assert reader.info.missing_files == located.shards
        with pytest.raises(CkptError) as caught:
            reader.read("global_step")
    assert caught.value.problems[0].code == "INP012"


def test_a_damaged_index(tmp_path: Path) -> None:
    located = exported(tmp_path)
    index = Path(str(located.index))
    data = bytearray(index.read_bytes())
    data[3] ^= 0xFF
    index.write_bytes(data)
    with pytest.raises(CkptError) as caught:
        open_saved_model(located)
    assert str(index) in str(caught.value.problems[0].where)


@pytest.mark.parametrize(
    ("name", "kind"), [("m.ckpt.meta", "meta_graph"), ("graph.pbtxt", "graph_def")]
)
def test_a_graph_alone(name: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"")
    source = GraphSource(str(path), kind)
    located = Located(str(path), "meta-graph", None, (), (source,), step=3)
    with open_meta_graph(located) as reader:
        assert not reader.specs
        assert not reader.partitioned
        assert reader.info.graphs == (source,)
        assert reader.info.step == 3
        assert reader.info.files == (str(path),)
        assert [problem.code for problem in reader.info.notices] == ["INP012"]
        with pytest.raises(TensorNotFoundError):
            reader.read("w")


def test_the_samples(samples: Path) -> None:
    folder = samples / "saved_model_tf1"
    prefix = folder / "variables" / "variables"
    located = Located(str(folder), "saved-model", f"{prefix}.index")
    with open_saved_model(located) as reader:
        assert "global_step" in reader.specs
        for name in reader.specs:
            assert reader.read(name).shape == reader.specs[name].shape


@pytest.mark.parametrize("name", ["sm-counter", "sm-half-plus-two", "sm-half-plus-two-pbtxt"])
def test_real_exports(name: str, real_ckpts: Path) -> None:
    folder = real_ckpts / name
    prefix = folder / "variables" / "variables"
    with open_saved_model(Located(str(folder), "saved-model", f"{prefix}.index")) as reader:
        assert reader.specs
        for key in reader.specs:
            reader.check(key)
