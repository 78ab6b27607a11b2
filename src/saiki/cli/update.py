"""`saiki update MODEL DATA`: new rows for a model that reads a stream; it learns from them and is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saiki.cli import options as o
from saiki.cli.console import emit_json, format_table, ranked, say
from saiki.core.errors import UsageError


def update(
    model: o.ModelFolder,
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="A file with the rows that come after those read so far.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="MODEL", help="Another folder for the model. [the same]"),
    ] = None,
    learn: Annotated[
        bool, typer.Option("--learn/--no-learn", help="Learn from the rows, or read and measure only.")
    ] = True,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Read new rows of a stream, learn from each, and save the model."""
    import saiki
    from saiki.core.schema import require_free_folder

    if output is not None:
        require_free_folder(output, force)
    estimator = saiki.load(model)
    if estimator.task != "forecaster":
        raise UsageError(f"{model} holds a {estimator.task}", hint="update is for forecasters of a stream")
    before = estimator.stream_ if hasattr(estimator, "stream_") else None
    estimator.update(data, learn=learn)
    folder = estimator.save(output or model, force=force or output is None)
    rows = estimator.stream_.rows - (before.rows if before is not None else 0)
    updates = estimator.stream_.updates - (before.updates if before is not None else 0)
    found = estimator.online_
    if as_json:
        emit_json(
            {
                "model": str(folder),
                "rows": rows,
                "updates": updates,
                "origins": 0 if found is None else len(found.forecasts),
                "metrics": None if found is None else found.metrics,
                "baselines": [] if found is None else found.baselines,
            }
        )
        return
    if found is not None:
        print(format_table(ranked(found.metrics, found.baselines)))
        say(f"{str(found).splitlines()[-1]}; each made before its targets were seen")
    say(f"read {rows:,} row{'' if rows == 1 else 's'}, {updates:,} updates; model in {folder}")
