"""What watching a training run costs: the update-to-weight ratios the trainer records.

    python -m benchmarks.health [--quick] [--json FILE]

Ratios are taken at every update until 128 are kept, then at every second, fourth, …: `first 128` is the
share of an update's time that the recording takes at its dearest, `10,000 updates` what a run of that length
pays on the whole.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from saiki.core.ragged import Ragged
from saiki.core.record import MAX_RATIOS, FitRecord
from saiki.learning import BPTT, Adam, Batch, Updater
from saiki.learning.ratios import held_weights, update_ratios
from saiki.losses import get_loss
from saiki.nn import LastConfig, LSTMConfig, Stack

SIZES = ((8, 4, 20, 8), (32, 8, 50, 32), (128, 16, 100, 32), (512, 32, 100, 32))  # H, I, T, B


def seconds(work, repeats: int) -> float:
    """The median time of one call."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def measure(hidden: int, inputs: int, steps: int, batch: int, repeats: int) -> dict[str, float]:
    """One row of the table."""
    source = torch.Generator().manual_seed(0)
    network = Stack.build(
        [LSTMConfig(hidden_size=hidden), LastConfig()], inputs, 1, generator=source, dtype=torch.float32
    )
    x = Ragged.from_list([torch.randn(steps, inputs, generator=source) for _ in range(batch)])
    data = Batch(x, torch.randn(batch, 1, generator=source))
    rule, loss = BPTT(), get_loss("squared")
    updater = Updater(Adam(), network, lr=1e-3)

    def update() -> None:
        _, gradients, _ = rule.gradient(network, loss, data, rule.start(network, batch))
        updater.step(gradients)

    def watch() -> None:
        update_ratios(held_weights(network), network)

    update(), watch()
    one, watching = seconds(update, repeats), seconds(watch, 3 * repeats)
    record, taken = FitRecord(), 0
    for number in range(1, 10_001):
        if record.wants_ratios(number):
            record.add_ratios(number, [0.0])
            taken += 1
    return {
        "hidden_size": hidden,
        "input_size": inputs,
        "steps": steps,
        "batch": batch,
        "parameters": sum(p.numel() for p in network.parameters()),
        "update_ms": 1e3 * one,
        "ratios_ms": 1e3 * watching,
        "share_of_first_updates": watching / one,
        "share_of_10000_updates": watching * taken / (one * 10_000),
    }


def main() -> None:
    """Measure, print, and write JSON where wanted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer repeats, the two small sizes")
    parser.add_argument("--json", type=Path, help="write the rows here")
    options = parser.parse_args()
    repeats = 15 if options.quick else 30
    rows = [measure(*size, repeats) for size in (SIZES[:2] if options.quick else SIZES)]
    first = f"first {MAX_RATIOS}"
    print(f"{'LSTM H':>7} {'update ms':>10} {'ratios ms':>10} {first:>10} {'10,000 updates':>15}")
    for row in rows:
        print(
            f"{row['hidden_size']:>7} {row['update_ms']:>10.3f} {row['ratios_ms']:>10.3f} "
            f"{100 * row['share_of_first_updates']:>9.1f}% {100 * row['share_of_10000_updates']:>14.2f}%"
        )
    if options.json:
        options.json.write_text(
            json.dumps({"threads": torch.get_num_threads(), "rows": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
