"""Transformers that the mappings are proved on, and the models that they become."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import graphs_transformers as graphs
from graphs_transformers import FACTORED, SMALL, Sizes


class Made(NamedTuple):
    """A TF1 graph with its sizes."""

    name: str
    graph: Callable[..., Any]
    sizes: Sizes = SMALL
    options: Mapping[str, Any] = {}
    length: int = 14


BERT = Made("bert", graphs.bert)
CLASSIFIER = Made("bert_classifier", graphs.bert, options={"heads": "classifier"})
SQUAD = Made("bert_squad", graphs.bert, options={"heads": "squad"})
ALBERT = Made("albert", graphs.albert, FACTORED)
GROUPS = Made("albert_groups", graphs.albert, FACTORED._replace(layers=4), {"groups": 2})
ELECTRA = Made("electra", graphs.electra, FACTORED)
OWN_TABLES = Made("electra_own_tables", graphs.electra, FACTORED, {"shared": False})
ELECTRA_TANH = Made("electra_tanh", graphs.electra, FACTORED, {"tanh": True})
EVEN = Made("electra_even", graphs.electra, SMALL, {"tanh": True})  # no projection
GPT2 = Made("gpt2", graphs.gpt2, SMALL._replace(layers=11))


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
    owner = "openai" if family == "GPT2" else "google"
    family = family.lower()
    mapping = f"{owner}_{family}__keras_hub_{family}"
    params = {**HEADS, **more.pop("params", {})}
    return Case(name, source, mapping, "keras_hub", model, outputs, params, **more)


def _hf(name: str, source: Made, model: str, outputs: Mapping[str, str], **more: Any) -> Case:
    family = {"B": "bert", "A": "albert", "E": "electra", "G": "gpt2"}[model[2]]
    owner = "openai" if family == "gpt2" else "google"
    mapping = f"{owner}_{family}__hf_{family}"
    kind = {"bert": "Bert", "albert": "Albert", "electra": "Electra", "gpt2": "GPT2"}[family]
    more = {"config_class": f"{kind}Config", **more}
    return Case(name, source, mapping, "transformers", model, outputs, **more)


_GELU = {"hidden_act": "gelu_new"}
_PAIR = {"sequence": "last_hidden_state", "pooled": "pooler_output"}
_PRETRAINING = {"words": "prediction_logits", "next": "seq_relationship_logits"}
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
        error=5e-3,
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
        error=5e-4,
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
    _hf("hf_bert", BERT, "TFBertModel", _PAIR, config=_GELU, unexpected=_BERT_HEADS),
    _hf("hf_bert_heads", BERT, "TFBertForPreTraining", _PRETRAINING, config=_GELU, error=3e-5),
    _hf("hf_bert_erf", BERT, "TFBertForPreTraining", _PRETRAINING, error=5e-3),
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
    Case(
        "tf_models_bert",
        BERT,
        "google_bert__tf_models_bert",
        "tf_models",
        "BertEncoderV2",
        BOTH,
        HEADS,
    ),
]
BY_NAME = {case.name: case for case in CASES}


def hub_config(case: Case) -> dict[str, Any]:
    """What makes the backbone of keras_hub."""
    sizes = _sizes(case)
    found = {
        "vocabulary_size": sizes.vocabulary,
        "num_layers": sizes.layers,
        "num_heads": sizes.heads,
        "hidden_dim": sizes.hidden,
        "intermediate_dim": sizes.inner,
        "max_sequence_length": sizes.positions,
        "dropout": 0.0,
    }
    if case.mapping.endswith("electra"):
        found["vocab_size"] = found.pop("vocabulary_size")
    if not case.mapping.endswith("gpt2"):
        found["num_segments"] = sizes.types
    if case.mapping.endswith(("albert", "electra")):
        found["embedding_dim"] = sizes.width
    if "groups" in case.source.options:
        found["num_groups"] = case.source.options["groups"]
    return found


def outside_config(case: Case) -> dict[str, Any]:
    """What makes the config of transformers, or the encoder of tf-models-official."""
    sizes = _sizes(case)
    if case.library == "tf_models":
        return {
            "vocab_size": sizes.vocabulary,
            "hidden_size": sizes.hidden,
            "num_layers": sizes.layers,
            "num_attention_heads": sizes.heads,
            "inner_dim": sizes.inner,
            "max_sequence_length": sizes.positions,
            "type_vocab_size": sizes.types,
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


def _sizes(case: Case) -> Sizes:
    sizes = case.source.sizes
    return graphs.generator_sizes(sizes) if case.params.get("scope") == "generator" else sizes
