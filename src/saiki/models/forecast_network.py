"""The forecaster's network: a stack over the context, heads over the horizon, a linear highway beside them.

    r   = stack(context)                                     (B, D)   recurrent layers, pooled over time
    a   = W r + b                                            (B, H, K, P)   P parameters a forecast
    a_k = a_k + V tanh(U r + E u_{t+k} + d)                  where covariates u are known ahead
    a_k = a_k + Σ_i A_{ki} x_{t-i} + A_{k0} o                the highway: the window's own lags, and its level

and a is read as a point, as a mean and a log-scale, or as quantiles, which cannot cross:

    q_m = a_m (the median)      q_{j+1} = q_j + softplus(a_{j+1})      q_{j-1} = q_j - softplus(a_{j-1})

The highway starts at its ridge solution and the head at zero, so training starts from the best linear
forecast and learns what that one leaves over.

Sources: Lai et al. 2018 (the linear highway beside a recurrent network, LSTNet); Wen et al. 2017 (direct
quantile heads, and covariates known ahead through one small network shared by all steps, MQ-RNN).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import numpy as np
import torch
from torch import Tensor

from saiki.core.errors import OptionError, ShapeError
from saiki.core.ragged import Ragged
from saiki.engine import product
from saiki.models.baselines import MOST_WINDOWS, ridge_map
from saiki.models.forecast_windows import Array, WindowInputs, WindowSource
from saiki.models.options import Layer
from saiki.nn import Dense, Stack, Summary, SummaryRow

Kind: TypeAlias = Literal["point", "quantile", "gaussian"]

_LOCAL_SIZE = 32  # units of the small network that reads one step's known covariates
_LEAST_SPREAD = 1e-3  # of the scaled target: quantiles start at least this far apart
_CHUNK = 4_096  # windows gathered at once when the start is computed


@dataclass(frozen=True, kw_only=True)
class ForecastShape:
    """What a forecast network answers.

    Attributes:
        horizon: H steps.
        targets: K series at once.
        kind: what the P parameters of a forecast are: one point, a mean and a log-scale, or Q quantiles.
        quantiles: the levels, ascending, ½ among them; empty unless kind is "quantile".
        known: covariates known ahead, F.
        lags: C, for the highway; 0 without one.
        level: whether the highway sees the level, too.
    """

    horizon: int
    targets: int
    kind: Kind
    quantiles: tuple[float, ...] = ()
    known: int = 0
    lags: int = 0
    level: bool = False

    @property
    def parameters(self) -> int:
        """P, network outputs a forecast."""
        return {"point": 1, "gaussian": 2, "quantile": len(self.quantiles)}[self.kind]

    @property
    def median(self) -> int:
        """Where the point or the median stands among the P."""
        return self.quantiles.index(0.5) if self.kind == "quantile" else 0


@final
class Head(torch.nn.Module):
    """a = W r + b for every step ahead, plus what the covariates known of that step say.

    Shapes:
        (B, D) and, where F > 0, known (B, H, F) in; (B, H, K, P) out. `weight` (H·K·P, D) and the last
        weights of the small network start at 0, so that `bias` (H·K·P,) alone speaks at first.
    """

    def __init__(
        self,
        input_size: int,
        shape: ForecastShape,
        *,
        generator: torch.Generator,
        dtype: torch.dtype,
        device: torch.device | str | None,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.input_size = input_size
        outputs = shape.horizon * shape.targets * shape.parameters
        self.weight = torch.nn.Parameter(torch.zeros(outputs, input_size, dtype=dtype, device=device))
        self.bias = torch.nn.Parameter(torch.zeros(outputs, dtype=dtype, device=device))
        if shape.known:

            def dense(inputs: int, units: int, bias: bool = True) -> Dense:
                return Dense(inputs, units, bias=bias, generator=generator, dtype=dtype, device=device)

            self.state = dense(input_size, _LOCAL_SIZE)
            self.known = dense(shape.known, _LOCAL_SIZE, bias=False)
            self.local = dense(_LOCAL_SIZE, shape.targets * shape.parameters)
            torch.nn.init.zeros_(self.local.weight)

    def forward(self, r: Tensor, known: Tensor | None) -> Tensor:
        """See the class."""
        sizes = (self.shape.horizon, self.shape.targets, self.shape.parameters)
        a = product.linear(r, self.weight, self.bias).view(len(r), *sizes)
        if known is None:
            return a
        unit = torch.tanh(self.state(r)[:, None] + self.known(known))  # (B, H, 32)
        local: Tensor = self.local(unit)
        return a + local.view(len(r), *sizes)


@final
class Highway(torch.nn.Module):
    """A_k x + c_k for every target by itself: (B, K, C) lags and (B, K) levels to (B, H, K).

    Parameters `weight` (K, H, C), or (K, H, C + 1) with the level last, and `bias` (K, H); both start at 0.
    """

    def __init__(
        self, shape: ForecastShape, *, dtype: torch.dtype, device: torch.device | str | None
    ) -> None:
        super().__init__()
        columns = shape.lags + shape.level
        size = (shape.targets, shape.horizon, columns)
        self.weight = torch.nn.Parameter(torch.zeros(size, dtype=dtype, device=device))
        self.bias = torch.nn.Parameter(torch.zeros(size[:2], dtype=dtype, device=device))

    def forward(self, lags: Tensor, level: Tensor | None) -> Tensor:
        """See the class."""
        x = lags if level is None else torch.cat([lags, level[..., None]], dim=-1)
        return torch.einsum("bkc,khc->bhk", x, self.weight) + self.bias.T


@final
class ForecastNetwork(torch.nn.Module):
    """Stack, head and highway as one network; see the file's head for the equations.

    Args:
        stack: layers from a context to one row (B, D) a window; its last layer pools over time.
        shape: what is asked for.
        generator: for the initial weights.
        dtype: of the parameters.
        device: of the parameters.
    Shapes:
        `WindowInputs` in; (B, H, K) out for points, (B, H, K, 2) for Gaussians, (B, H, K, Q) for quantiles.
    """

    def __init__(
        self,
        stack: Stack,
        shape: ForecastShape,
        *,
        generator: torch.Generator,
        dtype: torch.dtype,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.stack = stack
        self.head = Head(stack.output_size, shape, generator=generator, dtype=dtype, device=device)
        self.highway = Highway(shape, dtype=dtype, device=device) if shape.lags else None

    def forward(self, inputs: WindowInputs) -> Tensor:
        """See the class."""
        a: Tensor = self.head(self.hidden(inputs), inputs.known)
        if self.highway is not None:
            linear = self.highway(inputs.lags, inputs.level if self.shape.level else None)
            place = torch.nn.functional.one_hot(torch.tensor(self.shape.median), self.shape.parameters)
            a = a + linear[..., None] * place.to(a)
        if self.shape.kind == "point":
            return a[..., 0]
        return a if self.shape.kind == "gaussian" else ordered(a, self.shape.median)

    @property
    def input_size(self) -> int:
        """Features a step that the stack is given."""
        return self.stack.input_size

    @property
    def output_size(self) -> int:
        """D, what the stack hands to the head."""
        return self.stack.output_size

    @property
    def layers(self) -> dict[str, torch.nn.Module]:
        """Every part by its name: the stack's layers, the head and the highway."""
        own = {"head": self.head} if self.highway is None else {"head": self.head, "highway": self.highway}
        return {**dict(self.stack.layers.items()), **own}

    def summary(self, steps: int | None = None) -> Summary:
        """The table of layers, output shapes and parameters; `print` it."""
        table = self.stack.summary(steps)
        shape = self.shape
        answer: tuple[int | str, ...] = ("B", shape.horizon, shape.targets)
        own: list[tuple[str, torch.nn.Module, tuple[int | str, ...]]]
        own = [("head", self.head, answer if shape.kind == "point" else (*answer, shape.parameters))]
        if self.highway is not None:
            own.append(("highway", self.highway, answer))
        rows = [
            SummaryRow(name, type(part).__name__, size, sum(p.numel() for p in part.parameters()))
            for name, part, size in own
        ]
        trainable = sum(p.numel() for p in self.parameters() if p.requires_grad)
        every = sum(p.numel() for p in self.parameters())
        return Summary((*table.rows, *rows), trainable, every - trainable)

    def attention(self, inputs: WindowInputs) -> dict[str, Ragged]:
        """The weights of each AttentionPool over the steps of the context, by the layer's name."""
        return self.stack.attention(inputs.steps)

    def hidden(self, inputs: WindowInputs) -> Tensor:
        """(B, D) what the head reads: the stack's answer to each context."""
        r: Tensor | Ragged = self.stack(inputs.steps)
        if isinstance(r, Ragged):
            raise ShapeError(
                "network gives one output a step, but a forecast is one row a window.",
                "Add LastConfig() or another pooling layer at its end.",
            )
        return r


