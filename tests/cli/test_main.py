"""The command line as a whole: flags anywhere, exit codes, the JSON envelope, errors."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ckpttool._version import __version__
from ckpttool.cli import emit
from ckpttool.cli.app import COMMANDS
from ckpttool.cli.main import execute

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    "words", [["--json", "tree", "PATH"], ["tree", "--json", "PATH"], ["tree", "PATH", "--json"]]
)
def test_global_flags_stand_anywhere(words: list[str], samples: Path, capsys: Capture) -> None:
    path = str(samples / "my_scope")
    assert execute([path if word == "PATH" else word for word in words]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert list(answer)[:3] == ["schema", "command", "status"]
    assert (answer["schema"], answer["command"], answer["status"]) == (1, "tree", "ok")


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help(command: str, capsys: Capture) -> None:
    assert execute([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"ckpttool {command}" in text
    assert "Usage" in text
    # An option takes a metavar that equals its name for the name itself.
    options = re.findall(r"--[A-Za-z][\w-]*", text)
    assert [option for option in options if option != option.lower()] == []


def test_root_help_lists_every_command(capsys: Capture) -> None:
    assert execute(["--help"]) == 0
    text = capsys.readouterr().out
    assert [name for name in COMMANDS if name not in text] == []


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--role", "slot"], ["net/fc/kernel/Momentum"]),
        (["--role", "step", "--role", "average"], None),
        (["--match", "net/**", "--exclude", "**/bias"], None),
        (["--collection", "LOCAL"], ["seen", "total"]),
        (["--collection", "fc_weights"], ["net/fc/kernel"]),
        (["--collection", "GraphKeys.MODEL_VARIABLES"], ["net/moving_mean"]),
    ],
)
def test_filters(
    options: list[str], names: list[str] | None, samples: Path, capsys: Capture
) -> None:
    path = str(samples / "collections_variables")
    assert execute(["tree", path, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["variables"]
    assert execute(["tree", path, "--json", *options]) == 0
    found = json.loads(capsys.readouterr().out)["variables"]
    if options[0] == "--role":
        wanted = set(options[1::2])
        expected = [row for row in rows if row["role"] in wanted]
    elif options[0] == "--match":
        expected = [
            row
            for row in rows
            if row["name"].startswith("net/") and not row["name"].endswith("/bias")
        ]
    else:
        expected = [row for row in rows if row["name"] in (names or [])]
    assert found == expected
    assert found or options == ["--role", "slot"]


def test_sort_by_size_and_depth(samples: Path, capsys: Capture) -> None:
    path = str(samples / "numbered_layers")
    assert execute(["tree", path, "--sort", "size", "--json"]) == 0
    sizes = [row["bytes"] for row in json.loads(capsys.readouterr().out)["variables"]]
    assert sizes == sorted(sizes, reverse=True)
    assert execute(["tree", path, "--depth", "1"]) == 0
    text = capsys.readouterr().out
    assert "2 below" in text
    assert "kernel" not in text


def test_version(capsys: Capture) -> None:
    assert execute(["--version"]) == 0
    assert capsys.readouterr().out == f"ckpttool {__version__}\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["tree"], 2),
        (["treee", "x"], 2),
        (["tree", "PATH", "--bogus"], 2),
        (["tree", "PATH", "--depth", "0"], 2),
        (["tree", "PATH", "--role", "slots"], 2),
        (["tree", "PATH", "--match", "[z-a]"], 2),
        (["tree", "NOWHERE"], 3),
        (["collections", "NO_GRAPH"], 3),
        (["remap", "PATH", "--add-prefix", "x/"], 2),
        (["remap", "PATH", "-o", "OUT"], 2),
        (["remap", "PATH", "--rename", "nothing=x", "-o", "OUT"], 4),
        (["remap", "PATH", "-m", "no_such_mapping", "-o", "OUT"], 4),
    ],
)
def test_exit_codes(
    words: list[str], code: int, samples: Path, tmp_path: Path, capsys: Capture
) -> None:
    places = {
        "PATH": str(samples / "my_scope"),
        "NOWHERE": str(tmp_path / "nowhere"),
        "NO_GRAPH": str(samples / "no_graph"),
        "OUT": str(tmp_path / "out" / "model.ckpt"),
    }
    words = [places.get(word, word) for word in words]
    assert execute(words) == code
    captured = capsys.readouterr()
    assert captured.err or code == 2
    assert "Traceback" not in captured.err
    assert execute([*words, "--json"]) == code
    answer = json.loads(capsys.readouterr().out)
    assert answer["status"] == "error"
    assert answer["problems"][0]["code"]
    assert not (tmp_path / "out").exists(), "nothing is written"


def test_an_unexpected_error_is_a_bug_of_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def broken(path: str) -> int:
        raise RuntimeError("boom")

    monkeypatch.setattr("ckpttool.cli.actions.show_tree", broken)
    assert execute(["tree", "x"]) == 70
    assert "BUG001" in capsys.readouterr().err
    with pytest.raises(RuntimeError):
        execute(["tree", "x", "--debug"])


def test_ctrl_c(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def interrupted(path: str) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("ckpttool.cli.actions.show_tree", interrupted)
    assert execute(["tree", "x"]) == 130


def _run(*words: str, **more: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "ckpttool", *words], capture_output=True, check=False, **more
    )


def test_a_closed_pipe_is_no_error(samples: Path) -> None:
    script = f"{sys.executable} -m ckpttool tree '{samples / 'many_blocks'}' --no-fold | head -n 1"
    run = subprocess.run(  # noqa: S602
        script, shell=True, capture_output=True, check=False, text=True
    )
    assert run.stdout.count("\n") == 1
    assert run.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full here")
@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_full_standard_output_is_told(samples: Path, flags: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        words = (sys.executable, "-m", "ckpttool", "tree", str(samples / "shapes"), *flags)
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE)  # noqa: S603
    assert done.returncode == 5
    assert b"OUT002" in done.stderr


def test_names_that_drive_a_terminal_print_safely(samples: Path) -> None:
    run = _run("tree", str(samples / "odd_variable_names"), "--color")
    text = run.stdout.decode()
    assert run.returncode == 0
    names = [line for line in text.splitlines() if "[bold]" in line]
    assert names, "markup in a name is shown, not obeyed"
    plain = _run("tree", str(samples / "bytes_in_names")).stdout
    assert b"\x1b" not in plain
    plain.decode("utf-8")


def test_ascii_output_where_the_encoding_is_ascii(samples: Path) -> None:
    import os

    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    run = _run("tree", str(samples / "v1_sharded"), env=env)
    assert run.returncode == 0
    assert run.stdout.isascii()
    assert b"|-- " in run.stdout


def test_quiet_says_nothing_but_errors(samples: Path) -> None:
    path = str(samples / "state_windows")
    assert _run("tree", path).stderr != b""
    assert _run("tree", path, "-q").stderr == b""
    assert _run("tree", "nowhere", "-q").stderr != b""


def test_settings_do_not_leak_between_runs(samples: Path, capsys: Capture) -> None:
    execute(["tree", str(samples / "my_scope"), "--json", "-q"])
    execute(["tree", str(samples / "my_scope")])
    assert (emit.SETTINGS.json, emit.SETTINGS.quiet) == (False, False)
