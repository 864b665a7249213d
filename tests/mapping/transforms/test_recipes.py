"""Transforms that migrations of known models need, each against NumPy by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ckpttool.mapping.transforms.chain import Chain
from ckpttool.mapping.transforms.lazy import Held
from ckpttool.mapping.transforms.parse import chain_of

Array = np.ndarray[Any, Any]

UNITS, INPUT = 3, 5


def array(*shape: int) -> Array:
    """Values that are all different."""
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def run(chain: Chain, *arrays: Array) -> list[Array]:
    """The chain's results, whose specs are as inferred."""
    sources = [Held(item) for item in arrays]
    made = chain.apply(sources)
    assert [item.spec for item in made] == list(chain.infer([s.spec for s in sources]).specs)
    return [np.concatenate(list(item.stream(64))).reshape(item.spec.shape) for item in made]


def test_lstm_kernel() -> None:
    kernel = array(INPUT + UNITS, 4 * UNITS)
    chain = chain_of(
        [
            {"reorder_gates": {"axis": 1, "from": "ijfo", "to": "ifco"}},
            {"split": {"axis": 0, "sizes": ["$input", -1]}},
        ],
        {"input": INPUT},
    )
    i, j, f, o = np.split(kernel, 4, axis=1)
    right = np.concatenate([i, f, j, o], axis=1)
    made = run(chain, kernel)
    np.testing.assert_array_equal(made[0], right[:INPUT])
    np.testing.assert_array_equal(made[1], right[INPUT:])
    np.testing.assert_array_equal(run(chain.inverse(), *made)[0], kernel)


def test_lstm_rows_are_told_by_the_units_too() -> None:
    """The recurrent rows are as many as a gate's columns: no parameter is needed."""
    chain = chain_of([{"split": {"axis": 0, "sizes": [-1, "d1//4"]}}])
    kernel = array(INPUT + UNITS, 4 * UNITS)
    assert [item.shape for item in run(chain, kernel)] == [(5, 12), (3, 12)]


def test_lstm_bias_with_forget_bias() -> None:
    bias = array(4 * UNITS)
    chain = chain_of(
        [
            {"reorder_gates": {"from": "ijfo", "to": "ifco"}},
            {"add": {"value": "$forget", "axis": 0, "block": 1, "of": 4}},
        ],
        {"forget": 1.0},
    )
    i, j, f, o = np.split(bias, 4)
    made = run(chain, bias)[0]
    np.testing.assert_array_equal(made, np.concatenate([i, f + np.float32(1), j, o]))
    assert chain.rounds()
    np.testing.assert_allclose(run(chain.inverse(), made)[0], bias, atol=1e-6)
    slot = run(chain.for_slots(), bias)[0]
    np.testing.assert_array_equal(slot, np.concatenate([i, f, j, o]))


def test_gru_gates_and_candidate() -> None:
    gates, candidate = array(INPUT + UNITS, 2 * UNITS), array(INPUT + UNITS, UNITS)
    chain = chain_of(
        [
            {"concat": 1},
            {"reorder_gates": {"axis": 1, "from": "ruc", "to": "urc"}},
            {"split": {"axis": 0, "sizes": ["$input", -1]}},
        ],
        {"input": INPUT},
    )
    r, u = np.split(gates, 2, axis=1)
    right = np.concatenate([u, r, candidate], axis=1)
    made = run(chain, gates, candidate)
    np.testing.assert_array_equal(made[0], right[:INPUT])
    np.testing.assert_array_equal(made[1], right[INPUT:])
    back = chain.inverse([Held(gates).spec, Held(candidate).spec])
    for result, source in zip(run(back, *made), (gates, candidate), strict=True):
        np.testing.assert_array_equal(result, source)


