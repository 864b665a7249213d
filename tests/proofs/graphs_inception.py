"""Inception v3 as TF1 code, with the scopes of slim (``research/slim/nets/inception_v3.py``).

The blocks are data: each branch is a list of convolutions, ``(scope, filters, kernel)``.  Scopes
that look like slips (``Conv_1_0c_5x5``, a 3x3 called ``1x1``) are slim's own.
"""

from __future__ import annotations

from tf1_layers import Layers, Tensor

_Kernel = int | tuple[int, int]
_Branch = tuple[tuple[str, int, _Kernel], ...]

_A = "Conv2d_0a_1x1"
_STEM = (
    ("Conv2d_1a_3x3", 32, 3, 2, "VALID"),
    ("Conv2d_2a_3x3", 32, 3, 1, "VALID"),
    ("Conv2d_2b_3x3", 64, 3, 1, "SAME"),
    ("", 0, 3, 2, "VALID"),
    ("Conv2d_3b_1x1", 80, 1, 1, "VALID"),
    ("Conv2d_4a_3x3", 192, 3, 1, "VALID"),
    ("", 0, 3, 2, "VALID"),
)


def inception_v3(net: Layers, x: Tensor, classes: int) -> Tensor:
    """Inception v3, with the variables of its auxiliary head."""
    with net.scope("InceptionV3"):
        for scope, filters, size, stride, padding in _STEM:
            if scope:
                x = _conv(net, x, scope, filters, size, stride, padding)
            else:
                x = net.max_pool(x, size, stride, padding)
        for block, pool in (("5b", 32), ("5c", 64), ("5d", 64)):
            x = _block_35(net, x, block, pool)
        x = _shrink_35(net, x)
        for block, width in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
            x = _block_17(net, x, block, width)
        _auxiliary(net, int(x.shape[-1]), classes)
        x = _shrink_17(net, x)
        for block in ("7b", "7c"):
            x = _block_8(net, x, block)
        return net.logits(net.global_pool(x), "Logits/Conv2d_1c_1x1", classes)


def _conv(
    net: Layers,
    x: Tensor,
    scope: str,
    filters: int,
    size: _Kernel,
    stride: int = 1,
    padding: str = "SAME",
) -> Tensor:
    return net.conv(x, scope, filters, size, stride, act=net.tf.nn.relu, padding=padding)


def _branch(net: Layers, x: Tensor, branch: _Branch, *, shrink: bool = False) -> Tensor:
    """The convolutions of a branch; with ``shrink`` the last one has a stride."""
    for at, (scope, filters, size) in enumerate(branch, start=1):
        last = (2, "VALID") if shrink and at == len(branch) else (1, "SAME")
        x = _conv(net, x, scope, filters, size, *last)
    return x


def _mixed(net: Layers, x: Tensor, block: str, branches: tuple[_Branch, ...], pool: int) -> Tensor:
    """Branches side by side, the last one of them an average pool with a 1x1 convolution."""
    out = []
    with net.scope(f"Mixed_{block}"):
        for number, branch in enumerate(branches):
            with net.scope(f"Branch_{number}"):
                out.append(_branch(net, x, branch))
        with net.scope(f"Branch_{len(branches)}"):
            y = net.tf.nn.avg_pool2d(x, 3, 1, "SAME")
            out.append(_conv(net, y, "Conv2d_0b_1x1", pool, 1))
    return net.tf.concat(out, 3)


def _shrunk(net: Layers, x: Tensor, block: str, branches: tuple[_Branch, ...]) -> Tensor:
    """Branches that halve the image, and a max pool."""
    out = []
    with net.scope(f"Mixed_{block}"):
        for number, branch in enumerate(branches):
            with net.scope(f"Branch_{number}"):
                out.append(_branch(net, x, branch, shrink=True))
    return net.tf.concat([*out, net.max_pool(x, 3, 2, "VALID")], 3)


