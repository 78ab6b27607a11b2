"""`saiki fit language-model TEXT -o MODEL`: a text to a model that says what comes next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from saiki.cli import options as o
from saiki.cli.fit.common import Source, run
from saiki.cli.fit.translator import tokens


def read(
    path: Path,
    estimator: Any,  # noqa: ANN401  a LanguageModel; the room is loaded late
    *,
    answers: bool = True,
    held_out: str | Path | None = None,
) -> tuple[Any, ...]:
    """The text of a file; without answers as the beginning of one text.

    Args:
        path: UTF-8, perhaps gzipped.
        estimator: where `held_out` is given, its `validation` becomes that text.
        answers: whether the text is to be said, or to be read and gone on with.
        held_out: a text to validate on.
    """
    from saiki.data.pairs import read_lines

    def text(file: str | Path) -> str:
        return "".join(f"{line}\n" for line in read_lines(file))

    if held_out is not None:
        estimator.set_params(validation=text(held_out))
    return (text(path),) if answers else ([text(path)],)


SOURCE = Source("language_model", read, ("held_out",))


def language_model(
    data: Annotated[
        Path | None, typer.Argument(metavar="[TEXT]", help="A text file in UTF-8; or .gz.")
    ] = None,
    output: o.Output = None,
    config: o.Config = None,
    held_out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A text to validate on, instead of a share of TEXT.")
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            parser=tokens,
            metavar="TOKENS",
            help="characters, words, whitespace, or 'sentencepiece size=4000 kind=bpe'.",
        ),
    ] = None,
    vocabulary_size: Annotated[int | None, typer.Option(help="Tokens at most. [all]", min=1)] = None,
    min_count: Annotated[
        int | None,
        typer.Option(
            parser=o.word_or_number, metavar="N|auto", help="Tokens seen less often become <unk>. [auto]"
        ),
    ] = None,
    window: Annotated[
        int | None, typer.Option(help="Tokens a gradient reaches back, and a stream an update.", min=1)
    ] = None,
    validation: o.Part = None,
    embedding_size: Annotated[
        int | None, typer.Option(help="Width of a token's vector. [hidden size]", min=1)
    ] = None,
    tied: Annotated[
        bool | None, typer.Option("--tied/--untied", help="The softmax shares the tokens' vectors.")
    ] = None,
    softmax: Annotated[str | None, typer.Option(help="full, adaptive or sampled.")] = None,
    initial: Annotated[
        float | None, typer.Option(help="Every weight starts uniform in plus or minus this.")
    ] = None,
    cell: o.Cell = None,
    hidden_size: Annotated[int | None, typer.Option(help="Units a layer.", min=1)] = None,
    num_layers: o.NumLayers = None,
    dropout: o.DropoutShare = None,
    lr: o.LearningRate = None,
    max_epochs: o.MaxEpochs = None,
    batch_size: Annotated[int | None, typer.Option(help="Streams the text is cut into.", min=1)] = None,
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
    """Learn which character or word comes next in a text."""
    run(SOURCE, locals())