def test_gru_reset_after_bias() -> None:
    gates, outer, inner = array(2 * UNITS), array(UNITS), 2 * array(UNITS)
    chain = chain_of(
        [
            "concat",
            {"permute_blocks": {"axis": 0, "of": 4, "order": [1, 0, 2, "zero", "zero", 3]}},
            {"reshape": [2, -1]},
        ]
    )
    r, u = np.split(gates, 2)
    none = np.zeros(UNITS, np.float32)
    right = np.stack([np.concatenate([u, r, outer]), np.concatenate([none, none, inner])])
    made = run(chain, gates, outer, inner)
    np.testing.assert_array_equal(made[0], right)
    back = chain.inverse([Held(item).spec for item in (gates, outer, inner)])
    for result, source in zip(run(back, *made), (gates, outer, inner), strict=True):
        np.testing.assert_array_equal(result, source)


def test_gru_reset_after_kernels() -> None:
    """Three sources, two targets: the two projections are the candidate's rows."""
    gates, outer, inner = array(INPUT + UNITS, 2 * UNITS), array(INPUT, UNITS), array(UNITS, UNITS)
    chain = chain_of(
        [
            {"concat": {"axis": 0, "arrays": [1, 2]}},
            {"concat": 1},
            {"reorder_gates": {"axis": 1, "from": "ruc", "to": "urc"}},
            {"split": {"axis": 0, "sizes": ["$input", -1]}},
        ],
        {"input": INPUT},
    )
    r, u = np.split(gates, 2, axis=1)
    made = run(chain, gates, outer, inner)
    np.testing.assert_array_equal(made[0], np.hstack([u[:INPUT], r[:INPUT], outer]))
    np.testing.assert_array_equal(made[1], np.hstack([u[INPUT:], r[INPUT:], inner]))
    back = chain.inverse([Held(item).spec for item in (gates, outer, inner)])
    for result, source in zip(run(back, *made), (gates, outer, inner), strict=True):
        np.testing.assert_array_equal(result, source)


@pytest.mark.parametrize("gates", [3, 4])
def test_cudnn_kernels(gates: int) -> None:
    kernel = array(INPUT, gates * UNITS)
    recurrent = array(UNITS, gates * UNITS)
    split: dict[str, Any] = {"split": {"axis": 1, "parts": gates}}
    chain = chain_of([split, {"reshape": ["d1", "d0"]}, "transpose", {"concat": 1}])
    right = np.hstack([k.T.reshape(k.shape, order="F") for k in np.hsplit(kernel, gates)])
    np.testing.assert_array_equal(run(chain, kernel)[0], right)
    chain = chain_of([split, "transpose", {"concat": 1}])
    right = np.hstack([k.T for k in np.hsplit(recurrent, gates)])
    np.testing.assert_array_equal(run(chain, recurrent)[0], right)


def test_cudnn_biases() -> None:
    lstm, gru = array(8 * UNITS), array(6 * UNITS)
    made = run(chain_of([{"sum_blocks": 2}]), lstm)[0]
    np.testing.assert_array_equal(made, lstm[: 4 * UNITS] + lstm[4 * UNITS :])
    made = run(chain_of([{"reshape": [2, "d0//2"]}]), gru)[0]
    np.testing.assert_array_equal(made, gru.reshape(2, 3 * UNITS))


def test_attention_heads() -> None:
    heads = {"heads": 4}
    kernel, bias = array(12, 12), array(12)
    made = run(chain_of([{"reshape": [0, "$heads", -1]}], heads), kernel)[0]
    np.testing.assert_array_equal(made, kernel.reshape(12, 4, 3))
    made = run(chain_of([{"reshape": ["$heads", -1]}], heads), bias)[0]
    np.testing.assert_array_equal(made, bias.reshape(4, 3))
    made = run(chain_of([{"reshape": ["$heads", -1, "d1"]}], heads), kernel)[0]
    np.testing.assert_array_equal(made, kernel.reshape(4, 3, 12))


