"""What ``prove`` does once its options are known."""

from __future__ import annotations

from typing import NamedTuple

from ckpttool.checkpoint import open_checkpoint
from ckpttool.cli import emit
from ckpttool.cli.options import choice
from ckpttool.errors import EXIT_FINDING, EXIT_OK, InputError
from ckpttool.mapping.language.document import AVERAGES
from ckpttool.mapping.proving.proof import ProveOptions, prove
from ckpttool.render.prove import proof_body, proof_lines


class ProveCommand(NamedTuple):
    """The options of the command."""

    model: str
    mapping: str | None = None
    weights: str | None = None
    params: tuple[str, ...] = ()
    averages: str | None = None
    options: ProveOptions | None = None


def carry_out(path: str, command: ProveCommand) -> int:
    """Prove, print; returns the exit code: 1 where the two are not equal."""
    from ckpttool.cli.remap_action import parameter

    if command.averages is not None:
        choice("--averages", [command.averages], AVERAGES)
    with open_checkpoint(path) as checkpoint:
        if checkpoint.damage():
            raise InputError(*checkpoint.damage())
        proof = prove(
            checkpoint,
            command.model,
            command.mapping,
            weights=command.weights,
            options=command.options,
            params=dict(parameter(item) for item in command.params),
            averages=command.averages,
        )
        notices = [*checkpoint.notices()]
    if not proof.passed and command.mapping is None and command.weights is None:
        from ckpttool.cli.proposing import compared_as_it_came

        notices.append(compared_as_it_came(path, command.model))
    code = EXIT_OK if proof.passed else EXIT_FINDING
    if emit.SETTINGS.json:
        emit.data(proof_body(proof), notices, status="ok" if proof.passed else "finding")
    else:
        sink = emit.out()
        sink.write(proof_lines(proof, sink.layout))
        emit.words(notices, "note")
    return code
