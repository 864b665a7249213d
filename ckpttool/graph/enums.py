"""The enums of a MetaGraph's messages, by name, for the text form."""

from __future__ import annotations

from ckpttool.tensors import BY_ENUM, REF_OFFSET

_ERROR_CODES = (
    "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS "
    "PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED "
    "INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED"
)


def _data_types() -> dict[str, int]:
    # tensorflow:core/framework/types.proto; a reference type is the plain one plus 100.
    names = {"DT_INVALID": 0}
    for number, dtype in BY_ENUM.items():
        names[dtype.enum_name] = number
        names[dtype.enum_name + "_REF"] = number + REF_OFFSET
    return names


ENUMS: dict[str, dict[str, int]] = {
    "DataType": _data_types(),
    "SaverVersion": {"LEGACY": 0, "V1": 1, "V2": 2},
    "ErrorCode": {name: number for number, name in enumerate(_ERROR_CODES.split())},
    "Synchronization": {
        "VARIABLE_SYNCHRONIZATION_AUTO": 0,
        "VARIABLE_SYNCHRONIZATION_NONE": 1,
        "VARIABLE_SYNCHRONIZATION_ON_WRITE": 2,
        "VARIABLE_SYNCHRONIZATION_ON_READ": 3,
    },
    "Aggregation": {
        "VARIABLE_AGGREGATION_NONE": 0,
        "VARIABLE_AGGREGATION_SUM": 1,
        "VARIABLE_AGGREGATION_MEAN": 2,
        "VARIABLE_AGGREGATION_ONLY_FIRST_REPLICA": 3,
    },
}
