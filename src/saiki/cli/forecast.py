"""`saiki forecast MODEL [DATA]`: what comes next, with intervals, as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saiki.cli import options as o
from saiki.cli.console import emit_json, write_columns
from saiki.core.errors import UsageError


def forecast(
    model: o.ModelFolder,
    data: Annotated[
        Path | None,
        typer.Argument(metavar="[DATA]", help="Go on from the end of this file. [the file that fit saw]"),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="How many steps. [the horizon]", min=1)] = None,
    future: Annotated[
        Path | None, typer.Option(help="A file with the covariates known ahead, one row a step to come.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new CSV file, instead of stdout.")
    ] = None,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Forecast with a trained model."""
    import saiki

    estimator = saiki.load(model)
    if estimator.task != "forecaster":
        raise UsageError(f"{model} holds a {estimator.task}", hint=f"use: saiki predict {model} DATA")
    columns = estimator.forecast(data, steps, future=future)
    if as_json:
        emit_json({"forecast": columns})
    else:
        write_columns(columns, output, force)
