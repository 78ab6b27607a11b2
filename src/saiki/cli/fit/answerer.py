"""`saiki fit answerer STORIES -o MODEL`: stories with questions to a model that answers them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from saiki.cli import options as o
from saiki.cli.fit.common import Source, run


def read(
    path: Path,
    estimator: Any,  # noqa: ANN401  an Answerer; the room is loaded late
    *,
    answers: bool = True,
    held_out: str | Path | None = None,
) -> tuple[Any, ...]:
    """The stories of a file, which hold their questions and, where wanted, their answers.

    Args:
        path: numbered lines, see `saiki.data.worlds.read_stories`.
        estimator: where `held_out` is given, its `validation` becomes those stories.
        answers: whether every question needs its answer.
        held_out: a file of stories to validate on.
    """
    from saiki.data.worlds import read_stories

    if held_out is not None:
        estimator.set_params(validation=(read_stories(held_out),))
    return (read_stories(path, answers=answers),)


SOURCE = Source("answerer", read, ("held_out",))


def answerer(
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="[STORIES]",
            help="Numbered lines: '1 Anna went to the attic.', '2 Where is Anna?', a tab and the answer.",
        ),
    ] = None,
    output: o.Output = None,
    config: o.Config = None,
    held_out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Stories to validate on, not a share.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Numbers of a word's vector.", min=1)] = None,
    hops: Annotated[int | None, typer.Option(help="How often the memory is read.", min=1)] = None,
    memory: Annotated[str | None, typer.Option(help="sentences or key_value.")] = None,
    sharing: Annotated[str | None, typer.Option(help="adjacent or layer.")] = None,
    position: Annotated[
        bool | None, typer.Option("--position/--no-position", help="A word's place in its sentence counts.")
    ] = None,
    time: Annotated[int | None, typer.Option(help="Ages of a sentence; 0: its age does not count.")] = None,
    tokens: Annotated[
        str | None, typer.Option(help="words, whitespace, characters or sentencepiece.")
    ] = None,
    min_count: Annotated[int | None, typer.Option(help="Rarer words count as unknown. [1]", min=1)] = None,
    validation: o.Part = None,
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
    """Answer questions about stories with a memory network."""
    run(SOURCE, locals())
