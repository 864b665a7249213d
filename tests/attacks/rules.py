"""Attacks by mapping files: YAML, patterns, includes, and sizes that a plan asks for."""

from __future__ import annotations

from pathlib import Path

from attack import attack


def _mapping(folder: Path, text: str) -> Path:
    path = folder / "m.yaml"
    path.write_text(text, "utf-8")
    return path


def _rule(folder: Path, rule: str) -> Path:
    return _mapping(folder, f"unmatched: keep\nrules:\n  - {rule}\n")


@attack("MAP001")
def yaml_billion_laughs(folder: Path) -> Path:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    return _mapping(folder, "\n".join(lines))


@attack("MAP001")
def yaml_tag_that_makes_objects(folder: Path) -> Path:
    mark = folder / "RUN"
    return _mapping(folder, f"rules: !!python/object/apply:os.system ['touch {mark}']\n")


@attack("MAP001")
def yaml_nested_in_depth(folder: Path) -> Path:
    return _mapping(folder, "rules: " + "[" * 50_000)


@attack("INP009")
def yaml_of_many_megabytes(folder: Path) -> Path:
    return _mapping(folder, "#" + "x" * (33 << 20))


@attack("MAP004")
def regex_of_exponential_time(folder: Path) -> Path:
    return _rule(folder, "{from: 're:(a+)+b', to: c}")


@attack("MAP004")
def regex_of_alternatives_that_overlap(folder: Path) -> Path:
    return _rule(folder, "{from: 're:(a|a|aa)*b', to: c}")


@attack("MAP004")
def regex_that_counts_to_a_billion(folder: Path) -> Path:
    return _rule(folder, "{from: 're:((a{1000}){1000}){1000}', to: c}")


@attack("MAP004")
def pattern_of_wildcards(folder: Path) -> Path:
    return _rule(folder, f"{{from: '{'/'.join(['**'] * 100)}', to: c}}")


@attack("MAP016")
def include_that_leaves_its_folder(folder: Path) -> Path:
    (folder / "secret.yaml").write_text("rules: [{from: a, to: b}]\n")
    (folder / "inside").mkdir()
    return _mapping(folder / "inside", "include: ../secret.yaml\n")


@attack("MAP016")
def include_of_an_absolute_path(folder: Path) -> Path:
    return _mapping(folder, "include: /etc/passwd\n")


@attack("MAP016")
def include_of_itself(folder: Path) -> Path:
    return _mapping(folder, "include: m.yaml\n")


@attack("MAP007")
def includes_that_double(folder: Path) -> Path:
    for number in range(25):
        (folder / f"i{number}.yaml").write_text(
            f"rules:\n  - include: i{number + 1}.yaml\n  - include: i{number + 1}.yaml\n"
        )
    (folder / "i25.yaml").write_text("rules: [{from: a, to: b}]\n")
    return _mapping(folder, "include: i0.yaml\n")


@attack("MAP018")
def zeros_of_exabytes(folder: Path) -> Path:
    return _rule(folder, "{to: x, apply: [{zeros: {shape: [1152921504606846976, 16]}}]}")


@attack("MAP018")
def pad_of_exabytes(folder: Path) -> Path:
    return _rule(folder, "{from: w, to: x, apply: [{pad: {axis: 0, before: 4611686018427387904}}]}")


@attack("MAP021")
def power_in_an_expression(folder: Path) -> Path:
    return _rule(folder, "{from: w, to: x, apply: [{reshape: ['9**9**9', -1]}]}")


@attack("MAP021")
def expression_nested_in_depth(folder: Path) -> Path:
    return _rule(folder, f"{{from: w, to: x, apply: [{{reshape: ['{'(' * 5000}1', -1]}}]}}")


@attack("MAP018")
def blocks_that_double(folder: Path) -> Path:
    twice = "{permute_blocks: {axis: 0, of: 1, order: [0, 0]}}"
    return _rule(folder, f"{{from: w, to: x, apply: [{', '.join([twice] * 60)}]}}")


@attack("MAP021")
def split_into_a_billion(folder: Path) -> Path:
    return _rule(folder, "{from: w, to: 'x{k}', spread: k, apply: [{split: {parts: 1000000000}}]}")


@attack("MAP013")
def target_names_that_leave(folder: Path) -> Path:
    """A target that makes files of names has to refuse them."""
    return _rule(folder, "{from: w, to: ../../escaped}")
