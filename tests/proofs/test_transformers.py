"""Proofs of the mappings of transformers: outputs of TF1 graphs and of the libraries' models.

Those with the libraries themselves are heavy, since they need them (`pip install -e
'.[dev,proofs]'`); what runs everywhere are forward passes in NumPy over the names of each target,
and the mistakes that these have to find.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import graphs_transformers as graphs
import numpy as np
import numpy_transformers as nets
import pytest
from cases_transformers import (
    CASES,
    LIGHT,
    LIGHT_BY_NAME,
    Case,
    Light,
    hub_config,
    outside_config,
    sizes_of,
)
from cases_transformers import Made as Graph
from numpy_transformers import Weights
from proof_support import Measured, Source, measure, proves, refutes, remap, tf1_source
from spec_support import FOLDER, read_spec
from tf1_layers import Layers

from ckpttool.errors import CkptError
from ckpttool.mapping.like.template import TargetVariable, Template

pytestmark = pytest.mark.oracle

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "docs" / "how-to" / "migrate-transformers.md"
Sources = Callable[[Graph], Source]


def documented() -> dict[str, Any]:
    """The changes of models that the how-to page has, as it has them."""
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.M):
        if "def " in block:
            exec(block, names)  # noqa: S102
    return names


SLOTS = {"t5": ("_slot_v",)}  # of Adafactor; others have an Adam of their own
SLOT = re.compile(r"/adam_[mv]\Z|_slot_v\Z|\Aglobal_step\Z")


def trained(tf: Any, slots: tuple[str, ...]) -> list[Any]:
    """What training leaves: a step, and the slots of an optimizer, here of some variables."""
    v1 = tf.compat.v1
    spoilt = [
        v1.get_variable(f"{item.op.name}{slot}", item.shape, trainable=False)
        for item in v1.trainable_variables()[::5]
        for slot in slots
    ]
    step = v1.train.get_or_create_global_step()
    return [[v1.assign(item, item + 1) for item in spoilt], v1.assign_add(step, 3)]


def make_source(tf: Any, graph: Graph, folder: Path) -> Source:
    """The TF1 checkpoint of a graph; its outputs are one dictionary for each input."""

    def build(packed: Any, _: bool) -> tuple[Any, list[Any]]:
        return graph.graph(Layers(tf), packed, graph.sizes, **graph.options), []

    def model_variables() -> list[Any]:
        return [v for v in tf.compat.v1.global_variables() if not SLOT.search(v.op.name)]

    slots = SLOTS.get(graph.graph.__name__, ("/adam_m", "/adam_v"))

    one, two = (graphs.tokens(graph.sizes, length=graph.length, seed=seed) for seed in (1, 2))
    if not graph.masked:
        one[:, 1] = two[:, 1] = 1
    return tf1_source(
        tf,
        folder / "model.ckpt",
        [one, two],
        build,
        batch=one,
        finish=lambda _: trained(tf, slots),
        restored=model_variables,
    )


@pytest.fixture(scope="module")
def sources(tf: Any, tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """Makes each TF1 checkpoint once."""
    known: dict[str, Source] = {}

    def get(graph: Graph) -> Source:
        if graph.name not in known:
            known[graph.name] = make_source(tf, graph, tmp_path_factory.mktemp(graph.name))
        return known[graph.name]

    return get


# The real models.


def hub_model(case: Case) -> Any:
    """The model of keras_hub that a case is loaded into."""
    hub = pytest.importorskip("keras_hub", reason="keras_hub is not installed")
    family = case.mapping.rpartition("_")[2]
    names = {"gpt2": "GPT2", "xlnet": "XLNet"}
    kind = getattr(hub.models, f"{names.get(family, family.title())}Backbone")
    config = hub_config(case)
    if family == "xlnet":
        config["activation"] = documented()["gelu_tanh"]
    backbone = kind(**config)
    if case.model.endswith("Backbone"):
        return backbone
    kind = getattr(hub.models, case.model)
    if case.model.endswith("Classifier"):
        return kind(backbone, num_classes=3, preprocessor=None, dropout=0.0)
    return kind(backbone, preprocessor=None)


def hub_outputs(model: Any, case: Case, packed: Any) -> dict[str, Any]:
    """The outputs of a model of keras_hub, by name."""
    if case.model == "XLNetBackbone" and len(packed) > 1:  # it mixes up the examples of a batch
        each = [hub_outputs(model, case, packed[i : i + 1]) for i in range(len(packed))]
        return {key: np.concatenate([item[key] for item in each]) for key in each[0]}
    fed = {"token_ids": packed[:, 0], "padding_mask": packed[:, 1], "segment_ids": packed[:, 2]}
    if case.model.endswith("MaskedLM"):
        places = np.arange(packed.shape[2])
        fed["mask_positions"] = np.broadcast_to(places, packed[:, 0].shape).astype("int32")
    found = model({key: fed[key] for key in model.input}, training=False)
    if isinstance(found, Mapping):
        return {key: np.asarray(value) for key, value in found.items()}
    value = np.asarray(found)
    (name,) = case.outputs.values()
    return {name: value}


def in_keras_hub(case: Case, source: Source, folder: Path, **options: Any) -> list[Any]:
    """Remap, load into the model of keras_hub, and run."""
    model = hub_model(case)
    like, filled = folder / "target.weights.h5", folder / "filled.weights.h5"
    model.save_weights(like)
    remap(source.prefix, case.mapping, filled, like=like, params=case.params, **options)
    with warnings.catch_warnings():  # its optimizer, which keras_hub makes, is not in the file
        warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
        model.load_weights(filled)
    if case.change:
        documented()[case.change](model)
    return [hub_outputs(model, case, packed) for packed in source.inputs]


def outside(case: Case, source: Source, folder: Path, **options: Any) -> list[Any]:
    """Remap, and load and run the model in a process with Keras 2."""
    missing = [name for name in MODULES[case.library] if find_spec(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed")
    tf2 = case.library == "tf_models"
    output = folder / ("filled/model.ckpt-1" if tf2 else "model.safetensors")
    output.parent.mkdir(exist_ok=True)
    remap(source.prefix, case.mapping, output, params=case.params, **options)
    job = {
        "library": case.library,
        "model": case.model,
        "config": outside_config(case),
        "config_class": case.config_class,
        "weights": str(output if tf2 else folder),
        "unexpected": case.unexpected,
        "root": "encoder",
        "inputs": str(folder / "inputs.npz"),
        "outputs": str(folder / "outputs.npz"),
    }
    np.savez(job["inputs"], one=source.inputs[0], two=source.inputs[1])
    (folder / "job.json").write_text(json.dumps(job), "utf-8")
    done = subprocess.run(  # noqa: S603
        [sys.executable, str(HERE / "outside.py"), str(folder / "job.json")],
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(job["outputs"]) as found:
        return [
            {key.partition("/")[2]: found[key] for key in found.files if key.startswith(one)}
            for one in ("one/", "two/")
        ]


MODULES = {
    "transformers": ("transformers", "tf_keras"),
    "torch": ("transformers", "torch"),
    "tf_models": ("official", "tf_keras"),
}


def measured(case: Case, source: Source, folder: Path, **options: Any) -> Measured:
    """The worst of all outputs that are compared."""
    run = in_keras_hub if case.library == "keras_hub" else outside
    return worst(source, run(case, source, folder, **options), case.outputs)


def worst(source: Source, found: list[Any], outputs: Mapping[str, str]) -> Measured:
    """The largest error and the smallest sensitivity of several outputs."""
    each = [
        measure([item[ours] for item in source.outputs], [item[theirs] for item in found])
        for ours, theirs in outputs.items()
    ]
    return Measured(
        max(item.error for item in each),
        max(item.scale for item in each),
        min(item.sensitivity for item in each),
    )


@pytest.mark.heavy
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_outputs_are_equal(case: Case, sources: Sources, tmp_path: Path) -> None:
    found = measured(case, sources(case.source), tmp_path)
    proves(case.name, found, error=case.error, sensitivity=case.sensitivity)


# What runs without the libraries.


def template_of(case: Light) -> Template | None:
    """The target of a light case: names and shapes that the library itself wrote."""
    if not case.spec:
        return None
    template = read_spec(FOLDER / f"{case.mapping}.{case.spec}.json").template
    assert template is not None
    return template


def filled(case: Light, source: Source, folder: Path, **options: Any) -> Weights:
    """Remap, and read what was written by other means than ours."""
    params = {**case.params, **options.pop("params", {})}
    options.setdefault("like", template_of(case))
    if "__keras_hub" in case.mapping:
        output, read = folder / "filled.weights.h5", nets.read_keras
    elif "__hf" in case.mapping:
        output, read = folder / "model.safetensors", nets.read_safetensors
    else:
        output, read = folder / "filled" / "model.ckpt-1", nets.read_objects
        output.parent.mkdir(exist_ok=True)
    remap(source.prefix, case.mapping, output, params=params, **options)
    return read(output)


def computed(
    case: Light, source: Source, folder: Path, *, heads: int = 0, **options: Any
) -> Measured:
    """How far the forward pass over the new names is from the TF1 graph."""
    weights = filled(case, source, folder, **options)
    name = {"k": nets.hub_name, "h": nets.hf_name}.get(case.name[0], "{}/{}".format)
    turned = "__hf" in case.mapping and case.run is not nets.hf_gpt2
    gelu = nets.gelu_erf if case.erf else nets.gelu_tanh
    net = nets.Net(weights, name, turned, gelu, case.epsilon)
    sizes = sizes_of(case)
    sizes = sizes._replace(heads=heads or sizes.heads)
    found = [case.run(net, packed, sizes, **case.options) for packed in source.inputs]
    assert weights.unused() == []
    return worst(source, found, case.outputs)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in LIGHT])
def test_the_names_of_the_target_compute_the_same(
    case: Light, sources: Sources, tmp_path: Path
) -> None:
    found = computed(case, sources(case.source), tmp_path)
    proves(f"{case.mapping}: {case.name}", found, error=case.error, sensitivity=0.3)


def shuffled(template: Template) -> Template:
    """A target whose layers were named in the order of text: 0, 1, 10, 2."""
    count = 1 + max(int(found[1]) for item in template.variables for found in _layers(item))
    order = dict(zip(map(str, range(count)), sorted(map(str, range(count))), strict=True))

    def renamed(text: str) -> str:
        return re.sub(r"(?<=transformer_layer_)[0-9]+", lambda found: order[found[0]], text)

    return Template(
        [item._replace(names=tuple(map(renamed, item.names))) for item in template.variables],
        kind=template.kind,
        path=template.path,
    )


def _layers(item: TargetVariable) -> list[re.Match[str]]:
    found = (re.match(r"transformer_layer_([0-9]+)/", name) for name in item.names)
    return [match for match in found if match]


class Mistake(NamedTuple):
    """What is wrong: edits of the mapping, its parameters, or the model that is run."""

    case: str
    what: str
    edits: tuple[tuple[str, str], ...] = ()
    params: Mapping[str, Any] = {}
    model: Mapping[str, Any] = {}
    order: bool = False


def _edits(case: str, what: str, *edits: tuple[str, str]) -> Mistake:
    return Mistake(case, what, edits)


_SWAP = "{query: key, key: query, value: value}"
_SWAPPED = (
    "attention/self/{layer}/kernel\n",
    f"attention/self/{{layer}}/kernel\n    where: {{layer: {_SWAP}}}\n",
)
_TURN = "apply: [transpose, {reshape: [0, $heads, -1]}]"
_KERNELS = "apply: [{reshape: [0, $heads, -1]}]"
_PROJECTION = "apply: [{reshape: [$heads, -1, d1]}]"
_HEADS_FIRST = (
    "{reshape: [d0, 4, 3, -1]}, {transpose: [0, 2, 1, 3]}, {reshape: [d0, d1*d2*d3]}, "
    "{split: {axis: 1, parts: 3}}"
)
_TABLES_SWAPPED = (
    "to: bert.embeddings.{table}_embeddings.weight\n"
    "    where: {table: {word: word, token_type: position, position: token_type}}"
)

MISTAKES = [
    *(
        Mistake(case, "another number of heads", params={"heads": 8})
        for case in ("keras_hub_bert", "keras_hub_albert", "keras_hub_electra", "keras_hub_gpt2")
    ),
    Mistake("tf_models_bert", "another number of heads", params={"heads": 8}),
    *(
        Mistake(case, "another number of heads in the model", model={"heads": 8})
        for case in ("hf_bert", "hf_albert", "hf_electra", "hf_gpt2")
    ),
    *(
        _edits(case, "query and key swapped", _SWAPPED)
        for case in ("keras_hub_bert", "hf_bert", "tf_models_bert", "keras_hub_electra")
    ),
    _edits("keras_hub_bert", "square kernels transposed", (_KERNELS, _TURN)),
    _edits("keras_hub_bert", "no reshape", (_KERNELS, "apply: []")),
    _edits("tf_models_bert", "no reshape", (_KERNELS, "apply: []")),
    _edits(
        "keras_hub_bert",
        "the kernel of the projection transposed",
        (_PROJECTION, "apply: [transpose, {reshape: [$heads, -1, d1]}]"),
    ),
    _edits("hf_bert", "square kernels as they were", ("apply: [transpose]", "apply: []")),
    _edits("hf_albert", "square kernels as they were", ("apply: [transpose]", "apply: []")),
    _edits("hf_electra", "square kernels as they were", ("apply: [transpose]", "apply: []")),
    _edits(
        "keras_hub_gpt2",
        "query and value swapped",
        ("self_attention/query/", "self_attention/VALUE/"),
        ("self_attention/value/", "self_attention/query/"),
        ("self_attention/VALUE/", "self_attention/value/"),
    ),
    _edits(
        "keras_hub_gpt2",
        "heads before query, key and value",
        (
            "{split: {axis: 1, parts: 3}}",
            _HEADS_FIRST,
        ),
    ),
    _edits("hf_gpt2", "layers in another order", ("transformer.h.{i}.", "transformer.h.{10-i}.")),
    _edits("hf_bert", "layers in another order", ("encoder.layer.{i}.", "encoder.layer.{2-i}.")),
    Mistake("keras_hub_gpt2", "layers in the order of text", order=True),
    _edits(
        "keras_hub_albert",
        "groups swapped",
        ("to: group_{g}_inner", "to: group_{1-g}_inner"),
    ),
    _edits(
        "keras_hub_bert",
        "the two norms swapped",
        ("attention/output/LayerNorm: self_attention_layer_norm", "attention/output/LayerNorm: X"),
        ("output/LayerNorm: feedforward_layer_norm", "output/LayerNorm: self_attention_layer_norm"),
        (": X", ": feedforward_layer_norm"),
    ),
    _edits(
        "hf_bert",
        "segments and places swapped",
        (
            "to: bert.embeddings.{table}_embeddings.weight",
            _TABLES_SWAPPED,
        ),
    ),
    *(
        Mistake(case, "the other gelu", model={"erf": True})
        for case in ("keras_hub_bert", "hf_bert", "keras_hub_albert", "tf_models_bert", "hf_gpt2")
    ),
    Mistake("hf_electra", "the other gelu", model={"erf": False}),
    Mistake("keras_hub_electra", "the other gelu", model={"erf": False}),
    *(
        Mistake(case, "the epsilon that Keras has by default", model={"epsilon": 1e-3})
        for case in ("keras_hub_bert", "keras_hub_albert", "keras_hub_electra", "keras_hub_gpt2")
    ),
]


@pytest.mark.parametrize(
    "mistake", [pytest.param(item, id=f"{item.case}: {item.what}") for item in MISTAKES]
)
def test_a_mistake_is_seen(mistake: Mistake, sources: Sources, tmp_path: Path) -> None:
    case = LIGHT_BY_NAME[mistake.case]
    model = dict(mistake.model)
    heads = model.pop("heads", 0)
    wrong = case._replace(**model)
    options: dict[str, Any] = {"edits": mistake.edits, "params": mistake.params, "heads": heads}
    if mistake.order:
        template = template_of(case)
        assert template is not None
        options["like"] = shuffled(template)
    try:
        found = computed(wrong, sources(case.source), tmp_path, **options)
    except (CkptError, ValueError):  # refused, or shapes that no layer takes
        found = None
    refutes(f"{case.name}: {mistake.what}", found, error=case.error)
