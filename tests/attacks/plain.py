"""Attacks by safetensors, npz and the JSON beside them."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from attack import attack


def _safetensors(folder: Path, header: Any, data: bytes = b"", *, length: int = -1) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(text) if length < 0 else length) + text + data)
    return path


def _row(start: int, end: int, shape: list[Any], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@attack("INP009")
def safetensors_header_of_exabytes(folder: Path) -> Path:
    return _safetensors(folder, b"{}", length=1 << 62)


@attack("INP007")
def safetensors_header_longer_than_file(folder: Path) -> Path:
    return _safetensors(folder, b"{}", length=90_000_000)


@attack("INP004")
def safetensors_header_nested_in_depth(folder: Path) -> Path:
    return _safetensors(folder, b'{"w": ' + b"[" * 200_000)


@attack("INP004")
def safetensors_number_of_many_digits(folder: Path) -> Path:
    header = b'{"w": {"dtype": "F32", "shape": [' + b"9" * 100_000 + b'], "data_offsets": [0, 4]}}'
    return _safetensors(folder, header, bytes(4))


@attack("INP004")
def safetensors_shape_overflows(folder: Path) -> Path:
    return _safetensors(folder, {"w": _row(0, 0, [1 << 32, 1 << 32])})


@attack("INP004")
def safetensors_negative_shape(folder: Path) -> Path:
    return _safetensors(folder, {"w": _row(0, 4, [-1, -1])}, bytes(4))


@attack("INP004")
def safetensors_fraction_in_a_shape(folder: Path) -> Path:
    return _safetensors(folder, {"w": _row(0, 4, [1.0, True])}, bytes(4))


@attack("INP004")
def safetensors_offsets_backwards(folder: Path) -> Path:
    return _safetensors(folder, {"w": _row(8, 4, [1])}, bytes(8))


@attack("INP004")
def safetensors_offsets_overlap(folder: Path) -> Path:
    return _safetensors(folder, {"a": _row(0, 8, [2]), "b": _row(4, 12, [2])}, bytes(12))


@attack("INP007")
def safetensors_data_behind_the_end(folder: Path) -> Path:
    return _safetensors(folder, {"w": _row(0, 1 << 40, [1 << 38])}, bytes(8))


@attack("INP004")
def safetensors_same_name_twice(folder: Path) -> Path:
    row = json.dumps(_row(0, 4, [1]))
    return _safetensors(folder, f'{{"w": {row}, "w": {row}}}'.encode(), bytes(4))


@attack(None)
def safetensors_names_for_a_terminal(folder: Path) -> Path:
    names = (
        "\x1b[2Jw",
        "[bold]w",
        "../../w",
        "a\nb",
        "\u202ew",
        "\ud800".encode("utf-8", "replace").decode(),
    )
    rows = {name: _row(4 * at, 4 * at + 4, [1]) for at, name in enumerate(names)}
    return _safetensors(folder, rows, bytes(4 * len(names)))


@attack("INP004")
def weight_map_that_leaves_its_folder(folder: Path) -> Path:
    (folder / "inside").mkdir()
    _safetensors(folder, {"w": _row(0, 4, [1])}, bytes(4))
    weight_map = {"weight_map": {"w": "../m.safetensors", "v": "/etc/passwd", "u": "a/../../m"}}
    path = folder / "inside" / "m.safetensors.index.json"
    path.write_text(json.dumps(weight_map))
    return path


@attack("INP004")
def weight_map_nested_in_depth(folder: Path) -> Path:
    path = folder / "m.safetensors.index.json"
    path.write_text('{"weight_map": ' + "[" * 200_000)
    return path


# --- npz -------------------------------------------------------------------------------------


class Runs:
    """What a pickle of this does is make a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


def _npy(header: bytes, data: bytes = b"") -> bytes:
    header = header.ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def _npz(folder: Path, kind: int = zipfile.ZIP_STORED, **members: bytes) -> Path:
    path = folder / "m.npz"
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


@attack("INP011")
def npz_with_a_pickle(folder: Path) -> Path:
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    return _npz(folder, w=_npy(header, pickle.dumps([Runs(folder / "RUN")])))


@attack("INP003")
def npz_that_is_a_pickle(folder: Path) -> Path:
    path = folder / "m.npz"
    path.write_bytes(pickle.dumps(Runs(folder / "RUN")))
    return path


