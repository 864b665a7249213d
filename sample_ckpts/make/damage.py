"""Damaged twins: each is a copy of an intact sample with one thing wrong.

``opens`` tells whether names, shapes and dtypes can be listed, ``exit`` what listing them should
exit with, ``readable`` and ``unreadable`` which tensors still have their values: where TensorFlow
opens the copy, it tells the two apart.  ``tensorflow_lists`` is how many tensors TensorFlow lists,
null if it refuses.
"""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import tensorflow as tf
from common import MADE, Sample, reader_path, sample, v1
from table import FOOTER, read_blocks, read_table, table_bytes
from tensorflow.core.protobuf import tensor_bundle_pb2

DATA = ".data-00000-of-00001"
NET = "numbered_layers/model.ckpt-5"
# What PyTorch's legacy files begin with: pickles of its magic number and its protocol version.
TORCH_PICKLE = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."


def _copy(made: Sample, source: str = NET, meta: bool = False) -> Path:
    """Copy the files of a sample (its graph too if asked for); the new prefix."""
    origin = made.root / source
    for member in sorted(origin.parent.iterdir()):
        own = member.name == origin.name or member.name.startswith(f"{origin.name}.")
        own = own or member.name.startswith(f"{origin.name}-0")
        if own and (meta or member.suffix != ".meta"):
            shutil.copyfile(member, made.folder / member.name)
    return made.folder / origin.name


def _member(prefix: Path, suffix: str) -> Path:
    return Path(f"{prefix}{suffix}")


def _edit(path: Path, change: Callable[[bytearray], bytes | bytearray]) -> None:
    path.write_bytes(bytes(change(bytearray(path.read_bytes()))))


def _flip(at: int) -> Callable[[bytearray], bytearray]:
    def change(data: bytearray) -> bytearray:
        data[at] ^= 0x40
        return data

    return change


def tensorflow_reads(path: str, dtypes: Mapping[str, str]) -> list[str]:
    """The keys whose values TensorFlow restores."""
    good = []
    for key, dtype in dtypes.items():
        with tf.Graph().as_default(), v1.Session() as session:
            op = tf.raw_ops.RestoreV2(
                prefix=path, tensor_names=[key], shape_and_slices=[""], dtypes=[dtype]
            )
            try:
                session.run(op)
            except tf.errors.OpError:
                continue
            good.append(key)
    return good


def tensorflow_lists(path: str) -> int | None:
    """How many tensors TensorFlow's reader lists; None if it refuses."""
    try:
        return len(tf.train.load_checkpoint(path).get_variable_to_shape_map())
    except (tf.errors.OpError, ValueError):  # of no checkpoint, of a name that is no text
        return None


def _damaged(
    made: Sample,
    path: Path,
    damage: str,
    *,
    source: str | None = NET,
    opens: bool = True,
    exits: int = 0,
    readable: list[str] | None = None,
    note: str | None = None,
) -> None:
    """Add a row; with ``readable`` left out TensorFlow is asked, if the copy opens at all."""
    variables = MADE[source]["expect"]["variables"] if source else []
    dtypes = {row["name"]: row["dtype"] for row in variables if row["saved"]}
    if readable is None:
        readable = tensorflow_reads(str(path), dtypes) if opens else []
    made.damaged.append(
        {
            "path": made.relative(path),
            "made_from": source,
            "script": made.script,
            "damage": damage,
            **({"note": note} if note else {}),
            "tensorflow_lists": tensorflow_lists(reader_path(path)),
            "expect": {
                "opens": opens,
                "exit": exits,
                "readable": readable,
                "unreadable": [key for key in dtypes if key not in readable],
            },
        }
    )


