"""`saiki predict MODEL DATA`: the class or the numbers of each sequence, as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from saiki.cli import options as o
from saiki.cli.console import emit_json, write_columns
from saiki.cli.source import read_sequences
from saiki.core.errors import UsageError


def predict(
    model: o.ModelFolder,
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="A file with the columns the model learned from.")
    ],
    proba: Annotated[
        bool, typer.Option("--proba", help="Classifiers: the probability of each class too.")
    ] = False,
    part: o.ArchivePart = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new CSV file, instead of stdout.")
    ] = None,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Predict with a trained classifier or regressor."""
    import numpy as np

    import saiki

    estimator = saiki.load(model)
    if estimator.task == "forecaster":
        raise UsageError(f"{model} holds a forecaster", hint=f"use: saiki forecast {model} [DATA]")
    if proba and estimator.task != "classifier":
        raise UsageError(
            f"--proba is for classifiers, and {model} holds a {estimator.task}", hint="leave it out"
        )
    X, _ = read_sequences(data, estimator, part=part, answers=False)
    answers = estimator.predict(X)
    parts = [np.atleast_1d(a) for a in answers]
    per_step = bool(estimator.per_step_)
    names = estimator.sequence_names(X)
    columns: dict[str, Any] = {
        "sequence": [n for n, a in zip(names, parts) for _ in range(len(a) if per_step else 1)]
    }
    if per_step:
        columns["step"] = [t for a in parts for t in range(len(a))]
    rows = np.concatenate(parts) if per_step else np.stack([np.asarray(a) for a in answers])
    if rows.ndim == 1:
        columns["prediction"] = rows
    else:
        columns.update({f"prediction_{k}": rows[:, k] for k in range(rows.shape[1])})
    if proba:
        shares = estimator.predict_proba(X)
        table = np.concatenate(list(shares)) if per_step else np.asarray(shares)
        columns.update({f"p({name})": table[:, k] for k, name in enumerate(estimator.classes_)})
    if as_json:
        emit_json({"predictions": columns})
    else:
        write_columns(columns, output, force)
