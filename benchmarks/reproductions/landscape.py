"""Valley, plateau, cliff and saddle: the path of every optimiser of `saiki.learning` in two dimensions.

    valley    ½ (u² + 100 v²), u and v turned by 30 degrees against the weights
    plateau   1 - exp(-2 r²), r the distance to the minimum: the start is 2.4 away, where the slope is 1e-4
    cliff     (σ(s_50) - 0.7)² of one recurrent unit s_t = w σ(s_{t-1}) + b after 50 steps, the error
              surface of Pascanu, Mikolov & Bengio 2013; with and without clipping the gradient's norm at 1
    saddle    ½ u² - 0.1 (½ v² - ¼ v⁴), turned likewise; the start is 1e-4 beside the way into the saddle

Each optimiser runs with every rate of one grid. Its best rate is the one with which the loss is soonest,
and for the rest of the run, below a hundredth of where it started (both above the minimum). Beside the
steps stands with how many rates of the grid it gets there at all: what costs a user time is the search for
the rate. No randomness. Texts say: valleys want momentum, plateaus adaptive rates, and clipping helps at
cliffs.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import print_header, print_table
from benchmarks.reproductions.shared.options import picture_file
from benchmarks.reproductions.shared.runs import Kept, Run
from saiki.learning import OPTIMISERS, Group, Updater, clip_by_norm, get_optimizer

STEPS, QUICK_STEPS = 1_000, 60
RATES = tuple(float(f"{10 ** (k / 3):.2g}") for k in range(-9, 5))  # 1e-3 to 22, three a decade
QUICK_RATES = RATES[::4]
SHARE = 0.01  # of the loss at the start, that has to be reached
CLIP = 1.0
POINTS = 120  # of a path that are kept

CENTRE = (0.4, 0.3)  # of valley, plateau and saddle: not 0, which weight decay would favour
FALL = 0.1  # curvature down the saddle, over that up
COS, SIN = math.cos(math.pi / 6), math.sin(math.pi / 6)


@dataclass(frozen=True)
class Landscape:
    """A loss over two weights, where to start, and what of it to draw."""

    loss: Callable[[Tensor], Tensor]  # (K, 2) -> (K,)
    start: tuple[float, float]
    lowest: float
    window: tuple[float, float, float, float]  # left, right, low, high
    minima: tuple[tuple[float, float], ...]
    clipped: bool = False  # also walked with clipping


def _turned(w: Tensor) -> tuple[Tensor, Tensor]:
    x, y = w[..., 0] - CENTRE[0], w[..., 1] - CENTRE[1]
    return COS * x + SIN * y, COS * y - SIN * x


def _at(u: float, v: float) -> tuple[float, float]:
    return CENTRE[0] + COS * u - SIN * v, CENTRE[1] + SIN * u + COS * v


def _valley(w: Tensor) -> Tensor:
    u, v = _turned(w)
    return (u**2 + 100 * v**2) / 2


def _plateau(w: Tensor) -> Tensor:
    u, v = _turned(w)
    return 1 - torch.exp(-2 * (u**2 + v**2))


def _cliff(w: Tensor) -> Tensor:
    s = torch.full_like(w[..., 0], 0.5)
    for _ in range(50):
        s = w[..., 0] * torch.sigmoid(s) + w[..., 1]
    return (torch.sigmoid(s) - 0.7) ** 2


def _saddle(w: Tensor) -> Tensor:
    u, v = _turned(w)
    return u**2 / 2 - FALL * (v**2 / 2 - v**4 / 4)


LANDSCAPES = {
    "valley": Landscape(_valley, _at(-2.2, -0.35), 0.0, (-2.4, 1.6, -2.0, 1.6), (CENTRE,)),
    "plateau": Landscape(_plateau, _at(-2.4, 0.0), 0.0, (-2.4, 1.6, -1.6, 2.0), (CENTRE,)),
    "cliff": Landscape(_cliff, (6.6, -3.0), 0.0, (2.0, 8.5, -5.4, 0.0), (), clipped=True),
    "saddle": Landscape(
        _saddle, _at(-1.0, 1e-4), -FALL / 4, (-1.2, 2.0, -1.3, 1.9), (_at(0.0, 1.0), _at(0.0, -1.0))
    ),
}


class _Point(torch.nn.Module):
    """Two weights; a matrix, so that AdamW's decay acts on them as on any other."""

    def __init__(self, start: tuple[float, float]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([start], dtype=torch.float64))


