"""Which mapping files are proposed: the right one first, and no wrong one with confidence."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from detect_support import bert, detected, layers, named
from hypothesis import given, settings
from hypothesis import strategies as st
from spec_support import FOLDER, Spec, read_spec, spec_files

import ckpttool
from ckpttool.analysis.roles import infer_roles
from ckpttool.errors import CkptError
from ckpttool.mapping.detecting.proposals import LAYERS, MODEL, NAMES, Detection, Proposal
from ckpttool.mapping.language.catalog import mapping_info
from ckpttool.mapping.like.template import TargetVariable, Template
from ckpttool.mapping.planning.fitting import Like
from ckpttool.mapping.planning.plan import Plan, Wanted, make_plan
from ckpttool.mapping.remap import load_rules

SPECS = spec_files()
# A parameter that is the name of a variable or a column shows nowhere.
TOLD = [path for path in SPECS if not {"table", "shards", "bias"} & {*read_spec(path).params}]


def _id(path: Path) -> str:
    return path.stem


def _plan(spec: Spec, item: Proposal, template: Template | None) -> Plan:
    """The plan of a proposal, made as `remap` makes it."""
    params = {**dict.fromkeys(item.needed, 1), **item.params}
    rules = load_rules(item.name, params=params)
    written = template is not None or not item.target.startswith("keras")
    fitting = None if template is None else Like(template)
    wanted = Wanted(item.target, fitting=fitting, written=written)
    return make_plan(spec.source, rules, infer_roles(spec.source), source="m", wanted=wanted)


@cache
def _found(path: Path) -> Detection:
    return detected(read_spec(path).source)


# --- the right one first ----------------------------------------------------------------------


@pytest.mark.parametrize("path", TOLD, ids=_id)
def test_the_mapping_of_a_spec_comes_first(path: Path) -> None:
    spec = read_spec(path)
    target = mapping_info(spec.mapping).target
    found = _found(path)
    of_target = [item for item in found.proposals if item.target == target]
    names = [item.name for item in of_target]
    assert spec.mapping in names
    own = of_target[names.index(spec.mapping)]
    assert own.fits
    assert own.fit.taken + own.fit.left_out + own.fit.kept == found.weights
    # What goes by the last words of names stands behind what knows the net.
    assert own is of_target[0] or (own.kind == LAYERS and of_target[0].kind == MODEL)
    assert found.proposals[0].fits


@pytest.mark.parametrize("path", [p for p in TOLD if read_spec(p).template], ids=_id)
def test_with_the_target_it_is_the_first_and_its_plan_is_sound(path: Path) -> None:
    spec = read_spec(path)
    found = detected(spec.source, like=spec.template)
    first = found.proposals[0]
    assert (first.name, first.fits, first.like, first.needed) == (spec.mapping, True, (), ())
    assert len(_plan(spec, first, spec.template).steps) == len(spec.template.variables)


@pytest.mark.parametrize("path", SPECS, ids=_id)
def test_what_fits_has_a_plan_and_nothing_else_does(path: Path) -> None:
    spec = read_spec(path)
    for item in _found(path).proposals:
        if item.fits:
            assert _plan(spec, item, None).steps
        else:
            with pytest.raises(CkptError):
                _plan(spec, item, None)


# --- no wrong one -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", SPECS, ids=_id)
def test_the_same_shapes_under_other_scopes_are_no_model_that_is_known(path: Path) -> None:
    spec = read_spec(path)
    source = {}
    for name, item in spec.source.items():
        *scopes, last = name.split("/")
        words = "".join(f"{word[::-1]}x/" for word in scopes)
        source[words + last] = item._replace(name=words + last)
    for found in detected(source).proposals:
        assert not found.fits or found.kind == LAYERS, found.name


@pytest.mark.parametrize("path", SPECS, ids=_id)
def test_a_variable_that_is_nobodys_is_told_and_nothing_fits(path: Path) -> None:
    spec = read_spec(path)
    odd = named({"surplus/variable": (3,)})
    found = detected({**spec.source, **odd})
    assert not any(item.fits for item in found.proposals if item.kind != NAMES)
    for item in found.proposals:
        if item.kind != NAMES:
            assert "surplus/variable" in item.fit.unmatched or item.fit.lacking > 20


def test_another_shape_is_no_fit() -> None:
    spec = read_spec(FOLDER / "slim_resnet_v2__keras_resnet_v2.json")
    name = "resnet_v2_50/logits/weights"
    odd = spec.source[name]._replace(shape=(3, 3, 2048, 1001))
    first = detected({**spec.source, name: odd}).proposals[0]
    assert first.name == spec.mapping
    assert first.fits == (first.params == {"top": False})  # it fits without its head, or not
    assert first.params or first.fit.problems


@pytest.mark.parametrize(
    "shapes",
    [
        {},
        {"global_step": ()},
        {"a": (2,), "b": (3,)},
        {f"Variable_{number}": (4, 4) for number in range(1, 9)},
        {f"layer{number}.weight": (4, 4) for number in range(8)},
        {f"blocks/{number}/attn/qkv/w": (4, 12) for number in range(8)},
        {"w/Adam": (2,), "w/Adam_1": (2,), "beta1_power": ()},
        {"lstm/w": (8, 16), "lstm/u": (4, 16), "lstm/b": (16,)},
    ],
)
def test_nothing_is_proposed_for_what_nobody_knows(shapes: Any) -> None:
    found = detected(shapes)
    assert found.proposals == ()
    assert not found.found
    assert found.names == len(shapes)


def test_a_net_of_layers_is_no_model() -> None:
    found = detected(layers())
    assert [item.kind for item in found.proposals] == [LAYERS]
    assert found.proposals[0].name == "tf_layers__keras"
    assert found.found


def test_samples_are_no_model_that_is_known(samples: Path) -> None:
    kinds: Counter[str] = Counter()
    for path in sorted(samples.iterdir()):
        if not path.is_dir() or path.name in ("make", "damaged"):
            continue
        try:
            found = ckpttool.detect_mappings(str(path))
        except CkptError:
            continue
        cells = path.name in ("bidirectional", "multi_rnn")
        for item in found.proposals:
            kinds[item.kind] += item.fits
            assert item.kind == LAYERS or (cells and item.name == "lstm__keras_lstm"), path.name
            assert item.fits or item.fit.lacking
        assert not cells or found.found
    assert kinds[LAYERS] > 20
    assert kinds[MODEL] == 2


# Trained by others: reinforcement learning, readers of music and memory, notebooks, and the like.
_NOBODYS = (
    "awr-int32", "ddpg-baselines", "dup-movidius-x3", "empty-basename-musicnn", "gail-bc",
    "h5-keras3-snake", "h5-textgenrnn", "idx-handwriting", "idx-i3d", "idx-squeezeseg", "ntm-copy",
    "path-failure-lstm", "seq2seq-letters", "t2t-transformer", "trt-mnist", "v1-deepq-karpathy",
    "v1-dnc-copy", "sm-half-plus-two", "tf-old-string-tensors", "tf113-object",
)  # fmt: skip


@pytest.mark.parametrize("name", _NOBODYS)
def test_checkpoints_of_other_people_are_not_taken_for_another_net(
    real_ckpts: Path, name: str
) -> None:
    if not (real_ckpts / name).exists():
        pytest.skip("not here")
    for item in ckpttool.detect_mappings(str(real_ckpts / name)).proposals:
        assert not (item.fits and item.kind != LAYERS), item.name


def test_a_backbone_in_a_net_of_its_own(real_ckpts: Path) -> None:
    found = ckpttool.detect_mappings(str(real_ckpts / "idx-ssd-mobilenet"))
    first = found.proposals[0]
    assert first.name == "slim_mobilenet_v1__keras_mobilenet"
    assert not first.fits
    assert (first.strip, first.fit.taken) == ("FeatureExtractor/", 135)


def test_names_of_old_cells(real_ckpts: Path) -> None:
    found = ckpttool.detect_mappings(str(real_ckpts / "v1-linux-char-rnn"))
    assert [(item.name, item.kind) for item in found.proposals] == [("tf011_rnn_names", NAMES)]
    assert found.found


# --- scopes and parameters --------------------------------------------------------------------


def _named(shapes: Any, name: str, **options: Any) -> Proposal:
    found = [item for item in detected(shapes, **options).proposals if item.name == name]
    assert found, name
    return found[0]


def test_a_scope_that_a_mapping_does_not_know_is_to_be_stripped() -> None:
    item = _named(bert(scope="my/model/bert/", heads=False), "google_bert__hf_bert")
    assert item.fits
    assert item.strip == "my/model/"


def test_a_scope_that_cannot_be_stripped_is_not_proposed() -> None:
    shapes = bert(scope="my/bert/", heads=False)
    both = {**shapes, "bert/pooler/dense/bias": (128,)}
    assert not any(item.strip for item in detected(both).proposals)


def test_a_scope_goes_into_the_parameter_of_that_name() -> None:
    cell = {"deep/net/rnn/lstm_cell/kernel": (12, 16), "deep/net/rnn/lstm_cell/bias": (16,)}
    item = _named(cell, "lstm__keras_lstm")
    assert item.fits
    assert item.params["scope"] in ("deep/", "deep/net/")  # one scope more is a layer's name
    assert item.strip == ""


def test_a_scope_that_holds_half_of_the_names_is_not_the_scope_of_all() -> None:
    shapes: dict[str, tuple[int, ...]] = {"Embed/embeddings": (30, 15)}
    for scope, width in (("decode/decoder/", 65), ("rnn/", 65)):
        for cell in (0, 1):
            at = f"{scope}multi_rnn_cell/cell_{cell}/lstm_cell"
            shapes[f"{at}/kernel"] = (width + 35 * cell, 200)
            shapes[f"{at}/bias"] = (200,)
    shapes |= {"decode/decoder/dense/kernel": (50, 30), "decode/decoder/dense/bias": (30,)}
    item = _named(shapes, "rnn_model__keras")
    assert item.params.get("scope", "") == ""
    assert item.fit.taken == 11  # the cells of the decoder too, as layers of their own names


def test_slots_are_no_weights() -> None:
    found = detected(bert(adam=True))
    assert found.names == 3 * found.weights + 1
    assert found.proposals[0].fit.taken == found.weights


@pytest.mark.parametrize(("hidden", "heads"), [(128, 2), (768, 12), (1024, 16)])
def test_heads_by_convention(hidden: int, heads: int) -> None:
    item = _named(bert(1, hidden), "google_bert__keras_hub_bert")
    assert item.params == {"heads": heads}
    (guess,) = item.guesses
    assert guess.source == "bert/encoder/layer_0/attention/self/query/kernel"
    assert guess.convention
    assert item.needed == ()


def test_a_parameter_that_does_not_show_is_needed() -> None:
    item = _named(bert(1, 100), "google_bert__keras_hub_bert")
    assert (item.params, item.needed, item.guesses) == ({}, ("heads",), ())
    assert item.fits


def test_another_value_that_rules_ask_for_is_told() -> None:
    item = _named(bert(), "google_bert__keras_hub_bert")
    (choice,) = item.choices
    assert (choice.param, choice.value, choice.whole) == ("head", "masked_lm", True)
    assert choice.taken > item.fit.taken


def _target(shapes: Any, mapping: str, **params: Any) -> Template:
    """A template that a mapping fills, as Keras would have saved it."""
    specs = named(shapes)
    rules = load_rules(mapping, params=params)
    wanted = Wanted("keras", written=False)
    plan = make_plan(specs, rules, infer_roles(specs), source="m", wanted=wanted)
    rows = [
        TargetVariable(f"layers/l{at}/vars/0", (step.target,), step.dtype, step.shape)
        for at, step in enumerate(plan.steps)
    ]
    return Template(rows, kind="keras", path="target.keras")


@pytest.mark.parametrize("params", [{"heads": 2}, {"heads": 8}, {"heads": 8, "head": "masked_lm"}])
def test_the_target_says_what_only_it_knows(params: Any) -> None:
    name = "google_bert__keras_hub_bert"
    like = _target(bert(), name, **params)
    found = detected(bert(), like=like)
    first = found.proposals[0]
    assert (first.name, first.fits, first.params) == (name, True, params)
    assert [guess.convention for guess in first.guesses] == [""]
    assert not any(item.fits for item in found.proposals[1:])


def test_a_target_that_nothing_fits() -> None:
    other = Template(
        [TargetVariable("layers/dense/vars/0", ("dense/kernel",), "float32", (3, 4))],
        kind="keras",
        path="other.keras",
    )
    found = detected(bert(), like=other)
    assert not found.found
    assert found.proposals
    assert all(item.like for item in found.proposals if item.fit.whole)


# --- files beside the built-in ones -----------------------------------------------------------

MINE = """\
description: my net to Keras
target: keras
params: {units: , kind: plain}
detect:
  units: {from: "net/stage_{i:int}/project/kernel", size: d1}
  kind: {from: net/stage_0/project/bias, size: d0, table: {8: wide}}
