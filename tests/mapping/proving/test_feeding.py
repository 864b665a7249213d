"""What is fed to a graph and to a model: guessed, said, paired."""

from __future__ import annotations

import numpy as np
import pytest

from ckpttool.errors import UsageError
from ckpttool.live.sources import InputTensor
from ckpttool.live.targets import ModelInput
from ckpttool.mapping.proving.feeding import Feed, arrange, parse_feed


def tensor(name: str, *shape: int | None, dtype: str = "float32", **more: object) -> InputTensor:
    return InputTensor(f"{name}:0", dtype, shape, **more)  # type: ignore[arg-type]


def one(name: str, *shape: int | None, dtype: str = "float32") -> ModelInput:
    return ModelInput(name, dtype, shape)


@pytest.mark.parametrize(
    ("text", "feed"),
    [
        ("x=normal", Feed("x", "normal")),
        ("x:0=normal:1:2.5", Feed("x", "normal", 1, 2.5)),
        ("x=uniform:0:255,shape:2x3", Feed("x", "uniform", 0, 255, (2, 3))),
        ("ids=int:0:100,to:tokens", Feed("ids", "int", 0, 100, None, "tokens")),
        ("keep=0.5", Feed("keep", "value", 0.5)),
        ("flag=true", Feed("flag", "value", 1.0)),
        ("a/b=shape:", Feed("a/b", None, 0.0, 1.0, ())),
        ("x=to:-", Feed("x", None, 0.0, 1.0, None, "-")),
        ("it:1=-2e3", Feed("it:1", "value", -2000.0)),
    ],
)
def test_what_people_say(text: str, feed: Feed) -> None:
    assert parse_feed(text) == feed


@pytest.mark.parametrize(
    "text", ["x", "=1", "x=gauss", "x=int", "x=int:1", "x=normal:1", "x=shape:2xx3", "x=to:"]
)
def test_what_nobody_understands(text: str) -> None:
    with pytest.raises(UsageError):
        parse_feed(text)


def test_what_is_guessed() -> None:
    tensors = [
        tensor("image", None, None, 3),
        tensor("training", dtype="bool"),
        tensor("keep"),
        tensor("rate", dtype="float32", optional=True),
        tensor("ids", None, 4, dtype="int32", rows=30),
        tensor("mask", None, 4, dtype="int64"),
    ]
    inputs = [one("image", None, 5, 3), one("ids", None, 4, dtype="int32"), one("mask_1", None, 4)]
    fed, notes = arrange(tensors, inputs, [], 3)
    told = {item.feed.name: (item.words, item.shape, item.model_input) for item in fed}
    assert told == {
        "image": ("normal 0 1", (3, 5, 3), "image"),
        "training": ("False", (), None),
        "keep": ("1", (), None),
        "ids": ("int 0 to 29", (3, 4), "ids"),
        "mask": ("int 0 to 1", (3, 4), "mask_1"),
    }
    assert len(notes) == 4
    rng = np.random.default_rng(0)
    drawn = {item.feed.name: item.draw(rng, False) for item in fed}
    assert drawn["ids"].dtype == np.int32
    assert 0 <= drawn["ids"].min() <= drawn["ids"].max() < 30
    assert drawn["training"].dtype == bool
    assert not drawn["training"]


def test_float64_feeds_the_same_numbers() -> None:
    (single,), _ = arrange([tensor("x", None, 4)], [one("y", None, 4)], [], 2)
    (double,), _ = arrange([tensor("x", None, 4, dtype="float64")], [one("y", None, 4)], [], 2)
    a = single.draw(np.random.default_rng(3), False)
    b = double.draw(np.random.default_rng(3), True)
    assert (a.dtype, b.dtype) == (np.float32, np.float64)
    assert np.array_equal(a.astype("f8"), b)


def test_pairs_by_name_by_shape_and_as_said() -> None:
    pair = [tensor("scope/a_1", None, 4), tensor("b", None, 7)]
    fed, _ = arrange(pair, [one("q", None, 7), one("a", None, 4)], [], 2)
    assert [item.model_input for item in fed] == ["a", "q"]
    alike = [tensor("u", None, 4), tensor("v", None, 4)]
    models = [one("p", None, 4), one("q", None, 4)]
    with pytest.raises(UsageError, match="not clear"):
        arrange(alike, models, [], 2)
    fed, _ = arrange(alike, models, [Feed("u", to="q")], 2)
    assert [item.model_input for item in fed] == ["q", "p"]
    ints = [tensor("x", None, 4, dtype="int32", rows=3), tensor("y", None, 4)]
    kinds = [one("p", None, 4), one("q", None, 4, dtype="int32")]
    fed, _ = arrange(ints, kinds, [], 2)
    assert {item.feed.name: item.model_input for item in fed} == {"x": "q", "y": "p"}


def test_what_is_left_over_is_asked() -> None:
    inputs = [one("p", None, 4)]
    with pytest.raises(UsageError, match="not clear"):
        arrange([tensor("u", None, 4), tensor("v", None, 4)], inputs, [], 2)
    fed, _ = arrange([tensor("u", None, 4), tensor("v", None, 4)], inputs, [Feed("v", to="-")], 2)
    assert [item.model_input for item in fed] == ["p", None]
    with pytest.raises(UsageError, match="not clear"):
        arrange([tensor("u", None, 4)], [*inputs, one("q", None, 9)], [], 2)
    with pytest.raises(UsageError, match="no input of this name"):
        arrange([tensor("u", None, 4)], inputs, [Feed("u", to="zz")], 2)
    with pytest.raises(UsageError, match="does not depend"):
        arrange([tensor("u", None, 4)], inputs, [Feed("w")], 2)
    with pytest.raises(UsageError, match="shape"):
        arrange([InputTensor("u:0", "float32", None)], [], [], 2)
    with pytest.raises(UsageError, match="strings"):
        arrange([tensor("u", None, dtype="string")], [], [], 2)
    with pytest.raises(UsageError, match="too large"):
        arrange([tensor("u", None, 4)], inputs, [Feed("u", shape=(1 << 20, 1 << 20))], 2)
