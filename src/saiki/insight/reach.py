"""How far back a gradient reaches: exact norms of ∂s_T/∂s_{T-k} and ∂L_T/∂x_{T-k} against the lag k.

    ∂s_T/∂s_{T-k} = D_T D_{T-1} … D_{T-k+1}           D_t = ∂s_t/∂s_{t-1}, s the whole state of one layer

The whole state of an LSTM is h and c together. Its blocks are shown apart as well, because the carousel lives
in c: ∂c_T/∂c_{T-k} alone contains the product of the forget gates. The product is carried in float64 with its
scale aside, so that neither vanishing nor exploding ends it.

Sources: Hochreiter 1991; Bengio, Simard & Frasconi 1994; Pascanu, Mikolov & Bengio 2013 (the products).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saiki.core.checks import require_int
from saiki.core.errors import OptionError
from saiki.insight.curves import Curve, Floats
from saiki.insight.unroll import F64, Ran, Track, as_batch, last_rows, run, tracks
from saiki.learning import Batch
from saiki.losses import RowLoss
from saiki.nn import Stack

THRESHOLD = 1e-3  # of its start: below it a gradient counts as gone
_EVERY = 64  # numbers in a state up to which every lag is measured; of larger ones one in some per cent


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class LayerReach:
    """How far back one layer's state reaches.

    Args:
        name: the layer, as the network calls it.
        cell: the kind of its cell, `lstm`.
        state: ‖∂s_T/∂s_{T-k}‖₂ of the whole state, (sequences, lags).
        blocks: the same of each part of the state by itself, ‖∂c_T/∂c_{T-k}‖₂ and so on, by name.
        reach: the lag from which `state`'s median stays below a thousandth of its start; None: not within
            what was measured.
        block_reach: the same, by block.
    """

    name: str
    cell: str
    state: Curve
    blocks: Mapping[str, Curve]
    reach: int | None
    block_reach: Mapping[str, int | None]

    @property
    def h(self) -> Curve | None:
        """The block of the hidden state."""
        return self.blocks.get("h")

    @property
    def c(self) -> Curve | None:
        """The block of the cell state; None where the cell has none."""
        return self.blocks.get("c")

    def to_json(self) -> dict[str, Any]:
        """The layer as plain lists and numbers."""
        return {
            "name": self.name,
            "cell": self.cell,
            "state": self.state.to_json(),
            "blocks": {name: curve.to_json() for name, curve in self.blocks.items()},
            "reach": self.reach,
            "block_reach": dict(self.block_reach),
        }


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class GradientReach:
    """How far back a network's gradient reaches, seen from each sequence's last step T.

    Args:
        lags: (n,) k, rising from 0.
        layers: one a recurrent layer and direction, from the bottom up. A backward direction's lag counts in
            its own direction of time.
        input: ‖∂L_T/∂x_{T-k}‖₂ (sequences, lags), x what reaches the first recurrent layer.
        input_reach: the lag from which its median stays below a thousandth of its start; None: not within
            what was measured.
        sequences: how many were looked at.
        steps: of the longest of them.
        loss: what L_T is, in words.
    """

    lags: NDArray[np.int64]
    layers: tuple[LayerReach, ...]
    input: Curve
    input_reach: int | None
    sequences: int
    steps: int
    loss: str

    def layer(self, name: str) -> LayerReach:
        """The layer of this name; OptionError if there is none."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise OptionError(f"no layer {name!r}; there are {', '.join(each.name for each in self.layers)}.")

    def to_json(self) -> dict[str, Any]:
        """Everything as plain lists and numbers; None for what is not finite or not there."""
        return {
            "lags": self.lags.tolist(),
            "layers": [layer.to_json() for layer in self.layers],
            "input": self.input.to_json(),
            "input_reach": self.input_reach,
            "sequences": self.sequences,
            "steps": self.steps,
            "loss": self.loss,
            "threshold": THRESHOLD,
        }


