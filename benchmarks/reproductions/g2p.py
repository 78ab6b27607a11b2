"""How English words are spoken: letters to phones on CMUdict's standard split.

106,837 words to learn and 12,000 to test (g014b2b; Chen 2003, Novak 2012), 27 letters and 39 phones, stress
left out. A word counts as right when any of its listed pronunciations is produced; phone errors are counted
against the nearest. Published: 24.2 % of the words wrong for an LSTM encoder-decoder of 2 layers of 512 units
(g2p-seq2seq); 25.8 for a deep bidirectional LSTM with CTC, 21.3 with a 5-gram joint model beside it (Rao
2015); 24.4 for Phonetisaurus, weighted finite-state transducers.

Ours is a bidirectional LSTM encoder and an LSTM decoder of one layer with attention, trained for a fixed
number of epochs at a cosine-shaped rate; a fiftieth of the training words is kept aside and only watched.
Tested with the likeliest phone at each step and with a beam. `--quick`: 2,000 words, two epochs, 200 words
to test.
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
from saiki.data.pairs import gathered

EPOCHS = 12
BEAMS = (1, 5)
PUBLISHED = {
    "LSTM encoder-decoder, 2 x 512": 24.2,
    "deep bidirectional LSTM with CTC": 25.8,
    "Phonetisaurus (WFST)": 24.4,
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """`--seeds`, `--threads`, `--epochs`, `--hidden-size`, `--encoder-size`, `--dropout`,
    `--input-feeding`."""
    parser.add_argument("--seeds", type=int, default=1, help="runs (default 1)")
    parser.add_argument("--input-feeding", action="store_true", help="show the decoder where it looked")
    parser.add_argument("--threads", type=int, default=1, help="of the processor (default 1)")
    parser.add_argument(
        "--epochs", type=int, default=EPOCHS, help=f"passes over the words (default {EPOCHS})"
    )
    parser.add_argument("--hidden-size", type=int, default=256, help="units of the decoder (default 256)")
    parser.add_argument("--dropout", type=float, default=0.2, help="share dropped (default 0.2)")
    parser.add_argument("--encoder-size", type=int, default=192, help="units a direction (default 192)")


def run(options: argparse.Namespace) -> dict[str, object]:
    """Train for each seed, test, print the table."""
    torch.set_num_threads(options.threads)
    kept = Kept(options)
    folder = data_folder(options)
    runs = []
    for seed in range(options.seeds):
        settings = {
            "hidden_size": 32 if options.quick else options.hidden_size,
            "encoder_size": 32 if options.quick else options.encoder_size,
            "embedding_size": 64,
            "attention": "general",
            "dropout": options.dropout,
            "smoothing": 0.1,
            "lr": 2e-3,
            "schedule": "cosine",
            "batch_size": 128,
            "max_epochs": 2 if options.quick else options.epochs,
            "validation": 0.02,
            "random_state": seed,
            **({"input_feeding": True} if options.input_feeding else {}),
        }
        name = f"seed {seed}"
        runs.append(kept.run(name, settings, lambda s=settings, n=name: one(options, n, s, folder)))  # type: ignore[misc]
        forget(options, name)
    print_header("CMUdict, standard split: words and phones that are wrong, %", kept.machine)
    rows: list[tuple[object, ...]] = [
        (
            f"this, beam of {width}, seed {k}",
            each["wer"][str(width)],
            each["per"][str(width)],
            each["minutes"],
        )
        for k, each in enumerate(runs)
        for width in BEAMS
    ]
    rows += [(f"published: {name}", figure, "-", "-") for name, figure in PUBLISHED.items()]
    print_table(("", "words", "phones", "minutes"), rows)
    return kept.content({"published_wer": PUBLISHED, "wer": [each["wer"] for each in runs]})


def one(options: argparse.Namespace, name: str, settings: dict[str, Any], folder: Path) -> Run:
    """Train and test once."""
    train, test = part(folder, "train"), part(folder, "test")
    if options.quick:
        train, test = (train[0][:2000], train[1][:2000]), (test[0][:200], test[1][:200])
    model = fitted(
        options,
        name,
        {
            **settings,
            "target_tokens": "whitespace",
            "patience": None,
            "baselines": False,
            "bleu": None,
            "beam": 1,
        },
        *train,
    )
    wer, per = {}, {}
    for width in BEAMS:
        figures = model.set_params(beam=width).evaluate(*test)
        wer[str(width)] = 100 * (1 - figures["exact"])
        per[str(width)] = 100 * figures["token_error_rate"]
    shown = model.translate(["SAIKI", "RECURRENT"], beam=5)
    return {
        "wer": wer,
        "per": per,
        "words": len(set(train[0])),
        "test_words": len(test[0]),
        **course(model),
        "samples": {"".join(best[0].source): best[0].text for best in shown},
    }


def part(folder: Path, name: str) -> tuple[list[str], list[list[str]]]:
    """Words with all their pronunciations."""
    file = folder / "g2p" / "cmudict" / f"g014b2b.{name}.tsv.gz"
    with gzip.open(file, "rt", encoding="utf8") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines]
    return gathered([word for word, _ in rows], [[phones] for _, phones in rows])
