"""What the rows of `benchmarks.kernels` say: the bars they are held to, and a picture of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl

mpl.use("Agg")  # a file is drawn, no window

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm

from benchmarks.kernels_grid import BATCHES, BFLOAT16, CELLS_OF_TORCH, DISTURBED, OPTIONS, SIX, SIZES, full

Row = dict[str, Any]

NAMES = {"lstm": "LSTM", "gru": "GRU", "elman": "Elman", "jordan": "Jordan"}
SHARES = {"lstm": (0.85, 0.70), "gru": (0.80, 0.65), "elman": (0.75, 0.60)}  # inference, training
POINTS_UNDER = 0.10
OVER_PLAIN = {"reset before": 1.4, "H/8 outputs": 1.6}  # an option's time over its family's plain; else 1.2
OVER_PLAIN_ELSE = 1.2
GROWTH_MB = 1.0  # of long inference, ten times the steps, beyond the output
LARGEST_ERROR = 1e-5
CAROUSEL = (
    "no forget gate"  # its c grows from step to step, so torch's own float32 loop is off by over 2e-5 as well
)
LARGEST_ERROR_CAROUSEL = 1e-4


class Bar(NamedTuple):
    """One line of the table."""

    what: str
    wanted: str
    measured: str
    shapes: str  # how many of how many
    met: bool | None  # None: not every shape was measured, so nobody knows


def print_summary(rows: list[Row]) -> None:
    """A table in Markdown, each bar with its figure; none is met before every shape was measured."""
    print("| what | bar | measured | shapes | |\n|---|---|---|---|---|")
    for bar in bars(rows):
        verdict = "incomplete" if bar.met is None else "met" if bar.met else "**missed**"
        print(f"| {bar.what} | {bar.wanted} | {bar.measured} | {bar.shapes} | {verdict} |")
    print(f"\n{len(rows)} rows; {_circumstances(rows)}.")


def bars(rows: list[Row]) -> Iterable[Bar]:
    """Every bar, float32, two threads and T = 100 unless it says otherwise."""
    grid = [row for row in rows if row["T"] == 100 and row["threads"] == 2]
    plain = [row for row in grid if not row["options"] and not row["ragged"] and row["H"] in SIZES]

    def of(cell: str, mode: str, peer: str, *, B: int = 1, H: int = 1) -> list[Row]:
        return [
            row
            for row in plain
            if (row["cell"], row["mode"], row["peer"]) == (cell, mode, peer)
            and row["B"] >= B
            and row["H"] >= H
        ]

    yield _mean("LSTM / torch.nn, training", of("lstm", "train", "torch.nn"), 1.4, 20)
    yield _mean("LSTM / torch.nn, inference", of("lstm", "inference", "torch.nn"), 1.2, 20)
    yield _least("LSTM / torch.nn, inference, B ≥ 8", of("lstm", "inference", "torch.nn", B=8), 0.97, 15)
    for cell in ("gru", "elman"):
        name = f"{NAMES[cell]} / torch.nn, training"
        yield _mean(name, of(cell, "train", "torch.nn"), 4, 20)
        yield _least(f"{name}, B ≥ 32, H ≥ 256", of(cell, "train", "torch.nn", B=32, H=256), 2, 6)
    yield from _ragged(grid)
    yield from _options(grid)
    for cell, wanted in SHARES.items():
        for mode, bar in zip(("inference", "train"), wanted):
            yield from _share(f"{NAMES[cell]}, {mode}", of(cell, mode, "torch.nn", B=32, H=256), bar)
    yield from _step(rows)
    of_onnx = [row for row in plain if row["peer"] == "onnxruntime"]
    yield _least("onnxruntime, B = 1", [row for row in of_onnx if row["B"] == 1], 1.2, 15)
    yield _least("onnxruntime, B ≥ 8", [row for row in of_onnx if row["B"] > 1], 1.0, 45)
    of_jax = [row for row in plain if row["peer"] == "jax"]
    yield _mean("JAX scan, training", of_jax, 2, len(SIX) * len(CELLS_OF_TORCH))
    yield from _memory(rows)
    yield from _errors(rows)


def _ragged(grid: list[Row]) -> Iterable[Bar]:
    rows = [row for row in grid if row["ragged"] and row["mode"] == "train" and row["cell"] == "lstm"]
    packed, padded = ([row for row in rows if row["peer"] == p] for p in ("torch.nn packed", "torch.nn"))
    yield _mean("ragged LSTM / torch.nn packed, training", packed, 6, 15)
    yield _least("ragged LSTM / torch.nn padded, training", padded, 1, 15)


def _options(grid: list[Row]) -> Iterable[Bar]:
    rows = [row for row in grid if row["mode"] == "train" and row["options"]]
    for cell, options in OPTIONS.items():
        for name in options:
            found = [row for row in rows if row["cell"] == cell and row["options"] == name]
            found = [row for row in found if row["peer"] == "saiki plain"]
            most = OVER_PLAIN.get(name, OVER_PLAIN_ELSE)
            what, wanted = f"{NAMES[cell]} {name}, time over plain", f"≤ {most:.2f}"
            times = [1 / row["ratio"] for row in found]
            worst = max(times, default=0.0)
            mean = _geometric(times)
            where = _where(max(found, key=lambda row: 1 / row["ratio"])) if found else ""
            measured = f"{mean:.2f}, at most {worst:.2f} at {where}"
            yield _bar(what, wanted, measured, found, 17, mean <= most)
    loops = [row for row in rows if row["peer"] == "torch loop"]
    yield _mean("all options / plain torch loop, training", loops, 6, 17 * sum(map(len, OPTIONS.values())))


def _share(what: str, rows: list[Row], wanted: float) -> Iterable[Bar]:
    shares = [_share_of(row) for row in rows if row["ceiling_gflops"]]
    rows = [row for row in rows if row["ceiling_gflops"]]
    title = f"share of the limit, {what}, H ≥ 256, B ≥ 32"
    mean, lowest = _geometric(shares), min(shares, default=0.0)
    where = _where(min(rows, key=_share_of)) if rows else ""
    yield _bar(title, f"≥ {wanted:.0%}", f"{mean:.0%}", rows, 6, mean >= wanted)
    least = wanted - POINTS_UNDER
    yield _bar("the lowest of them", f"≥ {least:.0%}", f"{lowest:.0%} at {where}", rows, 6, lowest >= least)


def _step(rows: list[Row]) -> Iterable[Bar]:
    found = [row for row in rows if row["mode"] == "step" and row["peer"] == "torch.nn cell"]
    shape = {"cell": "lstm", "options": "", "B": 1, "H": 128}
    found = [row for row in found if all(row[name] == value for name, value in shape.items())]
    what = "one LSTM step, B = 1, H = 128"
    took = found[0]["saiki_ms"] * 1e3 if found else 0.0
    yield _bar(what, "≤ 8 µs", f"{took:.2f} µs", found, 1, took <= 8)
    yield _mean(f"{what} / LSTMCell", found, 2.5, 1)


def _memory(rows: list[Row]) -> Iterable[Bar]:
    found = [row for row in rows if row["mode"] == "train memory" and row["cell"] == "lstm"]
    yield _least("peak memory, LSTM, training: torch.nn's over ours", found, 1, 2)
    found = [row for row in rows if row["mode"] == "inference memory"]
    grown = [row["beyond_output_mb"] - row["beyond_output_mb_at_tenth"] for row in found]
    most = max(grown, default=0.0)
    what = "inference, T = 100,000 against 10,000: growth beyond the output"
    yield _bar(what, f"≤ {GROWTH_MB:.0f} MiB", f"{most:.1f} MiB", found, 3, most <= GROWTH_MB)


def _errors(rows: list[Row]) -> Iterable[Bar]:
    told = [row for row in rows if row["error"] is not None and row["options"] != BFLOAT16]
    cases = [case for case in full() if not case.memory and case.options != BFLOAT16]
    for carousel, most in ((False, LARGEST_ERROR), (True, LARGEST_ERROR_CAROUSEL)):
        what = "largest error, float32" + (f", {CAROUSEL}" if carousel else "")
        found = [row for row in told if (row["options"] == CAROUSEL) == carousel]
        expected = sum(len(case.peers) for case in cases if (case.options == CAROUSEL) == carousel)
        worst = max(found, key=lambda row: (math.isnan(row["error"]), row["error"]), default=None)
        measured = ""
        if worst is not None:
            options = f" {worst['options']}" if worst["options"] else ""
            measured = f"{worst['error']:.1e} at {worst['cell']}{options} {_where(worst)}"
        met = worst is not None and worst["error"] <= most
        yield _bar(what, f"≤ {most:.0e}", measured, found, expected, met)


def _mean(what: str, rows: list[Row], wanted: float, shapes: int) -> Bar:
    mean = _geometric([row["ratio"] for row in rows])
    return _bar(what, f"geometric mean ≥ {wanted:g}", f"{mean:.2f}", rows, shapes, mean >= wanted)


def _least(what: str, rows: list[Row], wanted: float, shapes: int) -> Bar:
    lowest = min(rows, key=lambda row: row["ratio"], default=None)
    if lowest is None:
        return _bar(what, f"everywhere ≥ {wanted:g}", "", rows, shapes, False)
    under = sum(row["ratio"] < wanted for row in rows)
    measured = f"{lowest['ratio']:.2f} at {lowest['cell']} {_where(lowest)}"
    if under:
        measured += f"; {under} under"
    theirs = [_share_of(row) / row["ratio"] for row in rows if row["ceiling_gflops"]]
    if under and theirs:
        measured += f"; the peer's share of the limit is {min(theirs):.0%} to {max(theirs):.0%}"
    return _bar(what, f"everywhere ≥ {wanted:g}", measured, rows, shapes, not under)


def _bar(what: str, wanted: str, measured: str, rows: list[Row], shapes: int, met: bool) -> Bar:
    disturbed = sum(map(_disturbed, rows))
    count = f"{len(rows)} of {shapes}" + (f", {disturbed} disturbed" if disturbed else "")
    return Bar(what, wanted, measured if rows else "", count, met if len(rows) >= shapes else None)


def _disturbed(row: Row) -> bool:
    """Whether other processes took part of the processors while it was measured."""
    return (row.get("others") or 0.0) > DISTURBED


def _circumstances(rows: list[Row]) -> str:
    """Where, when and with what all of these rows were measured; a file may hold those of several runs."""
    disturbed = sum(map(_disturbed, rows))
    parts = [", ".join(sorted({str(row[name]) for row in rows})) for name in ("machine", "target", "date")]
    for name in ("torch", "commit"):
        values = sorted({row[name] for row in rows})
        parts.append(
            f"{name} {', '.join(values[:2])}" + (f" and {len(values) - 2} more" if len(values) > 2 else "")
        )
    if disturbed:
        parts.append(f"{disturbed} of {len(rows)} rows disturbed by other processes")
    return "; ".join(parts)


def _geometric(values: Iterable[float]) -> float:
    values = list(values)
    return statistics.geometric_mean(values) if values else 0.0


def _where(row: Row) -> str:
    return f"B{row['B']} H{row['H']}"


def _share_of(row: Row) -> float:
    return float(row["gflops"] / row["ceiling_gflops"])


# the picture

INK, QUIET, GRID = "#22303c", "#8a97a3", "#dfe5ea"
COLOURS = {"lstm": "#0b6e99", "gru": "#1b8a6b", "elman": "#b5651d", "jordan": "#8a4f9e"}
RATIOS = LinearSegmentedColormap.from_list("ratios", ["#b2452f", "#dd9a7d", "#f7f1e8", "#5aa9a4", "#0b4a5c"])


def draw(rows: list[Row], path: Path) -> None:
    """Small multiples: how much faster by B and H, what share of the limit, and the other peers."""
    grid = [row for row in rows if row["T"] == 100 and row["threads"] == 2]
    plain = [row for row in grid if not row["options"] and not row["ragged"]]
    ink = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color")
    look: dict[Any, Any] = {"font.size": 9, "axes.edgecolor": GRID, "axes.titleweight": "bold"}
    plt.rcParams.update(look | dict.fromkeys(ink, INK))
    figure = plt.figure(figsize=(13, 17), facecolor="white")
    heights = [1.0, 1.0, 1.05, 1.05]
    spec = figure.add_gridspec(
        4, 3, height_ratios=heights, hspace=0.42, wspace=0.16, left=0.06, right=0.975, top=0.922, bottom=0.27
    )
    last = figure.add_gridspec(1, 3, wspace=0.62, left=0.115, right=0.945, top=0.215, bottom=0.04)
    for column, cell in enumerate(CELLS_OF_TORCH):
        for row, mode in enumerate(("train", "inference")):
            found = [r for r in plain if (r["cell"], r["mode"], r["peer"]) == (cell, mode, "torch.nn")]
            verb = "training" if mode == "train" else "inference"
            tiles = figure.add_subplot(spec[row, column])
            _tiles(tiles, found, f"{NAMES[cell]}, {verb}: times as fast as torch.nn")
            shares = figure.add_subplot(spec[2 + row, column])
            _shares(shares, found, f"{NAMES[cell]}, {verb}: share of the limit", cell, mode)
            if column:
                tiles.set_ylabel("")
                shares.set_ylabel("")
    _ragged_panel(figure.add_subplot(last[0, 0]), grid)
    _options_panel(figure.add_subplot(last[0, 1]), grid)
    _peers_panel(figure.add_subplot(last[0, 2]), grid)
    figure.text(0.06, 0.972, "Saiki's recurrent kernels on the CPU", fontsize=19, fontweight="bold")
    figure.text(0.06, 0.949, _caption(rows), fontsize=9, color=QUIET, linespacing=1.4)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _caption(rows: list[Row]) -> str:
    if not rows:
        return "nothing measured"
    sizes = "2 threads, float32, T = 100, as many inputs as hidden units"
    return f"{sizes}\n{_circumstances(rows)}"


def _tiles(axes: Axes, rows: list[Row], title: str) -> None:
    """A tile a shape, its ratio written on it."""
    ratio = {(row["B"], row["H"]): row["ratio"] for row in rows}
    values = [[math.log2(ratio.get((B, H), math.nan)) for H in SIZES] for B in BATCHES]
    axes.imshow(values, cmap=RATIOS, norm=TwoSlopeNorm(0, vmin=-1, vmax=4), aspect="auto")
    for (y, B), (x, H) in product(enumerate(BATCHES), enumerate(SIZES)):
        if (B, H) in ratio:
            value = ratio[B, H]
            dark = math.log2(value) > 1.3 or math.log2(value) < -0.6
            text = f"{value:.2f}" if value < 9.95 else f"{value:.0f}"
            axes.text(x, y, text, ha="center", va="center", color="white" if dark else INK, fontsize=10)
    axes.set_xticks(range(len(SIZES)), [str(H) for H in SIZES])
    axes.set_yticks(range(len(BATCHES)), [str(B) for B in BATCHES])
    axes.set_xticks([x + 0.5 for x in range(len(SIZES) - 1)], minor=True)
    axes.set_yticks([y + 0.5 for y in range(len(BATCHES) - 1)], minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel("H", labelpad=1)
    if ratio:
        mean = f"geometric mean {_geometric(ratio.values()):.2f}"
        axes.text(1, -0.19, mean, ha="right", transform=axes.transAxes, color=QUIET, fontsize=8.5)
    axes.set_ylabel("B")


def _shares(axes: Axes, rows: list[Row], title: str, cell: str, mode: str) -> None:
    """For each shape, from torch's share to ours; the dashed line is the bar for H ≥ 256, B ≥ 32."""
    found = {(row["B"], row["H"]): row for row in rows if row["ceiling_gflops"]}
    gap, colour = 1.5, COLOURS[cell]
    bar = SHARES[cell][mode == "train"]
    for k, B in enumerate(BATCHES):
        start = k * (len(SIZES) - 1 + gap + 1)
        places = [start + j for j in range(len(SIZES))]
        ours, theirs = [], []
        for x, H in zip(places, SIZES):
            row = found.get((B, H))
            share = _share_of(row) if row else math.nan
            other = share / row["ratio"] if row else math.nan
            ours.append(share)
            theirs.append(other)
            axes.plot([x, x], [other, share], color=colour if share >= other else "#b2452f", alpha=0.35, lw=4)
        axes.scatter(places, theirs, s=22, color="white", edgecolor=QUIET, linewidth=1.3, zorder=3)
        axes.scatter(places, ours, s=30, color=colour, zorder=4)
        if B >= 32:
            wide = [places[2] - 0.4, places[-1] + 0.4]
            axes.plot(wide, [bar, bar], color=INK, lw=1, ls=(0, (3, 2)))
        axes.text(places[2], -0.2, f"B = {B}", ha="center", transform=axes.get_xaxis_transform())
    ticks = [k * (len(SIZES) + gap) + j for k in range(len(BATCHES)) for j in range(len(SIZES))]
    labels = [str(H) for _ in BATCHES for H in SIZES]
    axes.set_xticks(ticks, labels, fontsize=6.5, rotation=60)
    axes.set_xlim(ticks[0] - 1, ticks[-1] + 1)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    _open(axes)
    axes.set_title(title, loc="left", fontsize=10)
    if cell == "lstm":
        axes.scatter([], [], s=30, color=colour, label="Saiki")
        axes.scatter([], [], s=22, color="white", edgecolor=QUIET, linewidth=1.3, label="torch.nn")
        axes.plot([], [], color=INK, lw=1, ls=(0, (3, 2)), label="bar")
        axes.legend(loc="upper left", frameon=False, fontsize=8, ncols=3, handletextpad=0.3)