def build_network(
    layers: Sequence[Layer],
    features: int,
    shape: ForecastShape,
    *,
    source: torch.Generator,
    dtype: torch.dtype,
    device: torch.device | str | None,
) -> ForecastNetwork:
    """Build stack, head and highway.

    Args:
        layers: configs of the stack; the last pools over time, or a layer before it does.
        features: features a step.
        shape: what is asked for.
        source: for the initial weights.
        dtype: of the parameters.
        device: of the parameters.

    Raises:
        OptionError: the layers give one row a step.
    """
    stack = Stack.build(layers, features, generator=source, dtype=dtype, device=device)
    if not stack.pooled:
        raise OptionError("network must end in one row a window.", "Add LastConfig() at its end.")
    return ForecastNetwork(stack, shape, generator=source, dtype=dtype, device=device)


def ordered(a: Tensor, median: int) -> Tensor:
    """Quantiles that cannot cross: the median and, away from it on either side, positive distances.

    Args:
        a: (..., Q) unbounded.
        median: index of the median.

    Returns:
        (..., Q), increasing along the last axis.
    """
    distance = torch.nn.functional.softplus(a)
    middle = a[..., median : median + 1]
    below = middle - distance[..., :median].flip(-1).cumsum(-1).flip(-1)
    above = middle + distance[..., median + 1 :].cumsum(-1)
    return torch.cat([below, middle, above], dim=-1)


