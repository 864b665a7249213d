"""Specs of mappings: names, dtypes and shapes of a real source and of its real target, as JSON.

``tests/proofs/specs/<mapping>.json``, or ``<mapping>.<variant>.json`` where there are several.
A row is ``[name, dtype, shape]`` in the source, and ``[key, dtype, shape, names…]`` in the
target, which is null where the output's names are the rules' own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ckpttool.analysis.roles import infer_roles
from ckpttool.mapping.like.template import TargetVariable, Template
from ckpttool.mapping.planning.fitting import Like
from ckpttool.mapping.planning.plan import Plan, Wanted, make_plan
from ckpttool.mapping.remap import load_rules
from ckpttool.tensors import TensorSpec

FOLDER = Path(__file__).resolve().parent / "proofs" / "specs"

Source = dict[str, TensorSpec]


class Spec(NamedTuple):
    """What a mapping is compiled against."""

    mapping: str
    params: Mapping[str, Any]
    source: Source
    template: Template | None


def spec_files() -> list[Path]:
    """All specs."""
    return sorted(FOLDER.glob("*.json"))


def read_spec(path: Path) -> Spec:
    """A spec that :func:`write_spec` wrote."""
    data = json.loads(path.read_text("utf-8"))
    source = {row[0]: TensorSpec(row[0], row[1], tuple(row[2])) for row in data["source"]}
    template = None
    if data["target"] is not None:
        variables = (
            TargetVariable(row[0], tuple(row[3:]), row[1], tuple(row[2])) for row in data["target"]
        )
        template = Template(variables, kind=data["format"], path=path.stem)
    return Spec(data["mapping"], data["params"], source, template)


def write_spec(
    mapping: str,
    source: Iterable[TensorSpec],
    template: Template | None,
    *,
    variant: str = "",
    params: Mapping[str, Any] | None = None,
) -> Path:
    """Write a spec; of the target's other names only those that `to` needs."""
    spec = Spec(mapping, params or {}, {item.name: item for item in source}, template)
    used = _used(spec)
    rows = [[item.name, item.dtype, list(item.shape)] for item in spec.source.values()]
    target = None
    if template is not None:
        target = [
            [item.key, item.dtype, list(item.shape), *(name for name in item.names if name in used)]
            for item in template.variables
            if item.required
        ]
    path = FOLDER / f"{mapping}{'.' if variant else ''}{variant}.json"
    head = {
        "mapping": mapping,
        "params": spec.params,
        "format": template.kind if template else None,
    }
    body = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    body += [f'"source": {_lines(rows)}', f'"target": {_lines(target)}']
    FOLDER.mkdir(exist_ok=True)
    path.write_text("{" + ",\n".join(body) + "}\n", "utf-8")
    return path


def plan_of(spec: Spec) -> Plan:
    """The plan of a spec; raises :class:`ckpttool.CkptError` where it does not fit."""
    rules = load_rules(spec.mapping, params=spec.params)
    fitting = None if spec.template is None else Like(spec.template)
    target = rules.target.text if rules.target else "tf1"
    wanted = Wanted(target, fitting=fitting)
    return make_plan(
        spec.source, rules, infer_roles(spec.source), source="model.ckpt", wanted=wanted
    )


def _used(spec: Spec) -> set[str]:
    """What the rules call the target's variables."""
    asked: set[str] = set()

    class Listening:
        """A template that remembers what it was asked for."""

        def __init__(self, template: Template) -> None:
            self._template = template

        def __getattr__(self, name: str) -> Any:
            return getattr(self._template, name)

        def resolve(self, text: str) -> str | None:
            """As the template does."""
            asked.add(text)
            return self._template.resolve(text)

    if spec.template is not None:
        listening: Any = Listening(spec.template)
        plan_of(spec._replace(template=listening))
    return asked


def _lines(rows: list[Any] | None) -> str:
    if rows is None:
        return "null"
    return "[\n" + ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows) + "]"