@sample("damaged/truncated_data")
def truncated_data(made: Sample) -> None:
    """The data file is cut in the middle."""
    prefix = _copy(made)
    _edit(_member(prefix, DATA), lambda data: data[: len(data) // 2])
    _damaged(made, prefix, "the second half of the data file is gone")


@sample("damaged/empty_data")
def empty_data(made: Sample) -> None:
    """The data file is empty."""
    prefix = _copy(made)
    _member(prefix, DATA).write_bytes(b"")
    _damaged(made, prefix, "the data file has no bytes")


@sample("damaged/flipped_tensor_byte")
def flipped_tensor_byte(made: Sample) -> None:
    """One byte of one tensor is changed."""
    prefix = _copy(made)
    entries = dict(read_table(_member(prefix, ".index")))
    entry = tensor_bundle_pb2.BundleEntryProto.FromString(entries[b"fc_1/kernel"])
    _edit(_member(prefix, DATA), _flip(entry.offset + 5))
    _damaged(made, prefix, f"byte {entry.offset + 5} of the data file is changed, in fc_1/kernel")


@sample("damaged/flipped_string_byte")
def flipped_string_byte(made: Sample) -> None:
    """One byte of a string tensor is changed."""
    prefix = _copy(made, "strings/model.ckpt")
    entries = dict(read_table(_member(prefix, ".index")))
    entry = tensor_bundle_pb2.BundleEntryProto.FromString(entries[b"vector"])
    at = entry.offset + entry.size - 1
    _edit(_member(prefix, DATA), _flip(at))
    _damaged(made, prefix, f"byte {at} of the data file is changed", source="strings/model.ckpt")


@sample("damaged/data_of_another_step")
def data_of_another_step(made: Sample) -> None:
    """The index of step 0 with the data of step 168."""
    prefix = _copy(made, "embedding_run/model.ckpt-0")
    other = made.root / f"embedding_run/model.ckpt-168{DATA}"
    shutil.copyfile(other, _member(prefix, DATA))
    source = "embedding_run/model.ckpt-0"
    _damaged(made, prefix, "the data file is that of step 168", source=source)


@sample("damaged/flipped_index_byte")
def flipped_index_byte(made: Sample) -> None:
    """One byte in the only block of an index is changed."""
    prefix = _copy(made)
    _edit(_member(prefix, ".index"), _flip(200))
    _damaged(made, prefix, "byte 200 of the index is changed", opens=False, exits=3)


@sample("damaged/flipped_block_byte")
def flipped_block_byte(made: Sample) -> None:
    """One byte in the fifth of many blocks of an index is changed: the others are intact."""
    source = "many_blocks/model.ckpt"
    prefix = _copy(made, source)
    blocks = read_blocks(_member(prefix, ".index"))
    _edit(_member(prefix, ".index"), _flip(blocks[4].offset + 40))
    good = [key.decode() for block in blocks for key, _ in block.entries if block != blocks[4]]
    _damaged(
        made,
        prefix,
        f"byte {blocks[4].offset + 40} of the index is changed, in its fifth block",
        source=source,
        exits=3,
        readable=[key for key in good if key],
        note="TensorFlow lists what the intact blocks hold, without a word about the rest",
    )


@sample("damaged/truncated_index")
def truncated_index(made: Sample) -> None:
    """The footer of the index is cut off."""
    prefix = _copy(made)
    _edit(_member(prefix, ".index"), lambda data: data[:-FOOTER])
    note = "the one data block is whole, so a salvage that scans for blocks could read it all"
    _damaged(
        made, prefix, "the last 48 bytes of the index are gone", opens=False, exits=3, note=note
    )


@sample("damaged/empty_index")
def empty_index(made: Sample) -> None:
    """The index is empty, as after a full disk."""
    prefix = _copy(made)
    _member(prefix, ".index").write_bytes(b"")
    _damaged(made, prefix, "the index has no bytes", opens=False, exits=3)


@sample("damaged/bad_magic")
def bad_magic(made: Sample) -> None:
    """The magic number of the index is wrong."""
    prefix = _copy(made)
    _edit(_member(prefix, ".index"), _flip(-1))
    _damaged(made, prefix, "the last byte of the index is changed", opens=False, exits=3)


@sample("damaged/missing_shard")
def missing_shard(made: Sample) -> None:
    """One of three data files is missing."""
    prefix = _copy(made, "sharded/model.ckpt-2")
    _member(prefix, ".data-00001-of-00003").unlink()
    _damaged(made, prefix, "the second of three data files is gone", source="sharded/model.ckpt-2")


@sample("damaged/index_alone")
def index_alone(made: Sample) -> None:
    """An index without any data file: everything but the values."""
    prefix = _copy(made)
    _member(prefix, DATA).unlink()
    _damaged(made, prefix, "the data file is gone")


@sample("damaged/truncated_meta")
def truncated_meta(made: Sample) -> None:
    """The .meta is cut in the middle: the checkpoint is whole, its graph cannot be read."""
    prefix = _copy(made, meta=True)
    _edit(_member(prefix, ".meta"), lambda data: data[:3001])
    note = "the tensors need no graph: listed without collections, with a word of warning"
    _damaged(made, prefix, "the .meta ends after 3001 bytes", note=note)


@sample("damaged/missing_slice")
def missing_slice(made: Sample) -> None:
    """The index names three slices of emb/table and has the data of two."""
    source = "partitioned/model.ckpt-2"
    prefix = _copy(made, source)
    entries = read_table(_member(prefix, ".index"))
    slices = [key for key, _ in entries if key.startswith(b"\0emb/table\0")]
    kept = [(key, value) for key, value in entries if key != slices[1]]
    _member(prefix, ".index").write_bytes(table_bytes(kept))
    _damaged(made, prefix, "the entry of the second slice of emb/table is gone", source=source)


@sample("damaged/slice_gap")
def slice_gap(made: Sample) -> None:
    """The slices of emb/table leave rows 4 to 6 uncovered."""
    source = "partitioned/model.ckpt-2"
    prefix = _copy(made, source)
    entries = dict(read_table(_member(prefix, ".index")))
    entry = tensor_bundle_pb2.BundleEntryProto.FromString(entries[b"emb/table"])
    middle = sorted(range(3), key=lambda at: entry.slices[at].extent[0].start)[1]
    del entry.slices[middle]
    entries[b"emb/table"] = entry.SerializeToString(deterministic=True)
    _member(prefix, ".index").write_bytes(table_bytes(entries.items()))
    _damaged(made, prefix, "emb/table lists only two of its three slices", source=source)


@sample("damaged/lost_index_suffix")
def lost_index_suffix(made: Sample) -> None:
    """The index lost its .index suffix: model.ckpt-5 looks like a V1 file."""
    prefix = _copy(made)
    _member(prefix, ".index").rename(prefix)
    names = [row["name"] for row in MADE[NET]["expect"]["variables"] if row["saved"]]
    note = "TensorFlow takes it for a V1 file and lists nothing, without a word"
    what = "model.ckpt-5.index is called model.ckpt-5"
    _damaged(made, prefix, what, readable=names, note=note)


@sample("damaged/lfs_pointer")
def lfs_pointer(made: Sample) -> None:
    """A Git LFS pointer stands in the data file's place."""
    prefix = _copy(made)
    size = _member(prefix, DATA).stat().st_size
    _member(prefix, DATA).write_bytes(_pointer(size))
    _damaged(made, prefix, "the data file is a Git LFS pointer")


@sample("damaged/lfs_pointer_index")
def lfs_pointer_index(made: Sample) -> None:
    """Git LFS pointers stand in the place of the index and the data file."""
    prefix = _copy(made)
    for suffix in (".index", DATA):
        size = _member(prefix, suffix).stat().st_size
        _member(prefix, suffix).write_bytes(_pointer(size))
    _damaged(made, prefix, "both files are Git LFS pointers", opens=False, exits=3)


def _pointer(size: int) -> bytes:
    digest = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393"
    lines = ("version https://git-lfs.github.com/spec/v1", f"oid sha256:{digest}", f"size {size}")
    return "".join(f"{line}\n" for line in lines).encode()


@sample("damaged/pytorch_zip")
def pytorch_zip(made: Sample) -> None:
    """A PyTorch file (a zip archive with a pickle) in a checkpoint's place."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in (("data.pkl", b"\x80\x02}q\x00."), ("version", b"3\n")):
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), data)
    path = made.folder / "model.ckpt"
    path.write_bytes(buffer.getvalue())
    _damaged(made, path, "a PyTorch zip file", source=None, opens=False, exits=3)


@sample("damaged/pytorch_pickle")
def pytorch_pickle(made: Sample) -> None:
    """A legacy PyTorch file (pickles only) in a checkpoint's place."""
    path = made.folder / "model.ckpt"
    path.write_bytes(TORCH_PICKLE + b"\x80\x02}q\x00." * 2)
    _damaged(made, path, "a legacy PyTorch pickle", source=None, opens=False, exits=3)


@sample("damaged/html_page")
def html_page(made: Sample) -> None:
    """A web page saved in a checkpoint's place, as after a failed download."""
    path = made.folder / "model.ckpt"
    path.write_bytes(b"<!DOCTYPE html>\n<html><head><title>404</title></head></html>\n")
    _damaged(made, path, "an HTML page", source=None, opens=False, exits=3)


@sample("damaged/v1_flipped_byte")
def v1_flipped_byte(made: Sample) -> None:
    """One byte in the block of a V1 file is changed."""
    prefix = _copy(made, "v1_single/model.ckpt-3")
    _edit(prefix, _flip(700))
    source = "v1_single/model.ckpt-3"
    _damaged(made, prefix, "byte 700 is changed", source=source, opens=False, exits=3)


@sample("damaged/v1_truncated")
def v1_truncated(made: Sample) -> None:
    """A V1 file is cut in the middle."""
    prefix = _copy(made, "v1_single/model.ckpt-3")
    _edit(prefix, lambda data: data[: len(data) // 2])
    source = "v1_single/model.ckpt-3"
    _damaged(made, prefix, "the second half is gone", source=source, opens=False, exits=3)


@sample("damaged/v1_missing_shard")
def v1_missing_shard(made: Sample) -> None:
    """One of three V1 shards is missing."""
    source = "v1_sharded/model.ckpt-2"
    prefix = _copy(made, source)
    _member(prefix, "-00001-of-00003").unlink()
    good = sorted(tf.train.load_checkpoint(f"{prefix}-?????-of-00003").get_variable_to_shape_map())
    _damaged(
        made,
        prefix,
        "the second of three shards is gone, with the names in it",
        source=source,
        exits=3,
        readable=good,
        note="TensorFlow opens what is left without a word",
    )


@sample("damaged/not_a_checkpoint_dir")
def empty_directory(made: Sample) -> None:
    """A folder whose state file names checkpoints of which none is there."""
    (made.folder / "checkpoint").write_bytes(b'model_checkpoint_path: "model.ckpt-1"\n')
    _damaged(made, made.folder, "the named checkpoint is gone", source=None, opens=False, exits=3)
