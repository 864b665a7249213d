"""Write legacy Keras ``.h5``, for loading by order or ``by_name``, without Keras.

A tensor's name is ``<layer>/<name of the weight>``; the first part is the layer, unless a template
has a longer one.  Keras goes by the order of layers, and of weights in a layer, and does not read
the weights' names: without a template that is the order in which the tensors are declared, with
one (an ``.h5`` of the same model) the template's, with its layers without weights.  In nested
models all trainable weights come before the others: take a template there.

A template that is a whole model makes the output one: the model's configuration is copied, and
``load_model`` works.  An empty ``top_level_model_weights`` is not written: with it, Keras before
3.8 refuses ``by_name``.  Source: ``keras-team/keras:keras/src/legacy/saving/legacy_h5_format.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ckpttool.errors import OutputError, Problem
from ckpttool.formats.keras._h5_skeleton import BFLOAT16, Attribute, Attributes, Layout
from ckpttool.formats.keras._h5_writer import (
    FilePlan,
    H5Writer,
    Refusal,
    Spec,
    clashes,
    leaves_of,
    metadata_attributes,
    too_many,
    unfit,
)
from ckpttool.formats.writing import Output, WriteOptions
from ckpttool.names import encode_name, printable
from ckpttool.storage.files import files_for, split
from ckpttool.tensors import Shape

SUFFIXES = (".h5", ".hdf5")
MODEL = "model_weights"
TOP_LEVEL = "top_level_model_weights"
OPTIMIZER = "optimizer_weights"

_LIST_BYTES = 64512  # Keras' bound for one attribute: HDF5_OBJECT_HEADER_LIMIT
_COPIED = ("model_config", "training_config")
# Without any version, loaders take a file for one of Keras 1 and turn its kernels over.
_VERSION = {"backend": "tensorflow", "keras_version": "2.15.0"}


class Template(NamedTuple):
    """What a file of the same model tells.

    ``layers`` are all layers in order, with the names of their weights; ``extra`` the same for the
    two groups that are no layers.  ``whole`` says that it is a model, not only weights;
    ``attributes`` are the texts of the root to copy.
    """

    layers: dict[str, tuple[str, ...]]
    extra: dict[str, tuple[str, ...]]
    whole: bool
    attributes: dict[str, str]
    version: dict[str, str]


NO_TEMPLATE = Template({}, {}, False, {}, _VERSION)


def read_template(path: str | None) -> Template:
    """The layers of a legacy ``.h5``; empty for a file of another format."""
    from ckpttool.formats.keras._h5 import H5File
    from ckpttool.formats.locating.locate import locate

    if path is None:
        return NO_TEMPLATE
    located = locate(path)
    if located.format != "keras-h5":
        return NO_TEMPLATE
    source = located.index or located.path
    file = H5File(files_for(source), source)
    try:
        whole = file.text_list(MODEL, "layer_names") is not None
        root = MODEL if whole else ""
        layers = {
            layer: tuple(file.text_list(f"{root}/{layer}", "weight_names") or ())
            for layer in file.text_list(root, "layer_names") or ()
        }
        places = {TOP_LEVEL: f"{root}/{TOP_LEVEL}", OPTIMIZER: OPTIMIZER}
        extra = {
            name: tuple(file.text_list(place, "weight_names") or ())
            for name, place in places.items()
        }
        texts = {name: file.text("", name) for name in (*_COPIED, *_VERSION)}
        version = {name: file.text(root, name) or value for name, value in _VERSION.items()}
    finally:
        file.close()
    attributes = {name: text for name, text in texts.items() if whole and text is not None}
    return Template(layers, extra, whole, attributes, version)


class Weight(NamedTuple):
    """Where a tensor goes: its layer, and its name there."""

    layer: str
    name: str


class LegacyWriter(H5Writer):
    """One legacy ``.h5``."""

    format = "keras-h5"

    def __init__(
        self, path: str, options: WriteOptions, force: bool, sources: Iterable[str]
    ) -> None:
        """Raises :class:`OutputError` where the output cannot go."""
        _check_path(path)
        super().__init__(path, options, force, sources, refusals)

    def plans(self, outputs: Sequence[Output]) -> list[FilePlan]:
        """The one file, its weights in the order in which Keras will take them."""
        template = read_template(self.options.template)
        layers = _ordered([output.name for output in outputs], template)
        by_name = {output.name: output for output in outputs}
        ordered = [by_name[f"{layer}/{name}"] for layer in layers for name in layers[layer]]
        root = MODEL if template.whole else ""
        groups: dict[str, Attributes] = {
            "": {**template.attributes, **metadata_attributes(self.options)}
        }
        for layer, weights in layers.items():
            groups[_place(layer, root)] = _name_lists("weight_names", weights)
        listed = [layer for layer in layers if layer not in (TOP_LEVEL, OPTIMIZER)]
        version = {name: encode_name(text) for name, text in template.version.items()}
        groups[root] = {**groups.get(root, {}), **version, **_name_lists("layer_names", listed)}
        layout = Layout(groups, leaves_of(ordered, lambda name: _place(name, root)))
        return [FilePlan(self.path, layout, ordered)]


def split_name(name: str, template: Template) -> Weight | None:
    """The layer and the weight of a tensor's name; None where it has no layer."""
    parts = name.split("/")
    fitting = [
        Weight(layer, "/".join(parts[count:]))
        for count in range(len(parts) - 1, 0, -1)
        if (layer := "/".join(parts[:count])) in template.layers
    ]
    for weight in fitting:
        if weight.name in template.layers[weight.layer]:
            return weight
    if fitting:
        return fitting[0]
    return Weight(parts[0], "/".join(parts[1:])) if len(parts) > 1 else None


