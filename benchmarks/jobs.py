"""What is measured: the jobs, what each is compared with, and the bound that the design sets.

To add a job, write a `Job` entry in the function of its command, or a new such function, and list
that in `all_jobs`. A job that writes does so under `Setting.scratch`, which is emptied before each
process. A TensorFlow script to compare with goes to `baselines/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from make_inputs import prefix

BASELINES = Path(__file__).resolve().parent / "baselines"
ANONYMOUS_MIB = 200
SCOPE = "moved"
RENAME_MAPPING = f"""\
version: 1
description: every variable under a new scope
target: tf1
slots: follow
rules:
  - from: "**"
    to: "{SCOPE}/**"
"""


@dataclass(frozen=True)
class Setting:
    """The commands and directories of one benchmark run."""

    ckpttool: tuple[str, ...]
    python: str
    tensorflow_python: str
    inputs: Path
    scratch: Path
    mapping: Path

    def checkpoint(self, name: str) -> str:
        return str(prefix(self.inputs, name))

    def baseline(self, script: str, *arguments: str) -> tuple[str, ...]:
        return (self.tensorflow_python, str(BASELINES / script), *arguments)


@dataclass(frozen=True)
class Bound:
    """`faster`: theirs / ours must reach the value. `cost`: ours / theirs must not pass it."""

    kind: Literal["faster", "cost"]
    value: float | None = None

    def ratio(self, ours: float, theirs: float) -> float:
        return theirs / ours if self.kind == "faster" else ours / theirs

    def met(self, ratio: float) -> bool:
        if self.value is None:
            return True
        return ratio >= self.value if self.kind == "faster" else ratio <= self.value

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        return f"{'>=' if self.kind == 'faster' else '<='} {self.value:g}"


@dataclass(frozen=True)
class Against:
    """Another way to do a job. A `slow` one takes minutes or much memory and must be asked for."""

    name: str
    command: tuple[str, ...]
    bound: Bound
    needs_tensorflow: bool = False
    slow: bool = False


@dataclass(frozen=True)
class Job:
    """One use of ckpttool, measured against each of `against`."""

    name: str
    input: str
    arguments: tuple[str, ...]
    against: tuple[Against, ...]
    exits: tuple[int, ...] = (0,)
    peak_mib: float | None = None
    writes: bool = False


def all_jobs(setting: Setting) -> list[Job]:
    """The table of jobs, in the order in which they run."""
    return [*tree_jobs(setting), *diff_jobs(setting), *remap_jobs(setting), *verify_jobs(setting)]


def tree_jobs(setting: Setting) -> list[Job]:
    bert, index = setting.checkpoint("bert"), setting.checkpoint("index")
    inspect = (setting.tensorflow_python, "-m", "tensorflow.python.tools.inspect_checkpoint")
    return [
        Job(
            "tree-bert",
            "bert",
            ("tree", bert),
            (
                Against(
                    "inspect_checkpoint",
                    (*inspect, f"--file_name={bert}"),
                    Bound("faster", 30),
                    needs_tensorflow=True,
                ),
                Against(
                    "import typer, rich",
                    (setting.python, "-c", "import typer, rich"),
                    Bound("cost", 2),
                ),
            ),
            peak_mib=60,
        ),
        Job(
            "tree-index",
            "index",
            ("tree", index),
            (
                Against(
                    "load_checkpoint",
                    setting.baseline("list_variables.py", index),
                    Bound("faster", 8),
                    needs_tensorflow=True,
                ),
            ),
        ),
    ]


def diff_jobs(setting: Setting) -> list[Job]:
    bert, changed = setting.checkpoint("bert"), setting.checkpoint("bert_changed")
    index = setting.checkpoint("index")
    datas = tuple(f"{path}.data-00000-of-00001" for path in (bert, changed))
    return [
        Job(
            "diff-values",
            "bert",
            ("diff", bert, changed),
            (
                Against(
                    "load_checkpoint, NumPy",
                    setting.baseline("compare.py", bert, changed),
                    Bound("faster", 20),
                    needs_tensorflow=True,
                ),
                Against("cat A B", ("cat", *datas), Bound("cost", 2)),
            ),
            exits=(1,),
        ),
        Job(
            "diff-equal",
            "bert",
            ("diff", bert, bert),
            (Against("ckpttool tree", (*setting.ckpttool, "tree", bert), Bound("cost")),),
        ),
        Job(
            "diff-equal-index",
            "index",
            ("diff", index, index),
            (Against("ckpttool tree", (*setting.ckpttool, "tree", index), Bound("cost")),),
        ),
    ]


def remap_jobs(setting: Setting) -> list[Job]:
    source, target = setting.checkpoint("bert"), str(setting.scratch / "model.ckpt")
    files = (f"{source}.data-00000-of-00001", f"{source}.index")
    return [
        Job(
            "remap-tf1",
            "bert",
            ("remap", source, "-m", str(setting.mapping), "--to", "tf1", "-o", target),
            (
                Against("cp", ("cp", *files, str(setting.scratch)), Bound("cost", 1.2)),
                Against(
                    "tf.Variable, Saver",
                    setting.baseline("rename.py", source, SCOPE, target),
                    Bound("faster"),
                    needs_tensorflow=True,
                    slow=True,
                ),
            ),
            writes=True,
        ),
    ]


def verify_jobs(setting: Setting) -> list[Job]:
    bert = setting.checkpoint("bert")
    data = f"{bert}.data-00000-of-00001"
    return [
        Job(
            "verify-bert",
            "bert",
            ("verify", bert),
            (Against("cat", ("cat", data), Bound("cost", 1.5)),),
        ),
    ]
