"""Measure ckpttool against what else does the same job, and print the ratios.

    python benchmarks/run.py [JOB…] [--runs N] [--slow] [--ckpttool COMMAND]

Missing inputs are made first, by `make_inputs.py`. `measure.py` says what the numbers are; ratios
are of runs taken in pairs. The exit code is 1 if a command failed, and 0 whether or not the bounds
are met.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jobs import ANONYMOUS_MIB, MAPPINGS, Against, Job, Setting, all_jobs
from make_inputs import default_directory, present
from measure import Pairs, Run, RunFailedError, measure, measure_pairs

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
HEADINGS = (
    "job", "against", "ours s", "theirs s", "ratio", "min", "max", "bound",
    "peak MiB", "anon MiB", "result",
)  # fmt: skip


@dataclass(frozen=True)
class Measurement:
    """A job's pairs of runs with one of the commands that it is compared with."""

    job: Job
    against: Against
    pairs: Pairs

    def ratios(self) -> list[float]:
        both = zip(self.pairs.ours, self.pairs.theirs, strict=True)
        return [self.against.bound.ratio(a.seconds, b.seconds) for a, b in both]

    def missed(self) -> list[str]:
        """What is over its bound: `ratio`, `peak`, `anon`."""
        checks = {
            "ratio": self.against.bound.met(statistics.median(self.ratios())),
            "peak": self.job.peak_mib is None or _peak(self.pairs.ours) <= self.job.peak_mib,
            "anon": (_anonymous(self.pairs.ours) or 0.0) <= ANONYMOUS_MIB,
        }
        return [name for name, met in checks.items() if not met]

    def row(self) -> tuple[str, ...]:
        ratios, missed = self.ratios(), self.missed()
        anonymous = _anonymous(self.pairs.ours)
        return (
            self.job.name,
            self.against.name,
            f"{_median_seconds(self.pairs.ours):.3f}",
            f"{_median_seconds(self.pairs.theirs):.3f}",
            *(f"{number:.2f}" for number in (statistics.median(ratios), min(ratios), max(ratios))),
            str(self.against.bound),
            f"{_peak(self.pairs.ours):.0f} / {_peak(self.pairs.theirs):.0f}",
            "-" if anonymous is None else f"{anonymous:.0f}",
            "missed: " + ", ".join(missed) if missed else "met",
        )


def run_job(job: Job, against: Against, setting: Setting, count: int) -> Measurement:
    """Measure one job against one other command."""

    def ours() -> Run:
        _prepare(job, setting)
        return measure((*setting.ckpttool, *job.arguments), ROOT, job.exits)

    def theirs() -> Run:
        _prepare(job, setting)
        return measure(against.command, ROOT)

    return Measurement(job, against, measure_pairs(ours, theirs, count))


def _prepare(job: Job, setting: Setting) -> None:
    """Empty the scratch directory, and let no earlier write be flushed inside a timed run."""
    shutil.rmtree(setting.scratch, ignore_errors=True)
    setting.scratch.mkdir()
    if job.writes:
        os.sync()


def _median_seconds(runs: Iterable[Run]) -> float:
    return statistics.median(run.seconds for run in runs)


def _peak(runs: Iterable[Run]) -> float:
    return max(run.peak for run in runs)


def _anonymous(runs: Iterable[Run]) -> float | None:
    known = [run.anonymous for run in runs if run.anonymous is not None]
    return max(known, default=None)


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _chosen(options: argparse.Namespace, setting: Setting) -> list[tuple[Job, Against]]:
    jobs = {job.name: job for job in all_jobs(setting)}
    unknown = set(options.jobs) - set(jobs)
    if unknown:
        raise SystemExit(f"no job {', '.join(sorted(unknown))}; jobs: {', '.join(jobs)}")
    wanted = [jobs[name] for name in options.jobs] or list(jobs.values())
    pairs = [(job, against) for job in wanted for against in job.against]
    pairs = [pair for pair in pairs if options.slow or not pair[1].slow]
    if _has_tensorflow(setting.tensorflow_python):
        return pairs
    _say("no TensorFlow in that Python: leaving out what needs it (see --tensorflow-python)")
    return [pair for pair in pairs if not pair[1].needs_tensorflow]


def _has_tensorflow(python: str) -> bool:
    if python == sys.executable:
        return importlib.util.find_spec("tensorflow") is not None
    look = "import importlib.util, sys; sys.exit(not importlib.util.find_spec('tensorflow'))"
    return subprocess.run((python, "-c", look), check=False).returncode == 0


def _make_missing(names: Iterable[str], setting: Setting) -> None:
    for name in sorted(set(names)):
        if not present(setting.inputs, name):
            script = (str(HERE / "make_inputs.py"), "--out", str(setting.inputs), "--only", name)
            subprocess.run((setting.tensorflow_python, *script), check=True)


def _measure_all(chosen: list[tuple[Job, Against]], setting: Setting, count: int) -> bool:
    """Measure and print everything; false if a command failed."""
    rows: list[tuple[str, ...]] = [HEADINGS]
    failed = False
    for job, against in chosen:
        _say(f"{job.name} against {against.name}")
        try:
            rows.append(run_job(job, against, setting, count).row())
        except RunFailedError as error:
            _say(str(error))
            failed = True
    print(_table(rows))
    return not failed


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _default_command() -> str:
    script = Path(sys.executable).with_name("ckpttool")
    return shlex.join([str(script)] if script.exists() else [sys.executable, "-m", "ckpttool"])


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("jobs", nargs="*", metavar="JOB", help="all of them if none is named")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="pairs to measure")
    parser.add_argument("--slow", action="store_true", help="also against what takes minutes")
    parser.add_argument("--ckpttool", default=_default_command(), metavar="COMMAND")
    parser.add_argument("--tensorflow-python", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--inputs", type=Path, default=default_directory(), metavar="DIR")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs must be at least 1")
    return options


def main() -> int:
    options = _parse()
    inputs = options.inputs.resolve()
    inputs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".run-", dir=inputs) as name:
        work = Path(name)
        setting = Setting(
            ckpttool=tuple(shlex.split(options.ckpttool)),
            python=sys.executable,
            tensorflow_python=options.tensorflow_python,
            inputs=inputs,
            scratch=work / "scratch",
            mappings=work,
        )
        for name, text in MAPPINGS.items():
            Path(setting.mapping(name)).write_text(text)
        chosen = _chosen(options, setting)
        _make_missing((job.input for job, _ in chosen), setting)
        return 0 if _measure_all(chosen, setting, options.runs) else 1


if __name__ == "__main__":
    sys.exit(main())