@torch.no_grad()
def start_at_ridge(network: ForecastNetwork, windows: WindowSource) -> float | None:
    """Set highway and head so that the network's first forecast is the ridge regression on its lags.

    The quantiles (or the scale) start at those of the regression's residuals, step by step.

    Args:
        network: with a head that is still zero.
        windows: the training windows, in time order; evenly thinned to 100,000.

    Returns:
        The largest ridge penalty chosen; None where there is no highway, or nothing to fit it on.
    """
    thinned = windows.select(np.unique(np.linspace(0, len(windows) - 1, MOST_WINDOWS).astype(np.int64)))
    x, y = _lags_and_targets(thinned, network.shape.level)
    when = thinned.origins - thinned.panel.starts[thinned.owner]
    residuals = y.copy()
    penalty = None
    highway = network.highway
    for k in range(network.shape.targets if highway is not None else 0):
        assert highway is not None
        fitted = ridge_map(x[:, k], y[..., k], when, network.shape.horizon)
        if fitted is None:
            continue
        weight, bias, alpha = fitted
        highway.weight[k] = torch.from_numpy(weight).to(highway.weight)
        highway.bias[k] = torch.from_numpy(bias).to(highway.bias)
        residuals[..., k] -= x[:, k] @ weight.T + bias
        penalty = alpha if penalty is None else max(penalty, alpha)
    network.head.bias.copy_(spread_bias(residuals, network.shape).to(network.head.bias))
    return penalty


def _lags_and_targets(windows: WindowSource, level: bool) -> tuple[Array, Array]:
    """(n, K, C) scaled lags, with the level as one more column if it is seen; (n, H, K) scaled targets."""
    lags, targets = [], []
    for first in range(0, len(windows), _CHUNK):
        chunk = windows.select(np.arange(first, min(first + _CHUNK, len(windows))))
        inputs, offset = chunk.inputs()
        x = inputs.lags.cpu().numpy().astype(np.float64)
        lags.append(np.concatenate([x, offset[..., None]], axis=-1) if level else x)
        targets.append((chunk.truth() - offset[:, None]) / chunk.framing.spread)
    return np.concatenate(lags), np.concatenate(targets)


def spread_bias(residuals: Array, shape: ForecastShape) -> Tensor:
    """(H·K·P,) head bias that gives the quantiles of (n, H, K) residuals, or their log-scale."""
    H, K = shape.horizon, shape.targets
    a = np.zeros((H, K, shape.parameters))
    empty = np.isnan(residuals).all(axis=0)
    filled = np.where(empty, 0.0, residuals)
    if shape.kind == "gaussian":
        a[..., 1] = np.log(np.maximum(np.nanstd(filled, axis=0), _LEAST_SPREAD))
    elif shape.kind == "quantile":
        q = np.moveaxis(np.nanquantile(filled, shape.quantiles, axis=0), 0, -1)  # (H, K, Q)
        m = shape.median
        distance = np.abs(np.diff(q, axis=-1))
        away = np.concatenate([distance[..., :m], np.ones((H, K, 1)), distance[..., m:]], axis=-1)
        a = np.log(np.expm1(np.maximum(away, _LEAST_SPREAD)))  # softplus(a) is the distance
        a[..., m] = q[..., m]
    return torch.from_numpy(a.reshape(-1))


def gaussian_quantiles(mean: Array, scale: Array, levels: tuple[float, ...]) -> Array:
    """(..., Q) quantiles μ + σ √2 erf⁻¹(2 p - 1) of normal distributions."""
    p = torch.tensor(levels, dtype=torch.float64)
    z = (torch.erfinv(2 * p - 1) * math.sqrt(2)).numpy()
    quantiles: Array = mean[..., None] + scale[..., None] * z
    return quantiles