def gradient_reach(
    network: torch.nn.Module,
    data: object,
    *,
    loss: RowLoss | None = None,
    max_lag: int = 256,
    sequences: int | None = 32,
) -> GradientReach:
    """Measure how far back the gradient reaches, exactly and for each sequence.

        ‖∂s_T/∂s_{T-k}‖₂ for every recurrent layer        ‖∂L_T/∂x_{T-k}‖₂ for the input

    T is each sequence's last step, ‖·‖₂ the largest singular value. Everything is computed in float64 and
    without dropout; the network is not changed. Lags go as far back as half of the sequences do.

    Args:
        network: a `Stack` or a recurrent layer; of an estimator `network_`, of a forecaster `network_.stack`.
        data: sequences as the network takes them, or a `Batch` with targets.
        loss: one value a row; wants a `Batch`. L_T is then the loss of the last step (or of the one answer of
            a network that pools); where its target was not observed, the input has no gradient (NaN). Without
            a loss L_T = ½‖y_T‖², the squared error against zero.
        max_lag: the largest k. Every lag is measured; of layers with more than 64 numbers of state those up
            to 32, and beyond them one in every 5 %.
        sequences: the most to look at, taken evenly; None takes all.
    Returns:
        Norms by lag and sequence. At k = 0 the state's is 1.
    Raises:
        OptionError: no recurrent layer, or a loss without targets.
        LengthError: no sequence with a step.
        DTypeError, ValueRangeError: not sequences, or a value that is not finite.

    Example:
        reach = gradient_reach(network, [torch.randn(100, 3) for _ in range(8)])
        reach.layers[0].state.median   # (lags,)
        reach.layers[0].reach          # 14: down to a thousandth after 14 steps
    """
    limit = require_int(max_lag, "max_lag", 1)
    batch = as_batch(data, sequences)
    if loss is not None and not isinstance(data, Batch):
        raise OptionError(
            "loss= needs targets, and data has none.", "Give a saiki.learning.Batch, or leave loss out."
        )
    ran = run(network, batch.inputs, gradient=True)
    layers = tracks(ran)
    lags = _lags(layers, limit)
    found = [_layer(track, lags) for track in layers]
    back = _input_norms(ran, batch, loss, lags)
    return GradientReach(
        lags=lags,
        layers=tuple(found),
        input=back,
        input_reach=reach_of(lags, back.median),
        sequences=batch.inputs.B,
        steps=int(batch.inputs.lengths.max()),
        loss="½‖y_T‖²" if loss is None else type(loss).__name__,
    )


def untrained(network: Stack, generator: torch.Generator | None = None) -> Stack:
    """The same network with newly drawn weights, to lay beside the trained one.

    Args:
        network: a stack that `Stack.build` could make.
        generator: for the weights.
    Raises:
        OptionError: a layer has no config.
    """
    parameter = next(network.parameters())
    return Stack.build(
        network.to_config(),
        network.input_size,
        generator=generator,
        dtype=parameter.dtype,
        device=parameter.device,
    )


def reach_of(lags: NDArray[np.int64], median: Floats, threshold: float = THRESHOLD) -> int | None:
    """The lag from which a curve stays below `threshold` times its start; None if its end is above.

    A curve that starts at zero has no reach: 0.
    """
    known = np.isfinite(median) | np.isposinf(median)
    lags, median = lags[known], median[known]
    if not len(median):
        return None
    if median[0] == 0:
        return 0
    above = np.flatnonzero(median >= threshold * median[0])
    last = int(above[-1])
    return None if last == len(lags) - 1 else int(lags[last + 1])


