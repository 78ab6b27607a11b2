"""`saiki tag MODEL [FILE]`: the tag of each word, a word a line, to stdout."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from saiki.cli import options as o
from saiki.cli.console import emit_json, free_path, say
from saiki.core.errors import DataError, UsageError


def tag(
    model: o.ModelFolder,
    data: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="One sentence a line; or .conllu; or .gz. [stdin]"),
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option("--text", help="A sentence; repeat. Instead of FILE.")
    ] = None,
    split: Annotated[
        str, typer.Option(help="How lines are cut: whitespace, or words (signs apart from words).")
    ] = "whitespace",
    proba: Annotated[
        bool, typer.Option("--proba", help="The probability of each tag in a third column.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new file, instead of stdout.")
    ] = None,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Tag sentences with a trained model: word, tab, tag; an empty line between sentences."""
    import saiki

    if output is not None:
        free_path(output, force)  # before the work
    sentences = _sentences(data, text, split)
    estimator = saiki.load(model)
    if estimator.task != "tagger":
        raise UsageError(f"{model} holds a {estimator.task}", hint="give the folder of a tagger")
    tags = estimator.predict(sentences)
    labels = estimator.predict_labels(sentences) if estimator.labels_ is not None else None
    shares: list[list[float]] | None = None
    if proba:
        place = {name: k for k, name in enumerate(estimator.tags_)}
        shares = [
            [float(row[place[name]]) for row, name in zip(rows, said)]
            for rows, said in zip(estimator.predict_proba(sentences), tags)
        ]
    if as_json:
        found = []
        for number, (words, said) in enumerate(zip(sentences, tags)):
            one: dict[str, object] = {} if labels is None else {"label": labels[number]}
            one |= {"words": words, "tags": said}
            found.append(one if shares is None else {**one, "probabilities": shares[number]})
        emit_json({"sentences": found})
        return
    lines: list[str] = []
    for number, (words, said) in enumerate(zip(sentences, tags)):
        lines += [] if labels is None else [f"# label = {labels[number]}"]
        for step, (word, name) in enumerate(zip(words, said)):
            third = "" if shares is None else f"\t{shares[number][step]:.4f}"
            lines.append(f"{word}\t{name}{third}")
        lines.append("")
    _write("".join(f"{line}\n" for line in lines), output, force)


def _sentences(data: Path | None, text: list[str] | None, split: str) -> list[list[str]]:
    """The sentences of --text, of a file, or of stdin, each as its words."""
    from saiki.data import get_tokenizer, read_tagged
    from saiki.data.pairs import read_lines
    from saiki.data.tokens import Words

    tokenizer = get_tokenizer(split)
    if isinstance(tokenizer, Words):
        tokenizer = Words(lower=False)  # characters keep their case
    if text:
        if data is not None:
            raise UsageError("both a file and --text were given", hint="leave one out")
        lines, name = text, "--text"
    elif data is not None and str(data) != "-":
        if data.name.removesuffix(".gz").endswith(".conllu"):
            return read_tagged(data, answers=False).words
        lines, name = read_lines(data), str(data)
    else:
        if data is None and sys.stdin.isatty():
            raise UsageError("no text was given", hint="name a file, or --text TEXT, or pipe lines in")
        lines, name = sys.stdin.read().splitlines(), "stdin"
    found = [tokenizer.split(line) for line in lines if line.strip()]
    if not found:
        raise DataError(f"{name} holds no sentence.", "Give one sentence a line.")
    for number, words in enumerate(found, start=1):
        if not words:
            raise DataError(f"{name}, sentence {number} has no word.", "Leave it out.")
    return found


def _write(content: str, output: Path | None, force: bool) -> None:
    if output is None:
        sys.stdout.write(content)
        return
    from saiki.core.files import atomic_write

    atomic_write(free_path(output, force), content.encode())
    say(f"wrote {output}")
