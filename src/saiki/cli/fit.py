"""`saiki fit TASK DATA -o MODEL`: from a file to a model folder with its report."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saiki.cli import options as o
from saiki.cli.console import comparison, emit_json, format_table, say
from saiki.cli.job import Job, build, overlay, read_job, refuse_unknown
from saiki.cli.source import SOURCE_KEYS, read_sequences
from saiki.core.errors import UsageError

if TYPE_CHECKING:
    from saiki.models.base import Estimator

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Train a model. Options here, or in one TOML file (--config) under the same names as in Python.",
)

# What the flags say that no estimator has an argument for.
_HERE = ("data", "output", "config", "force", "resume", "every_minutes", "as_json", "quiet", *SOURCE_KEYS)
_COVARIATES = ("past", "future", "static")


@app.command("forecaster")
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
    _fit("forecaster", locals())


@app.command("classifier")
def classifier(
    data: o.OptionalData = None,
    output: o.Output = None,
    config: o.Config = None,
    label: o.Label = None,
    part: o.ArchivePart = None,
    time: o.Time = None,
    id: o.Id = None,
    columns: o.Columns = None,
    categories: o.Categories = None,
    encoding: o.Encoding = None,
    layout: o.Layout = None,
    per_step: o.PerStep = None,
    missing: o.Missing = None,
    scaling: Annotated[str | None, typer.Option(help="standard, minmax or none.")] = None,
    validation: o.Part = None,
    class_weight: Annotated[str | None, typer.Option(help="balanced, or none.")] = None,
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
    """Classify sequences, or each of their steps."""
    _fit("classifier", locals())


@app.command("regressor")
def regressor(
    data: o.OptionalData = None,
    output: o.Output = None,
    config: o.Config = None,
    label: o.Label = None,
    part: o.ArchivePart = None,
    time: o.Time = None,
    id: o.Id = None,
    columns: o.Columns = None,
    categories: o.Categories = None,
    encoding: o.Encoding = None,
    layout: o.Layout = None,
    per_step: o.PerStep = None,
    missing: o.Missing = None,
    unit: Annotated[str | None, typer.Option(help="Unit of the label, for the report.")] = None,
    scaling: Annotated[str | None, typer.Option(help="standard, minmax or none.")] = None,
    validation: o.Part = None,
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
    """Predict numbers from sequences, one row a sequence or one row a step."""
    _fit("regressor", locals())


def _fit(task: str, flags: Mapping[str, Any]) -> None:
    """Read the job, train, save, print the comparison."""
    job = read_job(flags["config"], task) if flags["config"] is not None else Job()
    folder = flags["output"] or (Path(job.output) if job.output is not None else None)
    if folder is None:
        raise UsageError(
            "no folder was given for the model", hint='add -o MODEL, or output = "MODEL" to the file'
        )
    path, source = source_of(job, flags, f"saiki fit {task} DATA -o MODEL")

    from saiki.core.schema import require_free_folder

    require_free_folder(folder, flags["force"] or flags["resume"])
    estimator: Any = build(task, with_flags(job, flags), str(flags["config"]))
    checkpoints = folder / "checkpoints"
    options: dict[str, Any] = {
        "checkpoint": checkpoints,
        "resume": flags["resume"] and checkpoints.is_dir(),
        "every_minutes": flags["every_minutes"],
    }
    if flags["resume"] and not checkpoints.is_dir():
        say(f"{checkpoints} is not there, so there is nothing to resume: training from the start")
    with _replacing(checkpoints, flags["force"] and not flags["resume"]):
        if task == "forecaster":
            estimator.fit(path, **options)
        else:
            X, y = read_sequences(path, estimator, **source)
            estimator.fit(X, y, **options)
    estimator.save(folder, force=flags["force"] or flags["resume"])
    _show(estimator, folder, flags["as_json"])


@contextmanager
def _replacing(checkpoints: Path, wanted: bool) -> Iterator[None]:
    """Put an earlier run's checkpoints aside while a new one starts; back if it does not get that far."""
    if not (wanted and checkpoints.is_dir()):
        yield
        return
    aside = checkpoints.with_name(f"{checkpoints.name}.replaced")
    shutil.rmtree(aside, ignore_errors=True)  # of a run that was killed
    checkpoints.rename(aside)
    try:
        yield
    except BaseException:
        if not checkpoints.exists():
            aside.rename(checkpoints)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def source_of(job: Job, flags: Mapping[str, Any], usage: str) -> tuple[Path, dict[str, Any]]:
    """The file that a job or a flag names, and which parts of it are the answers.

    Raises:
        UsageError: no file was named, or it is not there; `usage` says how.
    """
    refuse_unknown(job.data, ("path", *SOURCE_KEYS), f"{flags['config']}: [data]")
    source = overlay(job.data, {"path": flags["data"], **{key: flags.get(key) for key in SOURCE_KEYS}})
    if "path" not in source:
        raise UsageError("no data was given", hint=f"name the file: {usage}")
    path = Path(source.pop("path"))
    if not path.is_file():
        raise UsageError(f"there is no file {path}", hint="check the path")
    return path, source


def with_flags(job: Job, flags: Mapping[str, Any]) -> Job:
    """The job, overridden by what the command line says."""
    model, training = o.split_training({k: v for k, v in flags.items() if k not in _HERE})
    covariates = {key: model.pop(key) for key in _COVARIATES if key in model}
    if covariates:
        model["covariates"] = covariates
    if flags["quiet"]:
        model["verbose"] = False
    return replace(job, model=overlay(job.model, model), training=overlay(job.training, training))


def _show(estimator: Estimator, folder: Path, as_json: bool) -> None:
    record = estimator.record_
    if as_json:
        emit_json(
            {
                "model": str(folder),
                "task": estimator.task,
                "metrics": estimator.metrics_,
                "baselines": estimator.baselines_,
                "parameters": record.parameters,
                "epochs": len(record.epochs),
                "best_epoch": record.best_epoch,
                "seconds": record.seconds,
                "seed": estimator.seed_,
                "report": str(folder / "report.html"),
            }
        )
        return
    if estimator.metrics_:
        print(format_table(comparison(estimator)))
    epochs = f"{len(record.epochs)} epoch{'' if len(record.epochs) == 1 else 's'}"
    say(f"trained {epochs} in {record.seconds:.0f} s; model in {folder}")
    say(f"report: {folder / 'report.html'}")
