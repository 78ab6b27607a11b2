"""From network outputs to forecasts: at once (direct), or step by step along sampled paths (recursive).

Recursive: a network that answers one step ahead is shown its own answers. The point forecast follows the
median; the quantiles come from R sampled paths,

    x_k ~ F(· | x_{k-1}, x_{k-2}, …)        each path its own numbers
    q_j(k) = median(k) + quantile_j of the paths at k - median of the paths at k

so that intervals widen as uncertainty adds up. The first step needs no sampling and is the network's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from saiki.losses import gaussian_parameters
from saiki.models.forecast_network import ForecastNetwork, ForecastShape, gaussian_quantiles
from saiki.models.forecast_windows import Array, WindowInputs, WindowSource

PATHS = 100  # sampled paths a window: the 10 % and 90 % quantiles are then sure to about 3 % of probability
_WINDOWS_AT_ONCE = 1_024  # windows run through the network at once; changes speed and memory only


@dataclass(frozen=True, eq=False, kw_only=True)
class Spread:
    """What turns network outputs into quantiles.

    Attributes:
        levels: Q levels asked for, ascending; empty for points alone.
        stretch: (P,) factor on each of the network's quantiles' distance from its median (calibration).
        residuals: (H, K, Q) quantiles of the scaled residuals, for networks that give points; or None.
    """

    levels: tuple[float, ...]
    stretch: Array
    residuals: Array | None


@dataclass(frozen=True, eq=False)
class Answer:
    """Forecasts in scaled units: point (n, H, K) and quantiles (n, H, K, Q), or None."""

    point: Array
    quantiles: Array | None


def run(network: ForecastNetwork, windows: WindowSource) -> tuple[Array, Array]:
    """Run the network over all windows.

    Returns:
        (n, H, K[, P]) outputs, in the units of scaled windows, float64; and (n, K) levels taken away.
    """
    outputs, levels = [], []
    for first in range(0, len(windows), _WINDOWS_AT_ONCE):
        chunk = windows.select(np.arange(first, min(first + _WINDOWS_AT_ONCE, len(windows))))
        inputs, level = chunk.inputs()
        outputs.append(_outputs(network, inputs))
        levels.append(level)
    return np.concatenate(outputs), np.concatenate(levels)


def _outputs(network: ForecastNetwork, inputs: WindowInputs) -> Array:
    network.eval()
    with torch.inference_mode():
        out: Tensor = network(inputs)
    return out.double().cpu().numpy()


def answer(shape: ForecastShape, outputs: Array, level: Array, size: Array, spread: Spread) -> Answer:
    """Read the network's outputs.

    Args:
        shape: what they are.
        outputs: (n, H, K[, P]) from `run`.
        level: (n, K) what window scaling took away.
        size: (K,) s, the spread that values after window scaling were divided by.
        spread: how quantiles are made.

    Returns:
        Forecasts after the table's scaling.
    """
    point, quantiles = _read(shape, outputs, spread)
    s, o = size, level[:, None]
    point = point * s + o
    return Answer(point, None if quantiles is None else quantiles * s[:, None] + o[..., None])


def _read(shape: ForecastShape, outputs: Array, spread: Spread) -> tuple[Array, Array | None]:
    """Point (n, H, K) and quantiles (n, H, K, Q) in the units of scaled windows."""
    if shape.kind == "gaussian":
        mean, scale = (part.numpy() for part in gaussian_parameters(torch.from_numpy(outputs)))
        return mean, gaussian_quantiles(mean, scale, spread.levels) if spread.levels else None
    if shape.kind == "quantile":
        every = stretched(outputs, shape.median, spread.stretch)
        chosen = [shape.quantiles.index(level) for level in spread.levels]
        return every[..., shape.median], every[..., chosen]
    if spread.residuals is None or not spread.levels:
        return outputs, None
    return outputs, outputs[..., None] + spread.residuals


def stretched(quantiles: Array, median: int, stretch: Array) -> Array:
    """Quantiles with their distance from the median multiplied; they stay in order."""
    middle = quantiles[..., median : median + 1]
    out: Array = np.sort(middle + (quantiles - middle) * stretch, axis=-1)
    return out


def calibration(outputs: Array, truth: Array, levels: tuple[float, ...], median: int) -> Array:
    """(Q,) factors that give each quantile its share of the truth.

    For a quantile q below the median m the factor s is the one with P(y < m + s (q - m)) = its level over all
    windows and steps that were observed; held to [1/4, 4].

    Args:
        outputs: (n, H, K, Q) quantiles.
        truth: (n, H, K) in the same units, NaN where missing.
        levels: Q levels.
        median: index of the median.
    """
    seen = ~np.isnan(truth)
    stretch = np.ones(len(levels))
    if seen.sum() < 100:  # too few to know a quantile by
        return stretch
    middle = outputs[seen][:, median]
    for index, level in enumerate(levels):
        if index == median:
            continue
        ratio = (truth[seen] - middle) / (
            outputs[seen][:, index] - middle
        )  # > 1: farther out than the quantile
        stretch[index] = np.clip(np.quantile(ratio, max(level, 1 - level)), 0.25, 4.0)
    return stretch


def fit_spread(
    network: ForecastNetwork,
    spread: Spread,
    train: WindowSource,
    honest: WindowSource | None,
    calibrate: bool,
) -> Spread:
    """How wide intervals are, learned from windows that training did not fit, where there are any.

    Args:
        network: the trained one.
        spread: the levels.
        train: the training windows.
        honest: windows that were not trained on, or None.
        calibrate: whether quantiles are stretched.

    Returns:
        For quantiles, the factors of `calibration` (1 without honest windows); for points, the quantiles of
        the residuals, on the training windows where there are no others.
    """
    kind = network.shape.kind
    if kind == "gaussian" or (kind == "quantile" and (honest is None or not calibrate)) or not spread.levels:
        return spread
    windows = train if honest is None else honest
    outputs, level = run(network, windows)
    truth = (windows.truth() - level[:, None]) / windows.framing.spread
    return spread_from(network.shape, spread, outputs, truth)


def spread_from(shape: ForecastShape, spread: Spread, outputs: Array, truth: Array) -> Spread:
    """How wide intervals are, from (n, H, K[, Q]) outputs and the (n, H, K) truth in the same units.

    Quantiles get the factors of `calibration`, points the quantiles of their residuals.
    """
    if shape.kind == "quantile":
        return replace(spread, stretch=calibration(outputs, truth, shape.quantiles, shape.median))
    residuals = truth - outputs
    empty = np.isnan(residuals).all(axis=0)
    quantiles = np.nanquantile(np.where(empty, 0.0, residuals), spread.levels, axis=0)
    return replace(spread, residuals=np.moveaxis(quantiles, 0, -1))


def recursive(
    network: ForecastNetwork,
    windows: WindowSource,
    spread: Spread,
    steps: int,
    generator: torch.Generator,
    paths: int = PATHS,
) -> Answer:
    """Forecast step by step, from a network with horizon 1.

    Args:
        network: answers one step ahead.
        windows: contexts with `steps` more rows in the panel after each origin, for known covariates.
        spread: how quantiles are made.
        steps: H, steps to go.
        generator: for the sampled paths.
        paths: R, sampled paths a window.
    """
    points, quantiles = [], []
    each = max(1, _WINDOWS_AT_ONCE // max(paths, 1))
    for first in range(0, len(windows), each):
        chunk = windows.select(np.arange(first, min(first + each, len(windows))))
        point, around = _recurse(network, chunk, spread, steps, generator, paths)
        points.append(point)
        quantiles.append(around)
    spread_out = None if not spread.levels else np.concatenate([q for q in quantiles if q is not None])
    return Answer(np.concatenate(points), spread_out)


def _recurse(
    network: ForecastNetwork,
    windows: WindowSource,
    spread: Spread,
    steps: int,
    generator: torch.Generator,
    paths: int,
) -> tuple[Array, Array | None]:
    n, K = len(windows), windows.panel.targets
    first: Answer | None = None

    def median(step: int, outputs: Array, level: Array) -> Array:
        nonlocal first
        read = answer(network.shape, outputs, level, windows.framing.spread, spread)
        first = read if step == 0 else first
        return read.point[:, 0]

    point = _walk(network, windows, steps, median)  # (n, H, K)
    if not spread.levels:
        return point, None
    assert first is not None
    if first.quantiles is None:
        return point, None

    def draw(step: int, outputs: Array, level: Array) -> Array:
        u = torch.rand((len(outputs), K), generator=generator, dtype=torch.float64).numpy()
        drawn = _sample(network, outputs[:, 0], spread, u)  # (n R, K)
        s: Array = windows.framing.spread
        return drawn * s + level

    copies = windows.select(np.repeat(np.arange(n), paths))
    sampled = _walk(network, copies, steps, draw).reshape(n, paths, steps, K)
    around = np.quantile(sampled, (0.5, *spread.levels), axis=1)  # (1 + Q, n, H, K)
    quantiles = point[..., None] + np.moveaxis(around[1:] - around[:1], 0, -1)
    quantiles[:, 0] = first.quantiles[:, 0]
    return point, quantiles


def _walk(
    network: ForecastNetwork,
    windows: WindowSource,
    steps: int,
    choose: Callable[[int, Array, Array], Array],
) -> Array:
    """(n, H, K) values, each fed back before the next; `choose(step, outputs, level)` gives (n, K)."""
    panel, framing = windows.panel, windows.framing
    values = windows.shown()  # (n, C, K), no past covariates
    taken = []
    for step in range(steps):
        rows = windows.origins[:, None] + step
        inputs, level = framing.inputs(
            values,
            panel.known[rows + np.arange(-framing.context, 0)],
            panel.known[rows],
            panel.static[windows.owner],
            targets=panel.targets,
            dtype=windows.dtype,
            device=windows.device,
        )
        chosen = choose(step, _outputs(network, inputs), level)
        taken.append(chosen)
        values = np.concatenate([values[:, 1:], chosen[:, None]], axis=1)
    return np.stack(taken, axis=1)


def _sample(network: ForecastNetwork, outputs: Array, spread: Spread, u: Array) -> Array:
    """One value from each forecast distribution, by inverting its quantile function at u.

    Between the network's quantiles the function is a straight line; outside it goes on as a normal
    distribution through the outermost quantile and the median.

    Args:
        network: says what its outputs are.
        outputs: (n, K[, P]) one step ahead, in the units of scaled windows.
        spread: calibration and residuals.
        u: (n, K) uniform on (0, 1).
    """
    shape = network.shape
    z = math.sqrt(2) * torch.erfinv(torch.from_numpy(2 * np.clip(u, 1e-6, 1 - 1e-6) - 1)).numpy()
    if shape.kind == "gaussian":
        mean, scale = (part.numpy() for part in gaussian_parameters(torch.from_numpy(outputs)))
        drawn: Array = mean + scale * z
        return drawn
    if shape.kind == "quantile":
        levels = np.array(shape.quantiles)
        known = stretched(outputs, shape.median, spread.stretch)
        middle = outputs[..., shape.median]
    else:
        assert spread.residuals is not None
        levels = np.array(spread.levels)
        known = outputs[..., None] + spread.residuals[0]
        middle = outputs
    return _inverse(levels, known, middle, u, z)


def _inverse(levels: Array, known: Array, middle: Array, u: Array, z: Array) -> Array:
    """The quantile function through (levels, known), at u."""
    normal = math.sqrt(2) * torch.erfinv(torch.from_numpy(2 * levels - 1)).numpy()
    place = np.searchsorted(levels, u)  # (n, K) how many levels lie below
    inside = (place > 0) & (place < len(levels))
    low, high = np.maximum(place - 1, 0), np.minimum(place, len(levels) - 1)
    q_low = np.take_along_axis(known, low[..., None], -1)[..., 0]
    q_high = np.take_along_axis(known, high[..., None], -1)[..., 0]
    share = np.where(inside, (u - levels[low]) / np.where(inside, levels[high] - levels[low], 1.0), 0.0)
    drawn: Array = q_low + share * (q_high - q_low)
    edges = ((0, place == 0), (len(levels) - 1, place == len(levels)))
    for edge, outside in edges:
        if normal[edge] == 0:  # the outermost level is the median itself: nothing is known of this tail
            drawn = np.where(outside, middle, drawn)
        else:
            drawn = np.where(outside, middle + (known[..., edge] - middle) * z / normal[edge], drawn)
    return drawn
