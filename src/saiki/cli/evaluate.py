"""`saiki evaluate MODEL DATA`: the model's figures on data it has not seen, beside the simple models'."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saiki.cli import options as o
from saiki.cli.console import emit_json, format_table, ranked, say
from saiki.cli.fit import read_data
from saiki.core.errors import UsageError


def evaluate(
    model: o.ModelFolder,
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="A file with the columns the model learned from.")
    ],
    start: Annotated[
        float | None,
        typer.Option(
            parser=o.word_or_number,
            metavar="SHARE|ROWS|TIME",
            help="Forecasters: the part whose rows are forecast. [every row with a whole context]",
        ),
    ] = None,
    every: Annotated[int, typer.Option(help="Forecasters: keep every n-th origin.", min=1)] = 1,
    label: o.Label = None,
    part: o.ArchivePart = None,
    target: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Translators: the targets, where DATA is sources.")
    ] = None,
    as_json: o.Json = False,
) -> None:
    """Measure a trained model on a file."""
    import saiki

    estimator = saiki.load(model)
    if estimator.task == "forecaster":
        if label or part:
            raise UsageError("--label and --part are for classifiers and regressors", hint="leave them out")
        backtest = estimator.backtest(data, start=start, every=every)
        if as_json:
            emit_json(
                {
                    "task": "forecaster",
                    "origins": len(backtest.forecasts),
                    "metrics": backtest.metrics,
                    "baselines": backtest.baselines,
                    "by_horizon": backtest.by_horizon,
                }
            )
            return
        print(format_table(ranked(backtest.metrics, backtest.baselines)))
        say(str(backtest).splitlines()[-1])
        return
    if start is not None or every != 1:
        raise UsageError("--start and --every are for forecasters", hint="leave them out")
    metrics = estimator.evaluate(*read_data(data, estimator, label=label, part=part, target=target))
    if as_json:
        emit_json({"task": estimator.task, "metrics": metrics})
    else:
        print(format_table([{"metric": name, "value": value} for name, value in metrics.items()]))
