"""`saiki transcribe MODEL SOUND...`: what is said in each recording, to stdout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saiki.cli import options as o
from saiki.cli.console import emit_json, free_path, say, write_columns
from saiki.core.errors import UsageError

if TYPE_CHECKING:
    from saiki.models.transcripts import Transcript


def transcribe(
    model: o.ModelFolder,
    data: Annotated[
        list[Path],
        typer.Argument(metavar="SOUND...", help="Recordings; or a table of paths, a folder, an archive."),
    ],
    audio: Annotated[str | None, typer.Option(help="A table's column of the recordings' paths.")] = None,
    beam: Annotated[
        int | None, typer.Option(help="Prefixes of the beam; 1 is greedy. [the model's]", min=1)
    ] = None,
    language: Annotated[
        Path | None, typer.Option(help="A language model: an ARPA file, or a model's folder.")
    ] = None,
    weight: Annotated[float, typer.Option(help="How much the language model counts.", min=0.0)] = 0.5,
    bonus: Annotated[float, typer.Option(help="Nats a word or label, against short answers.")] = 0.0,
    words: Annotated[
        Path | None, typer.Option(help="The words that may be said, one a line of this file.")
    ] = None,
    times: Annotated[bool, typer.Option("--times", help="When each word or label was said, as CSV.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new file, instead of stdout.")
    ] = None,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Transcribe recordings with a trained model."""
    import saiki

    if output is not None:
        free_path(output, force)  # before the work
    estimator: Any = saiki.load(model)
    if estimator.task != "transcriber":
        raise UsageError(f"{model} holds a {estimator.task}", hint="give the folder of a transcriber")
    X, names = _recordings(data, estimator, audio)
    decoder = None
    if language is not None or words is not None or beam is not None:
        if beam == 1 and (language is not None or words is not None):
            raise UsageError("--beam 1 is greedy, which takes no --language and no --words", hint="--beam 25")
        known = saiki.load(language) if language is not None and language.is_dir() else language
        decoder = estimator.decoder(
            beam or max(estimator.beam_width, 25),
            language=known,
            weight=weight,
            bonus=bonus,
            words=None if words is None else _words(words),
        )
        decoder = None if beam == 1 and estimator.beam_width == 1 else decoder
    found: list[Transcript] = estimator.transcribe(X, decoder)
    if as_json:
        emit_json({"transcripts": [{"name": n, **t.to_json()} for n, t in zip(names, found)]})
    elif times:
        rows = [(name, one) for name, t in zip(names, found) for one in t.words()]
        columns: dict[str, Any] = {
            "name": [name for name, _ in rows],
            "label": [str(one.label) for _, one in rows],
            "start": [one.start for _, one in rows],
            "end": [one.end for _, one in rows],
            "score": [one.score for _, one in rows],
        }
        write_columns(columns, output, force)
    else:
        _write(names, found, output, force)


def _recordings(data: list[Path], estimator: Any, audio: str | None) -> tuple[list[Any], list[str]]:  # noqa: ANN401
    """The recordings that the arguments name, and what each is called."""
    from saiki.data import Audio
    from saiki.data.recordings import load_recordings

    if estimator.audio_ is None:
        raise UsageError(
            "this model reads frames of features, not recordings",
            hint="use it in Python: model.transcribe(X)",
        )
    X: list[Any] = []
    for path in data:
        X += load_recordings(path, audio=audio, rate_hz=estimator.rate_hz, answers=False).X
    return X, [one.name if isinstance(one, Audio) else str(one) for one in X]


def _words(path: Path) -> list[str]:
    from saiki.data.pairs import read_lines

    return [line.strip() for line in read_lines(path) if line.strip()]


def _write(names: list[str], found: list[Transcript], output: Path | None, force: bool) -> None:
    """One line a recording; with its name where there are several."""
    lines = []
    for name, one in zip(names, found):
        said = one.answer if isinstance(one.answer, str) else " ".join(map(str, one.answer))
        lines.append(said if len(found) == 1 else f"{name}\t{said}")
    content = "".join(f"{line}\n" for line in lines)
    if output is None:
        typer.echo(content, nl=False)
        return
    from saiki.core.files import atomic_write

    atomic_write(free_path(output, force), content.encode())
    say(f"wrote {output}")
