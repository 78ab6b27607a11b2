"""Windows over one or many series: what a forecasting network is shown, and what it is asked.

At origin t a window shows the rows [t - C, t) of one series and asks for the rows [t, t + H):

    x_i = (z_i - o) / s         i in [t - C, t)    z: values after the table's scaling
    y_k = (z_{t+k} - o) / s     k in [0, H)        o: the window's last or mean observed value, or 0
                                                   s: spread of z - o over the training windows

so that adding a constant to a series shifts its forecasts by that constant. Nothing is cut beforehand: a
batch is gathered from the rows of all series, laid end to end, when it is wanted. Gaps are filled inside
each context alone, so what comes after an origin never reaches its inputs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saiki.core.ragged import Ragged
from saiki.data import Windows as WindowIndex
from saiki.data import WindowScaling, interpolate, mask, window_level
from saiki.learning import Batch

Array: TypeAlias = NDArray[Any]

_SPREAD_WINDOWS = 5_000  # windows looked at for the spread s; more would not change its second digit


class WindowInputs(NamedTuple):
    """What the network is given for B windows.

    Attributes:
        steps: C steps a window; features: K targets, P past covariates, flags of masked columns, F known
            covariates, D static values, K levels when the level is shown.
        lags: (B, K, C) the windows' own scaled targets, gaps filled, for the linear highway.
        level: (B, K) what window scaling took away, or None when it is not shown.
        known: (B, H, F) known covariates of the rows asked for, or None.
    """

    steps: Ragged
    lags: Tensor
    level: Tensor | None
    known: Tensor | None

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.lags.device

    def to(self, device: torch.device) -> WindowInputs:
        """The same on another device."""
        return WindowInputs(
            self.steps.to(device),
            self.lags.to(device),
            None if self.level is None else self.level.to(device),
            None if self.known is None else self.known.to(device),
        )


@dataclass(frozen=True)
class Panel:
    """Series laid end to end, scaled, ready to be cut into windows.

    Attributes:
        values: (N, K + P) targets, then past covariates; NaN where missing.
        known: (N, F) covariates known ahead, without gaps.
        static: (S, D) one row a series.
        starts: (S + 1,) row at which each series begins; the last entry is N.
        targets: K.
    """

    values: Array
    known: Array
    static: Array
    starts: Array
    targets: int

    @property
    def series(self) -> int:
        """How many series there are."""
        return len(self.starts) - 1

    @property
    def lengths(self) -> tuple[int, ...]:
        """Rows of each series."""
        return tuple(np.diff(self.starts).tolist())

    def extended(self, steps: int, known: Array) -> Panel:
        """Every series with `steps` more rows: targets and past covariates missing, known covariates given.

        Args:
            steps: rows to add to each series.
            known: (S, steps, F) known covariates of the new rows.
        """
        values, covariates = [], []
        for index, (first, end) in enumerate(zip(self.starts[:-1], self.starts[1:])):
            values += [self.values[first:end], np.full((steps, self.values.shape[1]), np.nan)]
            covariates += [self.known[first:end], known[index]]
        return replace(
            self,
            values=np.concatenate(values),
            known=np.concatenate(covariates),
            starts=self.starts + steps * np.arange(len(self.starts)),
        )


@dataclass(frozen=True)
class Framing:
    """How a panel is cut into windows; with the panel and the origins it says everything a window holds.

    Attributes:
        context: C, steps shown.
        horizon: H, steps asked for.
        window_scaling: what is taken away from each window: its last or its mean observed value, or nothing.
        level: show what was taken away as one more feature.
        masked: columns of the values whose gaps are 0 with a flag of their own; others are filled.
        spread: (K,) s, the spread of the targets after window scaling.
    """

    context: int
    horizon: int
    window_scaling: WindowScaling
    level: bool
    masked: tuple[int, ...]
    spread: Array

    def features(self, panel: Panel) -> int:
        """Features a step that the network is given."""
        level = panel.targets if self.level else 0
        width: int = (
            panel.values.shape[1] + len(self.masked) + panel.known.shape[1] + panel.static.shape[1] + level
        )
        return width

    def level_of(self, targets: Array) -> Array:
        """(B, K) o, what window scaling takes away from (B, C, K) targets with NaN where missing."""
        level: Array = window_level(targets, self.window_scaling)[:, 0]
        return level

    def inputs(
        self,
        values: Array,
        known: Array,
        ahead: Array,
        static: Array,
        *,
        targets: int,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> tuple[WindowInputs, Array]:
        """Make the network's inputs out of contexts.

        Args:
            values: (B, C, K + P) targets, then past covariates; NaN where missing.
            known: (B, C, F) known covariates of the same rows.
            ahead: (B, H, F) known covariates of the rows asked for.
            static: (B, D).
            targets: K.
            dtype: of the tensors.
            device: of the tensors.

        Returns:
            The inputs, and (B, K) o, what window scaling took away.
        """
        B, C, channels = values.shape
        level = self.level_of(values[..., :targets])
        filled = fill_gaps(values).copy()
        filled[..., :targets] = (filled[..., :targets] - level[:, None]) / self.spread
        lags = filled[..., :targets]
        shown = filled
        if self.masked:
            absent = np.isnan(values)
            absent[..., [column for column in range(channels) if column not in self.masked]] = False
            shown = mask(np.where(absent, np.nan, filled), self.masked)
        parts = [shown, known, np.repeat(static[:, None], C, axis=1)]
        if self.level:
            parts.append(np.repeat(level[:, None], C, axis=1))

        def tensor(array: Array) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device=device, dtype=dtype)

        inputs = WindowInputs(
            steps=Ragged.from_padded(
                tensor(np.concatenate(parts, axis=-1)), torch.full((B,), C), batch_first=True
            ),
            lags=tensor(np.moveaxis(lags, 1, 2)),
            level=tensor(level) if self.level else None,
            known=tensor(ahead) if ahead.shape[2] else None,
        )
        return inputs, level


@dataclass(frozen=True, eq=False)
class WindowSource:
    """A set of windows: a `saiki.learning.Source` that gathers its batches from the panel.

    Attributes:
        panel: the series.
        origins: (n,) panel row after each window's last.
        owner: (n,) series of each window.
        framing: how they are cut.
        dtype: of the batches.
        device: of the batches.
    """

    panel: Panel
    origins: Array
    owner: Array
    framing: Framing
    dtype: torch.dtype = torch.float32
    device: torch.device | str = "cpu"

    def __len__(self) -> int:
        return len(self.origins)

    @property
    def lengths(self) -> Tensor:
        """(n,) steps of each window, all C."""
        return torch.full((len(self),), self.framing.context, dtype=torch.int64)

    def fingerprint(self) -> str:
        """SHA-256 over the numbers and the way they are cut: another set of windows has another."""
        options = repr((replace(self.framing, spread=np.zeros(0)), self.panel.targets, self.dtype))
        digest = hashlib.sha256(options.encode())
        panel = self.panel
        for array in (
            panel.values,
            panel.known,
            panel.static,
            panel.starts,
            self.framing.spread,
            self.origins,
        ):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def select(self, chosen: Array) -> WindowSource:
        """The windows with these indices, or where a mask is True."""
        return replace(self, origins=self.origins[chosen], owner=self.owner[chosen])

    def batch(self, indices: Tensor) -> Batch:
        """Gather windows.

        Args:
            indices: (B,) which.

        Returns:
            inputs `WindowInputs`; targets (B, H, K), 0 where missing; mask (B, H, K), True where observed, or
            None where nothing is missing; no weights.
        """
        chosen = self.select(np.asarray(indices))
        inputs, level = chosen.inputs()
        truth = (chosen.truth() - level[:, None]) / self.framing.spread
        seen = ~np.isnan(truth)
        observed = None if seen.all() else torch.from_numpy(seen).to(self.device)
        return Batch(inputs=inputs, targets=self._tensor(np.where(seen, truth, 0.0)), mask=observed)

    def truth(self) -> Array:
        """(n, H, K) targets asked for, after the table's scaling; NaN where missing."""
        return self.panel.values[self._asked()][..., : self.panel.targets]

    def shown(self) -> Array:
        """(n, C, K + P) values of the contexts, after the table's scaling; NaN where missing."""
        values: Array = self.panel.values[self._context()]
        return values

    def filled(self) -> Array:
        """(n, C, K + P) the same with gaps filled from inside the context; 0 where nothing was observed."""
        return fill_gaps(self.shown())

    def levels(self) -> Array:
        """(n, K) o, what window scaling takes away."""
        return self.framing.level_of(self.shown()[..., : self.panel.targets])

    def inputs(self) -> tuple[WindowInputs, Array]:
        """What the network is given for all these windows, and (n, K) o, what window scaling took away."""
        panel = self.panel
        return self.framing.inputs(
            self.shown(),
            panel.known[self._context()],
            panel.known[self._asked()],
            panel.static[self.owner],
            targets=panel.targets,
            dtype=self.dtype,
            device=self.device,
        )

    def _context(self) -> Array:
        rows: Array = self.origins[:, None] + np.arange(-self.framing.context, 0)
        return rows

    def _asked(self) -> Array:
        rows: Array = self.origins[:, None] + np.arange(self.framing.horizon)
        return rows

    def _tensor(self, array: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device=self.device, dtype=self.dtype)


