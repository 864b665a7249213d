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
    if min_consumer > SUPPORTED or SUPPORTED in bad or producer < 0:
        raise InputError(
            Problem(
                "INP003",
                "the checkpoint asks for a newer reader",
                path,
                f"min_consumer {min_consumer}",
                f"≤ {SUPPORTED}",
            )
        )
