"""`saiki fit forecaster DATA -o MODEL`: a table of measurements to a model of what comes next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from saiki.cli import options as o
from saiki.cli.fit.common import Source, run


def read(path: Path, estimator: Any, *, answers: bool = True, **source: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """The forecaster reads its table itself."""
    del estimator, answers, source
    return (path,)


SOURCE = Source("forecaster", read)


def forecaster(
    data: o.OptionalData = None,
    output: o.Output = None,
    config: o.Config = None,
    horizon: Annotated[int | None, typer.Option(help="Steps ahead.", min=1)] = None,
    context: Annotated[
        int | None, typer.Option(help="Past steps a forecast looks at. [two seasons]", min=1)
    ] = None,
    targets: Annotated[
        list[str] | None, typer.Option("--target", help="A column to forecast; repeat.")
    ] = None,
    time: o.Time = None,
    id: o.Id = None,
    past: Annotated[list[str] | None, typer.Option(help="A covariate known up to now; repeat.")] = None,
    future: Annotated[list[str] | None, typer.Option(help="A covariate known ahead; repeat.")] = None,
    static: Annotated[
        list[str] | None, typer.Option(help="A covariate with one value a series; repeat.")
    ] = None,
    quantiles: Annotated[
        list[float] | None, typer.Option("--quantile", help="A level to forecast; repeat.")
    ] = None,
    strategy: Annotated[str | None, typer.Option(help="direct or recursive.")] = None,
    series: Annotated[str | None, typer.Option(help="shared or joint, for several series.")] = None,
    ids: Annotated[str | None, typer.Option(help="one_hot or embed: tell the network the series.")] = None,
    mode: Annotated[
        str | None, typer.Option(help="window, or stream: read from the first row, then saiki update.")
    ] = None,
    season: Annotated[int | None, typer.Option(help="Steps in a season. [from the times]", min=1)] = None,
    scaling: Annotated[
        str | None, typer.Option(help="series, standard, minmax, none; in a stream running.")
    ] = None,
    window_scaling: Annotated[str | None, typer.Option(help="last, mean or none.")] = None,
    level: Annotated[
        bool | None, typer.Option("--level/--no-level", help="Show the network each window's level.")
    ] = None,
    highway: Annotated[
        bool | None, typer.Option("--highway/--no-highway", help="Add a linear map of the lags.")
    ] = None,
    attention: Annotated[
        bool | None, typer.Option("--attention/--no-attention", help="Weigh the steps of the past.")
    ] = None,
    calibrate: Annotated[
        bool | None, typer.Option("--calibrate/--no-calibrate", help="Calibrate the quantiles.")
    ] = None,
    missing: o.Missing = None,
    gaps: Annotated[str | None, typer.Option(help="Absent rows: error, complete or keep.")] = None,
    sort: Annotated[bool | None, typer.Option("--sort", help="Put the rows in time order first.")] = None,
    validation: o.Part = None,
    test: o.Part = None,
    until: o.Part = None,
    unit: Annotated[str | None, typer.Option(help="Unit of the targets, for the report.")] = None,
    cell: o.Cell = None,
    hidden_size: o.HiddenSize = None,
    num_layers: o.NumLayers = None,
    bidirectional: o.Bidirectional = None,
    dropout: o.DropoutShare = None,
    loss: o.Loss = None,
    lr: o.LearningRate = None,
    max_epochs: o.MaxEpochs = None,
    batch_size: o.BatchSize = None,
    patience: o.Patience = None,
    optimizer: o.OptimizerName = None,
    schedule: o.ScheduleName = None,
    clip_norm: o.ClipNorm = None,
    clip_value: o.ClipValue = None,
    weight_decay: o.WeightDecay = None,
    l1: o.L1 = None,
    every: o.Every = None,
    refit: o.Refit = None,
    rule: o.RuleWords = None,
    baselines: o.Baselines = None,
    random_state: o.RandomState = None,
    device: o.Device = None,
    dtype: o.Dtype = None,
    engine: o.Engine = None,
    force: o.Force = False,
    resume: o.Resume = False,
    every_minutes: o.EveryMinutes = None,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Forecast one or many series from a table of measurements."""
    run(SOURCE, locals())