def _open(axes: Axes) -> None:
    """Horizontal lines alone."""
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _strips(
    axes: Axes, groups: list[tuple[str, list[float], str]], title: str, label: Callable[[float], str]
) -> None:
    """A line of dots a group on a logarithmic axis, with the geometric mean."""
    for y, (_, values, colour) in enumerate(groups):
        if not values:
            continue
        shift = [
            y + 0.22 * math.sin(12.9898 * k) for k in range(len(values))
        ]  # so that dots do not hide dots
        axes.scatter(values, shift, s=16, color=colour, alpha=0.45, linewidth=0)
        mean = _geometric(values)
        axes.plot([mean, mean], [y - 0.36, y + 0.36], color=colour, lw=2.5)
        axes.text(1.02, y, label(mean), transform=axes.get_yaxis_transform(), va="center", color=colour)
    axes.axvline(1, color=INK, lw=1)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_yticks(range(len(groups)), [name for name, _, _ in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.set_title(title, loc="left", x=-0.34, fontsize=10)


def _times(mean: float) -> str:
    return f"{mean:.2f}"


def _ragged_panel(axes: Axes, grid: list[Row]) -> None:
    rows = [row for row in grid if row["ragged"] and row["mode"] == "train"]
    groups = []
    for cell, (peer, name) in product(
        CELLS_OF_TORCH, (("torch.nn packed", "packed"), ("torch.nn", "padded"))
    ):
        found = [row["ratio"] for row in rows if (row["cell"], row["peer"]) == (cell, peer)]
        groups.append((f"{NAMES[cell]}, {name}", found, COLOURS[cell]))
    _strips(axes, groups, "Ragged, training: times as fast as torch.nn", _times)
    axes.set_xlabel("a dot a shape; the stroke is the geometric mean")


def _options_panel(axes: Axes, grid: list[Row]) -> None:
    rows = [row for row in grid if row["mode"] == "train" and row["peer"] == "saiki plain"]
    groups = []
    for cell, names in OPTIONS.items():
        for name in names:
            found = [1 / row["ratio"] for row in rows if (row["cell"], row["options"]) == (cell, name)]
            groups.append((f"{NAMES[cell]}\n{name}", found, COLOURS[cell]))
    _strips(axes, groups, "Options, training: time over the plain cell's", _times)
    axes.tick_params(axis="y", labelsize=7.5)
    most = max((value for _, values, _ in groups for value in values), default=1)
    axes.set_xlim(0.65, max(1.75, 1.05 * most))
    axes.set_xticks([0.7, 0.8, 1, 1.2, 1.4, 1.6])
    axes.set_xlabel("left of the line: cheaper than plain")


def _peers_panel(axes: Axes, grid: list[Row]) -> None:
    wanted = (
        ("onnxruntime", "onnxruntime\ninference, B = 1", lambda row: row["B"] == 1 and not row["ragged"]),
        ("onnxruntime", "onnxruntime\ninference, B ≥ 8", lambda row: row["B"] > 1 and not row["ragged"]),
        ("onnxruntime", "onnxruntime\ninference, ragged", lambda row: row["ragged"]),
        ("jax", "JAX scan\ntraining", lambda row: True),
        ("torch.compile", "torch.compile\npeepholes, training", lambda row: True),
        ("torchrecurrent", "torchrecurrent\npeepholes, training", lambda row: True),
        ("torch loop", "torch loop\nall options, training", lambda row: row["mode"] == "train"),
    )
    groups = [
        (name, [row["ratio"] for row in grid if row["peer"] == peer and keep(row)], INK)
        for peer, name, keep in wanted
    ]
    _strips(axes, groups, "Other peers: times as fast", _times)
    axes.tick_params(axis="y", labelsize=7.5)
    axes.set_xlabel("right of the line: Saiki is faster")
