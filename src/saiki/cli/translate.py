"""`saiki translate MODEL [FILE]`: the translation of each line, to stdout."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saiki.cli import options as o
from saiki.cli.console import emit_json, free_path, say
from saiki.core.errors import DataError, UsageError

if TYPE_CHECKING:
    from saiki.models.translator_decode import Translation


def translate(
    model: o.ModelFolder,
    data: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="One text a line, or .gz. [stdin]")
    ] = None,
    text: Annotated[list[str] | None, typer.Option("--text", help="A text; repeat. Instead of FILE.")] = None,
    beam: Annotated[
        int | None, typer.Option(help="Beginnings followed at once. [the model's]", min=1)
    ] = None,
    n_best: Annotated[int, typer.Option(help="Translations of each text: score, tab, text.", min=1)] = 1,
    normalisation: Annotated[
        float | None, typer.Option(help="0 prefers short translations, 1 takes the mean a token.")
    ] = None,
    max_length: Annotated[int | None, typer.Option(help="Tokens of a translation at most.", min=1)] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Draw --n-best translations at this temperature instead.", min=0.0)
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Draw among so many tokens only.", min=1)] = None,
    random_state: o.RandomState = None,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", metavar="FILE", help="Draw where the first one looked: a new SVG file."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new text file, instead of stdout.")
    ] = None,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Translate lines of text with a trained model."""
    import saiki

    for path in (output, picture):
        if path is not None:
            free_path(path, force)  # before the work
    drawn = temperature is not None or top_k is not None
    if drawn and (beam is not None or normalisation is not None or picture is not None):
        raise UsageError(
            "--temperature and --top-k draw at random, where --beam, --normalisation and --picture have no "
            "meaning",
            hint="leave one or the other out",
        )
    lines = _lines(data, text)
    estimator = saiki.load(model)
    if estimator.task != "translator":
        raise UsageError(f"{model} holds a {estimator.task}", hint="give the folder of a translator")
    found: list[list[Translation]]
    if drawn:
        found = estimator.sample(
            lines,
            count=n_best,
            temperature=1.0 if temperature is None else temperature,
            top_k=top_k,
            random_state=random_state,
            max_length=max_length,
        )
    else:
        found = estimator.translate(
            lines,
            beam=beam,
            n_best=n_best,
            attention=picture is not None,
            normalisation=normalisation,
            max_length=max_length,
        )
    if picture is not None:
        _draw(found[0][0], picture, force)
    if as_json:
        emit_json(
            {
                "translations": [
                    {"source": line, "best": [one.to_json() for one in several]}
                    for line, several in zip(lines, found)
                ]
            }
        )
        return
    many = n_best > 1
    shown = [f"{one.score:.4f}\t{one.text}" if many else one.text for several in found for one in several]
    _write("".join(f"{line}\n" for line in shown), output, force)


def _lines(data: Path | None, text: list[str] | None) -> list[str]:
    """The texts: of --text, of a file, or of stdin."""
    if text:
        if data is not None:
            raise UsageError("both a file and --text were given", hint="leave one out")
        return text
    if data is not None and str(data) != "-":
        from saiki.data.pairs import read_lines

        lines, name = read_lines(data), str(data)
    else:
        if data is None and sys.stdin.isatty():
            raise UsageError("no text was given", hint="name a file, or --text TEXT, or pipe lines in")
        lines, name = sys.stdin.read().splitlines(), "stdin"
    if not lines:
        raise DataError(f"{name} is empty.", "Give one text a line.")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise DataError(f"{name}, line {number} is empty.", "Leave empty lines out.")
    return lines


def _write(content: str, output: Path | None, force: bool) -> None:
    if output is None:
        sys.stdout.write(content)
        return
    from saiki.core.files import atomic_write

    atomic_write(free_path(output, force), content.encode())
    say(f"wrote {output}")


def _draw(one: Translation, path: Path, force: bool) -> None:
    """The attention matrix as a picture of its own."""
    from saiki.core.files import atomic_write
    from saiki.insight import figures
    from saiki.models.translator_report import attention_figure

    atomic_write(free_path(path, force), figures.standalone(attention_figure(one)).encode())
    say(f"wrote {path}")
