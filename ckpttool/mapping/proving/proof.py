"""The numeric proof of a migration: run what was, run what became of it, compare the outputs.

The TF1 graph beside the checkpoint is imported, cut down to what its output needs, restored and
run on random inputs, and so is the model.  An error says little by itself: it is told beside how
far the output moves between two inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpttool.checkpoint import Checkpoint, open_checkpoint
from ckpttool.errors import InputError, MappingError, Problem, UsageError
from ckpttool.formats.base import GraphSource
from ckpttool.mapping.proving.agreement import (
    CLOSE,
    EQUAL,
    NOTHING,
    TOLERANCE,
    FedInput,
    Proof,
    distance,
    hints,
    judge,
    measured,
)
from ckpttool.mapping.proving.feeding import Fed, Feed, arrange, parse_feed

if TYPE_CHECKING:
    import numpy as np

    from ckpttool.live.sources import SourceGraph
    from ckpttool.live.targets import TargetModel
    from ckpttool.mapping.loading import LoadReport

    Array = np.ndarray[Any, Any]

_SAME = 1e-3  # of the sensitivity: what two runs, or two batches, may differ by
_NAMED = 5


class ProveOptions(NamedTuple):
    """How to compare.

    ``graph`` is a ``.meta`` or SavedModel file to take instead of the one beside the checkpoint
    (one for inference, where that one is for training).  ``output`` is a tensor of it,
    ``model_output`` the name or number of one of the model's outputs; ``feeds`` say what goes in.
    ``io`` is an ``.npz`` of inputs and expected outputs to take instead of any graph.
    ``tolerance`` is the largest error, by sensitivity, that counts as rounding.
    """

    graph: str | None = None
    output: str | None = None
    model_output: str | None = None
    feeds: tuple[Feed | str, ...] = ()
    io: str | None = None
    float64: bool = False
    tolerance: float | None = None
    batch: int = 2
    seed: int = 0


def prove(
    checkpoint: Checkpoint | str,
    model: Any,
    mapping: Any = None,
    *,
    weights: str | None = None,
    options: ProveOptions | None = None,
    **loading: Any,
) -> Proof:
    """Compare a model's output with that of the TF1 graph it comes from, on random inputs.

    ``model`` is a live model, ``package.module:callable``, or the path of a ``.keras`` archive,
    which Keras loads in safe mode.  It is filled through ``mapping``, where one is given
    (``loading`` are the options of :func:`ckpttool.load_into`), or loads the file ``weights``, or
    is taken as it is.  Nothing is written.  Needs the ``tensorflow`` extra.

    Raises :class:`UsageError` where the output or the inputs are not clear, and
    :class:`InputError` where there is no graph, or TensorFlow does not run it.
    """
    from ckpttool.live.targets import TargetModel, open_model

    options = options or ProveOptions()
    if mapping is not None and weights is not None:
        raise UsageError(Problem("USE001", "a mapping and a file of weights together", weights))
    label = model if isinstance(model, str) else "the model"
    with ExitStack() as stack:
        if isinstance(checkpoint, str):
            checkpoint = stack.enter_context(open_checkpoint(checkpoint))
        target = TargetModel(open_model(model, options.float64), label)
        if options.float64 and not target.in_double:
            hint = "give module:callable, so that it is made in float64; no layer may set a dtype"
            raise UsageError(Problem("USE003", f"{label} is not in float64", hint=hint))
        report = _filled(target.model, checkpoint, mapping, weights, options, loading)
        if options.io is not None:
            from ckpttool.mapping.proving.arrays_proof import prove_by_file

            return prove_by_file(target, options.io, options, _about_constants(report))
        source, notes = _source(stack, checkpoint, target, options)
        return _Run(source, target, options, [*_about_constants(report), *notes]).proof()


def _filled(
    model: Any,
    checkpoint: Checkpoint,
    mapping: Any,
    weights: str | None,
    options: ProveOptions,
    loading: Mapping[str, Any],
) -> LoadReport | None:
    if weights is not None:
        from ckpttool.live.filling import load_file

        load_file(model, weights)
    if mapping is None:
        return None
    from ckpttool.mapping.loading import load_into

    given = {**loading, "cast": True} if options.float64 else loading
    return load_into(model, checkpoint, mapping, **given)


def _about_constants(report: LoadReport | None) -> list[str]:
    """What no output can tell apart."""
    constant = [item.name for item in report.filled if item.constant] if report else []
    if len(constant) < 2:
        return []
    more = f" and {len(constant) - _NAMED} more" if len(constant) > _NAMED else ""
    named = ", ".join(constant[:_NAMED])
    told = (
        f"{len(constant)} variables hold one value throughout, and could be swapped without a "
        f"trace: {named}{more}"
    )
    return [told]


def _source(
    stack: ExitStack, checkpoint: Checkpoint, target: TargetModel, options: ProveOptions
) -> tuple[SourceGraph, tuple[str, ...]]:
    from ckpttool.analysis.verify_against import tensorflow_prefix
    from ckpttool.live.graphs import Graph
    from ckpttool.live.outputs import choose_output
    from ckpttool.live.sources import SourceGraph

    if checkpoint.info.format not in ("tf-v2", "tf-v1", "saved-model", "hub-module"):
        message = "only what a TF1 Saver wrote can be restored into its graph"
        hint = "give inputs and expected outputs instead: --io FILE.npz"
        info = checkpoint.info
        raise InputError(Problem("INP017", message, info.path, info.format, hint=hint))
    graph = Graph(*_meta_graph(checkpoint, options.graph))
    output, notes = choose_output(graph, options.output, target.shapes)
    prefix = stack.enter_context(tensorflow_prefix(checkpoint))
    feeds = [_feed(item).name for item in options.feeds]
    named = [name if ":" in name else f"{name}:0" for name in feeds if name]
    for name in named:
        graph.node(name)
    source = SourceGraph(graph, prefix, output, named, options.float64)
    stack.callback(source.close)
    return source, notes


def _meta_graph(checkpoint: Checkpoint, path: str | None) -> tuple[Any, str]:
    """The graph to run, and its path."""
    from ckpttool.storage.files import files_for
    from ckpttool.tensorflow_engine import parse_meta_graphs

    if path is not None:
        with open_checkpoint(path) as other:
            sources: Sequence[GraphSource] = other.info.graphs
    else:
        sources = checkpoint.info.graphs
    if not sources:
        hint = "--graph FILE.meta, or inputs and expected outputs: --io FILE.npz"
        where = path or checkpoint.info.path
        raise InputError(Problem("INP001", "there is no graph to run", where, hint=hint))
    source = sources[0]
    file = files_for(source.path).open(source.path)
    try:
        found = parse_meta_graphs(bytes(file.pread(0, file.size)), source.kind)
    finally:
        file.close()
    serving = [item for item in found if "serve" in item.meta_info_def.tags]
    return (serving or found)[0], source.path


def _feed(item: Feed | str) -> Feed:
    return parse_feed(item) if isinstance(item, str) else item


class _Run:
    """One comparison: both sides on two draws of all inputs."""

    def __init__(
        self, source: SourceGraph, target: TargetModel, options: ProveOptions, notes: Sequence[str]
    ) -> None:
        import numpy as np

        self._source = source
        self._target = target
        self._options = options
        feeds = [_feed(item) for item in options.feeds]
        self._fed, guessed = arrange(source.inputs, target.inputs, feeds, options.batch)
        self._notes = [*notes, *guessed]
        rng = np.random.default_rng(options.seed)
        self._draws = [
            {item.tensor.name: item.draw(rng, options.float64) for item in self._fed}
            for _ in range(2)
        ]

    def proof(self) -> Proof:
        """Run everything and judge."""
        options = self._options
        outputs = [self._source.run(draw) for draw in self._draws]
        moved = distance(*outputs)
        named = [self._target.run(self._for_model(draw)) for draw in self._draws]
        chosen = model_output(named[0], outputs[0], options.model_output, self._target.label)
        found = [fitted(one[chosen], outputs[0], chosen) for one in named]
        dtype = "float64" if options.float64 else "float32"
        tolerance = TOLERANCE[dtype] if options.tolerance is None else options.tolerance
        numbers = measured(outputs, found, moved)
        verdict, reasons = judge(numbers, tolerance, dtype)
        if verdict != NOTHING:
            unfit = self._training(outputs[0], moved)
            verdict, reasons = (NOTHING, unfit) if unfit else (verdict, reasons)
        if verdict not in (EQUAL, NOTHING):
            reasons += tuple(hints(outputs[0], found[0], tolerance * moved))
        if verdict == CLOSE and options.float64:
            self._notes.append("what the graph has as float32 constants is exact to 1e-7 only")
        feeds = tuple(self._told(outputs[0]))
        still = [item.name for item in feeds if item.moves == 0]
        if verdict != NOTHING and still:
            self._notes.append(f"the output does not move with {', '.join(still)} alone")
        return Proof(
            verdict, numbers.error, numbers.sensitivity, numbers.magnitude, tolerance, dtype,
            self._source.output, chosen, feeds, reasons, tuple(dict.fromkeys(self._notes)),
        )  # fmt: skip

    def _for_model(self, draw: Mapping[str, Array]) -> dict[str, Array]:
        dtypes = {item.name: item.dtype for item in self._target.inputs}
        given: dict[str, Array] = {}
        loose = [item for item in self._fed if item.random and item.feed.to != "-"]
        for item in self._fed:
            name = item.model_input
            if name is None and not self._target.inputs and loose == [item]:
                name = "input"
            if name is not None:
                array = draw[item.tensor.name]
                given[name] = array.astype(dtypes.get(name) or array.dtype)
        return given

    def _training(self, output: Array, moved: float) -> tuple[str, ...]:
        """Why the graph's output is none of a model that infers."""
        listed = ", ".join(self._source.random[:_NAMED])
        found = f": {listed}" if listed else ""
        fix = "; give an inference graph with --graph, or feed what turns training off"
        if distance(self._source.run(self._draws[0]), output) > _SAME * moved:
            return (f"the graph's output is random, as in training{found}{fix}",)
        sizes = {item.shape[0] for item in self._fed if item.random and item.shape}
        free = all(
            item.tensor.shape is None or (item.tensor.shape and item.tensor.shape[0] is None)
            for item in self._fed
            if item.random
        )
        if not free or len(sizes) != 1 or not output.ndim or output.shape[0] not in sizes:
            return ()
        first = {
            item.tensor.name: self._draws[0][item.tensor.name][: 1 if item.random else None]
            if item.shape
            else self._draws[0][item.tensor.name]
            for item in self._fed
        }
        try:
            alone = self._source.run(first)
        except InputError:
            return ()
        if alone.shape[1:] == output.shape[1:] and distance(alone, output[:1]) > _SAME * moved:
            depends = "an example's output depends on the others of its batch, as in training"
            return (f"{depends}{found}{fix}",)
        return ()

    def _told(self, output: Array) -> list[FedInput]:
        """Each input, and what it moves alone."""
        random = [item for item in self._fed if item.random]
        told = []
        for item in self._fed:
            moves = None
            if item.random:
                name = item.tensor.name
                draw = {**self._draws[0], name: self._draws[1][name]}
                moves = distance(self._source.run(draw), output) if len(random) > 1 else None
            told.append(self._one(item, moves))
        return told

    def _one(self, item: Fed, moves: float | None) -> FedInput:
        tensor = item.tensor
        return FedInput(tensor.name, tensor.dtype, item.shape, item.words, item.model_input, moves)


