"""Sums read symbol by symbol and answered digit by digit: "123+45" to "168", 99 % of them to be exact.

50,000 different sums of two numbers of up to 3 digits, a tenth held out for the test; a sum that is held out
was learned in neither order. Two networks:

    textbook   an LSTM reads the sum, its last state is given to a second LSTM at every step, a dense layer
               answers; no vectors are learned for the symbols and the decoder does not see what it said. 12
               symbols and H = 128: 205,324 parameters, counted in the table
    attention  an LSTM in both directions reads, an LSTM that looks back at each step answers

The sum is read as it stands, and an answer counts only if every digit and its end are right. `--quick`: sums
of one digit, a few epochs.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.common import print_header, print_table
from benchmarks.reproductions.shared.runs import Kept, Run
from benchmarks.reproductions.shared.translating import course, fitted, forget
from saiki.data import load

SUMS, HELD_OUT = 50_000, 5_000
GOAL = 99.0
NETWORKS: dict[str, dict[str, Any]] = {
    "attention": {
        "hidden_size": 128,
        "encoder_size": 64,
        "embedding_size": 16,
        "lr": 4e-3,
        "batch_size": 128,
        "max_epochs": 30,
    },
    "textbook": {
        "hidden_size": 128,
        "embedding_size": None,
        "bidirectional": False,
        "context": "every_step",
        "context_from": "last",
        "feed_previous": False,
        "lr": 4e-3,
        "batch_size": 128,
        "max_epochs": 60,
    },
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """`--seeds`, `--networks`."""
    parser.add_argument("--seeds", type=int, default=1, help="runs of each (default 1)")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))


def run(options: argparse.Namespace) -> dict[str, object]:
    """Count the textbook network's parameters, train, test, print the table."""
    kept = Kept(options)
    print_header(f"Addition: {SUMS:,} sums of up to 3 digits, {HELD_OUT:,} of them to test", kept.machine)
    print(arithmetic())
    rows: list[tuple[object, ...]] = []
    found: dict[str, list[float]] = {}
    for network in options.networks:
        for seed in range(options.seeds):
            settings = {**NETWORKS[network], "schedule": "cosine", "random_state": seed}
            if options.quick:
                settings.update(max_epochs=5, hidden_size=32)
            name = f"{network} seed {seed}"
            each = kept.run(name, settings, lambda s=settings, n=name: one(options, n, s))  # type: ignore[misc]
            forget(options, name)
            found.setdefault(network, []).append(each["exact"])
            rows.append(
                (name, each["exact"], each["wrong"], each["parameters"], each["epochs"], each["minutes"])
            )
    print_table(("network", "exact, %", "wrong", "parameters", "epochs", "minutes"), rows)
    return kept.content({"goal_exact": GOAL, "textbook_parameters": 205_324, "exact": found})


def arithmetic(symbols: int = 12, H: int = 128) -> str:
    """The textbook network's parameters, part by part."""
    encoder = 4 * H * (symbols + H + 1)
    decoder = 4 * H * (H + H + 1)
    dense = symbols * (H + 1)
    return (
        f"encoder  4 · {H} · ({symbols} + {H} + 1) = {encoder:,}\n"
        f"decoder  4 · {H} · ({H} + {H} + 1) = {decoder:,}\n"
        f"dense    {symbols} · ({H} + 1) = {dense:,}\n"
        f"together {encoder + decoder + dense:,}\n"
    )


def one(options: argparse.Namespace, name: str, settings: dict[str, Any]) -> Run:
    """Train and test one network."""
    count, held = (45, 9) if options.quick else (SUMS, HELD_OUT)
    # the first 45,000 and the last 5,000 of one draw: no sum is in both, in either order
    sums = load(
        "addition", n=count // 2 if options.quick else count, digits=1 if options.quick else 3, seed=1
    )
    model = fitted(
        options,
        name,
        {**settings, "validation": 0.05, "patience": None, "baselines": False, "beam": 1},
        sums.X[:-held],
        sums.y[:-held],
    )
    figures = model.evaluate(sums.X[-held:], sums.y[-held:])
    wrong = [
        [source, right, said]
        for source, right, said in zip(sums.X[-held:], sums.y[-held:], model.predict(sums.X[-held:]))
        if said != right
    ]
    return {
        "exact": 100 * figures["exact"],
        "digit_error_rate": 100 * figures["token_error_rate"],
        "wrong": len(wrong),
        "wrong_samples": wrong[:10],
        **course(model),
    }
