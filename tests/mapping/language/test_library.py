"""The mapping files that come with the package."""

from __future__ import annotations

from pathlib import Path

import pytest
from remap_support import renames, specs

from ckpttool.analysis.roles import infer_roles
from ckpttool.errors import CkptError, MappingError
from ckpttool.formats.locating.located import Located
from ckpttool.formats.tensorflow.slices_v1 import open_v1
from ckpttool.mapping.language.catalog import mapping_info
from ckpttool.mapping.language.library import built_in, find_mapping
from ckpttool.mapping.planning.plan import make_plan
from ckpttool.mapping.remap import load_rules
from ckpttool.tensors import TensorSpec


def plan(source: dict[str, TensorSpec], name: str, **options: object) -> dict[str, str]:
    rules = load_rules(name, **options)  # type: ignore[arg-type]
    return renames(make_plan(source, rules, infer_roles(source), source="model.ckpt"))


@pytest.mark.parametrize("name", sorted(built_in()))
def test_every_built_in_mapping_is_valid(name: str) -> None:
    params = mapping_info(name).params
    rules = load_rules(name, params={key: 1 for key, value in params.items() if value is None})
    assert rules.rules
    assert rules.label == f"mappings/{name}.yaml"


def test_every_built_in_mapping_is_in_the_readme(samples: Path) -> None:
    readme = (samples.parent / "mappings" / "README.md").read_text()
    for name in built_in():
        assert f"`{name}`" in readme.split("## ")[0], name