def model_output(
    found: Mapping[str, Array], expected: Array, wanted: str | None, label: str
) -> str:
    """The name of the model's output to compare; USE001 where it is not clear."""
    names = list(found)
    if wanted is not None:
        if wanted in found:
            return wanted
        listed = ", ".join(names)
        message = f"{label} has no output of this name"
        raise UsageError(Problem("USE003", message, None, wanted, listed))
    fits = [name for name in names if _squeezed(found[name]) == _squeezed(expected)]
    if len(fits) == 1:
        return fits[0]
    told = ", ".join(f"{name} {list(found[name].shape)}" for name in names)
    message = "it is not clear which output of the model is the graph's"
    hint = "--model-output NAME" if len(fits) > 1 else "--output-tensor TENSOR"
    raise UsageError(Problem("USE001", message, None, told, str(list(expected.shape)), hint))


def _squeezed(array: Array) -> tuple[int, ...]:
    return tuple(size for size in array.shape if size != 1)


def fitted(array: Array, expected: Array, name: str) -> Array:
    """The model's output in the shape of the graph's."""
    if _squeezed(array) != _squeezed(expected):
        message = "the outputs have other shapes"
        found, wanted = f"{name} {list(array.shape)}", str(list(expected.shape))
        raise UsageError(Problem("USE003", message, None, found, wanted, "--output-tensor TENSOR"))
    shaped: Array = array.reshape(expected.shape)
    return shaped


