"""What one step does to a small change of the state: singular values, Lyapunov exponents, R's spectrum.

    D_t = ∂s_t/∂s_{t-1}                    σ_max(D_t) > 1 can grow a gradient in this step, < 1 shrinks it
    λ_i = lim 1/T Σ_t ln |R_t,ii|          D_t Q_{t-1} = Q_t R_t, the QR form; nats a step

The largest exponent says how the longest gradients grow (λ > 0) or fall (λ < 0) a step in the long run; the
lag of a thousandth is about ln 1000 / |λ|. Of an Elman network more is known before any data come:

    ‖∂h_T/∂h_{T-k}‖₂ ≤ (‖R‖₂ max|f'|)^k

so ‖R‖₂ max|f'| < 1 is enough to vanish. Above 1 nothing follows: it is needed to explode, but not enough, and
an orthogonal R under tanh still vanishes. The spectral radius of R alone bounds nothing: R that is not normal
can grow for many steps before its powers fall.

Sources: Pascanu, Mikolov & Bengio 2013 (the bound, and the two directions of it); Benettin et al. 1980
(exponents by QR); Vogt et al. 2022 (exponents of recurrent networks).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from saiki.cells import Elman
from saiki.core.activations import get_activation
from saiki.core.checks import require_int
from saiki.core.errors import OptionError
from saiki.insight.curves import Curve, Floats, number, numbers
from saiki.insight.unroll import F64, Track, as_batch, run, tracks


@final
@dataclass(frozen=True, kw_only=True)
class RecurrentMatrix:
    """R of one gate.

    Args:
        spectral_radius: the largest |eigenvalue|.
        norm: ‖R‖₂, the largest singular value.
    """

    spectral_radius: float
    norm: float


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class LayerJacobians:
    """The step Jacobians of one layer over a batch.

    Args:
        name: the layer, as the network calls it.
        cell: the kind of its cell.
        largest: (sequences, steps) σ_max(D_t).
        smallest: (sequences, steps) σ_min(D_t); 0 where a step loses a direction for good.
        lyapunov: (sequences, S) λ in nats a step, falling; -∞ for a direction that is lost, NaN where a
            sequence is too short.
        recurrent: R of each gate, by name.
        bound_factor: ‖R‖₂ max|f'| of an Elman cell with a named activation; None of others, whose gates leave
            no such simple bound.
    """

    name: str
    cell: str
    largest: Curve
    smallest: Curve
    lyapunov: Floats
    recurrent: Mapping[str, RecurrentMatrix]
    bound_factor: float | None

    @property
    def exponents(self) -> Floats:
        """(S,) the median of each Lyapunov exponent over the sequences."""
        return Curve(self.lyapunov).median

    def bound(self, lags: ArrayLike) -> Floats:
        """(‖R‖₂ max|f'|)^k at each lag k: no gradient of this layer is larger.

        Raises:
            OptionError: not an Elman cell with a named activation.
        """
        if self.bound_factor is None:
            raise OptionError(
                f"layer {self.name!r} is a {self.cell} cell, and the vanishing bound is one of Elman cells "
                f"with a named activation."
            )
        with np.errstate(over="ignore"):
            return np.asarray(self.bound_factor ** np.asarray(lags, dtype=np.float64))

    def to_json(self) -> dict[str, Any]:
        """The layer as plain lists and numbers."""
        return {
            "name": self.name,
            "cell": self.cell,
            "largest": self.largest.to_json(),
            "smallest": self.smallest.to_json(),
            "lyapunov": numbers(self.exponents),
            "recurrent": {
                gate: {"spectral_radius": number(R.spectral_radius), "norm": number(R.norm)}
                for gate, R in self.recurrent.items()
            },
            "bound_factor": number(self.bound_factor),
        }


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class StepJacobians:
    """What one step does to a change of the state, layer by layer.

    Args:
        layers: one a recurrent layer and direction, from the bottom up.
        sequences: how many were looked at.
        steps: steps of the longest that were looked at.
    """

    layers: tuple[LayerJacobians, ...]
    sequences: int
    steps: int

    def layer(self, name: str) -> LayerJacobians:
        """The layer of this name; OptionError if there is none."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise OptionError(f"no layer {name!r}; there are {', '.join(each.name for each in self.layers)}.")

    def to_json(self) -> dict[str, Any]:
        """Everything as plain lists and numbers; None for what is not finite."""
        return {
            "layers": [layer.to_json() for layer in self.layers],
            "sequences": self.sequences,
            "steps": self.steps,
        }


def step_jacobians(
    network: torch.nn.Module, data: object, *, sequences: int | None = 8, max_steps: int = 200
) -> StepJacobians:
    """Measure every step's Jacobian, exactly and in float64.

    Args:
        network: a `Stack` or a recurrent layer; of an estimator `network_`, of a forecaster `network_.stack`.
        data: sequences as the network takes them, or a `Batch`.
        sequences: the most to look at, taken evenly; None takes all.
        max_steps: the most steps of each, from its first.
    Returns:
        Singular values by sequence and step; exponents by sequence. The first tenth of the steps only turns
        Q towards the directions that grow, and is not counted in the exponents.
    Raises:
        OptionError: no recurrent layer.
        LengthError: no sequence with a step.
        DTypeError, ValueRangeError: not sequences, or a value that is not finite.
    """
    limit = require_int(max_steps, "max_steps", 1)
    batch = as_batch(data, sequences)
    found = [_layer(track, limit) for track in tracks(run(network, batch.inputs))]
    return StepJacobians(
        layers=tuple(found),
        sequences=batch.inputs.B,
        steps=min(limit, int(batch.inputs.lengths.max())),
    )


@torch.no_grad()
def _layer(track: Track, limit: int) -> LayerJacobians:
    B, S, device = len(track.lengths), track.size, track.states.device
    lengths = track.lengths.clamp(max=limit)
    T = int(lengths.max())
    largest, smallest = np.full((B, T), np.nan), np.full((B, T), np.nan)
    Q = torch.eye(S, dtype=F64, device=device).repeat(B, 1, 1)
    growth = torch.zeros(B, S, dtype=F64, device=device)
    order = lengths.argsort(descending=True, stable=True)
    lengths = lengths[order]
    warm = lengths // 10
    for t in range(1, T + 1):
        alive = int((lengths >= t).sum())
        which = order[:alive]
        D = track.jacobians(torch.full((alive,), t), which)
        values = torch.linalg.svdvals(D).cpu().numpy()
        largest[which.numpy(), t - 1], smallest[which.numpy(), t - 1] = values[:, 0], values[:, -1]
        Q[:alive], R = torch.linalg.qr(D @ Q[:alive])
        counted = (t > warm[:alive]).to(device)
        step = R.diagonal(dim1=-2, dim2=-1).abs().log()  # -∞ for a direction that is lost
        growth[:alive] = torch.where(counted[:, None], growth[:alive] + step, growth[:alive])
    exponents = torch.full((B, S), torch.nan, dtype=F64)
    exponents[order] = (growth.cpu() / (lengths - warm)[:, None]).sort(dim=1, descending=True).values
    return LayerJacobians(
        name=track.name,
        cell=track.cell.name,
        largest=Curve(largest),
        smallest=Curve(smallest),
        lyapunov=exponents.numpy(),
        recurrent=_recurrent(track),
        bound_factor=_bound_factor(track),
    )


def _blocks(track: Track) -> dict[str, Tensor]:
    """R of each gate (H, H), as far as the cell has one in the usual form; a row of (G, H) is a diagonal."""
    R: Tensor | None = getattr(track.params, "weight_hh", None)
    G, H = len(track.cell.gates), track.cell.hidden_size
    if R is None or R.shape not in ((G * H, H), (G, H)):
        return {}
    parts = R.split(H) if R.shape == (G * H, H) else [torch.diag(row) for row in R]
    return dict(zip(track.cell.gates, parts))


def _recurrent(track: Track) -> dict[str, RecurrentMatrix]:
    return {
        gate: RecurrentMatrix(
            spectral_radius=float(torch.linalg.eigvals(R).abs().max()),
            norm=float(torch.linalg.matrix_norm(R, 2)),
        )
        for gate, R in _blocks(track).items()
    }


def _bound_factor(track: Track) -> float | None:
    if not isinstance(track.cell, Elman):
        return None
    slope = get_activation(track.cell.activation).max_slope  # NaN of a user's own
    norm = float(torch.linalg.matrix_norm(track.params.weight_hh, 2))
    return norm * slope if slope == slope else None