def _lags(layers: tuple[Track, ...], limit: int) -> NDArray[np.int64]:
    """0, 1, 2, … as far as half of the sequences have steps in some layer; thinned for large states."""
    ends = []
    for track in layers:
        falling = track.lengths.sort(descending=True).values
        ends.append(int(falling[(len(falling) + 1) // 2 - 1]))
    last = min(limit, max(ends))
    if max(track.size for track in layers) <= _EVERY:
        return np.arange(last + 1)
    chosen = list(range(min(last, 32) + 1))
    while chosen[-1] < last:
        chosen.append(min(last, round(chosen[-1] * 1.05)))
    return np.array(chosen)


@torch.no_grad()
def _layer(track: Track, lags: NDArray[np.int64]) -> LayerReach:
    B, S = len(track.lengths), track.size
    blocks = track.blocks()
    norms = {name: np.full((B, len(lags)), np.nan) for name in ("state", *blocks)}
    order = track.lengths.argsort(descending=True, stable=True)
    lengths = track.lengths[order]
    device = track.states.device
    product = torch.eye(S, dtype=F64, device=device).repeat(B, 1, 1)  # (B, S, S) ∂s_T/∂s_{T-k}
    scale = torch.zeros(B, dtype=F64, device=device)  # its logarithm, kept aside
    at = {int(lag): j for j, lag in enumerate(lags)}
    for k in range(int(lags[-1]) + 1):
        alive = int((lengths >= k).sum())  # s_{T-k} of a shorter sequence does not exist
        if alive == 0:
            break
        product, scale, which = product[:alive], scale[:alive], order[:alive]
        if k:
            product = track.pulled_back(lengths[:alive] - k + 1, which, product)
            largest = product.abs().amax(dim=(1, 2))
            factor = torch.where(largest > 0, largest, torch.ones_like(largest))
            product, scale = product / factor[:, None, None], scale + factor.log()
        if k in at:
            rows = which.numpy()
            norms["state"][rows, at[k]] = _norm(product, scale)
            for name, block in blocks.items():
                norms[name][rows, at[k]] = (
                    _norm(product[:, block, block], scale) if len(blocks) > 1 else norms["state"][rows, at[k]]
                )
    curves = {name: Curve(values) for name, values in norms.items()}
    reach = {name: reach_of(lags, curve.median) for name, curve in curves.items()}
    return LayerReach(
        name=track.name,
        cell=track.cell.name,
        state=curves.pop("state"),
        blocks=curves,
        reach=reach.pop("state"),
        block_reach=reach,
    )


def _norm(matrices: Tensor, log_scale: Tensor) -> Floats:
    """Largest singular value of each, times its scale; infinite beyond float64."""
    gram = matrices @ matrices.mT
    largest = torch.linalg.eigvalsh(gram)[:, -1].clamp(min=0).sqrt()
    values: Floats = (largest * log_scale.exp()).cpu().numpy()
    return np.where(largest.cpu().numpy() == 0, 0.0, values)  # 0 · ∞


def _input_norms(ran: Ran, batch: Batch, loss: RowLoss | None, lags: NDArray[np.int64]) -> Curve:
    """(B, lags) ‖∂L_T/∂x_{T-k}‖₂; a sequence's loss reaches its own input alone, so one pass serves all."""
    y = last_rows(ran)
    missed = torch.zeros(ran.x.B, dtype=torch.bool)  # without a target there is no loss
    if loss is None:
        value = 0.5 * (y * y).sum()
    else:
        last = batch.inputs.last_rows
        targets, mask = batch.rows, batch.mask
        if batch.per_step:
            targets, mask = targets[last], None if mask is None else mask[last]
        value = loss(y, targets, mask).sum()
        if mask is not None:
            missed = ~mask.reshape(len(mask), -1).any(dim=1).cpu()
    taken: Tensor | None = None
    if value.requires_grad:
        (taken,) = torch.autograd.grad(value, ran.x.data, allow_unused=True)
    rows = torch.zeros_like(ran.x.data) if taken is None else taken
    padded = ran.x.with_data(rows.reshape(ran.x.N, -1).norm(dim=1)).to_padded(batch_first=True)
    norms = padded.detach().cpu().numpy()
    lengths = ran.x.lengths.numpy()
    step = lengths[:, None] - 1 - lags[None]  # (B, lags)
    taken_at = np.take_along_axis(norms, np.maximum(step, 0), axis=1)
    return Curve(np.where((step >= 0) & ~missed.numpy()[:, None], taken_at, np.nan))