def prove_remap(
    checkpoint: Checkpoint,
    rules: Any,
    like: str | None,
    options: ProveOptions | None = None,
    **loading: Any,
) -> Proof:
    """The proof of a remap before anything is written: a model made by ``like`` is filled.

    ``like`` is ``module:callable`` or a ``.keras`` archive; ``loading`` are the options of
    :func:`ckpttool.load_into`.  Raises :class:`MappingError` (MAP034) where the two are not equal.
    """
    from ckpttool.live.targets import fresh_names

    if like is None or not (":" in like or like.endswith(".keras")):
        message = "a proof needs a model that can be run"
        hint = "--like module:callable, or --like MODEL.keras"
        raise UsageError(Problem("USE001", message, like, hint=hint))
    fresh_names()
    proof = prove(checkpoint, like, rules, options=options, **loading)
    fresh_names()
    if not proof.passed:
        found = f"max abs error {proof.max_abs_error:.3g}"
        expected = f"≤ {proof.tolerance * proof.sensitivity:.3g}: {proof.tolerance:g} of the "
        expected += f"sensitivity, {proof.sensitivity:.3g}"
        message = f"the proof fails ({proof.verdict}): {'; '.join(proof.reasons)}"
        raise MappingError(Problem("MAP034", message, proof.output, found, expected))
    return proof
