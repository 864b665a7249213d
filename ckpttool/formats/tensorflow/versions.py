"""The version that a checkpoint carries, and whether this reader is new enough for it.

Source: ``tensorflow:core/framework/versions.proto`` and ``versions.cc``.
"""

from __future__ import annotations

from ckpttool.errors import InputError, Problem
from ckpttool.storage.wire import BYTES, VARINT, fields, packed_varints, signed

SUPPORTED = 1  # both kTensorBundleVersion and TF_CHECKPOINT_VERSION


def refuse_newer(buf: bytes, start: int, end: int, path: str) -> None:
    """Raise INP003 if the ``VersionDef`` in ``buf[start:end]`` asks for a newer reader.

    :class:`WireError` if it cannot be parsed.
    """
    producer = min_consumer = 0
    bad: list[int] = []
    for number, wire_type, a, b in fields(buf, start, end):
        if wire_type == VARINT and number == 1:
            producer = signed(a)
        elif wire_type == VARINT and number == 2:
            min_consumer = signed(a)
        elif number == 3:
            bad += packed_varints(buf, a, b) if wire_type == BYTES else [a]
    if min_consumer > SUPPORTED:
        what, found = "the checkpoint asks for a newer reader", f"min_consumer {min_consumer}"
        raise InputError(Problem("INP003", what, path, found, f"≤ {SUPPORTED}"))
    if SUPPORTED in bad:
        what, found = "the checkpoint refuses readers of this version", f"bad_consumers {bad}"
        raise InputError(Problem("INP003", what, path, found, f"without {SUPPORTED}"))
    if producer < 0:
        what = "the checkpoint is of an impossible version"
        raise InputError(Problem("INP003", what, path, f"producer {producer}", "≥ 0"))
