"""The emoji network on its 500 sentences: words alone, and with word vectors learned from other text.

Five classes, 100 sentences each (`saiki.data.load("emoji")`). Each seed keeps 100 sentences for the test and
80 of the others for stopping. The network is the foundation's: two LSTM layers of 128 units, dropout 0.5,
softmax (with its 400,001 vectors of 50 numbers it has 20,223,927 parameters, 223,877 of them trained). Its
word vectors are of a file that we may not ship, so vectors of 50 numbers are made here, from the text in
--data: positive pointwise mutual information of words within four places, and its singular vectors (Levy &
Goldberg 2014; the context counts are smoothed with the power 0.75), written and read as a GloVe file.

No published figure is of these sentences. The simple model beside it is softmax regression on tf-idf.
"""

from __future__ import annotations

import argparse
import gzip
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import print_header, print_table
from benchmarks.reproductions.shared.options import data_folder
from benchmarks.reproductions.shared.runs import Kept, Run
from benchmarks.reproductions.shared.training import median
from saiki.data import load
from saiki.data.splits import split_sequences
from saiki.data.tokens import Words
from saiki.models.classifier import SequenceClassifier
from saiki.models.sequence_text import Text

WORDS, SIZE, NEAR, POWER = 12_000, 50, 4, 0.75
TEXTS = (
    "translation/multi30k/tok/train.lc.norm.tok.en.gz",
    "lm/ptb/ptb.train.txt.gz",
    "lm/tinyshakespeare/input.txt.gz",
    "tagging/snips/train.seq.in.gz",
)
TREES = "tagging/ud_english_ewt/en_ewt-ud-train.conllu.gz"


