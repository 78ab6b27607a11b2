"""`saiki fit translator PAIRS -o MODEL`: pairs of texts to a model that turns one into the other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from saiki.cli import options as o
from saiki.cli.fit.common import Source, run
from saiki.core.errors import UsageError


def tokens(value: str) -> str | dict[str, Any]:
    """`sentencepiece size=4000 kind=bpe` as the mapping that Python and TOML take, `words` as a name."""
    name, *options = value.split()
    made: dict[str, Any] = {"type": name}
    for option in options:
        key, equals, said = option.partition("=")
        if not equals:
            raise UsageError(f"{option!r} is no OPTION=VALUE", hint=f"write '{name} size=4000'")
        made[key] = {"true": True, "false": False}.get(said, o.word_or_number(said))
    return made if options else name


def read(
    path: Path,
    estimator: Any,  # noqa: ANN401  a Translator; the room is loaded late
    *,
    answers: bool = True,
    target: str | Path | None = None,
    held_out: str | Path | None = None,
    held_out_target: str | Path | None = None,
) -> tuple[Any, ...]:
    """Sources and targets of a .tsv file, or of two files line by line; without answers the sources alone.

    Args:
        path: the pairs, or the sources.
        estimator: where `held_out` is given, its `validation` becomes those pairs.
        answers: whether the targets are wanted.
        target: the file of the targets.
        held_out: pairs, or sources, to validate on.
        held_out_target: the file of their targets.
    """
    from saiki.data.pairs import read_lines, read_pairs

    if held_out_target is not None and held_out is None:
        raise UsageError("--held-out-target needs --held-out, the file of its sources", hint="give both")
    if held_out is not None:
        estimator.set_params(validation=read_pairs(held_out, held_out_target))
    if answers:
        return read_pairs(path, target)
    lines = read_lines(path)
    return ([line.split("\t")[0] for line in lines],) if path.suffixes[:1] == [".tsv"] else (lines,)


SOURCE = Source("translator", read, ("target", "held_out", "held_out_target"))

_TOKENS = "characters, words, whitespace, or 'sentencepiece size=4000 kind=bpe'."


def translator(
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PAIRS]", help="A .tsv file (source, tab, target), or with --target the sources; or .gz."
        ),
    ] = None,
    output: o.Output = None,
    config: o.Config = None,
    target: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The targets, line by line, where PAIRS is sources.")
    ] = None,
    held_out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Pairs (or sources) to validate on, not a share.")
    ] = None,
    held_out_target: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The targets of --held-out.")
    ] = None,
    source_tokens: Annotated[
        str | None, typer.Option(parser=tokens, metavar="TOKENS", help=f"How sources are cut: {_TOKENS}")
    ] = None,
    target_tokens: Annotated[
        str | None, typer.Option(parser=tokens, metavar="TOKENS", help="How targets are cut: likewise.")
    ] = None,
    source_size: Annotated[
        int | None, typer.Option(help="Tokens of the source vocabulary at most.", min=1)
    ] = None,
    target_size: Annotated[
        int | None, typer.Option(help="Tokens of the target vocabulary at most.", min=1)
    ] = None,
    min_count: Annotated[int | None, typer.Option(help="Leave out tokens seen less often.", min=1)] = None,
    cell: o.Cell = None,
    hidden_size: Annotated[int | None, typer.Option(help="Units a layer (and direction).", min=1)] = None,
    encoder_size: Annotated[
        int | None, typer.Option(help="Units a direction of the encoder. [hidden size]", min=1)
    ] = None,
    num_layers: o.NumLayers = None,
    bidirectional: Annotated[
        bool | None, typer.Option("--bidirectional/--forward-only", help="Directions of the encoder.")
    ] = None,
    embedding_size: Annotated[
        int | None,
        typer.Option(parser=o.word_or_number, metavar="N|none", help="Width of a token's vector."),
    ] = None,
    dropout: o.DropoutShare = None,
    context: Annotated[str | None, typer.Option(help="attention, initial or every_step.")] = None,
    attention: Annotated[str | None, typer.Option(help="general, dot or additive.")] = None,
    context_from: Annotated[
        str | None, typer.Option(help="The source as one vector: last, mean or both_ends.")
    ] = None,
    input_feeding: Annotated[
        bool | None, typer.Option("--input-feeding/--no-input-feeding", help="Show where it looked last.")
    ] = None,
    feed_previous: Annotated[
        bool | None, typer.Option("--feed-previous/--no-feed-previous", help="Show the token before.")
    ] = None,
    scheduled_sampling: Annotated[
        float | None, typer.Option(help="Probability of its own last token in training.")
    ] = None,
    sampling_updates: Annotated[
        int | None, typer.Option(help="Updates over which that probability rises.", min=0)
    ] = None,
    smoothing: Annotated[float | None, typer.Option(help="Share of a target spread over all tokens.")] = None,
    beam: Annotated[int | None, typer.Option(help="Beginnings followed when translating.", min=1)] = None,
    normalisation: Annotated[
        float | None, typer.Option(help="0 prefers short translations, 1 takes the mean a token.")
    ] = None,
    max_length: Annotated[int | None, typer.Option(help="Tokens of a translation at most.", min=1)] = None,
    bleu: Annotated[str | None, typer.Option(help="auto, 13a, blanks, intl, char, or none at all.")] = None,
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
    """Learn to turn texts into other texts, from pairs."""
    run(SOURCE, locals())
