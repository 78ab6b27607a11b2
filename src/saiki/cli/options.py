"""The options several verbs share, spelt as in Python; one that is not given leaves the library's default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from saiki.core.errors import UsageError

# ---- where things are
DataFile = Annotated[Path, typer.Argument(metavar="DATA", help="A .csv, .csv.gz, .parquet or .npz file.")]
OptionalData = Annotated[
    Path | None, typer.Argument(metavar="[DATA]", help="A .csv, .csv.gz, .parquet or .npz file.")
]
ModelFolder = Annotated[Path, typer.Argument(metavar="MODEL", help="The folder of a trained model.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="MODEL", help="Folder for the model.")]
Config = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="A TOML file with any of these options.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace what is already there.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the newest good checkpoint in MODEL.")]
EveryMinutes = Annotated[
    float | None,
    typer.Option("--every-minutes", help="Minutes between checkpoints instead of one an epoch.", min=0.0),
]
Json = Annotated[bool, typer.Option("--json", help="Results as JSON on stdout, for machines.")]


def word_or_number(value: str) -> float | int | str:
    """`0.2`, `260`, `1997-01-01` and `none` are all meant as they look; the library judges the rest."""
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def rule_words(value: str) -> dict[str, Any]:
    """`truncated_bptt window=50 stride=10` as the mapping that Python and TOML take."""
    name, *options = value.split()
    rule: dict[str, Any] = {"type": name}
    for option in options:
        key, equals, said = option.partition("=")
        if not equals:
            raise UsageError(f"--rule: {option!r} is no OPTION=VALUE", hint=f"write '{name} window=50'")
        rule[key] = word_or_number(said)
    return rule


# ---- the columns of a table
Time = Annotated[str | None, typer.Option(help="Name of the time column. [found by itself]")]
Id = Annotated[str | None, typer.Option(help="Name of the column that tells series or sequences apart.")]
Columns = Annotated[
    list[str] | None, typer.Option("--column", help="A feature column; repeat. [all but id, time and label]")
]
Categories = Annotated[
    list[str] | None,
    typer.Option("--category", help="A feature that holds categories; repeat. [those of text]"),
]
Encoding = Annotated[str | None, typer.Option(help="Of categories: one_hot or embed.")]
Missing = Annotated[str | None, typer.Option(help="error, interpolate or mask.")]
Label = Annotated[
    list[str] | None, typer.Option("--label", help="The column to predict; repeat for several.")
]
ArchivePart = Annotated[str | None, typer.Option("--part", help="Part of an .npz archive. [train]")]
Layout = Annotated[
    str | None, typer.Option(help="Axes of a 3-d archive: auto, steps_first or channels_first.")
]
PerStep = Annotated[
    bool | None, typer.Option("--per-step/--per-sequence", help="One answer a step, or one a sequence.")
]
Part = Annotated[
    float | None,  # the parser may also give a whole number or a word
    typer.Option(parser=word_or_number, metavar="SHARE|ROWS|TIME|none"),
]

# ---- the network
Cell = Annotated[str | None, typer.Option(help="elman, jordan, lstm, elementwise_lstm or gru.")]
HiddenSize = Annotated[
    int | None, typer.Option(parser=word_or_number, metavar="N|auto", help="Units a layer, or auto.")
]
NumLayers = Annotated[int | None, typer.Option(help="Recurrent layers.", min=1)]
Bidirectional = Annotated[
    bool | None, typer.Option("--bidirectional/--forward-only", help="Both directions of time.")
]
DropoutShare = Annotated[float | None, typer.Option("--dropout", help="Share of units dropped in training.")]
Loss = Annotated[str | None, typer.Option(help="auto or a loss by name.")]

# ---- the training
LearningRate = Annotated[float | None, typer.Option("--lr", help="Learning rate.")]
MaxEpochs = Annotated[int | None, typer.Option(help="Epochs at most.", min=1)]
BatchSize = Annotated[int | None, typer.Option(help="Sequences an update.", min=1)]
Patience = Annotated[
    int | None,
    typer.Option(
        parser=word_or_number, metavar="N|none", help="Evaluations without a new best before it stops."
    ),
]
OptimizerName = Annotated[
    str | None,
    typer.Option("--optimizer", help="sgd, momentum, nesterov, adagrad, rmsprop, adam or adamw."),
]
ScheduleName = Annotated[
    str | None,
    typer.Option("--schedule", help="constant, linear, inverse, exponential, cosine, plateau or warmup."),
]
ClipNorm = Annotated[
    float | None, typer.Option(parser=word_or_number, metavar="NUMBER|none", help="Longest gradient.")
]
ClipValue = Annotated[float | None, typer.Option(help="Largest entry of a gradient.")]
WeightDecay = Annotated[float | None, typer.Option(help="Penalty on the squares of W and R.")]
L1 = Annotated[float | None, typer.Option("--l1", help="Penalty on the magnitudes of W and R.")]
Every = Annotated[
    int | None,
    typer.Option(parser=word_or_number, metavar="epoch|N", help="Validate every epoch, or after N updates."),
]
Refit = Annotated[str | None, typer.Option(help="all: train again on all data at the end.", metavar="all")]
RuleWords = Annotated[
    str | None,  # the parser gives a mapping
    typer.Option(
        "--rule",
        parser=rule_words,
        metavar="'NAME [OPTION=VALUE ...]'",
        help="The learning rule: bptt, 'truncated_bptt window=50', 'rtrl approximation=snap1', ....",
    ),
]
Baselines = Annotated[
    bool | None, typer.Option("--baselines/--no-baselines", help="Measure simple models beside it.")
]
RandomState = Annotated[int | None, typer.Option("--random-state", help="Seed.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or auto.")]
Dtype = Annotated[str | None, typer.Option(help="float32 or float64.")]
Engine = Annotated[str | None, typer.Option(help="auto, reference, torch_fused or cpu.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]

TRAINING = ("optimizer", "schedule", "clip_norm", "clip_value", "weight_decay", "l1", "every", "refit")


def split_training(flags: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Take the options of `saiki.learning.Training` out of the flags: (the estimator's, the training's)."""
    given = {name: value for name, value in flags.items() if value is not None}
    return (
        {name: value for name, value in given.items() if name not in TRAINING},
        {name: value for name, value in given.items() if name in TRAINING},
    )
