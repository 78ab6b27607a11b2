"""Training health, out of what a fit left behind: gradient norms and clipping, update ratios, loss spikes.

    ‖g_t‖₂                          before clipping; clipped where it was above the limit
    ‖Δw‖₂ / ‖w‖₂                    of each parameter, at some updates: how much of it one update replaces
    spike at t                      ln l_t > m + max(8 s, ln 1.5), m and s median and spread of ln l over the
                                    25 updates before: a jump that the noise of the batches does not explain

Everything is read off a `FitRecord`; nothing is computed again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saiki.core.checks import require_int, require_positive
from saiki.core.errors import ShapeError
from saiki.insight.curves import Floats, number, numbers

if TYPE_CHECKING:
    from saiki.core.record import FitRecord

EARLY = 16  # updates that count as the beginning of a run
_MAD = 1.4826  # the median absolute deviation of a normal distribution, times this, is its σ


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingHealth:
    """The course of a training run, as arrays.

    Attributes:
        updates: (n,) the numbers of the updates that were kept.
        loss: (n,) of the batch, before the update.
        gradient_norm: (n,) before clipping.
        clipped: (n,) whether the gradient was clipped by its norm.
        clip_norm: the limit; None where there was none.
        updates_made: all updates.
        updates_clipped: how many of all were clipped.
        ratio_updates: (m,) the numbers of the updates whose ratios were kept.
        ratio_names: (P,) the parameters.
        ratios: (m, P) ‖Δw‖₂ / ‖w‖₂.
        spikes: the updates at which the loss jumped.
    """

    updates: NDArray[np.int64]
    loss: Floats
    gradient_norm: Floats
    clipped: NDArray[np.bool_]
    clip_norm: float | None
    updates_made: int
    updates_clipped: int
    ratio_updates: NDArray[np.int64]
    ratio_names: tuple[str, ...]
    ratios: Floats
    spikes: tuple[int, ...]

    @property
    def share_clipped(self) -> float:
        """Share of all updates that were clipped; NaN where there was none."""
        return self.updates_clipped / self.updates_made if self.updates_made else float("nan")

    @property
    def weights(self) -> NDArray[np.bool_]:
        """(P,) the parameters that are weights: a bias starts at 0 and its ratios say little."""
        mask: NDArray[np.bool_] = np.array(
            ["weight" in n.rsplit(".", 1)[-1] for n in self.ratio_names], dtype=bool
        )
        return mask

    @property
    def started(self) -> NDArray[np.bool_]:
        """(P,) the weights that did not start at 0: the first update of one that did is all of it."""
        if not len(self.ratios):
            return self.weights
        mask: NDArray[np.bool_] = self.weights & (self.ratios[0] < 0.999)
        return mask

    @property
    def weight_ratio(self) -> float:
        """The median ratio of the weights, over the run; NaN where none was taken."""
        return _middle(self.ratios[:, self.started])

    @property
    def early_ratio(self) -> float:
        """The median ratio of the weights over the first 16 updates; NaN where none was taken.

        Adaptive optimisers take their longest steps here, before the weights have grown to fit the rate.
        """
        return _middle(self.ratios[self.ratio_updates <= EARLY][:, self.started])

    def to_json(self) -> dict[str, Any]:
        """The figures, without the curves (they are in the record)."""
        return {
            "updates": self.updates_made,
            "clip_norm": self.clip_norm,
            "share_clipped": number(self.share_clipped),
            "gradient_norm_median": number(_middle(self.gradient_norm)),
            "gradient_norm_largest": number(float(self.gradient_norm.max()) if len(self.updates) else None),
            "weight_ratio": number(self.weight_ratio),
            "early_weight_ratio": number(self.early_ratio),
            "ratios": dict(zip(self.ratio_names, numbers(np.median(self.ratios, axis=0))))
            if len(self.ratios)
            else {},
            "spikes": list(self.spikes),
        }


def training_health(record: FitRecord) -> TrainingHealth:
    """Read the course of a fit off its record.

    Args:
        record: of a fit, `model.record_`. One of an older version has no ratios; they are then empty.
    """
    rows = np.array(record.updates, dtype=np.float64).reshape(-1, 3)
    updates = rows[:, 0].astype(np.int64)
    loss = rows[:, 1]
    names = tuple(record.ratio_names)
    taken = [point for point in record.ratios if len(point[1]) == len(names)]
    return TrainingHealth(
        updates=updates,
        loss=loss,
        gradient_norm=rows[:, 2],
        clipped=np.isin(updates, record.clipped),
        clip_norm=record.clip_norm,
        updates_made=record.updates_made,
        updates_clipped=record.updates_clipped,
        ratio_updates=np.array([number for number, _ in taken], dtype=np.int64),
        ratio_names=names,
        ratios=np.array([ratios for _, ratios in taken], dtype=np.float64).reshape(len(taken), len(names)),
        spikes=tuple(int(updates[k]) for k in loss_spikes(loss)),
    )


def loss_spikes(
    loss: ArrayLike, *, window: int = 25, spreads: float = 8.0, share: float = 0.5
) -> NDArray[np.int64]:
    """Where a loss jumps above what came just before it, by more than the batches' noise explains.

    A point is a spike where it lies above the median m of the `window` points before it by more than
    `spreads` times their spread (1.4826 times the median absolute deviation) and by more than `share` of |m|.
    Of points in a row only the highest counts. Where all losses are positive, spreads are taken of their
    logarithms: small batches have losses with long tails, which are no spikes.

    Args:
        loss: (n,) of consecutive updates.
        window: points before that are looked at; the first ten points of a run are never spikes.
        spreads: > 0.
        share: > 0, of the median: a loss that hardly varies may jump a little.
    Returns:
        The indices, rising.
    Raises:
        ShapeError: not one axis.
    """
    values = np.asarray(loss, dtype=np.float64)
    if values.ndim != 1:
        raise ShapeError(f"loss is {values.shape} but must be (n,), one number an update.")
    require_int(window, "window", 5)
    require_positive(spreads, "spreads")
    require_positive(share, "share")
    positive = bool((values > 0).all())
    if positive:
        values = np.log(values)
    above = np.zeros(len(values), dtype=bool)
    for k in range(10, len(values)):
        before = values[max(0, k - window) : k]
        middle = float(np.median(before))
        spread = _MAD * float(np.median(np.abs(before - middle)))
        least = math.log1p(share) if positive else share * abs(middle)
        above[k] = values[k] - middle > max(spreads * spread, least)
    found = []
    for run in np.split(np.flatnonzero(above), np.flatnonzero(np.diff(np.flatnonzero(above)) > 1) + 1):
        if len(run):
            found.append(int(run[int(values[run].argmax())]))
    return np.array(found, dtype=np.int64)


def _middle(values: Floats) -> float:
    return float(np.median(values)) if values.size else float("nan")
