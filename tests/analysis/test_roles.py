"""Roles told from names and shapes alone."""

from __future__ import annotations

import pytest

from ckpttool.analysis.roles import VALUE_SUFFIX, infer_roles
from ckpttool.tensors import Shape, TensorSpec


def roles(
    entries: dict[str, Shape], dtypes: dict[str, str] | None = None, trainable: tuple[str, ...] = ()
) -> dict[str, tuple[str, str | None]]:
    """Key to (role, owner), plain variables left out."""
    specs = {
        name: TensorSpec(name, (dtypes or {}).get(name, "float32"), shape)
        for name, shape in entries.items()
    }
    return {name: (role.role, role.owner) for name, role in infer_roles(specs, trainable).items()}


@pytest.mark.parametrize(
    "suffix", ["Adam", "Adam_1", "Adam_3", "Momentum", "RMSProp_2", "Ftrl_1", "adam_m", "RC_1"]
)
def test_slots_by_any_optimizer_name(suffix: str) -> None:
    found = roles({"d/w": (2, 3), f"d/w/{suffix}": (2, 3)})
    assert found == {f"d/w/{suffix}": ("slot", "d/w")}


def test_a_slot_of_an_optimizer_built_in_a_scope() -> None:
    found = roles({"d/w": (2,), "OptimizeLoss/d/w/Adam": (2,), "OptimizeLoss/beta1_power": ()})
    assert found == {
        "OptimizeLoss/d/w/Adam": ("slot", "d/w"),
        "OptimizeLoss/beta1_power": ("slot", None),
    }


@pytest.mark.parametrize("part", ["part_0", "t_0", "part_12"])
def test_slots_of_partitioned_variables(part: str) -> None:
    found = roles({"d/w": (2,), f"d/w/{part}/Adagrad": (2,)})
    assert found == {f"d/w/{part}/Adagrad": ("slot", "d/w")}


def test_averages() -> None:
    found = roles(
        {"w": (2,), "w/ExponentialMovingAverage": (2,), "bn/moving_mean": (2,)}
        | {"bn/moving_mean/biased": (2,), "loss/ExponentialMovingAverage": ()}
    )
    assert found == {
        "w/ExponentialMovingAverage": ("average", "w"),
        "bn/moving_mean/biased": ("average", "bn/moving_mean"),
        "loss/ExponentialMovingAverage": ("average", None),
    }


def test_adafactor_slots() -> None:
    found = roles({"w": (4, 2), "w_slot_vr": (4,), "w_slot_vc": (2,)})
    assert found == {"w_slot_vr": ("slot", "w"), "w_slot_vc": ("slot", "w")}


def test_step_counters() -> None:
    found = roles({"global_step": (), "a/global_step": ()}, {"global_step": "int64"})
    assert found == {"global_step": ("step", None), "a/global_step": ("step", None)}


def test_tables_come_in_pairs() -> None:
    found = roles({"t-keys": (3,), "t-values": (3,), "lonely-keys": (3,)})
    assert found == {"t-keys": ("table", None), "t-values": ("table", None)}


def test_object_keys() -> None:
    w = "model/d/kernel" + VALUE_SUFFIX
    slot = "model/d/kernel/.OPTIMIZER_SLOT/optimizer/m" + VALUE_SUFFIX
    step = "optimizer/iter" + VALUE_SUFFIX
    config = "model/.ATTRIBUTES/OBJECT_CONFIG_JSON"
    entries: dict[str, Shape] = {w: (2,), slot: (2,), step: (), config: ()}
    entries["_CHECKPOINTABLE_OBJECT_GRAPH"] = ()
    found = roles(entries, {step: "int64", config: "string"})
    assert found == {
        slot: ("slot", w),
        step: ("step", None),
        config: ("other", None),
        "_CHECKPOINTABLE_OBJECT_GRAPH": ("object_graph", None),
    }


@pytest.mark.parametrize(
    "names",
    [
        ["conv_1/w", "conv_2/w"],
        ["w", "w_1"],
        ["cell_0/momentum", "cell_0/velocity"],
        ["a/w", "a/w/kernel_of_another_shape"],
    ],
)
def test_these_are_plain_variables(names: list[str]) -> None:
    shapes: list[Shape] = [(2,), (3,)]
    assert roles(dict(zip(names, shapes, strict=True))) == {}


def test_a_trainable_variable_is_no_slot_whatever_its_name() -> None:
    entries: dict[str, Shape] = {"w": (2,), "w/Adam": (2,)}
    assert roles(entries, trainable=("w/Adam",)) == {}


def test_keras_optimizer_state() -> None:
    found = roles({"training/Adam/Variable_3": (2,), "training/Adam/lr": ()})
    assert found == {
        "training/Adam/Variable_3": ("slot", None),
        "training/Adam/lr": ("slot", None),
    }
