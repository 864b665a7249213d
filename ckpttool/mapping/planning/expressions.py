"""How a tensor of the output is made: from which sources, by which transforms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from ckpttool.mapping.transforms.base import ArraySpec, Lazy
from ckpttool.mapping.transforms.chain import Chain
from ckpttool.tensors import TensorSpec

if TYPE_CHECKING:
    from ckpttool.formats.base import Reader
    from ckpttool.mapping.transforms.workspace import Workspace


class Expression(NamedTuple):
    """``finish`` of the result ``output`` of ``chain``, applied to ``sources``."""

    sources: tuple[str, ...]
    chain: Chain
    output: int = 0
    finish: Chain | None = None

    def spec(self, specs: Mapping[str, TensorSpec]) -> ArraySpec:
        """Dtype and shape, for sources of these specs."""
        made = self.chain.infer([array_spec(specs[name]) for name in self.sources])
        spec = made.specs[self.output]
        return spec if self.finish is None else self.finish.infer([spec]).specs[0]


class Evaluator:
    """Lazy arrays of expressions over one reader; outputs of one chain share their work."""

    def __init__(self, reader: Reader, workspace: Workspace) -> None:
        self._reader = reader
        self._workspace = workspace
        self._last: tuple[object, tuple[Lazy, ...]] | None = None

    def lazy(self, expression: Expression) -> Lazy:
        """The array, computed when it is read."""
        from ckpttool.mapping.transforms.lazy import leaf

        key = (id(expression.chain), expression.sources)
        if self._last is None or self._last[0] != key:
            leaves = [leaf(self._reader, name, self._workspace) for name in expression.sources]
            self._last = (key, tuple(expression.chain.apply(leaves)))
        made = self._last[1][expression.output]
        return made if expression.finish is None else expression.finish.apply([made])[0]


def array_spec(spec: TensorSpec) -> ArraySpec:
    """A tensor's spec as transforms see it."""
    return ArraySpec(spec.dtype, spec.shape)
