"""`saiki fit regressor DATA -o MODEL`: sequences with numbers each, or some a step."""

from __future__ import annotations

from typing import Annotated

import typer

from saiki.cli import options as o
from saiki.cli.fit.common import Source, run
from saiki.cli.source import SOURCE_KEYS, read_sequences

SOURCE = Source("regressor", read_sequences, SOURCE_KEYS)


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
    run(SOURCE, locals())