def walk(
    landscape: Landscape, optimizer: str, rates: tuple[float, ...], steps: int, clip: float | None
) -> Run:
    """All rates side by side: every optimiser works element by element, so each point goes its own way."""
    network = torch.nn.ModuleList(_Point(landscape.start) for _ in rates)
    updater = Updater(
        get_optimizer(optimizer),
        network,
        lr=1.0,
        groups=[Group(f"{k}.weight", lr=rate) for k, rate in enumerate(rates)],
    )
    points = [parameter for _, parameter in network.named_parameters()]
    names = [name for name, _ in network.named_parameters()]
    path, losses = [], []
    for _ in range(steps + 1):
        w = torch.cat(points)
        loss = landscape.loss(w)
        gradients = torch.autograd.grad(loss.sum(), points)
        path.append(w.detach().numpy().copy())
        losses.append(loss.detach().numpy().copy())
        taken = dict(zip(names, gradients))
        if clip is not None:
            taken = {name: clip_by_norm({name: g}, clip)[name] for name, g in taken.items()}
        updater.step(taken)
    above = (np.array(losses) - landscape.lowest) / (losses[0] - landscape.lowest)  # (steps + 1, K)
    arrived = [_arrival(above[:, k]) for k in range(len(rates))]
    best = min(
        range(len(rates)),
        key=lambda k: (math.inf if arrived[k] is None else arrived[k], _last(above[:, k])),
    )
    kept = np.array(path)[:, best]
    kept = kept[np.isfinite(kept).all(axis=1) & (np.abs(kept) < 1e3).all(axis=1)]
    if arrived[best] is not None:
        kept = kept[: 2 * int(arrived[best] or 0) + 2]
    return {
        "steps": arrived[best],
        "rate": rates[best],
        "rates_that_arrive": [rate for rate, found in zip(rates, arrived) if found is not None],
        "left": _last(above[:, best]) if math.isfinite(_last(above[:, best])) else None,
        "path": [[round(float(x), 4), round(float(y), 4)] for x, y in _thinned(kept)],
    }


def _arrival(above: np.ndarray[Any, Any]) -> int | None:
    """The first step from which on the loss stays low; None if it does not."""
    outside = np.flatnonzero(~(above < SHARE))  # NaN is outside
    first = 0 if len(outside) == 0 else int(outside[-1]) + 1
    return first if first < len(above) else None


def _last(above: np.ndarray[Any, Any]) -> float:
    return float(above[-1]) if math.isfinite(above[-1]) else math.inf


