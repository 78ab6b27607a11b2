"""Sequence classification on archive sets, official splits, beside published figures.

    python -m benchmarks.classification --data ../shared/data [--quick] [--json FILE] [--set NAME ...]

One model for all sets: a bidirectional LSTM of 64 units, the maximum over time, a little dropout, 150 epochs
of Adam under a cosine schedule on the whole training part. Early stopping is left out, because a fifth of 36
to 67 sequences is too few to stop by. Maximum or mean over time was chosen by cross-validation on training
parts. Accuracy on the test part is the mean over the seeds. `--quick` takes one seed and two sets.

The LSTM inside the "-FCN" models sees the series transposed, as one step: they say little about recurrence.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import circumstances, print_header, write_json
from saiki import SequenceClassifier, Training
from saiki.data.sequences import load_npz
from saiki.models.baselines import logistic, pooled_features
from saiki.nn import DropoutConfig, LSTMConfig, MaxConfig

# Published accuracies in per cent, with who says so: recurrent models first, then others.
PUBLISHED: dict[str, dict[str, str]] = {
    "JapaneseVowels": {
        "TWIESN (echo state)": "96.5 ± 0.7, hfawaz/dl-4-tsc",
        "MLSTM-FCN": "97.6, quoted in a UEA comparison, TEST 2024",
        "1-NN DTW": "94.9 to 95.9, quoted in a UEA comparison, TEST 2024",
    },
    "BasicMotions": {
        "MLSTM-FCN": "95.0, quoted in a UEA comparison, TEST 2024",
        "1-NN DTW": "97.5 to 100, quoted in a UEA comparison, TEST 2024",
    },
    "ArrowHead": {
        "TWIESN (echo state)": "65.9 ± 9.4, hfawaz/dl-4-tsc",
        "LSTM-FCN": "89.7, titu1994/LSTM-FCN",
        "1-NN DTW": "66.3 (best window 80.0), UCR archive",
    },
    "GunPoint": {
        "TWIESN (echo state)": "96.1 ± 2.3, hfawaz/dl-4-tsc",
        "LSTM-FCN": "100, titu1994/LSTM-FCN",
        "1-NN DTW": "90.7 (best window 91.3), UCR archive",
    },
    "ItalyPowerDemand": {
        "TWIESN (echo state)": "88.0 ± 2.2, hfawaz/dl-4-tsc",
        "LSTM-FCN": "96.2, titu1994/LSTM-FCN",
        "1-NN DTW": "95.0 (best window 95.5), UCR archive",
    },
    "optdigits_8x8": {},  # 3,823 sequences of 8 rows; no recurrent figure was found
}
QUICK = ("ItalyPowerDemand", "JapaneseVowels")
SEEDS = (0, 1, 2)


def model(seed: int) -> SequenceClassifier:
    """The one model of this page."""
    return SequenceClassifier(
        network=[LSTMConfig(hidden_size=64, bidirectional=True), MaxConfig(), DropoutConfig(p=0.2)],
        lr=5e-3,
        batch_size=16,
        max_epochs=150,
        validation=None,
        patience=None,
        training=Training(schedule="cosine", weight_decay=1e-4),
        random_state=seed,
        verbose=False,
    )


def run(name: str, folder: Path, seeds: tuple[int, ...]) -> dict[str, object]:
    """Accuracies on the official test part of one set."""
    train, test = (load_npz(folder / f"{name}.npz", part) for part in ("train", "test"))
    y, truth = np.asarray(train.y), np.asarray(test.y)
    started = time.perf_counter()
    scores = [model(seed).fit(train.X, y).score(test.X, truth) for seed in seeds]
    seconds = (time.perf_counter() - started) / len(seeds)
    simple = logistic(pooled_features(train.X), y, pooled_features(test.X), np.unique(y)).argmax(axis=1)
    return {
        "set": name,
        "sequences": [len(train), len(test)],
        "saiki_accuracy": float(np.mean(scores)),
        "saiki_accuracy_each_seed": scores,
        "seeds": list(seeds),
        "softmax_on_pooled_features": float((np.unique(y)[simple] == truth).mean()),
        "published": PUBLISHED[name],
        "seconds_a_fit": round(seconds, 1),
    }


def main() -> None:
    """Parse the command line, run, print the table."""
    parser = argparse.ArgumentParser(description="Sequence classification beside published figures.")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds classification/*.npz")
    parser.add_argument("--set", nargs="*", choices=list(PUBLISHED), help="only these sets")
    parser.add_argument("--quick", action="store_true", help="one seed, two small sets")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = arguments.set or (QUICK if arguments.quick else tuple(PUBLISHED))
    seeds = SEEDS[:1] if arguments.quick else SEEDS
    found = circumstances()
    print_header("Sequence classification, accuracy on the official test parts, per cent", found)
    rows = []
    print(f"{'set':<18}{'ours':>8}{'pooled':>8}  published")
    for name in names:
        row = run(name, arguments.data / "classification", seeds)
        rows.append(row)
        said = "; ".join(f"{who} {what}" for who, what in PUBLISHED[name].items()) or "none found"
        ours, simple = 100 * float(row["saiki_accuracy"]), 100 * float(row["softmax_on_pooled_features"])  # type: ignore[arg-type]
        print(f"{name:<18}{ours:>8.1f}{simple:>8.1f}  {said}", flush=True)
    print(f"ours: mean of seeds {', '.join(map(str, seeds))}; pooled: softmax regression on pooled features")
    write_json(arguments.json, {"circumstances": found, "rows": rows})


if __name__ == "__main__":
    main()
