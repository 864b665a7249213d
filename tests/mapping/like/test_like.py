"""Templates from files, without any framework."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from remap_support import specs

from ckpttool.errors import CkptError, ExtraMissingError, UsageError
from ckpttool.mapping.language.document import parse_document
from ckpttool.mapping.language.rules import compile_rules
from ckpttool.mapping.like.config import layer_tree, parse_config
from ckpttool.mapping.like.layers import snake, variable_names
from ckpttool.mapping.like.template import TargetVariable, Template, load_template
from ckpttool.mapping.planning.fitting import Like
from ckpttool.mapping.planning.plan import Wanted, make_plan

ROOT = Path(__file__).resolve().parents[3]


def _weights(path: Path, groups: dict[str, tuple[str | None, list[tuple[int, ...]]]]) -> Path:
    """A ``.weights.h5``: for each object its name and the shapes of its variables."""
    with h5py.File(path, "w") as file:
        for group, (label, shapes) in groups.items():
            made = file.create_group(f"{group}/vars".lstrip("/"))
            if label is not None:
                made.attrs["name"] = label
            for number, shape in enumerate(shapes):
                made.create_dataset(str(number), data=np.zeros(shape, np.float32))
    return path


def _archive(path: Path, weights: Path, config: Any) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights.read_bytes())
    return path


def _layer(kind: str, name: str, **options: Any) -> dict[str, Any]:
    return {"module": "keras.layers", "class_name": kind, "config": {"name": name, **options}}


def _model(*layers: dict[str, Any]) -> dict[str, Any]:
    return {"class_name": "Functional", "config": {"name": "m", "layers": list(layers)}}


def test_a_layers_name_is_found_whatever_number_its_path_has(tmp_path: Path) -> None:
    # In branching models Keras stores layers by depth: the numbers of name and path differ.
    path = _weights(
        tmp_path / "a.weights.h5",
        {
            "layers/conv2d_1": ("conv2d_2", [(3, 3, 1, 2), (2,)]),
            "layers/conv2d_2": ("conv2d_1", [(3, 3, 1, 2), (2,)]),
        },
    )
    template = load_template(str(path))
    assert template.resolve("conv2d_1/kernel") == "layers/conv2d_2/vars/0"
    assert template.resolve("conv2d_2/bias:0") == "layers/conv2d_1/vars/1"
    assert template.resolve("layers/conv2d_1/kernel") == "layers/conv2d_1/vars/0"
    assert template.resolve("layers/conv2d_1/vars/0") == "layers/conv2d_1/vars/0"


def test_without_names_in_the_file_the_paths_number_is_never_taken_for_a_name(
    tmp_path: Path,
) -> None:
    path = _weights(tmp_path / "a.weights.h5", {"layers/dense_1": (None, [(2, 3), (3,)])})
    template = load_template(str(path))
    assert template.resolve("dense_1/kernel") is None
    assert template.resolve("layers/dense_1/kernel") == "layers/dense_1/vars/0"


def test_an_old_archive_is_named_by_its_configurations_order(tmp_path: Path) -> None:
    weights = _weights(
        tmp_path / "model.weights.h5",
        {"layers/dense": (None, [(4, 3), (3,)]), "layers/dense_1": (None, [(3, 2), (2,)])},
    )
    config = _model(
        _layer("InputLayer", "in"),
        _layer("Dense", "first"),
        {"module": "keras.src.ops.numpy", "class_name": "Dense", "config": {"name": "an op"}},
        _layer("Dense", "head"),
    )
    template = load_template(str(_archive(tmp_path / "a.keras", weights, config)))
    assert template.ordered
    assert [item.name for item in template.variables] == [
        "first/kernel", "first/bias", "head/kernel", "head/bias",
    ]  # fmt: skip
    assert template.resolve("head/kernel") == "layers/dense_1/vars/0"


def test_options_say_which_variables_a_norm_has(tmp_path: Path) -> None:
    weights = _weights(
        tmp_path / "model.weights.h5", {"layers/batch_normalization": ("bn", [(3,)] * 3)}
    )
    told = load_template(str(weights))
    # Gamma or beta: the file alone does not tell, so neither name is taken.
    assert told.resolve("bn/gamma") is None
    assert told.resolve("bn/beta") is None
    assert told.resolve("bn/moving_mean") == "layers/batch_normalization/vars/1"
    assert told.resolve("bn/vars/0") == "layers/batch_normalization/vars/0"
    problem = told.problem("bn/gamma", "m.yaml:3:4")
    assert (problem.code, problem.where) == ("MAP031", "m.yaml:3:4")
    assert "bn/vars/0" in str(problem.hint)
    config = _model(_layer("BatchNormalization", "bn", scale=False, center=True))
    template = load_template(str(_archive(tmp_path / "a.keras", weights, config)))
    assert template.resolve("bn/beta") == "layers/batch_normalization/vars/0"
    assert template.resolve("bn/gamma") is None


def test_an_ambiguous_name_is_an_error_that_lists_the_candidates(tmp_path: Path) -> None:
    cell = [(4, 12), (3, 12), (12,)]
    path = _weights(
        tmp_path / "a.weights.h5",
        {
            "layers/bidirectional": ("both", []),
            "layers/bidirectional/forward_layer": ("forward_lstm", []),
            "layers/bidirectional/forward_layer/cell": ("lstm_cell", cell),
            "layers/bidirectional/backward_layer": ("backward_lstm", []),
            "layers/bidirectional/backward_layer/cell": ("lstm_cell", cell),
        },
    )
    template = load_template(str(path))
    forward = "layers/bidirectional/forward_layer/cell/vars/1"
    for text in (
        "both/forward_lstm/lstm_cell/recurrent_kernel",
        "both/forward_lstm/recurrent_kernel",
        "both/forward_layer/cell/recurrent_kernel",
        "forward_lstm/lstm_cell/recurrent_kernel",
    ):
        assert template.resolve(text) == forward, text
    assert template.resolve("lstm_cell/recurrent_kernel") is None
    problem = template.problem("lstm_cell/recurrent_kernel")
    assert forward in str(problem.found)
    assert "backward_layer" in str(problem.found)


def test_a_cell_of_a_stack_is_found_by_its_place(tmp_path: Path) -> None:
    cell = [(4, 12), (3, 12), (12,)]
    path = _weights(
        tmp_path / "a.weights.h5",
        {
            "layers/rnn": ("deep", []),
            "layers/rnn/cell": ("stacked_rnn_cells_3", []),
            "layers/rnn/cell/cells/gru_cell": ("gru_cell_7", cell),
            "layers/rnn/cell/cells/gru_cell_1": ("gru_cell_9", cell),
        },
    )
    template = load_template(str(path))
    for at, name in enumerate(("gru_cell", "gru_cell_1")):
        key = f"layers/rnn/cell/cells/{name}/vars/1"
        assert template.resolve(f"deep/cell/cells/{name}/recurrent_kernel") == key
        own = f"deep/stacked_rnn_cells_3/gru_cell_{7 + 2 * at}/recurrent_kernel"
        assert template.by_key[key].name == own


def test_a_custom_layers_variables_have_only_the_names_of_their_places(tmp_path: Path) -> None:
    path = _weights(tmp_path / "a.weights.h5", {"layers/my_layer": ("mine", [(2, 3), (3,)])})
    template = load_template(str(path))
    assert template.resolve("mine/kernel") is None
    assert template.resolve("mine/vars/1") == "layers/my_layer/vars/1"


def test_shapes_that_do_not_fit_a_class_leave_its_variables_without_names() -> None:
    assert variable_names("Dense", [(2, 3), (3,)], None) == ("kernel", "bias")
    assert variable_names("Dense", [(3,), (2, 3)], None) is None
    assert variable_names("Dense", [(2, 3), (3,), (3,)], None) is None
    assert variable_names("LSTMCell", [(2, 12), (3, 12), (12,)], None) is not None
    assert variable_names("LSTMCell", [(2, 12), (5, 12), (12,)], None) is None
    assert variable_names("SeparableConv2D", [(3, 3, 2, 2), (1, 1, 4, 5)], None) == (
        "depthwise_kernel", "pointwise_kernel",
    )  # fmt: skip
    assert variable_names("Nothing", [(2, 3)], None) is None


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("Conv2D", "conv2d"), ("ReLU", "re_lu"), ("PReLU", "p_re_lu"), ("LSTM", "lstm"),
        ("DepthwiseConv2D", "depthwise_conv2d"), ("MultiHeadAttention", "multi_head_attention"),
        ("XLNetEncoder", "xl_net_encoder"), ("T5LayerNorm", "t5_layer_norm"),
        ("My_Layer", "my__layer"),
    ],
)  # fmt: skip
def test_class_names_in_files(name: str, made: str) -> None:
    assert snake(name) == made


def test_optimizer_state_is_not_required(tmp_path: Path) -> None:
    path = _weights(
        tmp_path / "a.weights.h5",
        {"layers/dense": ("dense", [(2, 3)]), "optimizer": ("adam", [(), ()])},
    )
    found = {item.key: item.required for item in load_template(str(path)).variables}
    assert found == {
        "layers/dense/vars/0": True, "optimizer/vars/0": False, "optimizer/vars/1": False,
    }  # fmt: skip


def test_a_tf1_checkpoint_is_a_template_by_its_own_names(samples: Path) -> None:
    template = load_template(str(samples / "my_scope"))
    assert template.variables
    for item in template.variables:
        assert template.resolve(item.key) == item.key
    assert template.kind == "tf-v2"


def test_a_broken_configuration_is_an_error_and_a_strange_one_is_not() -> None:
    with pytest.raises(CkptError, match="INP004"):
        parse_config(b"{", "a.keras")
    with pytest.raises(CkptError, match="INP004"):
        parse_config(b"[" * 100_000, "a.keras")
    assert parse_config(b"[1]", "a.keras") is None
    for strange in ({}, {"class_name": 3}, {"class_name": "X", "config": []}, {"config": {}}):
        layer_tree(strange)
    deep: dict[str, Any] = _layer("Dense", "d")
    for _ in range(200):
        deep = _layer("TimeDistributed", "t", layer=deep)
    assert layer_tree(deep) is not None


def test_a_callable_without_its_framework_is_an_extra_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needs_it_here.py").write_text("import keras_hub.no_such_thing\n")
    (tmp_path / "fails_here.py").write_text("def make():\n    raise ValueError('no')\nx = 3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ExtraMissingError, match="EXT001"):
        load_template("needs_it_here:make")
    with pytest.raises(UsageError, match="ValueError"):
        load_template("fails_here:make")
    with pytest.raises(UsageError, match="no model"):
        load_template("fails_here:x")
    with pytest.raises(UsageError, match="ModuleNotFoundError"):
        load_template("is_not_here:make")
    assert str(tmp_path) not in sys.path


def test_a_file_is_never_taken_for_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "os:getcwd").write_bytes(b"not a checkpoint")
    with pytest.raises(CkptError) as caught:
        load_template("os:getcwd")
    assert caught.value.problems[0].code.startswith("INP")


def test_nothing_heavy_is_imported_for_a_template() -> None:
    code = "import sys, ckpttool.mapping.like.template\n"
    code += "print(sorted({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))"
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)  # noqa: S603
    assert found.stdout.strip() == "[]", found.stderr


def test_names_of_a_template() -> None:
    variables = [
        TargetVariable("k0", ("a/kernel", "kernel"), "float32", (1,)),
        TargetVariable("k1", ("b/kernel", "kernel", "a/kernel"), "float32", (1,)),
    ]
    template = Template(variables, kind="keras", path="x")
    assert template.resolve("a/kernel") == "k0"  # its own name wins over another's short form
    assert template.resolve("kernel") is None
    assert template.candidates("kernel") == ("k0", "k1")
    assert template.resolve("/b/kernel:0") == "k1"
    assert template.nearest("a/kernal")[0] == "a/kernel"


def test_names_like_a_wrong_one_are_looked_for_a_few_times() -> None:
    """It takes its time in a large target, and nobody reads hundreds of hints."""
    rows = [
        TargetVariable(f"layers/l{n}/vars/0", (f"dense_{n}/kernel",), "float32", (2,))
        for n in range(60)
    ]
    template = Template(rows, kind="keras", path="m.keras")
    source = specs(*(f"a/dense_{n}/w" for n in range(60)))
    text = "rules:\n  - {from: 'a/{x}/w', to: '{x}/kernle'}\n"
    rules = compile_rules(parse_document(text, "m.yaml"))

    def hints(like: Like) -> list[bool]:
        with pytest.raises(CkptError) as raised:
            make_plan(source, rules, {}, source="m", wanted=Wanted("keras", fitting=like))
        return [bool(item.hint) for item in raised.value.problems if item.code == "MAP031"]

    assert hints(Like(template)) == [True] * 20 + [False] * 40
    assert hints(Like(template, hints=False)) == [False] * 60
