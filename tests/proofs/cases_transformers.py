"""Transformers that the mappings are proved on, and the models that they become."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import graphs_relative as relative
import graphs_transformers as graphs
import numpy_transformers as nets
from graphs_transformers import FACTORED, SMALL, Sizes


class Made(NamedTuple):
    """A TF1 graph with its sizes."""

    name: str
    graph: Callable[..., Any]
    sizes: Sizes = SMALL
    options: Mapping[str, Any] = {}
    length: int = 14
    masked: bool = True


BERT = Made("bert", graphs.bert)
CLASSIFIER = Made("bert_classifier", graphs.bert, options={"heads": "classifier"})
SQUAD = Made("bert_squad", graphs.bert, options={"heads": "squad"})
ALBERT = Made("albert", graphs.albert, FACTORED)
ALBERT_CLASSIFIER = Made("albert_classifier", graphs.albert, FACTORED, {"heads": "classifier"})
ALBERT_SQUAD = Made("albert_squad", graphs.albert, FACTORED, {"heads": "squad"})
GROUPS = Made("albert_groups", graphs.albert, FACTORED._replace(layers=4), {"groups": 2})
ELECTRA = Made("electra", graphs.electra, FACTORED)
OWN_TABLES = Made("electra_own_tables", graphs.electra, FACTORED, {"shared": False})
ELECTRA_TANH = Made("electra_tanh", graphs.electra, FACTORED, {"tanh": True})
EVEN = Made("electra_even", graphs.electra, SMALL, {"tanh": True})  # no projection
GPT2 = Made("gpt2", graphs.gpt2, SMALL._replace(layers=11), masked=False)
XLNET = Made("xlnet", relative.xlnet)
XLNET_CLASSIFIER = Made("xlnet_classifier", relative.xlnet, options={"heads": "classifier"})
T5 = Made("t5", relative.t5)
T5_GATED = Made("t5_gated", relative.t5, options={"gated": True})


class Case(NamedTuple):
    """A graph, a mapping, and the model of a library that is filled.

    ``outputs`` pairs those of the graph with those of the model.  ``change`` names a change of the
    model that is documented.
    """

    name: str
    source: Made
    mapping: str
    library: str
    model: str
    outputs: Mapping[str, str]
    params: Mapping[str, Any] = {}
    config: Mapping[str, Any] = {}
    config_class: str = ""
    unexpected: tuple[str, ...] = ()
    change: str = ""
    error: float = 5e-6
    sensitivity: float = 0.3


BOTH = {"sequence": "sequence_output", "pooled": "pooled_output"}
HEADS: Mapping[str, Any] = {"heads": 4}


def _hub(name: str, source: Made, model: str, outputs: Mapping[str, str], **more: Any) -> Case:
    family = model.split("Backbone")[0].split("MaskedLM")[0].split("Text")[0].split("Causal")[0]
    owner = {"GPT2": "openai_", "XLNet": ""}.get(family, "google_")
    heads = {} if family == "XLNet" else HEADS
    family = family.lower()
    mapping = f"{owner}{family}__keras_hub_{family}"
    params = {**heads, **more.pop("params", {})}
    return Case(name, source, mapping, "keras_hub", model, outputs, params, **more)


def _hf(name: str, source: Made, model: str, outputs: Mapping[str, str], **more: Any) -> Case:
    kinds = ("Bert", "Albert", "Electra", "GPT2", "XLNet", "T5")
    kind = next(item for item in kinds if model.startswith(f"TF{item}"))
    family = kind.lower()
    owner = {"gpt2": "openai_", "xlnet": ""}.get(family, "google_")
    mapping = f"{owner}{family}__hf_{family}"
    more = {"config_class": f"{kind}Config", **more}
    return Case(name, source, mapping, "transformers", model, outputs, **more)


_GELU = {"hidden_act": "gelu_new"}
_PAIR = {"sequence": "last_hidden_state", "pooled": "pooler_output"}
_PRETRAINING = {"words": "prediction_logits", "next": "seq_relationship_logits"}
_SEQ2SEQ = {"encoder": "encoder_last_hidden_state", "words": "logits"}
_BERT_HEADS = (
    "cls.predictions.bias",
    "cls.predictions.transform.LayerNorm.bias",
    "cls.predictions.transform.LayerNorm.weight",
    "cls.predictions.transform.dense.bias",
    "cls.predictions.transform.dense.weight",
    "cls.seq_relationship.bias",
    "cls.seq_relationship.weight",
)

CASES = [
    _hub("hub_bert", BERT, "BertBackbone", BOTH),
    _hub(
        "hub_bert_masked_lm",
        BERT,
        "BertMaskedLM",
        {"words": "words"},
        params={"head": "masked_lm"},
        error=2e-2,
    ),
    _hub(
        "hub_bert_masked_lm_changed",
        BERT,
        "BertMaskedLM",
        {"words": "words"},
        params={"head": "masked_lm"},
        change="google_head",
        error=3e-5,
    ),
    _hub(
        "hub_bert_classifier",
        CLASSIFIER,
        "BertTextClassifier",
        {"classes": "classes"},
        params={"head": "classifier"},
    ),
    _hub("hub_albert", ALBERT, "AlbertBackbone", BOTH),
    _hub("hub_albert_groups", GROUPS, "AlbertBackbone", BOTH),
    _hub(
        "hub_albert_masked_lm",
        ALBERT,
        "AlbertMaskedLM",
        {"words": "words"},
        params={"head": "masked_lm"},
        error=1e-3,
    ),
    _hub(
        "hub_albert_masked_lm_changed",
        ALBERT,
        "AlbertMaskedLM",
        {"words": "words"},
        params={"head": "masked_lm"},
        change="google_head",
        error=3e-5,
    ),
    _hub(
        "hub_albert_classifier",
        ALBERT_CLASSIFIER,
        "AlbertTextClassifier",
        {"classes": "classes"},
        params={"head": "classifier"},
    ),
    _hub("hub_electra", ELECTRA, "ElectraBackbone", {"electra": "sequence_output"}, error=5e-3),
    _hub(
        "hub_electra_changed",
        ELECTRA,
        "ElectraBackbone",
        {"electra": "sequence_output"},
        change="erf_gelu",
    ),
    _hub("hub_electra_tanh", ELECTRA_TANH, "ElectraBackbone", {"electra": "sequence_output"}),
    _hub("hub_electra_even", EVEN, "ElectraBackbone", {"electra": "sequence_output"}),
    _hub(
        "hub_generator",
        ELECTRA_TANH,
        "ElectraBackbone",
        {"generator": "sequence_output"},
        params={"heads": 2, "scope": "generator"},
    ),
    _hub("hub_gpt2", GPT2, "GPT2Backbone", {"sequence": "sequence_output"}, error=1e-5),
    _hub("hub_gpt2_causal_lm", GPT2, "GPT2CausalLM", {"words": "words"}, error=5e-5),
    _hub("hub_xlnet", XLNET, "XLNetBackbone", {"sequence": "sequence_output"}),
    _hf("hf_bert", BERT, "TFBertModel", _PAIR, config=_GELU, unexpected=_BERT_HEADS),
    _hf("hf_bert_heads", BERT, "TFBertForPreTraining", _PRETRAINING, config=_GELU, error=3e-5),
    _hf("hf_bert_erf", BERT, "TFBertForPreTraining", _PRETRAINING, error=3e-2),
    _hf(
        "hf_bert_classifier",
        CLASSIFIER,
        "TFBertForSequenceClassification",
        {"classes": "logits"},
        config={**_GELU, "num_labels": 3},
    ),
    _hf(
        "hf_bert_squad",
        SQUAD,
        "TFBertForQuestionAnswering",
        {"start": "start_logits", "end": "end_logits"},
        config=_GELU,
        unexpected=("bert.pooler.dense.bias", "bert.pooler.dense.weight"),
    ),
    _hf(
        "hf_albert",
        ALBERT,
        "TFAlbertForPreTraining",
        {"words": "prediction_logits", "next": "sop_logits"},
        error=3e-5,
    ),
    _hf(
        "hf_albert_groups",
        GROUPS,
        "TFAlbertForPreTraining",
        {"words": "prediction_logits", "next": "sop_logits"},
        error=3e-5,
    ),
    _hf(
        "hf_albert_classifier",
        ALBERT_CLASSIFIER,
        "TFAlbertForSequenceClassification",
        {"classes": "logits"},
        config={"num_labels": 3},
    ),
    _hf(
        "hf_albert_squad",
        ALBERT_SQUAD,
        "TFAlbertForQuestionAnswering",
        {"start": "start_logits", "end": "end_logits"},
        unexpected=("albert.pooler.bias", "albert.pooler.weight"),
    ),
    _hf("hf_electra", ELECTRA, "TFElectraForPreTraining", {"replaced": "logits"}),
    _hf(
        "hf_generator",
        ELECTRA,
        "TFElectraForMaskedLM",
        {"words": "logits"},
        params={"scope": "generator"},
        error=3e-5,
    ),
    _hf(
        "hf_generator_own_tables",
        OWN_TABLES,
        "TFElectraForMaskedLM",
        {"words": "logits"},
        params={"scope": "generator"},
        error=3e-5,
    ),
    _hf("hf_gpt2", GPT2, "TFGPT2LMHeadModel", {"words": "logits"}, error=5e-5),
    _hf("hf_xlnet", XLNET, "TFXLNetLMHeadModel", {"words": "logits"}, error=3e-5),
    _hf(
        "hf_xlnet_classifier",
        XLNET_CLASSIFIER,
        "TFXLNetForSequenceClassification",
        {"classes": "logits"},
        config={"num_labels": 3},
    ),
    _hf("hf_t5", T5, "TFT5ForConditionalGeneration", _SEQ2SEQ, error=3e-5),
    _hf(
        "hf_t5_gated",
        T5_GATED,
        "TFT5ForConditionalGeneration",
        _SEQ2SEQ,
        config={"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
        error=3e-5,
    ),
    *(
        Case(name, BERT, "google_bert__tf_models_bert", "tf_models", model, BOTH, HEADS)
        for name, model in (
            ("tf_models_bert", "BertEncoderV2"),
            ("tf_models_bert_v1", "BertEncoder"),
        )
    ),
]
CASES += [  # what transformers 4 has for TensorFlow, it has for PyTorch
    case._replace(name=f"{case.name}_torch", library="torch", model=case.model.removeprefix("TF"))
    for case in CASES
    if case.library == "transformers"
]
BY_NAME = {case.name: case for case in CASES}


class Light(NamedTuple):
    """A graph, a mapping, and a forward pass in NumPy over the names of its target.

    ``spec`` names the target's template, where the mapping needs one.
    """

    name: str
    source: Made
    mapping: str
    run: Callable[..., nets.Outputs]
    outputs: Mapping[str, str]
    spec: str = ""
    params: Mapping[str, Any] = {}
    options: Mapping[str, Any] = {}
    erf: bool = False
    epsilon: float = 1e-12
    error: float = 5e-6


def _light(name: str, source: Made, run: Callable[..., nets.Outputs], **more: Any) -> Light:
    target, _, family = name.partition(":")
    owner = "openai" if family == "gpt2" else "google"
    outputs = more.pop("outputs")
    if not isinstance(outputs, Mapping):
        outputs = {output: output for output in outputs.split()}
    if target != "hf":
        more["params"] = {**HEADS, **more.get("params", {})}
    mapping = f"{owner}_{family}__{target}_{family}"
    return Light(f"{target}_{more.pop('label', family)}", source, mapping, run, outputs, **more)


_GROUPS: dict[str, Any] = {"options": {"groups": 2}}
_ERF: dict[str, Any] = {"erf": True}
_WORDS = "sequence pooled words next"
_GPT2: dict[str, Any] = {"epsilon": 1e-5, "outputs": "sequence words", "error": 2e-5}

LIGHT = [
    _light("keras_hub:bert", BERT, nets.hub_encoder, outputs="sequence pooled", spec="small"),
    _light(
        "keras_hub:albert",
        GROUPS,
        nets.hub_encoder,
        outputs="sequence pooled",
        spec="groups",
        **_GROUPS,
    ),
    _light(
        "keras_hub:electra",
        ELECTRA,
        nets.hub_encoder,
        outputs={"electra": "sequence"},
        spec="small",
        **_ERF,
    ),
    _light("keras_hub:gpt2", GPT2, nets.hub_gpt2, spec="small", **_GPT2),
    _light("tf_models:bert", BERT, nets.tf_models_bert, outputs="sequence pooled"),
    _light("hf:bert", BERT, nets.hf_bert, outputs=_WORDS, error=3e-5),
    _light("hf:albert", GROUPS, nets.hf_albert, outputs=_WORDS, error=3e-5, **_GROUPS),
    _light(
        "hf:electra",
        ELECTRA,
        nets.hf_electra,
        outputs={"electra": "sequence", "replaced": "replaced"},
        **_ERF,
    ),
    _light(
        "hf:electra",
        ELECTRA,
        nets.hf_electra,
        outputs={"generator": "sequence", "words": "words"},
        params={"scope": "generator"},
        options={"generator": True},
        label="generator",
        error=3e-5,
        **_ERF,
    ),
    _light("hf:gpt2", GPT2, nets.hf_gpt2, **_GPT2),
]
LIGHT_BY_NAME = {case.name: case for case in LIGHT}


def hub_config(case: Case) -> dict[str, Any]:
    """What makes the backbone of keras_hub."""
    sizes = sizes_of(case)
    found = {
        "vocabulary_size": sizes.vocabulary,
        "num_layers": sizes.layers,
        "num_heads": sizes.heads,
        "hidden_dim": sizes.hidden,
        "intermediate_dim": sizes.inner,
        "max_sequence_length": sizes.positions,
        "dropout": 0.0,
    }
    if case.mapping.endswith("xlnet"):
        del found["max_sequence_length"]
    if case.mapping.endswith("electra"):
        found["vocab_size"] = found.pop("vocabulary_size")
    if not case.mapping.endswith(("gpt2", "xlnet")):
        found["num_segments"] = sizes.types
    if case.mapping.endswith(("albert", "electra")):
        found["embedding_dim"] = sizes.width
    if "groups" in case.source.options:
        found["num_groups"] = case.source.options["groups"]
    return found


def outside_config(case: Case) -> dict[str, Any]:
    """What makes the config of transformers, or the encoder of tf-models-official."""
    sizes = sizes_of(case)
    if case.library == "tf_models":
        return {
            "vocab_size": sizes.vocabulary,
            "hidden_size": sizes.hidden,
            "num_layers": sizes.layers,
            "num_attention_heads": sizes.heads,
            "inner_dim": sizes.inner,
            "max_sequence_length": sizes.positions,
            "type_vocab_size": sizes.types,
            **({"dict_outputs": True} if case.model == "BertEncoder" else {}),
        }
    if case.mapping.endswith("gpt2"):
        return {
            "vocab_size": sizes.vocabulary,
            "n_positions": sizes.positions,
            "n_embd": sizes.hidden,
            "n_layer": sizes.layers,
            "n_head": sizes.heads,
            "n_inner": sizes.inner,
        }
    if case.mapping.endswith("xlnet"):
        return {
            "vocab_size": sizes.vocabulary,
            "d_model": sizes.hidden,
            "n_layer": sizes.layers,
            "n_head": sizes.heads,
            "d_inner": sizes.inner,
            "ff_activation": "gelu_new",
            **case.config,
        }
    if case.mapping.endswith("t5"):
        return {
            "vocab_size": sizes.vocabulary,
            "d_model": sizes.hidden,
            "d_kv": sizes.hidden // sizes.heads,
            "d_ff": sizes.inner,
            "num_layers": sizes.layers,
            "num_heads": sizes.heads,
            **case.config,
        }
    return {
        "vocab_size": sizes.vocabulary,
        "embedding_size": sizes.width,
        "hidden_size": sizes.hidden,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "intermediate_size": sizes.inner,
        "max_position_embeddings": sizes.positions,
        "type_vocab_size": sizes.types,
        "num_hidden_groups": case.source.options.get("groups", 1),
        **case.config,
    }


def sizes_of(case: Case | Light) -> Sizes:
    """The sizes of the network that a case is about."""
    sizes, shared = case.source.sizes, case.source.options.get("shared", True)
    if case.params.get("scope") == "generator":
        return graphs.generator_sizes(sizes, shared)
    return sizes
