"""`saiki fit tagger SENTENCES -o MODEL`: sentences with a tag a word to a model that tags others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from saiki.cli import options as o
from saiki.cli.fit.common import Source, run
from saiki.core.errors import UsageError


def read(
    path: Path,
    estimator: Any,  # noqa: ANN401  a SequenceTagger; the room is loaded late
    *,
    answers: bool = True,
    label: str | list[str] | None = None,
    held_out: str | Path | None = None,
) -> tuple[Any, ...]:
    """Words, tags and, where the file has some, labels of whole sentences; without answers the words alone.

    Args:
        path: .conllu, one with seq.in in its name, or columns; see `saiki.data.read_tagged`.
        estimator: where `held_out` is given, its `validation` becomes those sentences. One that was fitted
            without labels is given none.
        answers: whether tags and labels are wanted.
        label: the column of CoNLL-U that holds the tags; "upos" if not given.
        held_out: a file of sentences to validate on.
    """
    from saiki.data import read_tagged

    names = [label] if isinstance(label, str) else list(label or [])
    if len(names) > 1:
        raise UsageError("a tagger learns one column of tags", hint="give --label once")
    column = names[0] if names else "upos"
    found = read_tagged(path, column=column, answers=answers)
    if not answers:
        return (found.words,)
    if held_out is not None:
        held = read_tagged(held_out, column=column)
        both = (held.words, held.tags) if held.labels is None else (held.words, held.tags, held.labels)
        estimator.set_params(validation=both)
    if getattr(estimator, "labels_", found.labels) is None:
        return (found.words, found.tags, None)
    return (found.words, found.tags, found.labels)


SOURCE = Source("tagger", read, ("label", "held_out"))


def tagger(
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="[SENTENCES]",
            help="A .conllu file, columns (word first, tag last), or seq.in beside seq.out; or .gz.",
        ),
    ] = None,
    output: o.Output = None,
    config: o.Config = None,
    label: Annotated[
        str | None, typer.Option(help="Column of CoNLL-U: upos, xpos, feats, lemma, deprel. [upos]")
    ] = None,
    held_out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Sentences to validate on, not a share.")
    ] = None,
    word_size: Annotated[int | None, typer.Option(help="Width of a word's vector.", min=1)] = None,
    lower: Annotated[
        bool | None, typer.Option("--lower/--as-written", help="Look words up in lower case.")
    ] = None,
    min_count: Annotated[
        int | None, typer.Option(help="Words seen less often have no vector of their own.", min=1)
    ] = None,
    unknown: Annotated[
        float | None, typer.Option(help="A of A / (n + A): how often a word seen n times is hidden.")
    ] = None,
    characters: Annotated[
        str | None, typer.Option(help="What reads the characters: lstm, convolution or none.")
    ] = None,
    character_size: Annotated[int | None, typer.Option(help="Width of what they say.", min=1)] = None,
    crf: Annotated[
        bool | None, typer.Option("--crf/--softmax", help="Tags as a chain, or each by itself.")
    ] = None,
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
    refit: o.Refit = None,
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
    """Tag every word of sentences, and label whole sentences where the data do."""
    run(SOURCE, locals())