def _block_35(net: Layers, x: Tensor, block: str, pool: int) -> Tensor:
    first, second = ("Conv2d_0b_1x1", "Conv_1_0c_5x5") if block == "5c" else (_A, "Conv2d_0b_5x5")
    triple = ((_A, 64, 1), ("Conv2d_0b_3x3", 96, 3), ("Conv2d_0c_3x3", 96, 3))
    branches = (((_A, 64, 1),), ((first, 48, 1), (second, 64, 5)), triple)
    return _mixed(net, x, block, branches, pool)


def _shrink_35(net: Layers, x: Tensor) -> Tensor:
    triple = ((_A, 64, 1), ("Conv2d_0b_3x3", 96, 3), ("Conv2d_1a_1x1", 96, 3))
    return _shrunk(net, x, "6a", ((("Conv2d_1a_1x1", 384, 3),), triple))


def _block_17(net: Layers, x: Tensor, block: str, width: int) -> Tensor:
    row, column = (1, 7), (7, 1)
    double = ((_A, width, 1), ("Conv2d_0b_1x7", width, row), ("Conv2d_0c_7x1", 192, column))
    fourfold = (
        (_A, width, 1),
        ("Conv2d_0b_7x1", width, column),
        ("Conv2d_0c_1x7", width, row),
        ("Conv2d_0d_7x1", width, column),
        ("Conv2d_0e_1x7", 192, row),
    )
    return _mixed(net, x, block, (((_A, 192, 1),), double, fourfold), 192)


def _shrink_17(net: Layers, x: Tensor) -> Tensor:
    long = (
        (_A, 192, 1),
        ("Conv2d_0b_1x7", 192, (1, 7)),
        ("Conv2d_0c_7x1", 192, (7, 1)),
        ("Conv2d_1a_3x3", 192, 3),
    )
    return _shrunk(net, x, "7a", (((_A, 192, 1), ("Conv2d_1a_3x3", 320, 3)), long))


def _block_8(net: Layers, x: Tensor, block: str) -> Tensor:
    fork = "Conv2d_0b_3x1" if block == "7b" else "Conv2d_0c_3x1"
    out = []
    with net.scope(f"Mixed_{block}"):
        with net.scope("Branch_0"):
            out.append(_conv(net, x, _A, 320, 1))
        with net.scope("Branch_1"):
            y = _conv(net, x, _A, 384, 1)
            out.append(_conv(net, y, "Conv2d_0b_1x3", 384, (1, 3)))
            out.append(_conv(net, y, fork, 384, (3, 1)))
        with net.scope("Branch_2"):
            y = _branch(net, x, ((_A, 448, 1), ("Conv2d_0b_3x3", 384, 3)))
            out.append(_conv(net, y, "Conv2d_0c_1x3", 384, (1, 3)))
            out.append(_conv(net, y, "Conv2d_0d_3x1", 384, (3, 1)))
        with net.scope("Branch_3"):
            y = net.tf.nn.avg_pool2d(x, 3, 1, "SAME")
            out.append(_conv(net, y, "Conv2d_0b_1x1", 192, 1))
    return net.tf.concat(out, 3)


def _auxiliary(net: Layers, inputs: int, classes: int) -> None:
    """The variables of the auxiliary head, which only training uses, for 299 pixels."""
    with net.scope("AuxLogits"):
        for scope, shape in (
            ("Conv2d_1b_1x1", (1, 1, inputs, 128)),
            ("Conv2d_2a_5x5", (5, 5, 128, 768)),
        ):
            with net.scope(scope):
                net.variable("weights", shape, 0.1)
                with net.scope("BatchNorm"):
                    for name in ("beta", "moving_mean", "moving_variance"):
                        net.variable(name, shape[-1:], 0.1, 1.0)
        with net.scope("Conv2d_2b_1x1"):
            net.variable("weights", (1, 1, 768, classes), 0.1)
            net.variable("biases", (classes,), 0.1)
