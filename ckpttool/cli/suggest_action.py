"""What ``suggest`` does once its options are known; imports no option parser."""

from __future__ import annotations

from ckpttool.checkpoint import open_checkpoint
from ckpttool.cli import emit
from ckpttool.errors import EXIT_OK, InputError
from ckpttool.mapping.like.template import load_template
from ckpttool.mapping.suggest.draft import suggest
from ckpttool.render.suggest import draft_text, suggest_body, suggest_lines


def show_suggestion(path: str, like: str, *, output: str | None = None, force: bool = False) -> int:
    """Open both sides, draft, print or write; returns the exit code."""
    with load_template(like) as template, open_checkpoint(path) as checkpoint:
        if checkpoint.damage():
            # A name that could not be read would be missing from the draft in silence.
            raise InputError(*checkpoint.damage())
        result = suggest(checkpoint, template)
        notices = [*checkpoint.notices(), *template.notices]
    text = draft_text(result)
    if output is not None:
        _write(output, text, force)
    if emit.SETTINGS.json:
        emit.data(suggest_body(result, output), notices)
        return EXIT_OK
    sink = emit.out()
    if output is None:
        sink.write(
            [[(line, "dim" if line.lstrip().startswith("#") else "")] for line in text.splitlines()]
        )
    else:
        sink.write(suggest_lines(result, sink.layout, output))
    emit.words(notices, "note")
    return EXIT_OK


def _write(path: str, text: str, force: bool) -> None:
    from ckpttool.storage.atomic import OutputGroup

    with OutputGroup([path], force=force) as group:
        group.stage(path).write(text.encode())
        group.commit()
