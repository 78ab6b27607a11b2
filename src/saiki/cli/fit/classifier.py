"""`saiki fit classifier DATA -o MODEL`: sequences, or their steps, or texts with a class each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from saiki.cli import options as o
from saiki.cli.fit.common import Source, run
from saiki.cli.source import SOURCE_KEYS, read_sequences
from saiki.core.errors import DataError, UsageError

_TEXT = ("tokenizer", "vectors", "tune", "embedding_size", "min_count", "max_vocabulary")


def read(path: Path, estimator: Any, *, answers: bool = True, **said: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """Sequences as every task of them has them; or, where the estimator reads texts, a table with a row a
    text, or (to predict from) a .txt file with a line a text.
    """
    if estimator.text is None:
        return read_sequences(path, estimator, answers=answers, **said)
    from saiki.data import read_table
    from saiki.data.tokens import require_texts
    from saiki.models.sequence_text import as_text

    if path.suffix == ".txt" and not answers:
        return require_texts(path.read_text(encoding="utf-8").splitlines(), f"{path}, line"), None
    if said.get("part") is not None:
        raise UsageError("--part is of an .npz archive, which holds no texts", hint="leave --part out")
    text = as_text(estimator.text)
    column = None if text is None else text.column
    if column is None:
        raise UsageError(
            f"{path} is a table, and no column was named that holds the texts", hint="name it: --text COLUMN"
        )
    label = said.get("label")
    if isinstance(label, list):
        if len(label) > 1:
            raise UsageError("a text has one label, and --label came twice", hint="name one column")
        label = label[0] if label else None
    if answers and label is None:
        raise UsageError(
            f"no column of {path} was named as the one to predict", hint="name it: --label COLUMN"
        )
    wanted = [column, *([str(label)] if answers else [])]
    table = read_table(path, time=False, categories=wanted)
    for name in wanted:
        if name not in table.names:
            raise DataError(f"{path} has no column {name!r}; it has {', '.join(table.names)}")
    texts = require_texts(table[column].tolist(), f"column {column!r} of {path}, row")
    return texts, table[wanted[1]].tolist() if answers else None


SOURCE = Source("classifier", read, SOURCE_KEYS)


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
    text: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The column of texts; a row is then a text.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Of texts: words, characters, whitespace or sentencepiece. [words]")
    ] = None,
    vectors: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Word vectors, a text file of GloVe or word2vec.")
    ] = None,
    tune: Annotated[bool | None, typer.Option("--tune/--no-tune", help="Train those vectors too.")] = None,
    embedding_size: Annotated[int | None, typer.Option(help="Numbers in a token's vector. [64]")] = None,
    min_count: Annotated[int | None, typer.Option(help="Rarer tokens count as unknown. [1]")] = None,
    max_vocabulary: Annotated[int | None, typer.Option(help="Tokens known at most. [all]")] = None,
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
    """Classify sequences, or each of their steps, or texts."""
    run(SOURCE, _texts(locals()))


def _texts(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags of texts as the one option that Python has for them."""
    names = {"embedding_size": "size", "max_vocabulary": "max_size"}
    said = {names.get(name, name): flags.pop(name) for name in _TEXT}
    said = {
        name: str(value) if name == "vectors" else value for name, value in said.items() if value is not None
    }
    if flags["text"] is None:
        if said:
            raise UsageError(
                f"{', '.join(sorted(said))}: these are of texts, and no column of texts was named",
                hint="name it: --text COLUMN",
            )
        return flags
    return {**flags, "text": {"column": flags["text"], **said}}