def test_finding(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("unmatched: keep\n")
    assert find_mapping(str(path)) == (str(path), str(path))
    for name in ("tf12_rnn_name", str(tmp_path), ""):
        with pytest.raises(MappingError) as raised:
            find_mapping(name)
        assert raised.value.problems[0].code == "MAP006"
    with pytest.raises(MappingError) as raised:
        find_mapping("tf12_rnn_name")
    assert "tf12_rnn_names" in (raised.value.problems[0].hint or "")


def test_cells_of_tensorflow_1_2() -> None:
    source = specs(
        "rnn/basic_lstm_cell/weights",
        "rnn/basic_lstm_cell/weights/Adam",
        "rnn/basic_lstm_cell/biases",
        "gru_cell/gates/weights",
        "a/b/lstm_cell/projection/biases",
        "nas_rnn/recurrent_weights",
        "my/dense/weights",
    )
    assert plan(source, "tf12_rnn_names") == {
        "rnn/basic_lstm_cell/weights": "rnn/basic_lstm_cell/kernel",
        "rnn/basic_lstm_cell/weights/Adam": "rnn/basic_lstm_cell/kernel/Adam",
        "rnn/basic_lstm_cell/biases": "rnn/basic_lstm_cell/bias",
        "gru_cell/gates/weights": "gru_cell/gates/kernel",
        "a/b/lstm_cell/projection/biases": "a/b/lstm_cell/projection/bias",
        "nas_rnn/recurrent_weights": "nas_rnn/recurrent_kernel",
        "my/dense/weights": "my/dense/weights",
    }
    with pytest.raises(MappingError) as raised:
        plan(specs("my/dense/weights"), "tf12_rnn_names")
    assert raised.value.problems[0].code == "MAP012"


# Each cell of TensorFlow 1.0 and 1.1, with the scopes in it that have weights and biases.
CELLS_OF_1_0 = {
    **dict.fromkeys(
        (
            "basic_rnn_cell",
            "basic_lstm_cell",
            "ugrnn_cell",
            "layer_norm_basic_lstm_cell",
            "lstm_block_wrapper",
            "input_projection_wrapper",
            "output_projection_wrapper",
        ),
        ("",),
    ),
    "gru_cell": ("", "gates/", "candidate/"),
    "lstm_cell": ("", "projection/"),
    "intersection_rnn_cell": ("", "in_projection/"),
    "phased_lstm_cell": ("mask_gates/", "new_input/", "output_gate/"),
    "attention_cell_wrapper": ("", "attention/", "attn_output_projection/"),
    "attention_decoder": ("", "Attention_0/", "Attention_1/", "AttnOutputProjection/"),
}


@pytest.mark.parametrize("scope", ["", "rnn/", "a/rnn/multi_rnn_cell/cell_0/"])
@pytest.mark.parametrize("cell", CELLS_OF_1_0)
def test_every_cell_of_tensorflow_1_0(cell: str, scope: str) -> None:
    parts = [f"{scope}{cell}/{part}" for part in CELLS_OF_1_0[cell]]
    kept = {f"{scope}dense/kernel": f"{scope}dense/kernel", "Conv/weights": "Conv/weights"}
    moved = {
        f"{part}{old}": f"{part}{new}"
        for part in parts
        for old, new in (("weights", "kernel"), ("biases", "bias"))
    }
    assert plan(specs(*moved, *kept), "tf12_rnn_names") == {**moved, **kept}


def test_attention_of_tensorflow_0() -> None:
    at = "embedding_attention_seq2seq/embedding_attention_decoder/attention_decoder"
    moved = {
        f"{at}/{old}Linear/{one}": f"{at}/{new}{other}"
        for old, new in (
            ("", ""),
            ("Attention_0/", "Attention_0/"),
            ("AttnOutputProjection/", "AttnOutputProjection/"),
            ("BasicLSTMCell/", "basic_lstm_cell/"),
            ("MultiRNNCell/Cell1/GRUCell/Gates/", "multi_rnn_cell/cell_1/gru_cell/gates/"),
        )
        for one, other in (("Matrix", "kernel"), ("Bias", "bias"))
    }
    kept = {f"{at}/AttnW_0": f"{at}/AttnW_0", "proj_w": "proj_w"}
    assert plan(specs(*moved, *kept), "tf011_rnn_names") == {**moved, **kept}


def test_layers_in_any_scopes_have_one_name() -> None:
    source = {
        "conv/weights": (3, 3, 2, 4),
        "a/b/c/d/conv/BatchNorm/beta": (4,),
        "a/sep/depthwise_weights": (3, 3, 4, 1),
        "a/sep/pointwise_weights": (1, 1, 4, 4),
        "a/depth/depthwise_weights": (3, 3, 4, 1),
    }
    kinds = specs(*source, **source)
    assert plan(kinds, "tf_layers__keras") == {
        "conv/weights": "conv/kernel",
        "a/b/c/d/conv/BatchNorm/beta": "a_b_c_d_conv_BatchNorm/beta",
        "a/sep/depthwise_weights": "a_sep/depthwise_kernel",
        "a/sep/pointwise_weights": "a_sep/pointwise_kernel",
        "a/depth/depthwise_weights": "a_depth/kernel",
    }
    with pytest.raises(MappingError) as raised:
        plan(specs("a/b/kernel", "a_b/kernel"), "tf_layers__keras")
    assert {problem.code for problem in raised.value.problems} == {"MAP011"}


LSTM_CELL = ("rnn/lstm_cell/kernel", "rnn/lstm_cell/bias")


@pytest.mark.parametrize(
    ("mapping", "names", "odd"),
    [
        ("lstm__keras_lstm", LSTM_CELL, "rnn/lstm_cell/w_f_diag"),
        ("rnn_model__keras", LSTM_CELL, "rnn/lstm_cell/w_f_diag"),
        ("lstm__keras_lstm", LSTM_CELL, "rnn/lstm_cell/projection/kernel"),
        ("lstm__keras_lstm", LSTM_CELL, "rnn/layer_norm_basic_lstm_cell/kernel"),
        ("cudnn_lstm__keras_lstm", (), "cudnn_lstm/opaque_kernel"),
        ("cudnn_gru__keras_gru", (), "cudnn_gru/opaque_kernel"),
    ],
)
def test_what_keras_cells_do_not_have_is_refused(
    mapping: str, names: tuple[str, ...], odd: str
) -> None:
    with pytest.raises(MappingError) as raised:
        plan(specs(*names, odd), mapping)
    problem = next(item for item in raised.value.problems if item.code == "MAP010")
    assert odd in f"{problem.found} {problem.where} {problem.message}"


def test_add_scope() -> None:
    source = specs("w", "w/Adam", "beta1_power", "global_step", beta1_power=(), global_step=())
    assert plan(source, "add_scope", params={"scope": "a/b"}) == {
        "w": "a/b/w",
        "w/Adam": "a/b/w/Adam",
        "beta1_power": "beta1_power",
        "global_step": "global_step",
    }


def test_cells_of_tensorflow_0(real_ckpts: Path) -> None:
    path = str(real_ckpts / "v1-linux-char-rnn" / "model.ckpt-6000")
    with open_v1(Located(path, "tf-v1", path, (path,))) as reader:
        moved = plan(dict(reader.specs), "tf011_rnn_names")
    assert (
        moved["rnnlm/MultiRNNCell/Cell1/BasicLSTMCell/Linear/Matrix/Adam"]
        == "rnnlm/multi_rnn_cell/cell_1/basic_lstm_cell/kernel/Adam"
    )
    assert moved["rnnlm/embedding"] == "rnnlm/embedding"


def test_ways_to_say_what_to_rename() -> None:
    source = specs("a/w")
    for rules in (
        load_rules({"rules": [{"from": "a/**", "to": "b/**"}]}),
        load_rules(rename=["a/**=b/**"]),
        load_rules(strip_prefix="a/", add_prefix="b/"),
        load_rules({"assign": {"a/": "b/"}}),
    ):
        assert renames(make_plan(source, rules, {}, source="c")) == {"a/w": "b/w"}
    for options in ({}, {"mapping": "add_scope", "add_prefix": "x/"}):
        with pytest.raises(CkptError) as raised:
            load_rules(**options)  # type: ignore[arg-type]
        assert raised.value.exit_code == 2
