"""Fuzz one target: ``python tests/fuzz/run.py v2_bundle --minutes 20``.

Needs ``pip install atheris`` (CPython on Linux or macOS).  New inputs are kept in a corpus folder;
one that breaks something is written beside it as ``crash-*`` or ``timeout-*`` and ends the run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parent))

with atheris.instrument_imports(include=["ckpttool"]):
    import targets as fuzzed

    # Loaded when they are first needed: better now, to be instrumented too.
    import ckpttool.analysis.duplicates
    import ckpttool.analysis.scopes
    import ckpttool.analysis.tree
    import ckpttool.checkpoint
    import ckpttool.formats.keras._h5_rehearsal
    import ckpttool.formats.keras.archive
    import ckpttool.formats.keras.legacy
    import ckpttool.formats.keras.weights
    import ckpttool.formats.plain.npz
    import ckpttool.formats.plain.safetensors
    import ckpttool.formats.tensorflow.bundle
    import ckpttool.formats.tensorflow.meta_graph
    import ckpttool.formats.tensorflow.object_graph
    import ckpttool.formats.tensorflow.saved_model
    import ckpttool.formats.tensorflow.slices_v1
    import ckpttool.formats.tensorflow.state_file
    import ckpttool.formats.tensorflow.tensor_proto
    import ckpttool.graph.initializers
    import ckpttool.graph.metagraph
    import ckpttool.graph.textproto
    import ckpttool.graph.variables
    import ckpttool.mapping.execution.execute
    import ckpttool.mapping.language.document
    import ckpttool.mapping.language.rules
    import ckpttool.mapping.planning.inverse
    import ckpttool.mapping.remap
    import ckpttool.mapping.transforms.computing
    import ckpttool.mapping.transforms.parse
    import ckpttool.mapping.transforms.views

MEMORY_MB = 1024  # resident, Python and the libraries included
SLOWEST = 60  # seconds for one input, on a machine that does other things too


def main() -> None:
    """Parse the options and hand over to libFuzzer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=sorted(fuzzed.TARGETS))
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--corpus", type=Path, default=Path("fuzz-corpus"))
    options = parser.parse_args()
    # Files that keep the HDF5 library busy are found often, and each takes this time.
    ckpttool.formats.keras._h5_rehearsal.CPU_SECONDS = 1
    target = fuzzed.TARGETS[options.target]
    corpus = options.corpus / target.name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number:03d}").write_bytes(seed)
    shared = Path("/dev/shm")  # noqa: S108  # memory, where there is such a folder
    folder = Path(tempfile.mkdtemp(dir=shared if shared.is_dir() else None))
    arguments = [
        sys.argv[0],
        f"-max_total_time={int(options.minutes * 60)}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-timeout={SLOWEST}",
        f"-artifact_prefix={corpus}-",
        "-max_len=65536",
        "-print_final_stats=1",
        str(corpus),
    ]
    atheris.Setup(arguments, lambda data: fuzzed.run(target, data, folder))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
