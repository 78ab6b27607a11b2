"""The carousel's weight at 0.9, 1, 1.1 and 2: the gradient a^T beside the measured one.

A linear unit with a weight a to itself, h_t = a h_{t-1} + x_t, has ∂h_T/∂x_{T-k} = a^k: with 1 alone the
error neither fades nor blows up, and that unit is the LSTM's carousel. Measured is what the layer's
backward pass gives, and the same through c for an LSTM without R: without a forget gate, and with one
that stands at 0.9. With random R the gates add paths of their own; the last row shows what is left of
"exactly one". No training.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import print_header, print_table
from benchmarks.reproductions.shared.options import picture_file
from benchmarks.reproductions.shared.runs import Kept, Run
from saiki.core.random import generator
from saiki.nn import LSTM, RNN

WEIGHTS = (0.9, 1.0, 1.1, 2.0)
# a^100 as the textbooks' exercise has it
WORKED = {0.9: 2.656e-5, 1.0: 1.0, 1.1: 13_780.6, 2.0: 1.268e30}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure each gradient over all lags at once."""
    kept = Kept(options)
    T = 20 if options.quick else 100
    found: dict[str, Run] = {}
    for a in WEIGHTS:
        name = f"linear unit, a = {a:g}"
        found[name] = kept.run(name, {"T": T, "a": a}, partial(_fades, _unit, a, T))
    for a in (1.0, 0.9):
        gate = "no forget gate" if a == 1 else f"forget gate at {a:g}"
        name = f"LSTM without R, {gate}"
        found[name] = kept.run(name, {"T": T, "a": a}, partial(_fades, _alone, a, T))
    name = "LSTM with random R, no forget gate"
    found[name] = kept.run(name, {"T": T, "H": 16, "seed": 0}, partial(_fades, _connected, 1.0, T))
    print_header(f"∂ state_T / ∂ state_0 over T = {T} steps, float64", kept.machine)
    rows: list[tuple[object, ...]] = []
    for name, each in found.items():
        a = each["settings"].get("a", 1.0)
        worked = WORKED.get(a) if T == 100 else None
        off = abs(each["measured"][-1] / each["theory"][-1] - 1)
        rows.append(
            (
                name,
                "" if worked is None else f"{worked:.6g}",
                f"{each['theory'][-1]:.6g}",
                f"{each['measured'][-1]:.6g}",
                f"{off:.1e}",
            )
        )
    print_table(("", "worked number", "a^T", "measured", "relative difference"), rows)
    file = picture_file(options)
    if file is not None:
        draw(found, T, file)
    return kept.content({"T": T, "published": {f"{a:g}^100": value for a, value in WORKED.items()}})


def _unit(a: float, T: int) -> list[float]:
    """∂h_T/∂x_{T-k}, k = 0 ... T, of a linear unit with W = 1, R = a."""
    layer = RNN(1, 1, activation="identity", dtype=torch.float64)
    with torch.no_grad():
        layer.weight_ih_l0.fill_(1)
        layer.weight_hh_l0.fill_(a)
        layer.bias_l0.zero_()
    x = torch.zeros(T + 1, 1, 1, dtype=torch.float64, requires_grad=True)
    output, _ = layer(x)
    (dx,) = torch.autograd.grad(output[-1].sum(), x)
    return [float(value) for value in dx.flip(0).flatten()]


def _lstm(a: float, T: int, recurrent: bool) -> list[float]:
    """|∂c_k/∂c_0|, k = 0 ... T; with R the spectral norm of the whole (H, H) block."""
    H = 16 if recurrent else 1
    layer = LSTM(1, H, forget_gate=a != 1, dtype=torch.float64, generator=generator(0, "weights"))
    with torch.no_grad():
        if not recurrent:
            layer.weight_hh_l0.zero_()
        if a != 1:
            layer.weight_ih_l0[H : 2 * H].zero_()
            layer.bias_l0[H : 2 * H] = math.log(a / (1 - a))  # σ of it is a
    x = torch.randn(T, 1, 1, dtype=torch.float64, generator=generator(0, "inputs"))
    norms = [1.0]
    for k in range(1, T + 1):
        norms.append(_block_norm(layer, x[:k], H))
    return norms


def _block_norm(layer: LSTM, x: torch.Tensor, H: int) -> float:
    def last_cell(c0: torch.Tensor) -> torch.Tensor:
        _, (_, c) = layer(x, (torch.zeros(1, 1, H, dtype=torch.float64), c0))
        return c.flatten()

    c0 = torch.zeros(1, 1, H, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(last_cell, c0).reshape(H, H)
    return float(torch.linalg.matrix_norm(jacobian, 2))


def _alone(a: float, T: int) -> list[float]:
    return _lstm(a, T, recurrent=False)


def _connected(a: float, T: int) -> list[float]:
    return _lstm(a, T, recurrent=True)


def _fades(measure: Callable[[float, int], list[float]], a: float, T: int) -> Run:
    return {"measured": measure(a, T), "theory": [a**k for k in range(T + 1)]}


def draw(found: dict[str, Run], T: int, file: Path) -> None:
    """Lines are a^k, dots are measured."""
    from benchmarks.reproductions.shared.pictures import BLUE, GREEN, INK, OCHRE, ORANGE, PURPLE, panels, save

    figure, (left, right) = panels(1, 2, 5.2, 3.6)
    for (name, each), colour in zip(found.items(), (BLUE, INK, ORANGE, PURPLE, INK, GREEN, OCHRE)):
        ax = left if name.startswith("linear") else right
        lags = range(len(each["measured"]))
        if "random" not in name:
            ax.plot(lags, each["theory"], color=colour, lw=1)
        ax.plot(lags[::4], each["measured"][::4], ".", color=colour, ms=5)
        text = name.partition(", ")[2] if ax is left else name.removeprefix("LSTM ")
        ax.annotate(
            text, (T, each["measured"][-1]), (0, 5), textcoords="offset points", color=colour, ha="right"
        )
    for ax, title in ((left, "A linear unit: |∂h_T/∂x_{T-k}|"), (right, "An LSTM's cells: ‖∂c_k/∂c_0‖")):
        ax.set_yscale("log")
        ax.set_xlabel("lag k; lines a^k, dots measured")
        ax.set_title(title)
        ax.margins(y=0.1)
    save(figure, file)
