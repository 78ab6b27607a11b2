"""English to German on Multi30k: BLEU of translated picture captions.

29,000 captions to learn, 1,014 to watch, 1,000 of 2016 and 1,000 of 2017 to test, lower-cased, normalised and
tokenised as published scores use them; BLEU by sacrebleu on those tokens. Published for a recurrent network
with attention that sees no picture: 39.00 on the test of 2016, 31.25 on that of 2017 (GRU, embeddings 128,
hidden 256, 10,000 joint byte pairs, dropout 0.3 and 0.5; lium-lst/wmt17-mmt).

Ours is a GRU of the same sizes with its own byte pairs a language, label smoothing and a cosine-shaped rate
over a fixed number of epochs; the weights are those of the best validation loss. `--quick`: 500 captions, two
epochs.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import print_header, print_table
from benchmarks.reproductions.shared.options import data_folder
from benchmarks.reproductions.shared.runs import Kept, Run
from benchmarks.reproductions.shared.translating import course, fitted, forget
from saiki.metrics import bleu

EPOCHS, PIECES = 9, 3000
BEAMS = (1, 5)
TESTS = ("test_2016_flickr", "test_2017_flickr")
PUBLISHED = {"test_2016_flickr": 39.00, "test_2017_flickr": 31.25}


def arguments(parser: argparse.ArgumentParser) -> None:
    """`--seeds`, `--threads`, `--input-feeding`, `--dropout`, `--epochs`, `--pieces`."""
    parser.add_argument("--seeds", type=int, default=1, help="runs (default 1)")
    parser.add_argument("--input-feeding", action="store_true", help="show the decoder where it looked")
    parser.add_argument("--dropout", type=float, default=0.3, help="share dropped (default 0.3)")
    parser.add_argument("--threads", type=int, default=1, help="of the processor (default 1)")
    parser.add_argument(
        "--epochs", type=int, default=EPOCHS, help=f"passes over the captions (default {EPOCHS})"
    )
    parser.add_argument("--pieces", type=int, default=PIECES, help=f"of words, a language (default {PIECES})")


def run(options: argparse.Namespace) -> dict[str, object]:
    """Train for each seed, translate the tests, print the table."""
    torch.set_num_threads(options.threads)
    kept = Kept(options)
    folder = data_folder(options)
    runs = []
    for seed in range(options.seeds):
        pieces = {"type": "sentencepiece", "size": 300 if options.quick else options.pieces, "kind": "bpe"}
        settings = {
            "cell": "gru",
            "hidden_size": 32 if options.quick else 256,
            "encoder_size": 16 if options.quick else 192,
            "embedding_size": 128,
            "attention": "general",
            "dropout": options.dropout,
            "smoothing": 0.1,
            "lr": 3e-3,
            "schedule": "cosine",
            "batch_size": 64,
            "max_epochs": 2 if options.quick else options.epochs,
            "source_tokens": pieces,
            "target_tokens": pieces,
            "random_state": seed,
            **({"input_feeding": True} if options.input_feeding else {}),
        }
        name = f"seed {seed}"
        runs.append(kept.run(name, settings, lambda s=settings, n=name: one(options, n, s, folder)))  # type: ignore[misc]
        forget(options, name)
    print_header("Multi30k, English to German: BLEU", kept.machine)
    rows: list[tuple[object, ...]] = [
        (
            f"this, beam of {width}, seed {k}",
            *(each["bleu"][test][str(width)] for test in TESTS),
            each["minutes"],
        )
        for k, each in enumerate(runs)
        for width in BEAMS
    ]
    rows.append(("published", *(PUBLISHED[test] for test in TESTS), "-"))
    for name, figure in runs[0]["simple"].items():
        rows.append((name, figure, "-", "-"))
    print_table(("", "2016", "2017", "minutes"), rows)
    return kept.content({"published": PUBLISHED, "bleu": [each["bleu"] for each in runs]})


def one(options: argparse.Namespace, name: str, settings: dict[str, Any], folder: Path) -> Run:
    """Train and translate once."""
    train, watched = part(folder, "train"), part(folder, "val")
    tests = {test: part(folder, test) for test in TESTS}
    if options.quick:
        train, watched = _first(train, 500), _first(watched, 50)
        tests = {test: _first(pairs, 50) for test, pairs in tests.items()}
    model = fitted(
        options,
        name,
        {**settings, "validation": watched, "patience": None, "baselines": True, "bleu": "blanks", "beam": 1},
        *train,
    )
    found = {
        test: {str(width): float(score(model, pairs, width)) for width in BEAMS}
        for test, pairs in tests.items()
    }
    shown = tests[TESTS[0]]
    said = [best[0].text for best in model.translate(shown[0][:5], beam=5)]
    return {
        "bleu": found,
        "simple": {f"{row['name']} (validation part)": row["bleu"] for row in model.baselines_},
        "vocabularies": [len(model.source_), len(model.target_)],
        **course(model),
        "samples": [list(three) for three in zip(shown[0][:5], shown[1][:5], said)],
    }


def score(model: Any, pairs: tuple[list[str], list[str]], width: int) -> float:  # noqa: ANN401
    """BLEU of a test set."""
    said = [best[0].text for best in model.translate(pairs[0], beam=width)]
    return float(bleu(pairs[1], said, tokenize="blanks"))


def part(folder: Path, name: str) -> tuple[list[str], list[str]]:
    """Sources and targets of one file pair."""
    sides = []
    for language in ("en", "de"):
        file = folder / "translation" / "multi30k" / "tok" / f"{name}.lc.norm.tok.{language}.gz"
        with gzip.open(file, "rt", encoding="utf8") as lines:
            sides.append([line.rstrip("\n") for line in lines])
    return sides[0], sides[1]


def _first(pairs: tuple[list[str], list[str]], count: int) -> tuple[list[str], list[str]]:
    return pairs[0][:count], pairs[1][:count]