def _ordered(names: Sequence[str], template: Template) -> dict[str, list[str]]:
    """The layers in order, and the weights of each.

    A layer that has weights in the template and none here is left out: by name, Keras then leaves
    it alone.
    """
    placed: dict[str, dict[str, None]] = {}
    for name in names:
        weight = split_name(name, template)
        if weight is not None:
            placed.setdefault(weight.layer, {})[weight.name] = None
    layers: dict[str, list[str]] = {}
    for layer, weights in template.layers.items():
        if layer in placed or not weights:
            layers[layer] = []
    for layer in (*placed, *(name for name in template.extra if name in placed)):
        layers.setdefault(layer, [])
    for layer in layers:
        here = placed.get(layer, {})
        order = template.layers.get(layer) or template.extra.get(layer, ())
        known = dict.fromkeys(weight for weight in order if weight in here)
        layers[layer] = [*known, *(weight for weight in here if weight not in known)]
    return layers


def _place(name: str, root: str) -> str:
    """The path in the file: the optimizer's are at the root also in a whole model."""
    if not root or name.split("/")[0] == OPTIMIZER:
        return name
    return f"{root}/{name}"


def _name_lists(attribute: str, names: Sequence[str]) -> dict[str, Attribute]:
    """A list of names, in pieces where it is too long for one attribute."""
    raw = [encode_name(name) for name in names]
    # HDF5 pads all to the longest.
    per_piece = max(1, _LIST_BYTES // max(map(len, raw), default=1))
    if len(raw) <= per_piece:
        return {attribute: tuple(raw)}
    pieces = range(0, len(raw), per_piece)
    return {
        f"{attribute}{number}": tuple(raw[start : start + per_piece])
        for number, start in enumerate(pieces)
    }


def _check_path(path: str) -> None:
    directory, name = split(path)
    if name.endswith(SUFFIXES) and not name.endswith(".weights.h5"):
        return
    stem = name.removesuffix(".h5").removesuffix(".weights")
    raise OutputError(
        Problem(
            "OUT002", "Keras knows a legacy file by the end of its name", path,
            expected="*.h5 or *.hdf5, and not *.weights.h5",
            hint=f"try {f'{directory}/' if directory else ''}{stem or 'model'}.h5",
        )
    )  # fmt: skip


def refusals(specs: Sequence[Spec], options: WriteOptions) -> Iterator[Refusal]:
    """For each tensor that Keras could not load: its name, why, and what was found."""
    template = read_template(options.template)
    sound: list[str] = []
    layers: dict[str, None] = {}
    for name, dtype, shape in specs:
        why = unfit(name, dtype, shape) or _unfit_here(name, dtype, shape)
        weight = split_name(name, template)
        if why is None and weight is None:
            why = "there is no layer: a weight is called <layer>/<weight>", printable(name)
        if why is not None:
            yield (name, *why)
            continue
        sound.append(name)
        if weight is not None:
            layers[weight.layer] = None
    empty = (layer for layer, weights in template.layers.items() if not weights)
    yield from clashes([(name, name) for name in sound], [*layers, *empty])
    yield from too_many(sound)


def _unfit_here(name: str, dtype: str, shape: Shape) -> tuple[str, str] | None:
    if dtype == BFLOAT16:
        return "legacy files have no bfloat16; cast it to float32", dtype
    if len(name.encode()) > _LIST_BYTES:
        return f"the name is longer than {_LIST_BYTES} bytes", f"{len(name.encode())} bytes"
    return None


def create(
    path: str,
    *,
    options: WriteOptions = WriteOptions(),  # noqa: B008  # immutable
    force: bool = False,
    sources: Iterable[str] = (),
) -> LegacyWriter:
    """A writer of ``path``; raises :class:`OutputError` where the output cannot go."""
    return LegacyWriter(path, options, force, sources)
