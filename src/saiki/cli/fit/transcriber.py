"""`saiki fit transcriber DATA -o MODEL`: recordings with what is said in each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saiki.cli import options as o
from saiki.cli.fit.common import Source, run

if TYPE_CHECKING:
    from saiki.models.transcriber import Transcriber

KEYS = ("text", "audio", "group", "label")  # `evaluate` calls the texts' column the label


def read(
    path: Path,
    estimator: Transcriber,
    *,
    answers: bool = True,
    text: str | None = None,
    audio: str | None = None,
    group: str | None = None,
    label: str | list[str] | None = None,
) -> tuple[Any, ...]:
    """The recordings of a file or folder, with transcripts and groups where they are wanted."""
    from saiki.data.recordings import load_recordings

    if label is not None:
        text = label if isinstance(label, str) else label[0]
    found = load_recordings(
        path, audio=audio, text=text, group=group, rate_hz=estimator.rate_hz, answers=answers
    )
    if not answers:
        return (found.X,)
    return (found.X, found.y) if group is None else (found.X, found.y, found.groups)


SOURCE = Source("transcriber", read, KEYS, folders=True)


def words(value: str) -> dict[str, Any]:
    """`size=64 kernel_size=5 stride=2` as the mapping that Python and TOML take."""
    return {key: part for key, part in o.rule_words(f"convolution {value}").items() if key != "type"}


def transcriber(
    data: Annotated[
        Path | None,
        typer.Argument(metavar="[DATA]", help="A table of paths and texts, a folder, or an .npz archive."),
    ] = None,
    output: o.Output = None,
    config: o.Config = None,
    text: Annotated[str | None, typer.Option(help="Column (or array) of what is said. [found]")] = None,
    audio: Annotated[str | None, typer.Option(help="Column of the recordings' paths. [found]")] = None,
    group: Annotated[
        str | None, typer.Option(help="Column of who speaks: no speaker is in both parts of the split.")
    ] = None,
    units: Annotated[str | None, typer.Option(help="characters, words, whitespace or sentencepiece.")] = None,
    features: Annotated[str | None, typer.Option(help="log_mel or mfcc. [log_mel]")] = None,
    rate_hz: Annotated[
        int | None, typer.Option("--rate-hz", help="Samples a second; others are resampled.", min=1)
    ] = None,
    convolution: Annotated[
        str | None,  # the parser gives a mapping
        typer.Option(parser=words, metavar="'size=N kernel_size=N [stride=N]'", help="In front."),
    ] = None,
    scaling: Annotated[str | None, typer.Option(help="standard, utterance or none.")] = None,
    beam_width: Annotated[int | None, typer.Option("--beam-width", help="1 is greedy.", min=1)] = None,
    validation: o.Part = None,
    cell: o.Cell = None,
    hidden_size: o.HiddenSize = None,
    num_layers: o.NumLayers = None,
    bidirectional: o.Bidirectional = None,
    dropout: o.DropoutShare = None,
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
    """Turn recordings into text or labels."""
    run(SOURCE, locals())
