"""What tests of writers share: arrays to outputs, a run to its end, and a disk that is full."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from support import MemoryReader

from ckpttool.formats.registry import open_located
from ckpttool.formats.writing import Opener, Output, WriteOptions, Written

Array = np.ndarray[Any, Any]

FLOATS = ("bfloat16", "float8_e5m2", "float8_e4m3fn", "float8_e5m2fnuz", "float8_e4m3fnuz")
PLAIN = (
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
    "float16", "float32", "float64", "complex64",
)  # fmt: skip


def numpy_type(name: str) -> np.dtype[Any]:
    """A dtype of NumPy or ml_dtypes."""
    return np.dtype(getattr(ml_dtypes, name, name))


def noise(dtype: str, shape: tuple[int, ...], seed: int = 0) -> Array:
    """Elements of any bits, NaNs of every kind among them; bools are 0 and 1."""
    kind = numpy_type(dtype)
    count = int(np.prod(shape))
    raw = np.random.default_rng(seed).integers(0, 256, count * kind.itemsize, np.uint8)
    if dtype == "bool":
        raw &= 1
    return raw.view(kind).reshape(shape)


def outputs(arrays: Mapping[str, Any], dtypes: Mapping[str, str] | None = None) -> list[Output]:
    """Outputs that come in pieces of three elements."""
    reader = MemoryReader(arrays, dtypes=dtypes)

    def stream(name: str) -> Any:
        flat = reader.arrays[name].reshape(-1)
        return lambda: (flat[at : at + 3] for at in range(0, len(flat), 3))

    return [Output(*spec, stream(spec.name)) for spec in reader.specs.values()]


def write(
    create: Opener,
    path: Path,
    arrays: Mapping[str, Any],
    *,
    dtypes: Mapping[str, str] | None = None,
    options: WriteOptions = WriteOptions(),  # noqa: B008  # immutable
    **how: Any,
) -> Written:
    """Write everything; what is staged must read back before it is committed."""
    with create(str(path), options=options, **how) as writer:
        for output in outputs(arrays, dtypes):
            writer.declare(output)
        told: list[int] = []
        with writer.flushing():
            writer.write(told.append)
        names: dict[str, str] = getattr(writer, "stored_names", dict)()
        with open_located(writer.staged()) as reader:
            for name, array in arrays.items():
                same(reader.read(names.get(name, name)), np.asarray(array))
        assert sum(told) == sum(np.asarray(array).nbytes for array in arrays.values())
        written = writer.commit()
    files = [Path(file) for file in written.files]
    assert written.bytes == sum(file.stat().st_size for file in files)
    assert written.tensors == len(arrays)
    assert set(files) <= set(path.parent.iterdir())
    return written


def same(found: Array, expected: Array) -> None:
    """Bit for bit."""
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if found.dtype == object:
        assert found.tolist() == expected.tolist()
    else:
        assert found.tobytes() == expected.tobytes()


_FULL = """
import resource, signal, sys
import numpy as np
from importlib import import_module
from ckpttool.errors import OutputError
from ckpttool.formats.writing import Output, WriteOptions

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
module, path, shard = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
options = WriteOptions(max_shard_bytes=int(shard) or None)
try:
    with import_module(module).create(path, options=options) as writer:
        for number in range(5):
            small = np.zeros(10_000, np.float32)
            writer.declare(Output(f"a{number}", "float32", (10_000,), lambda: iter([small])))
        array = np.zeros(60_000, np.float32)
        parts = [array[:20_000], array[20_000:]]
        writer.declare(Output("z", "float32", (60_000,), lambda: iter(parts)))
        with writer.flushing():
            writer.write()
        writer.commit()
except OutputError as error:
    print(error.problems[0].code, error.problems[0].hint)
"""


def full_disk(module: str, path: Path, shard: int = 0) -> str:
    """What is said when files cannot grow any more; the code first."""
    run = subprocess.run(  # noqa: S603  # our own
        [sys.executable, "-c", _FULL, module, str(path), str(shard)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()
