"""``show`` over tensors in memory, and over samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import MemoryReader, memory_checkpoint, strings

from ckpttool.analysis.show import Edges, ShownTensor, show
from ckpttool.analysis.statistics import Statistics
from ckpttool.checkpoint import Checkpoint, open_checkpoint
from ckpttool.errors import TensorNotFoundError, UsageError
from ckpttool.tensors import Slice

W = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def checkpoint() -> Checkpoint:
    return memory_checkpoint(
        {
            "dense/kernel": W,
            "dense/kernel/Adam": W,
            "dense/bias": np.zeros(3, np.float32),
            "global_step": np.array(7, np.int64),
        }
    )


def names(result: Any) -> list[str]:
    return [tensor.name for tensor in result.tensors]


def test_without_names_the_variables_are_shown_and_the_others_counted(
    checkpoint: Checkpoint,
) -> None:
    result = show(checkpoint)
    assert names(result) == ["dense/kernel", "dense/bias"]
    assert result.others == {"slot": 1, "step": 1}
    assert all(tensor.values is None for tensor in result.tensors)
    assert result.tensors[0].statistics == Statistics(
        0.0, 11.0, 5.5, pytest.approx(W.std()), 1, 0, 0
    )


def test_every_and_exclude(checkpoint: Checkpoint) -> None:
    result = show(checkpoint, every=True, exclude=["**/Adam"])
    assert names(result) == ["dense/kernel", "dense/bias", "global_step"]
    assert not result.others
    assert result.tensors[-1].role == "step"


def test_no_variable_at_all_shows_what_there_is() -> None:
    assert names(show(memory_checkpoint({"global_step": np.array(7)}))) == ["global_step"]


def test_values_only_where_asked_for(checkpoint: Checkpoint) -> None:
    plain, sliced = show(checkpoint, ["dense/bias", "dense/kernel[1:3,0]"]).tensors
    assert plain.values is None
    assert sliced.values is not None
    assert (sliced.values.tolist(), sliced.index, sliced.shape) == ([3, 6], "1:3,0", (4, 3))
    assert sliced.statistics is not None
    assert sliced.statistics.max == 11  # of the whole tensor
    whole = show(checkpoint, ["dense/kernel"], values=True).tensors[0]
    assert whole.values is not None
    assert whole.values.tolist() == W.tolist()


def test_a_slot_knows_its_owner(checkpoint: Checkpoint) -> None:
    slot = show(checkpoint, ["dense/kernel/Adam"]).tensors[0]
    assert (slot.role, slot.owner) == ("slot", "dense/kernel")


def test_names_alone_read_no_data() -> None:
    reader = MemoryReader({"w": W})
    show(Checkpoint(reader), statistics=False, every=True)
    assert reader.reads == []


def test_large_values_are_shortened() -> None:
    checkpoint = memory_checkpoint({"w": np.arange(5000).reshape(50, 100), "v": np.arange(4)})
    long, short = show(checkpoint, values=True, edges=Edges(3, 1000)).tensors
    assert long.values is not None
    assert (long.shortened, long.values.shape) == (True, (7, 7))
    assert long.statistics is not None
    assert long.statistics.max == 4999
    assert not short.shortened


def test_a_damaged_tensor_does_not_stop_the_others() -> None:
    checkpoint = memory_checkpoint({"a": W, "b": W, "c": W}, damaged=["b"])
    result = show(checkpoint, values=True, histogram=True)
    assert [tensor.problem is None for tensor in result.tensors] == [True, False, True]
    assert [problem.code for problem in result.damage] == ["INP005"]
    assert result.tensors[1].statistics is None
    assert result.tensors[2].values is not None


def test_what_cannot_be_decoded_is_no_damage() -> None:
    checkpoint = memory_checkpoint({"v": np.zeros(2, np.int8)}, dtypes={"v": "variant"})
    result = show(checkpoint, values=True)
    tensor = result.tensors[0]
    assert tensor.statistics == Statistics()
    assert "variant" in (tensor.note or "")
    assert (tensor.values, tensor.problem, result.damage) == (None, None, ())


def test_the_parts_of_a_partitioned_variable() -> None:
    checkpoint = memory_checkpoint({"p": W, "w": W}, parts={"p": [3, 1]})
    parted, whole = show(checkpoint, slices=True).tensors
    assert parted.slices == (Slice((0, 0), (3, 3)), Slice((3, 0), (1, 3)))
    assert whole.slices == ()
    assert show(checkpoint).tensors[0].slices is None


def test_a_histogram_is_of_the_whole(checkpoint: Checkpoint) -> None:
    tensor = show(checkpoint, ["dense/kernel[0,0]"], histogram=True, bins=4).tensors[0]
    assert tensor.histogram is not None
    assert tensor.histogram.counts == (3, 3, 3, 3)


def test_no_histogram_of_strings() -> None:
    tensor = show(memory_checkpoint({"s": strings(b"", b"x")}), histogram=True).tensors[0]
    assert tensor.histogram is None
    assert tensor.statistics == Statistics(zeros=1)


def test_each_tensor_is_handed_over_and_not_kept(checkpoint: Checkpoint) -> None:
    seen: list[ShownTensor] = []
    result = show(checkpoint, values=True, each=seen.append)
    assert all(tensor.values is not None for tensor in seen)
    assert all(tensor.values is None for tensor in result.tensors)
    assert [tensor.name for tensor in seen] == names(result)


def test_progress_comes_to_the_end(checkpoint: Checkpoint) -> None:
    told: list[tuple[int, int]] = []
    show(checkpoint, progress=lambda done, whole: told.append((done, whole)))
    assert told[-1] == (60, 60)
    assert told == sorted(told)


def test_errors_name_every_word(checkpoint: Checkpoint) -> None:
    with pytest.raises(TensorNotFoundError) as caught:
        show(checkpoint, ["dense/kernal", "nothing/at/all", "dense/bias"])
    assert len(caught.value.problems) == 2
    with pytest.raises(UsageError):
        show(checkpoint, ["dense/bias[9]"])


def test_chunks_are_bounded() -> None:
    reader = MemoryReader({"w": np.zeros(5_000_000, np.float32)})
    show(Checkpoint(reader), histogram=True)
    assert reader.largest_chunk * 4 <= 8 << 20


def test_initializers_come_from_the_graph(samples: Path) -> None:
    with open_checkpoint(str(samples / "numbered_layers")) as checkpoint:
        found = {item.name: item.initializer for item in show(checkpoint).tensors}
    assert found["conv_1/biases"] == "zeros"
    assert (found["fc_1/kernel"] or "").startswith("random_uniform(minval=-0.28097573")


def test_a_variable_that_only_the_graph_has(samples: Path) -> None:
    with open_checkpoint(str(samples / "saver_subset")) as checkpoint:
        missing = next(row.name for row in checkpoint.rows() if not row.saved)
        tensor = show(checkpoint, [missing]).tensors[0]
    assert "not saved" in (tensor.note or "")
    assert tensor.statistics is None


def test_a_graph_name_finds_its_key(samples: Path) -> None:
    with open_checkpoint(str(samples / "saver_dict")) as checkpoint:
        row = next(
            row
            for row in checkpoint.rows()
            if row.saved and row.graph_names and row.graph_names[0] not in checkpoint.specs
        )
        assert names(show(checkpoint, [row.graph_names[0]])) == [row.name]


def test_a_graph_alone_shows_its_variables(samples: Path) -> None:
    with open_checkpoint(str(samples / "meta_alone")) as checkpoint:
        everything = show(checkpoint)
        assert names(everything) == [row.name for row in checkpoint.rows()] != []
        assert {tensor.initializer for tensor in everything.tensors} == {"zeros"}
        assert names(show(checkpoint, ["fc/*"])) == names(everything)
        assert names(show(checkpoint, exclude=["**/bias"])) == ["fc/kernel"]
        assert names(show(checkpoint, every=True)) == []  # every tensor, and there is none


def test_no_edge_items_is_left_to_numpy() -> None:
    checkpoint = memory_checkpoint({"w": np.arange(50)})
    tensor = show(checkpoint, values=True, edges=Edges(0, 10)).tensors[0]
    assert tensor.values is not None
    assert (tensor.shortened, tensor.values.size) == (False, 50)
