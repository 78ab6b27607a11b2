"""The kernels' matrix product beside torch's, at the shapes of the layers, and the layer around it.

    python -m benchmarks.matmul [--threads 1 2] [--dtypes float32 float64] [--json FILE]

A layer y = x Wᵀ + b with N units over M rows of K features needs three products:

    forward    x Wᵀ + b    (M, K) by (K, N), the latter stored transposed
    input      ∂y W        (M, N) by (N, K)
    weight     ∂yᵀ x       (N, M) by (M, K), the former stored transposed

"product" compares `saiki._native.matmul` with `torch.addmm` and `torch.mm`, all writing into an array that is
there. "layer" compares `saiki.engine.product.native_linear` with `torch.nn.functional.linear`: without
gradients, and with all three. Contestants take turns, A B A B; figures are medians. "of limit" is the share
of the rate of fused multiply-adds in registers, measured in the same run with as many threads.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.common import circumstances, print_header, write_json
from saiki.engine import product
from saiki.engine.operators import require_native

SHAPES = (  # M rows, N units, K features
    (1, 128, 128),
    (1, 512, 512),
    (8, 512, 512),
    (32, 1, 64),
    (32, 128, 128),
    (32, 256, 256),
    (32, 512, 512),
    (32, 10000, 512),
    (128, 10, 128),
    (128, 128, 128),
    (128, 512, 512),
    (800, 28, 256),
    (800, 256, 256),
    (3200, 128, 128),
    (3200, 512, 512),
    (3200, 1024, 1024),
    (3200, 5000, 256),
)
BLOCK_S = 0.002  # a sample is the mean of as many runs as fit
MOST_ROUNDS = 31
LIMIT_S = 0.2

Row = dict[str, Any]
Work = Callable[[], object]


def main() -> int:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float64"], choices=["float32", "float64"])
    parser.add_argument("--seconds", type=float, default=0.1, help="for each contestant of a row")
    parser.add_argument("--json", type=Path, help="where the rows go")
    options = parser.parse_args()
    about = circumstances()
    rows: list[Row] = []
    print_header("Matrix products", about | {"threads": " and ".join(map(str, options.threads))})
    for dtype in options.dtypes:
        for threads in options.threads:
            rows += _measure(dtype, threads, options.seconds)
    write_json(options.json, {"about": about, "rows": rows})
    return 0


def _measure(dtype: str, threads: int, seconds: float) -> list[Row]:
    native = require_native()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    limit = native.multiply_add_rate(dtype, LIMIT_S, threads)
    print(f"{dtype}, {threads} threads, {native.default_target()}, limit {limit / 1e9:.0f} GFLOP/s\n")
    print("                        M      N      K      ours     torch   ratio   of limit, torch")
    rows = []
    for M, N, K in SHAPES:
        for what, operations, contestants in _contestants(M, N, K, getattr(torch, dtype)):
            ours, torchs = _medians(contestants, seconds)
            row: Row = {"what": what, "M": M, "N": N, "K": K, "dtype": dtype, "threads": threads}
            row |= {"ours_ms": 1e3 * ours, "torch_ms": 1e3 * torchs, "ratio": torchs / ours}
            row |= {"of_limit": operations / ours / limit, "torch_of_limit": operations / torchs / limit}
            rows.append(row)
            print(
                f"{what:<18}{M:7}{N:7}{K:7}{1e6 * ours:10.1f}{1e6 * torchs:10.1f}{row['ratio']:8.2f}"
                f"{100 * row['of_limit']:9.0f} %{100 * row['torch_of_limit']:5.0f} %",
                flush=True,
            )
    print()
    for what in dict.fromkeys(row["what"] for row in rows):
        used, others = (
            [r for r in rows if r["what"] == what and product.suits(r["N"], r["K"]) == is_used]
            for is_used in (True, False)
        )
        print(
            f"{what:<18} torch's time over ours: {_mean(used)} where ours is used, {_mean(others)} elsewhere"
        )
    print()
    return rows


def _mean(rows: list[Row]) -> str:
    """The geometric mean of the ratios."""
    if not rows:
        return "-"
    return f"{math.exp(statistics.fmean(math.log(row['ratio']) for row in rows)):.2f}"


def _contestants(M: int, N: int, K: int, dtype: torch.dtype) -> list[tuple[str, int, tuple[Work, Work]]]:
    """(what, floating-point operations, (ours, torch's)) for everything that a layer needs."""
    native = require_native()
    x, dy = torch.randn(M, K, dtype=dtype), torch.randn(M, N, dtype=dtype)
    weight = torch.nn.Parameter(torch.randn(N, K, dtype=dtype))
    bias = torch.nn.Parameter(torch.randn(N, dtype=dtype))
    leaf = x.clone().requires_grad_()
    W, b, threads = weight.detach(), bias.detach(), torch.get_num_threads()
    one = 2 * M * N * K

    def products(a: Tensor, c: Tensor, plus: Tensor | None) -> tuple[Work, Work]:
        out = torch.empty(a.shape[0], c.shape[1], dtype=dtype)
        theirs = torch.empty_like(out)

        def ours() -> object:
            return native.matmul(a, c, plus, out, False, threads)

        def torchs() -> object:
            if plus is None:
                return torch.mm(a, c, out=theirs)
            return torch.addmm(plus, a, c, out=theirs)

        return ours, torchs

    def inference(linear: Callable[..., Tensor]) -> Work:
        def run() -> object:
            with torch.no_grad():
                return linear(x, weight, bias)

        return run

    def training(linear: Callable[..., Tensor]) -> Work:
        return lambda: torch.autograd.grad(linear(leaf, weight, bias), (leaf, weight, bias), dy)

    return [
        ("product, forward", one, products(x, W.t(), b)),
        ("product, input", one, products(dy, W, None)),
        ("product, weight", one, products(dy.t(), x, None)),
        ("layer, inference", one, (inference(product.native_linear), inference(functional.linear))),
        ("layer, training", 3 * one, (training(product.native_linear), training(functional.linear))),
    ]


def _medians(contestants: tuple[Work, Work], seconds: float) -> list[float]:
    """Seconds a run of each, by turns."""
    for work in contestants:
        work()
    once = max(_time(work, 1) for work in contestants)
    inner = max(1, int(BLOCK_S / once))
    rounds = max(3, min(MOST_ROUNDS, int(seconds / (inner * once))))
    times: list[list[float]] = [[] for _ in contestants]
    for _ in range(rounds):
        for work, found in zip(contestants, times):
            found.append(_time(work, inner))
    return [statistics.median(found) for found in times]


def _time(work: Work, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        work()
    return (time.perf_counter() - start) / count


if __name__ == "__main__":
    sys.exit(main())
