"""What the tests of renaming share: opening without locating, and making bundles."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ckpttool.analysis.roles import infer_roles
from ckpttool.errors import CkptError
from ckpttool.formats.base import GraphSource
from ckpttool.formats.locating.located import Located
from ckpttool.formats.tensorflow.bundle import BundleReader, open_bundle
from ckpttool.formats.tensorflow.bundle_writer import BundleWriter, Written
from ckpttool.mapping.language.document import parse_document
from ckpttool.mapping.language.rules import compile_rules
from ckpttool.mapping.planning.plan import Plan, make_plan
from ckpttool.tensors import BY_NAME, TensorSpec


def open_prefix(prefix: Path | str) -> BundleReader:
    """The V2 bundle of a prefix."""
    prefix = str(prefix)
    shards = tuple(sorted(glob.glob(glob.escape(prefix) + ".data-*")))
    meta = Path(prefix + ".meta")
    graphs = (GraphSource(str(meta), "meta_graph"),) if meta.exists() else ()
    return open_bundle(Located(prefix, "tf-v2", prefix + ".index", shards, graphs))


def write_bundle(prefix: Path | str, arrays: Mapping[str, Any], **options: Any) -> Written:
    """A bundle of whole tensors."""
    with BundleWriter(str(prefix), **options) as writer:
        for name, value in arrays.items():
            array = np.asarray(value)
            dtype = "string" if array.dtype == object else array.dtype.name
            writer.encode(name, BY_NAME[dtype].enum, array.shape, lambda a=array: [a])
        writer.write()
        return writer.commit()


def specs(*names: str, **shapes: tuple[int, ...]) -> dict[str, TensorSpec]:
    """Float specs of shape (2,), with exceptions."""
    return {name: TensorSpec(name, "float32", shapes.get(name, (2,))) for name in names}


def plan_for(source: Mapping[str, TensorSpec], yaml: str, **options: Any) -> Plan:
    """The plan of a YAML mapping called ``m.yaml``."""
    rules = compile_rules(parse_document(yaml, "m.yaml"), **options)
    return make_plan(source, rules, infer_roles(source), source="model.ckpt")


def renames(plan: Plan) -> dict[str, str]:
    """Source to target, of a plan of renames."""
    return {step.sources[0]: step.target for step in plan.steps}


def told(error: CkptError) -> list[tuple[str, str | None]]:
    """Code and place of each problem; the place without the rule's text."""
    return [(p.code, p.where and p.where.split("   ")[0]) for p in error.problems]
