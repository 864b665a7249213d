"""What is measured: the jobs, what each is compared with, and the bound that the design sets.

To add a job, write a `Job` entry in the function of its command, or a new such function, and list
that in `all_jobs`. A job that writes does so under `Setting.scratch`, which is emptied before each
process. A TensorFlow script to compare with goes to `baselines/`.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from make_inputs import prefix

BASELINES = Path(__file__).resolve().parent / "baselines"
ANONYMOUS_MIB = 200
SCOPE = "moved"
MAPPINGS = {
    "rename": f"""\
version: 1
description: every variable under a new scope
slots: follow
rules:
  - from: "**"
    to: "{SCOPE}/**"
""",
    "layers": """\
version: 1
description: every variable where Keras looks for it
slots: follow
rules:
  - from: "**"
    to: "**/vars/0"
""",
    "heads": """\
version: 1
description: the projections of BERT's attention by heads, and its vocabulary turned around
slots: drop
unmatched: keep
rules:
  - from: "**/self/{part}/kernel"
    to: "**/self/{part}/kernel"
    apply:
      - reshape: [768, 12, 64]
  - from: "bert/embeddings/word_embeddings"
    to: "bert/embeddings/word_embeddings"
    apply: [transpose]
""",
    "keep": """\
version: 1
description: every variable as it is
slots: follow
unmatched: keep
rules: []
""",
    "transpose": """\
version: 1
description: one large variable turned around
rules:
  - from: "**"
    to: "**"
    apply: [transpose]
""",
}


@dataclass(frozen=True)
class Setting:
    """The commands and directories of one benchmark run."""

    ckpttool: tuple[str, ...]
    python: str
    tensorflow_python: str
    inputs: Path
    scratch: Path
    mappings: Path

    def checkpoint(self, name: str) -> str:
        return str(prefix(self.inputs, name))

    def mapping(self, name: str) -> str:
        return str(self.mappings / f"{name}.yaml")

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
    return [
        *tree_jobs(setting),
        *diff_jobs(setting),
        *remap_jobs(setting),
        *average_jobs(setting),
        *verify_jobs(setting),
    ]


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
    script = Against(
        "tf.Variable, Saver",
        setting.baseline("rename.py", source, SCOPE, target),
        Bound("faster"),
        needs_tensorflow=True,
        slow=True,
    )
    tree = Against("ckpttool tree", (*setting.ckpttool, "tree", source), Bound("cost"))
    return [
        _copying("remap-tf1", setting, "rename", "model.ckpt", bound=1.2, more=(script,)),
        _copying("remap-safetensors", setting, "rename", "model.safetensors", bound=1.5),
        _copying("remap-keras", setting, "layers", "model.weights.h5", bound=1.5),
        _copying("remap-npz", setting, "rename", "model.npz"),
        _copying(
            "remap-like", setting, "keep", "model.safetensors",
            options=("--like", setting.checkpoint("bert_changed")),
        ),
        _copying("remap-heads", setting, "heads", "model.safetensors"),
        _copying("remap-transpose", setting, "transpose", "model.npz", name="large"),
        Job(
            "remap-link",
            "bert",
            ("remap", source, "-m", setting.mapping("rename"), "--link", "-o", target),
            (tree,),
            writes=True,
        ),
    ]  # fmt: skip


def _copying(
    job: str,
    setting: Setting,
    mapping: str,
    output: str,
    *,
    name: str = "bert",
    bound: float | None = None,
    options: tuple[str, ...] = (),
    more: tuple[Against, ...] = (),
) -> Job:
    """A remap, compared with a plain copy of its input's files.

    `cp` leaves its copy to be flushed later; a second copy is flushed, as all of our outputs are.
    """
    source, scratch = setting.checkpoint(name), str(setting.scratch)
    files = (f"{source}.data-00000-of-00001", f"{source}.index")
    flushed = f"cp {shlex.join(files)} {shlex.quote(scratch)} && sync {shlex.quote(scratch)}/*"
    return Job(
        job,
        name,
        ("remap", source, "-m", setting.mapping(mapping), *options, "-o", f"{scratch}/{output}"),
        (
            Against("cp", ("cp", *files, scratch), Bound("cost", bound)),
            Against("cp, sync", ("sh", "-c", flushed), Bound("cost")),
            *more,
        ),
        writes=True,
    )


def average_jobs(setting: Setting) -> list[Job]:
    """The mean of two checkpoints, without their slots; and a comparison through a mapping."""
    bert, changed = setting.checkpoint("bert"), setting.checkpoint("bert_changed")
    datas = tuple(f"{path}.data-00000-of-00001" for path in (bert, changed))
    read = Against("cat A B", ("cat", *datas), Bound("cost"))
    output = str(setting.scratch / "mean.ckpt")
    return [
        Job("average", "bert", ("average", bert, changed, "-o", output), (read,), writes=True),
        Job(
            "diff-mapping",
            "bert",
            ("diff", bert, changed, "-m", setting.mapping("keep")),
            (read,),
            exits=(1,),
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
