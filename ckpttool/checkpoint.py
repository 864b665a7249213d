"""An open checkpoint: its tensors, and the graph that tells what they are.

Readers know bytes and graphs know variables; this is where the two meet.  A graph variable is
joined to its checkpoint key through the Saver's own save op, not by equal names: a Saver may have
been given a dict, or have saved averages under the plain names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from ckpttool.analysis.roles import VARIABLE, Role, infer_roles
from ckpttool.analysis.tree import CheckpointSummary, VariableRow
from ckpttool.errors import CkptError, Problem
from ckpttool.formats.base import CheckpointInfo, Reader
from ckpttool.formats.registry import FORMATS, open_reader
from ckpttool.tensors import TensorSpec

if TYPE_CHECKING:
    from ckpttool.graph.metagraph import MetaGraph
    from ckpttool.graph.variables import GraphVariable