def test_c_attn() -> None:
    """Query, key and value in one tensor with a leading axis of 1, to three with heads."""
    kernel = array(1, 8, 24)
    chain = chain_of(
        [{"index": 0}, {"split": {"axis": 1, "parts": 3}}, {"reshape": [0, "$heads", -1]}],
        {"heads": 2},
    )
    made = run(chain, kernel)
    for number, part in enumerate(made):
        right = kernel[0][:, 8 * number : 8 * number + 8].reshape(8, 2, 4)
        np.testing.assert_array_equal(part, right)
    back = chain.inverse([Held(kernel).spec])
    np.testing.assert_array_equal(run(back, *made)[0], kernel)
    slices: list[Any] = [
        [{"slice": {"axis": 2, "start": f"d2//3*{k}", "stop": f"d2//3*{k + 1}"}}, {"squeeze": 0}]
        for k in range(3)
    ]
    for part, right in zip(run(chain_of([{"each": slices}]), kernel), made, strict=True):
        np.testing.assert_array_equal(part, right.reshape(8, 8))


def test_mod_shards() -> None:
    whole = array(10, 4)
    shards = [whole[k::3] for k in range(3)]
    chain = chain_of(["interleave"])
    np.testing.assert_array_equal(run(chain, *shards)[0], whole)
    back = chain.inverse([Held(shard).spec for shard in shards])
    for result, shard in zip(run(back, whole), shards, strict=True):
        np.testing.assert_array_equal(result, shard)


def test_div_shards() -> None:
    whole = array(10, 4)
    made = run(chain_of(["concat"]), *np.split(whole, [4, 7]))[0]
    np.testing.assert_array_equal(made, whole)


def test_convolutions_as_dense_layers() -> None:
    fc6 = array(7, 7, 4, 6)
    made = run(chain_of([{"reshape": [-1, "d3"]}]), fc6)[0]
    np.testing.assert_array_equal(made, fc6.reshape(196, 6))
    logits = array(1, 1, 8, 1001)
    chain = chain_of(["squeeze", {"slice": {"axis": -1, "start": 1}}])
    np.testing.assert_array_equal(run(chain, logits)[0], logits[0, 0, :, 1:])


def test_flatten_after_nchw() -> None:
    channels, height, width = 4, 3, 2
    kernel = array(channels * height * width, 5)
    chain = chain_of(
        [{"reshape": ["$c", "$h", "$w", "d1"]}, {"transpose": [1, 2, 0, 3]}, {"reshape": [-1, 5]}],
        {"c": channels, "h": height, "w": width},
    )
    right = kernel.reshape(channels, height, width, 5).transpose(1, 2, 0, 3).reshape(-1, 5)
    made = run(chain, kernel)[0]
    np.testing.assert_array_equal(made, right)
    np.testing.assert_array_equal(run(chain.inverse([Held(kernel).spec]), made)[0], kernel)


def test_untied_biases() -> None:
    stacked = array(3, 2, 4)
    for place, part in enumerate(run(chain_of(["unstack"]), stacked)):
        np.testing.assert_array_equal(part, stacked[place])


def test_values() -> None:
    momentum, std = array(4), array(3)
    made = run(chain_of([{"scale": "-$rate"}], {"rate": 0.1}), momentum)[0]
    np.testing.assert_array_equal(made, momentum * np.float32(-0.1))
    np.testing.assert_array_equal(run(chain_of(["square"]), std)[0], std * std)


def test_what_is_made_from_nothing() -> None:
    chain = chain_of([{"zeros": {"shape": ["$hidden", 2], "dtype": "int32"}}], {"hidden": 3})
    made = run(chain)[0]
    assert made.dtype == np.int32
    np.testing.assert_array_equal(made, np.zeros((3, 2)))
    assert chain.infer([]).steps == (("zeros {shape: [3, 2], dtype: int32}",),)


def test_gamma_that_is_missing() -> None:
    """Ones of the shape of a variable that is there."""
    np.testing.assert_array_equal(run(chain_of(["ones"]), array(5))[0], np.ones(5, np.float32))


def test_input_channels_in_reverse() -> None:
    kernel = array(3, 3, 3, 8)
    np.testing.assert_array_equal(run(chain_of([{"flip": 2}]), kernel)[0], kernel[:, :, ::-1])
