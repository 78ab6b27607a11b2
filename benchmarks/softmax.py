"""The output layers of a language model beside torch's: losses and all gradients, from h and targets.

    python -m benchmarks.softmax [--quick] [--threads 1] [--json FILE]

N rows h of H features, V tokens whose frequency falls as 1/rank. Contestants of a row take turns; figures are
medians, in milliseconds, and `ratio` is the median of torch's time over ours, turn by turn.

    full       FullSoftmax              torch.nn.Linear and functional.cross_entropy
    adaptive   AdaptiveSoftmax          torch.nn.AdaptiveLogSoftmaxWithLoss, same cutoffs
    sampled    SampledSoftmax, S=1024   functional.linear and cross_entropy over all V: torch has none
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.common import circumstances, print_header, print_table, write_json
from saiki.nn.softmax import AdaptiveSoftmax, FullSoftmax, SampledSoftmax, SoftmaxLayer

SHAPES = ((400, 200, 10_000), (640, 256, 10_000), (640, 256, 50_000))  # N, H, V
SAMPLES = 1024
ROUNDS, QUICK_ROUNDS = 15, 3


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the first shape, few rounds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where the rows go")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    about = circumstances()
    print_header("Softmax over a vocabulary: losses and gradients", about)
    rows = [
        row
        for shape in (SHAPES[:1] if options.quick else SHAPES)
        for row in _measured(*shape, QUICK_ROUNDS if options.quick else ROUNDS)
    ]
    print_table(
        ("", "N", "H", "V", "saiki ms", "torch ms", "ratio"),
        [tuple(row.values()) for row in rows],
    )
    write_json(options.json, {"about": about, "rows": rows})


def _measured(N: int, H: int, V: int, rounds: int) -> list[dict[str, object]]:
    source = torch.Generator().manual_seed(0)
    h = torch.randn((N, H), generator=source).requires_grad_()
    targets = (
        ((V + 1) ** torch.rand(N, generator=source, dtype=torch.float64)).long().sub_(1).clamp_(0, V - 1)
    )
    full = FullSoftmax(H, V, generator=source)
    cutoffs = (V // 20, V // 4)
    adaptive = AdaptiveSoftmax(H, V, cutoffs, generator=source)
    peer = torch.nn.AdaptiveLogSoftmaxWithLoss(H, V, list(cutoffs), head_bias=True)
    linear = torch.nn.Linear(H, V)

    def whole() -> Tensor:
        return functional.cross_entropy(linear(h), targets)

    pairs: list[tuple[str, SoftmaxLayer, torch.nn.Module, Callable[[], Tensor]]] = [
        ("full", full, linear, whole),
        ("adaptive", adaptive, peer, lambda: peer(h, targets).loss),
        ("sampled", SampledSoftmax(full, SAMPLES, generator=source), linear, whole),
    ]
    rows: list[dict[str, object]] = []
    for name, layer, other, theirs in pairs:
        layer.train()
        mine = [h, *layer.parameters()]
        its = [h, *other.parameters()]

        def ours(layer: SoftmaxLayer = layer) -> Tensor:
            return layer.losses(h, targets).mean()

        times: tuple[list[float], list[float]] = ([], [])
        for k in range(rounds + 1):
            for spent, loss, wrt in zip(times, (ours, theirs), (mine, its)):
                begun = time.perf_counter()
                torch.autograd.grad(loss(), wrt, allow_unused=True)
                if k:  # the first round warms up
                    spent.append(1e3 * (time.perf_counter() - begun))
        rows.append(
            {
                "layer": name,
                "N": N,
                "H": H,
                "V": V,
                "saiki_ms": round(statistics.median(times[0]), 2),
                "torch_ms": round(statistics.median(times[1]), 2),
                "ratio": round(statistics.median(b / a for a, b in zip(*times)), 2),
            }
        )
    return rows


if __name__ == "__main__":
    main()
