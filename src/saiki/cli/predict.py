"""`saiki predict MODEL DATA`: the class or the numbers of each sequence, as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from saiki.cli import options as o
from saiki.cli.console import emit_json, write_columns
from saiki.cli.fit import read_data
from saiki.core.errors import UsageError

# Tasks whose answers are no column of classes or numbers have a verb of their own.
_VERBS = {
    "forecaster": "forecast",
    "tagger": "tag",
    "transcriber": "transcribe",
    "translator": "translate",
    "language_model": "generate",
    "answerer": "answer",
}


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
    if estimator.task in _VERBS:
        raise UsageError(
            f"{model} holds a {estimator.task}", hint=f"use: saiki {_VERBS[estimator.task]} {model} [DATA]"
        )
    if proba and estimator.task != "classifier":
        raise UsageError(
            f"--proba is for classifiers, and {model} holds a {estimator.task}", hint="leave it out"
        )
    X = read_data(data, estimator, answers=False, part=part)[0]
    answers = estimator.predict(X)
    shares = estimator.predict_proba(X) if proba else None
    columns: dict[str, Any] = {}
    if estimator.per_step_ and isinstance(X, list):
        columns["sequence"] = [k for k, steps in enumerate(answers) for _ in steps]
        columns["step"] = [t for steps in answers for t in range(len(steps))]
        answers = np.concatenate(answers)
        shares = None if shares is None else np.concatenate(shares)
    elif estimator.per_step_:
        columns.update({name: X[name] for name in (estimator.id, estimator.time) if name is not None})
    else:
        columns["sequence"] = range(len(X)) if isinstance(X, list) else [one.name for one in X.series]
    if np.ndim(answers) == 1:
        columns["prediction"] = answers
    else:
        columns.update({f"prediction_{k}": column for k, column in enumerate(np.transpose(answers))})
    if shares is not None:
        columns.update(
            {f"p({name})": column for name, column in zip(estimator.classes_, np.transpose(shares))}
        )
    if as_json:
        emit_json({"predictions": columns})
    else:
        write_columns(columns, output, force)
