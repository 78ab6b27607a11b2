"""`saiki inspect MODEL [DATA]`: a look inside a trained model, and what the doctor says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from saiki.cli import options as o
from saiki.cli.console import emit_json, format_table, free_path, say
from saiki.cli.fit import read_data
from saiki.core.errors import UsageError

_MARKS = {"ill": "change", "watch": "watch", "well": "sound"}


def inspect(
    model: o.ModelFolder,
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DATA]",
            help="A file with the columns the model learned from. Without it: what was seen after training.",
        ),
    ] = None,
    part: o.ArchivePart = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Also write the pictures: a new HTML file."),
    ] = None,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Look inside: how far the gradient reaches, gates, training health, and a verdict in plain words."""
    import saiki
    from saiki.models.inside import seen_on

    if report is not None:
        free_path(report, force)  # before the work
    estimator = saiki.load(model)
    if data is None:
        if part is not None:
            raise UsageError("--part is of an .npz archive, and no DATA was given", hint="leave it out")
        seen = seen_on(estimator)
    else:
        if part is not None and estimator.task == "forecaster":
            raise UsageError("--part is for classifiers and regressors", hint="leave it out")
        seen = seen_on(estimator, read_data(data, estimator, answers=False, part=part)[0])
    if report is not None:
        from saiki.core.files import atomic_write
        from saiki.models.inside import page_of

        atomic_write(free_path(report, force), page_of(estimator, seen, str(model)).encode())
        say(f"wrote {report}")
    if as_json:
        emit_json({"model": str(model), "task": estimator.task, **seen.to_json()})
    else:
        _show(seen)


def _show(seen: Any) -> None:  # noqa: ANN401  models.inside.Seen; the room is loaded late
    """The verdict, the findings, and the numbers layer by layer."""
    print(seen.verdict)
    if seen.findings:
        print()
    for finding in seen.findings:
        print(f"{_MARKS[finding.severity]:>6}  {finding.sentence}")
        if finding.advice:
            print(f"{'':>6}  → {finding.advice}")
    for title, rows in seen.tables():
        print(f"\n{title}\n")
        print(format_table(rows))
    if seen.note:
        say(f"\n{seen.note}")
