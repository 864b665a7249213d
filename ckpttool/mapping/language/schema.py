"""JSON Schema of mapping files, for editors that complete and check while one writes."""

from __future__ import annotations

from typing import Any

from ckpttool.mapping.language.document import AVERAGES, SLOTS, TARGETS, UNMATCHED, VERSION
from ckpttool.mapping.transforms.table import schema as apply_schema

_SCALAR: dict[str, Any] = {"type": ["string", "number", "boolean", "null"]}
# A name may be written without quotes: YAML takes 1e5 and true for other things.
_NAME: dict[str, Any] = {"type": ["string", "number", "boolean"]}
_NAMES: dict[str, Any] = {"anyOf": [_NAME, {"type": "array", "items": _NAME, "minItems": 1}]}
_SCALARS: dict[str, Any] = {"type": "object", "additionalProperties": _SCALAR}


def mapping_schema() -> dict[str, Any]:
    """The whole schema."""
    rule = {"$ref": "#/$defs/rule"}
    include = {"$ref": "#/$defs/include"}
    properties = {
        "version": {"const": VERSION},
        "description": _text("what it maps, in one line"),
        "target": {"enum": list(TARGETS), "description": "the output's format; --to wins"},
        "params": {**_SCALARS, "description": "$names with defaults; one without has to be given"},
        "detect": {
            "type": "object",
            "additionalProperties": {"$ref": "#/$defs/guess"},
            "description": "how the value of a parameter shows, for `mappings detect`",
        },
        "slots": {"enum": list(SLOTS), "description": "optimizer slots"},
        "averages": {"enum": list(AVERAGES), "description": "moving averages"},
        "unmatched": {"enum": list(UNMATCHED), "description": "names that no rule matches"},
        "assumes": {
            **_SCALARS,
            "description": "what is not in the checkpoint, and changes outputs",
        },
        "caveats": _texts("what to know before using the output"),
        "rules": {"type": "array", "items": {"anyOf": [rule, include]}},
        "assign": {
            "type": "object",
            "additionalProperties": _NAME,
            "description": "old names or scopes/ to new ones",
        },
        "include": {
            "anyOf": [_NAME, include, {"type": "array", "items": {"anyOf": [_NAME, include]}}],
            "description": "other mapping files, after these rules",
        },
        "optimizer": _text("the optimizer whose state goes along"),
        "source": {"description": "where the names come from; for people"},
        "proof": {"description": "how it was shown to be right; for people"},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ckpttool mapping file",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "$defs": {
            "rule": _rule(),
            "include": _include(),
            "guess": _guess(),
            "apply": apply_schema(),
        },
    }


def _rule() -> dict[str, Any]:
    table = {"type": "object", "additionalProperties": {"anyOf": [_SCALAR, _SCALARS]}}
    return {
        "type": "object",
        "properties": {
            "from": {**_NAMES, "description": "patterns of the source's names"},
            "to": {**_NAMES, "description": "the target's names"},
            "drop": {"type": "boolean", "description": "leave these out"},
            "where": {
                "type": "object",
                "additionalProperties": {"anyOf": [*_NAMES["anyOf"], table]},
                "description": "the texts of captures, as a list or as a table that translates",
            },
            "apply": {"$ref": "#/$defs/apply"},
            "optional": {"type": "boolean", "description": "it may match nothing"},
            "when": {
                "type": "object",
                "properties": {
                    "exists": _NAMES,
                    "missing": _NAMES,
                    "param": {
                        "type": "object",
                        "additionalProperties": {
                            "anyOf": [_SCALAR, {"type": "array", "items": _SCALAR}]
                        },
                    },
                },
                "additionalProperties": False,
                "description": "the rule counts for a name only if",
            },
            "collect": _text("the number in `from` that tells sources apart that go together"),
            "spread": _text("the number in `to` that tells results apart"),
        },
        "anyOf": [{"required": ["from"]}, {"required": ["to", "apply"]}],
        "additionalProperties": False,
    }


def _include() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "include": {**_NAME, "description": "a file below this one's folder, or built in"},
            "set": {**_SCALARS, "description": "values for its parameters"},
        },
        "required": ["include"],
        "additionalProperties": False,
    }


def _guess() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "from": {**_NAME, "description": "a pattern of names in the source"},
            "size": {
                "type": ["string", "integer"],
                "description": "an expression over their shape, such as d1//64",
            },
            "table": {**_SCALARS, "description": "the value for each such size"},
            "convention": _text("why, where the shape does not settle it"),
        },
        "required": ["from", "size"],
        "additionalProperties": False,
    }


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _texts(description: str) -> dict[str, Any]:
    texts = {"type": "array", "items": {"type": "string"}}
    return {"anyOf": [{"type": "string"}, texts], "description": description}