def _thinned(path: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The first steps all, later ones ever fewer."""
    if len(path) <= POINTS:
        return path
    half = POINTS // 2
    later = np.unique(np.geomspace(half, len(path) - 1, POINTS - half).astype(int))
    return path[np.concatenate([np.arange(half), later])]


def run(options: argparse.Namespace) -> dict[str, object]:
    """Walk, print the table, draw."""
    kept = Kept(options)
    steps = QUICK_STEPS if options.quick else STEPS
    rates = QUICK_RATES if options.quick else RATES
    walks = [
        (name, clip) for name, it in LANDSCAPES.items() for clip in ((None, CLIP) if it.clipped else (None,))
    ]
    found: dict[tuple[str, float | None], dict[str, Run]] = {}
    for name, clip in walks:
        landscape = LANDSCAPES[name]
        for optimizer in OPTIMISERS:
            settings = {
                "start": landscape.start,
                "steps": steps,
                "rates": rates,
                "clip": clip,
                "share": SHARE,
            }
            found.setdefault((name, clip), {})[optimizer] = kept.run(
                f"{_titled(name, clip)}, {optimizer}",
                settings,
                lambda at=landscape, by=optimizer, clip=clip: walk(at, by, rates, steps, clip),  # type: ignore[misc]
            )
    thrown = {name: _thrown(kept, name, found, steps) for name, it in LANDSCAPES.items() if it.clipped}
    print_header(f"Steps to a hundredth of the loss at the start, best of {len(rates)} rates", kept.machine)
    head = ("", *(_titled(*each) for each in walks))
    print_table(head, [(by, *(_steps(found[each][by]) for each in walks)) for by in OPTIMISERS])
    print("\nthe best rate")
    print_table(head, [(by, *(f"{found[each][by]['rate']:g}" for each in walks)) for by in OPTIMISERS])
    print(f"\nrates that arrive within {steps:,} steps, of {len(rates)}")
    print_table(
        head, [(by, *(len(found[each][by]["rates_that_arrive"]) for each in walks)) for by in OPTIMISERS]
    )
    file = picture_file(options)
    if file is not None:
        shown = {name: {None: found[name, None]} for name in LANDSCAPES}
        draw({**shown, **thrown}, file)
    return kept.content({"share": SHARE, "rates": list(rates), "steps": steps})


def _thrown(
    kept: Kept, name: str, found: dict[tuple[str, float | None], dict[str, Run]], steps: int
) -> dict[float | None, dict[str, Run]]:
    """For the picture: both walks at one rate, the largest with which only the clipped one arrives."""
    shown: dict[float | None, dict[str, Run]] = {CLIP: {}, None: {}}
    for optimizer in OPTIMISERS:
        clipped, plain = (found[name, clip][optimizer] for clip in (CLIP, None))
        only = set(clipped["rates_that_arrive"]) - set(plain["rates_that_arrive"])
        rate = max(only) if only else clipped["rate"]
        for clip, runs in shown.items():
            settings = {"start": LANDSCAPES[name].start, "steps": steps, "rate": rate, "clip": clip}
            runs[optimizer] = kept.run(
                f"{_titled(name, clip)}, {optimizer}, shown",
                settings,
                lambda by=optimizer, rate=rate, clip=clip: walk(  # type: ignore[misc]
                    LANDSCAPES[name], by, (rate,), steps, clip
                ),
            )
    return shown


def _titled(name: str, clip: float | None) -> str:
    return name if clip is None else f"{name}, clipped"


def _steps(found: Run) -> str:
    if found["steps"] is not None:
        return f"{found['steps']:,}"
    return "diverged" if found["left"] is None else f"{100 * found['left']:.0f} % left"


def draw(found: dict[str, dict[float | None, dict[str, Run]]], file: Path) -> None:
    """A row a landscape, a column an optimiser."""
    from benchmarks.reproductions.shared.pictures import INK, QUIET, plt

    figure, grid = plt.subplots(
        len(found), len(OPTIMISERS), figsize=(2.05 * len(OPTIMISERS), 2.2 * len(found) + 0.5), squeeze=False
    )
    caption = {"fontsize": 7, "labelpad": 2, "color": QUIET}
    for row, (name, walks) in zip(grid, found.items()):
        landscape = LANDSCAPES[name]
        left, right, low, high = landscape.window
        x, y = np.meshgrid(np.linspace(left, right, 241), np.linspace(low, high, 241))
        with torch.no_grad():
            z = landscape.loss(torch.tensor(np.stack([x, y], -1))).numpy() - landscape.lowest
        z = np.log10(z + 1e-3)
        for ax, optimizer in zip(row, OPTIMISERS):
            ax.contourf(x, y, z, 24, cmap="Blues_r", alpha=0.75)
            for clip, runs in walks.items():
                walked = np.array(runs[optimizer]["path"])
                rough = landscape.clipped and clip is None
                colour = "#b2452f" if rough else INK
                ax.plot(*walked.T, color=colour, lw=0.8 if rough else 1.2, zorder=2 if rough else 3)
                ax.plot(*walked.T, ".", color=colour, ms=1.6 if rough else 2.6, zorder=2 if rough else 3)
            ax.plot(*landscape.start, "o", mfc="white", mec=INK, ms=5, zorder=4)
            for minimum in landscape.minima:  # the cliff's are a line along its foot
                ax.plot(*minimum, "*", color="#e0a800", mec=INK, mew=0.5, ms=8, zorder=4)
            ax.set_xlim(left, right)
            ax.set_ylim(low, high)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.set_xlabel(_caption({clip: runs[optimizer] for clip, runs in walks.items()}), **caption)
            for spine in ax.spines.values():
                spine.set_visible(False)
        row[0].set_ylabel(name, fontsize=10)
    for ax, optimizer in zip(grid[0], OPTIMISERS):
        ax.set_title(optimizer, fontsize=10)
    figure.text(
        0.005,
        0.006,
        "Each with its best rate η of one grid, and the steps to a hundredth of the loss at the start "
        "(circle). Star: minimum. Cliff: the largest rate with which only the clipped walk (black) arrives; "
        "red without clipping.",
        fontsize=8,
        color=QUIET,
    )
    figure.tight_layout(rect=(0, 0.02, 1, 1), w_pad=0.3, h_pad=0.6)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _caption(found: dict[float | None, Run]) -> str:
    each = [f"{_steps(run)}{'' if run['steps'] is None else ' steps'}" for run in found.values()]
    rate = f"η {next(iter(found.values()))['rate']:g}"
    return f"{rate}, {each[0]}" if len(each) == 1 else f"{rate}, {each[0]}; else {each[1]}"
