"""The how-to page about transformers, typed as it stands: config file, checkpoint, new model."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import graphs_transformers as graphs
import numpy as np
import pytest
import test_transformers as proofs
from cases_transformers import BERT
from proof_support import proves

pytestmark = [pytest.mark.oracle, pytest.mark.heavy]

ROOT = Path(__file__).resolve().parent.parent.parent
SIZES = graphs.SMALL._replace(heads=12, hidden=48)  # the page has 12 heads


class Section(NamedTuple):
    """A heading of the page, what it needs, and how its model is run on ``fed``."""

    heading: str
    needs: str
    inputs: tuple[str, str, str]
    run: str
    outputs: dict[str, str]


BOTH = {"sequence": "sequence_output", "pooled": "pooled_output"}
SECTIONS = [
    Section(
        "keras_hub", "keras_hub", ("token_ids", "padding_mask", "segment_ids"), "again(fed)", BOTH
    ),
    Section(
        "Hugging Face",
        "torch",
        ("input_ids", "attention_mask", "token_type_ids"),
        "model.eval()(**{key: torch.tensor(value) for key, value in fed.items()})",
        {"words": "prediction_logits", "next": "seq_relationship_logits"},
    ),
    Section(
        "tf-models-official",
        "official",
        ("input_word_ids", "input_mask", "input_type_ids"),
        "encoder({key: tf.constant(value) for key, value in fed.items()})",
        BOTH,
    ),
]


def script(section: Section) -> str:
    """The Python blocks and the commands of a section, one after the other."""
    text = proofs.PAGE.read_text("utf-8")
    body = re.search(rf"^## {section.heading}\n(.*?)^## ", text, re.DOTALL | re.MULTILINE)
    assert body
    lines = ["import subprocess, sys", "import numpy as np"]
    pieces = re.findall(r"^```python\n(.*?)^```|^    (ckpttool [^\n]*)$", body[1], re.DOTALL | re.M)
    assert {bool(code) for code, _ in pieces} == {True, False}
    for code, command in pieces:
        words = ["-m", *command.split()]
        lines.append(code or f"subprocess.run([sys.executable, *{words}], check=True)")
    dtype = "int64" if section.needs == "torch" else "int32"
    outputs = tuple(section.outputs.values())
    lines += [
        "import torch" if section.needs == "torch" else "",
        "for name in ('one', 'two'):",
        f"    packed = np.load('inputs.npz')[name].astype({dtype!r})",
        f"    fed = {{key: packed[:, i].copy() for i, key in enumerate({section.inputs})}}",
        f"    found = {section.run}",
        "    to_numpy = lambda x: x.detach().numpy() if hasattr(x, 'detach') else np.asarray(x)",
        f"    np.savez(f'{{name}}.npz', **{{key: to_numpy(found[key]) for key in {outputs}}})",
    ]
    return "\n".join(lines)


@pytest.mark.parametrize("section", [pytest.param(item, id=item.heading) for item in SECTIONS])
def test_the_page_works_as_it_stands(tf: Any, section: Section, tmp_path: Path) -> None:
    if find_spec(section.needs) is None:
        pytest.skip(f"{section.needs} is not installed")
    source = proofs.make_source(tf, BERT._replace(sizes=SIZES), tmp_path)
    for path in tmp_path.glob("model.ckpt*"):
        path.rename(path.with_name(path.name.replace("model.ckpt", "bert_model.ckpt")))
    config = {
        "vocab_size": SIZES.vocabulary,
        "num_hidden_layers": SIZES.layers,
        "num_attention_heads": SIZES.heads,
        "hidden_size": SIZES.hidden,
        "intermediate_size": SIZES.inner,
        "max_position_embeddings": SIZES.positions,
        "type_vocab_size": SIZES.types,
        "hidden_act": "gelu",
    }
    (tmp_path / "bert_config.json").write_text(json.dumps(config), "utf-8")
    (tmp_path / "new").mkdir()
    np.savez(tmp_path / "inputs.npz", one=source.inputs[0], two=source.inputs[1])
    (tmp_path / "page.py").write_text(script(section), "utf-8")
    legacy = {"TF_USE_LEGACY_KERAS": "1"} if section.needs == "official" else {}
    done = subprocess.run(
        [sys.executable, "page.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), **os.environ, **legacy},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [np.load(tmp_path / f"{name}.npz") for name in ("one", "two")]
    proves(
        section.heading,
        proofs.worst(source, found, section.outputs),
        error=3e-5,
        sensitivity=0.3,
    )