def fill_gaps(values: Array) -> Array:
    """(n, T, F) windows with their gaps filled from inside each; 0 where a column has nothing."""
    return np.nan_to_num(interpolate(values, axis=1), nan=0.0) if np.isnan(values).any() else values


def observed_windows(panel: Panel, index: WindowIndex) -> WindowIndex:
    """The windows that saw each target at least once and are asked for at least one observed value."""
    seen = ~np.isnan(panel.values[:, : panel.targets])
    if seen.all():
        return index
    before = np.concatenate([np.zeros((1, panel.targets), dtype=np.int64), np.cumsum(seen, axis=0)])
    shown = (before[index.origin] - before[index.origin - index.context] > 0).all(axis=1)
    asked = (before[index.origin + index.horizon] - before[index.origin] > 0).any(axis=1)
    return index.select(shown & asked)


def spread_of(windows: WindowSource) -> Array:
    """(K,) root mean square of the observed targets shown after window scaling; 1 where they never vary.

    Args:
        windows: the training windows; at most 5,000 of them are looked at, evenly spaced.
    """
    K = windows.panel.targets
    if windows.framing.window_scaling is None:
        return np.ones(K)
    some = windows.select(np.unique(np.linspace(0, len(windows) - 1, _SPREAD_WINDOWS).astype(np.int64)))
    away = some.shown()[..., :K] - some.levels()[:, None]
    spread = np.sqrt(np.nanmean(away**2, axis=(0, 1)))
    return np.where(spread > 1e-12, spread, 1.0)