@attack("INP004")
def npz_header_of_code(folder: Path) -> Path:
    mark = str(folder / "RUN").encode()
    return _npz(folder, w=_npy(b"__import__('pathlib').Path('" + mark + b"').touch()"))


@attack("INP004")
def npz_header_nested_in_depth(folder: Path) -> Path:
    return _npz(folder, w=_npy(b"{'descr': " + b"(" * 30_000))


@attack("INP004")
def npz_shape_overflows(folder: Path) -> Path:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }"
    return _npz(folder, w=_npy(header))


@attack("INP004")
def npz_negative_shape(folder: Path) -> Path:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -4), }"
    return _npz(folder, w=_npy(header, bytes(16)))


@attack("INP009")
def npz_zip_bomb(folder: Path) -> Path:
    """6 GiB of zeros in 6 MiB."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1610612736,), }"
    bomb(folder / "m.npz", "w.npy", _npy(header), 6 << 10)
    return folder / "m.npz"


def bomb(path: Path, name: str, head: bytes, megabytes: int) -> None:
    """A zip archive of one member: ``head``, and so many megabytes of zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = start + zeros * megabytes + packer.flush()
    size = len(head) + (megabytes << 20)
    crc = zlib.crc32(head)
    for _ in range(min(megabytes, 16)):  # of more it is not right, and not looked at
        crc = zlib.crc32(bytes(1 << 20), crc)
    extra = struct.pack("<HHQQ", 1, 16, size, len(packed))
    raw = name.encode()
    fixed = struct.pack(
        "<HHHHHIIIHH", 45, 0, 8, 0, 33, crc, *[0xFFFFFFFF] * 2, len(raw), len(extra)
    )
    local = b"PK\x03\x04" + fixed + raw + extra + packed
    central = b"PK\x01\x02" + struct.pack("<H", 45) + fixed + bytes(14) + raw + extra
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    path.write_bytes(local + central + end)


@attack(None)
def npz_of_zeros_that_are_meant(folder: Path) -> Path:
    """16 MiB of zeros in 16 KiB: it shrinks as much, and does no harm."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (4194304,), }"
    bomb(folder / "m.npz", "w.npy", _npy(header), 16)
    return folder / "m.npz"


def _edited(path: Path, *edits: tuple[bytes, int, bytes]) -> Path:
    """Overwrite bytes at an offset behind the last place of a mark."""
    data = bytearray(path.read_bytes())
    for mark, offset, new in edits:
        at = data.rindex(mark) + offset
        data[at : at + len(new)] = new
    path.write_bytes(data)
    return path


def _small(folder: Path) -> Path:
    saved = io.BytesIO()
    np.save(saved, np.arange(6, dtype=np.float32))
    return _npz(folder, a=saved.getvalue(), b=saved.getvalue())


@attack("INP004")
def npz_members_overlap(folder: Path) -> Path:
    """The second is said to lie where the first does."""
    return _edited(_small(folder), (b"PK\x01\x02", 42, bytes(4)))


@attack("INP004")
def npz_member_longer_than_file(folder: Path) -> Path:
    return _edited(_small(folder), (b"PK\x01\x02", 20, b"\xf0\xff\xff\x7f" * 2))


@attack("INP004")
def npz_directory_elsewhere(folder: Path) -> Path:
    return _edited(_small(folder), (b"PK\x05\x06", 16, b"\xf0\xff\xff\x7f"))


@attack("INP003")
def npz_encrypted(folder: Path) -> Path:
    return _edited(_small(folder), (b"PK\x01\x02", 8, b"\x01\x00"))


@attack(None)
def npz_names_that_leave(folder: Path) -> Path:
    saved = io.BytesIO()
    np.save(saved, np.arange(6, dtype=np.float32))
    data = saved.getvalue()
    return _npz(folder, **{"../../escaped": data, "/etc/escaped": data, "\x1b[2J": data})


@attack("INP002")
def file_that_is_a_device(folder: Path) -> Path:
    path = folder / "m.npz"
    path.symlink_to("/dev/zero")
    return path


@attack("INP002")
def link_to_itself(folder: Path) -> Path:
    path = folder / "m.npz"
    path.symlink_to(path)
    return path
