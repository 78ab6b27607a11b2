"""`saiki generate MODEL`: text written by a language model, to stdout."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from saiki.cli import options as o
from saiki.cli.console import emit_json, free_path, say
from saiki.core.errors import UsageError


def generate(
    model: o.ModelFolder,
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", help="What stands before; repeat for several texts.")
    ] = None,
    length: Annotated[int, typer.Option(help="Tokens to write.", min=0)] = 200,
    temperature: Annotated[
        float, typer.Option(help="0: the likeliest token each time; 1: as learned; above: wilder.", min=0.0)
    ] = 1.0,
    top_k: Annotated[
        int | None, typer.Option(help="Draw among the k likeliest tokens only. [all]", min=1)
    ] = None,
    random_state: o.RandomState = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new text file, instead of stdout.")
    ] = None,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Write text with a trained language model; the prompt comes first."""
    import saiki

    if output is not None:
        free_path(output, force)  # before the work
    estimator = saiki.load(model)
    if estimator.task != "language_model":
        raise UsageError(f"{model} holds a {estimator.task}", hint="give the folder of a language model")
    prompts = list(prompt or [""])
    texts: list[str] = estimator.generate(
        prompts, length, temperature=temperature, top_k=top_k, random_state=random_state
    )
    if as_json:
        emit_json({"texts": [{"prompt": asked, "text": text} for asked, text in zip(prompts, texts)]})
        return
    content = "".join(f"{asked}{text}\n" for asked, text in zip(prompts, texts))
    if output is None:
        sys.stdout.write(content)
        return
    from saiki.core.files import atomic_write

    atomic_write(free_path(output, force), content.encode())
    say(f"wrote {output}")