rules:
  - {from: "net/stage_{i:int}/project/{part}", to: "dense{i:suffix}/{part}"}
"""


def test_a_file_of_ones_own_stands_before_what_fits_anything(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(MINE)
    for also in (str(path), str(tmp_path)):
        found = detected(layers(), also=[also])
        first = found.proposals[0]
        assert (first.name, first.kind, first.fits) == (str(path), MODEL, True)
        assert first.params == {"units": 8, "kind": "wide"}
        assert [guess.convention for guess in first.guesses] == ["", ""]
        assert len(found.proposals) == 1
        assert found.files == detected({}).files + 1


def test_what_is_no_mapping_file_in_a_folder_is_told_and_left(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(MINE)
    (tmp_path / "compose.yml").write_text("services: {web: {image: x}}\nvolumes: {}\n")
    (tmp_path / "broken.yaml").write_text("{\n")
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "notes.txt").write_text("rules: []")
    (tmp_path / "huge.yaml").write_text("#" + "x" * (1 << 20))
    (tmp_path / "folder.yaml").mkdir()
    found = detected(layers(), also=[str(tmp_path)])
    assert found.proposals[0].name == str(tmp_path / "mine.yaml")
    about = Counter(Path((problem.where or "").split(":")[0]).name for problem in found.problems)
    assert about == {"compose.yml": 1, "broken.yaml": 1, "list.json": 1, "huge.yaml": 1}


@pytest.mark.parametrize("text", ["ruls: []", "{", "rules: [{from: '{'}]"])
def test_a_file_that_was_named_has_to_be_right(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(CkptError):
        detected(layers(), also=[str(path)])
    with pytest.raises(CkptError):
        detected(layers(), also=[str(tmp_path / "nothing")])


def test_patterns_that_give_up_are_a_problem_of_their_file(tmp_path: Path) -> None:
    path = tmp_path / "slow.yaml"
    path.write_text("rules:\n  - {from: 're:(a+)/(b*)/(c*)/.*.*.*', to: x}\n")
    long = "a/b/c/" + "d" * 300
    found = detected({**layers(), long: (2,)}, also=[str(path)])
    assert [problem.code for problem in found.problems] == ["MAP004"]
    assert found.proposals[0].name == "tf_layers__keras"


def test_of_many_choices_a_few_are_tried(tmp_path: Path) -> None:
    rules = [
        f'  - {{from: "net/stage_{n}/{{part:path}}", to: "x{n}/{{part}}", '
        f"when: {{param: {{kind: v{n}}}}}, optional: true}}"
        for n in range(100)
    ]
    path = tmp_path / "many.yaml"
    path.write_text("params: {kind: v0}\nrules:\n" + "\n".join(rules) + "\n")
    item = _named(layers(3), str(path), also=[str(path)])
    assert [choice.value for choice in item.choices] == [f"v{n}" for n in range(1, 9)]


# --- very many names --------------------------------------------------------------------------


def test_of_very_many_names_some_stand_for_all() -> None:
    shapes = bert(400, 64)
    found = detected(shapes)
    assert found.weights == len(shapes)
    assert found.looked < 100
    assert [item.name for item in found.proposals][:1] == ["google_bert__hf_bert"]
    assert found.found
    odd = {f"alpha{letter}/beta/{number}/w": (2,) for letter in "abc" for number in range(3000)}
    assert detected(odd).proposals == ()


def test_names_that_are_all_different(tmp_path: Path) -> None:
    words = [a + b + c for a in "abcdefghijklmnopqr" for b in "stuvwxyz" for c in "abcdefghijklm"]
    shapes = {f"{word}/{word[::-1]}/{end}": (2,) for word in words for end in ("kernel", "bias")}
    shapes |= {f"{name}/more/kernel": (2,) for name in list(shapes)}
    assert len(shapes) > 4000
    found = detected(shapes)
    assert 0 < found.looked <= 2100
    assert [item.kind for item in found.proposals] == [LAYERS]


def test_rules_for_names_that_were_not_looked_at_are_not_missed(tmp_path: Path) -> None:
    rules = [f'  - {{from: "net/stage_{n}/project/{{p}}", to: "x{n}/{{p}}"}}' for n in range(2100)]
    path = tmp_path / "mine.yaml"
    path.write_text("rules:\n" + "\n".join(rules) + "\n")
    found = detected(layers(2100), also=[str(path)])
    assert found.looked < found.weights == 4200
    assert (found.proposals[0].name, found.proposals[0].fits) == (str(path), True)
    whole = detected(layers(1900), also=[str(path)])  # and here it is known that they are missed
    missed = next(item for item in whole.proposals if item.name == str(path))
    assert (missed.fits, missed.fit.idle, len(missed.fit.unused)) == (False, 200, 20)


def test_a_file_that_leaves_most_out_stands_before_one_that_renames_all(tmp_path: Path) -> None:
    (tmp_path / "names.yaml").write_text(
        "unmatched: keep\nrules:\n  - {from: 'net/{a}/project/{p}', to: 'new/{a}/project/{p}'}\n"
    )
    (tmp_path / "one.yaml").write_text(
        "target: keras\nrules:\n  - {from: 'net/stage_0/project/{p}', to: 'first/{p}'}\n"
        "  - {from: net/**, drop: true}\n"
    )
    one, names = detected(layers(8), also=[str(tmp_path)]).proposals
    assert (one.name, one.kind, one.fits) == (str(tmp_path / "one.yaml"), MODEL, True)
    assert (one.fit.taken, one.fit.left_out) == (2, 14)
    assert (names.kind, names.fits, names.fit.taken) == (NAMES, True, 16)


_KNOWN = [
    "bert", "encoder", "layer_0", "layer_12", "attention", "self", "query", "kernel", "bias",
    "rnn", "lstm_cell", "multi_rnn_cell", "cell_0", "resnet_v2_50", "block1", "unit_1", "conv1",
    "weights", "BatchNorm", "beta", "moving_mean", "Adam", "é", "{i:int}", "**", "$x",
    "global_step",
]  # fmt: skip
_WORDS = st.sampled_from([*_KNOWN, "", "\x1b", "a b"])
_NAMES = st.lists(_WORDS, min_size=1, max_size=6).map("/".join).filter(bool)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(_NAMES, st.lists(st.integers(0, 9), max_size=4).map(tuple), max_size=30))
def test_any_names_and_shapes(shapes: Any) -> None:
    specs = named(shapes)
    found = detected(shapes)
    assert found.problems == ()
    spec = Spec("", {}, specs, None)
    for item in found.proposals:
        assert 0 < item.fit.taken <= found.weights
        assert item.fit.taken + item.fit.left_out + item.fit.kept <= found.weights
        if item.fits and not item.strip:
            _plan(spec, item, None)


def test_many_slots_do_not_keep_a_target_from_being_tried() -> None:
    name = "google_bert__keras_hub_bert"
    shapes = bert(100, 64, adam=True)
    assert len(shapes) > 4000
    like = _target(bert(100, 64), name, heads=4)
    found = detected(shapes, like=like)
    assert found.looked == found.weights < 2000
    assert (found.proposals[0].name, found.proposals[0].params) == (name, {"heads": 4})
    more = detected(bert(300, 64), like=like)
    assert more.looked < more.weights
    assert {item.like for item in more.proposals} == {None}