def arguments(parser: argparse.ArgumentParser) -> None:
    """`--seeds`."""
    parser.add_argument("--seeds", type=int, default=5, help="splits and networks of each (default 5)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train with and without vectors on several splits."""
    kept = Kept(options)
    folder = data_folder(options)
    seeds = 1 if options.quick else options.seeds
    kinds: dict[str, dict[str, Any]] = {
        "words alone": {},
        "our vectors, tuned": {"vectors": f"{WORDS} words, {SIZE} numbers, {NEAR} places", "tune": True},
        "our vectors, left as they are": {
            "vectors": f"{WORDS} words, {SIZE} numbers, {NEAR} places",
            "tune": False,
        },
    }
    rows: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, choice in kinds.items():
            runs = []
            for seed in range(seeds):
                settings = {
                    **choice,
                    "hidden_size": 128,
                    "num_layers": 2,
                    "dropout": 0.5,
                    "lr": 3e-3,
                    "epochs": 3 if options.quick else 60,
                    "seed": seed,
                }

                def work(settings: dict[str, Any] = settings) -> Run:
                    return _train(settings, folder, Path(scratch))

                runs.append(kept.run(f"{name}, seed {seed}", settings, work))
            rows.append(
                (
                    name,
                    f"{100 * median([one['accuracy'] for one in runs]):.1f}",
                    f"{100 * min(one['accuracy'] for one in runs):.0f} to "
                    f"{100 * max(one['accuracy'] for one in runs):.0f}",
                    f"{100 * median([one['tf_idf'] for one in runs]):.1f}",
                    f"{median([one['parameters'] for one in runs]):,.0f}",
                    f"{median([one['cpu_seconds'] for one in runs]):.0f}",
                )
            )
    print_header("Emoji: right answers of 100 in %" + (", --quick" if options.quick else ""), kept.machine)
    print_table(
        ("", "right (median)", "over seeds", "tf-idf regression", "trained parameters", "cpu s"), rows
    )
    return kept.content({"seeds": seeds, "published": None})


def _train(settings: dict[str, Any], folder: Path, scratch: Path) -> Run:
    data = load("emoji")
    labels = np.unique(data.y, return_inverse=True)[1]
    rest, test = split_sequences(labels, 0.2, seed=settings["seed"])
    X, y = np.array(data.X, dtype=object), data.y
    text = Text()
    if settings.get("vectors"):
        file = scratch / "vectors.txt"
        if not file.exists():
            _write_vectors(file, folder)
        # words of the file that no training sentence has are known too
        text = Text(vectors=file, tune=settings["tune"], more=WORDS)
    model = SequenceClassifier(
        text=text,
        hidden_size=settings["hidden_size"],
        num_layers=settings["num_layers"],
        dropout=settings["dropout"],
        lr=settings["lr"],
        max_epochs=settings["epochs"],
        random_state=settings["seed"],
        baselines=False,
        verbose=False,
    ).fit(X[rest], y[rest])
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    simple = make_pipeline(
        TfidfVectorizer(tokenizer=Words().split, token_pattern=None, lowercase=False, sublinear_tf=True),
        LogisticRegression(C=10.0, max_iter=500),
    ).fit(X[rest], y[rest])
    return {
        "accuracy": model.score(X[test], y[test]),
        "tf_idf": float(simple.score(X[test], y[test])),
        "validation": model.metrics_["accuracy"],
        "vocabulary": len(model.codec_),
        "found": model.text_.found,
        "parameters": model.record_.parameters,
        "epochs": len(model.record_.epochs),
    }


def _lines(folder: Path) -> Iterator[list[str]]:
    """Sentences of the texts as lists of words."""
    words = Words()
    for name in TEXTS:
        with gzip.open(folder / name, "rt", encoding="utf8") as file:
            yield from (words.split(line) for line in file)
    with gzip.open(folder / TREES, "rt", encoding="utf8") as file:
        sentence: list[str] = []
        for line in file:
            columns = line.split("\t")
            if columns[0].isdigit():
                sentence.append(columns[1].lower())
            elif not line.strip():
                yield sentence
                sentence = []


@cache
def _vectors(folder: Path) -> tuple[list[str], Any]:
    """The most frequent words and their (N, 50) vectors, each of length 1 on average."""
    from scipy.sparse import coo_matrix
    from sklearn.utils.extmath import randomized_svd

    counts: Counter[str] = Counter()
    for line in _lines(folder):
        counts.update(line)
    vocabulary = [word for word, _ in counts.most_common(WORDS)]
    place = {word: number for number, word in enumerate(vocabulary)}
    rows, columns = [], []
    for line in _lines(folder):
        ids = np.array([place.get(word, -1) for word in line])
        for apart in range(1, NEAR + 1):
            left, right = ids[:-apart], ids[apart:]
            both = (left >= 0) & (right >= 0)
            rows += [left[both], right[both]]
            columns += [right[both], left[both]]
    row, column = np.concatenate(rows), np.concatenate(columns)
    pairs = coo_matrix((np.ones(len(row)), (row, column)), shape=(len(vocabulary),) * 2).tocsr().tocoo()
    pairs.sum_duplicates()
    total = pairs.data.sum()
    word = np.asarray(pairs.sum(axis=1)).ravel()
    context = np.asarray(pairs.sum(axis=0)).ravel() ** POWER
    context /= context.sum()
    information = np.log(pairs.data / (word[pairs.row] * context[pairs.col]))
    kept = information > 0
    positive = coo_matrix((information[kept], (pairs.row[kept], pairs.col[kept])), shape=pairs.shape).tocsr()
    U, S, _ = randomized_svd(positive, SIZE, random_state=0)
    vectors = U * np.sqrt(S)
    print(f"  vectors: {len(vocabulary):,} words from {int(total / 2):,} pairs", flush=True)
    return vocabulary, vectors / np.sqrt((vectors**2).sum(axis=1)).mean()


def _write_vectors(file: Path, folder: Path) -> None:
    """As GloVe writes them."""
    vocabulary, vectors = _vectors(folder)
    with file.open("w", encoding="utf8") as out:
        for word, row in zip(vocabulary, vectors):
            out.write(word + " " + " ".join(f"{number:.5f}" for number in row) + "\n")
