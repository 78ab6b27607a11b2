"""What a forecaster has learned, as one value, and forecasts of windows made from it and the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import torch

from saiki.core.errors import DataError
from saiki.core.random import generator
from saiki.data import Windows as WindowIndex
from saiki.models.baselines import LagRegression
from saiki.models.forecast_network import ForecastNetwork, ForecastShape
from saiki.models.forecast_paths import Answer, Spread, answer, recursive, run
from saiki.models.forecast_rows import StreamFraming
from saiki.models.forecast_scores import Forecasts, seasonal_difference
from saiki.models.forecast_table import Columns, Raw, Scaling
from saiki.models.forecast_windows import Array, Framing, Panel, WindowSource, observed_windows

Strategy: TypeAlias = Literal["direct", "recursive"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Learned:
    """Everything fit learned besides the network's weights.

    Attributes:
        columns: the role of every column.
        horizon: H, steps a forecast has.
        strategy: direct, or recursive with a network that answers one step.
        seed: for sampled paths.
        context: C.
        season: m, or None.
        framing: how windows are cut for the network.
        shape: what the network answers.
        scaling: from the table's units to the network's.
        spread: how quantiles are made of the network's answer.
        tail: the last C rows of each id, from where the next forecast goes on.
        seasonal: (S, K) mean seasonal difference of the training rows, in the table's units.
        simple: fitted lag regressions, a list a target of the panel; empty where none were fitted.
        stream: how rows are read one by one; None for a model of windows.
    """

    columns: Columns
    horizon: int
    strategy: Strategy
    seed: int
    context: int
    season: int | None
    framing: Framing
    shape: ForecastShape
    scaling: Scaling
    spread: Spread
    tail: list[Raw]
    seasonal: Array
    simple: list[list[LagRegression]]
    stream: StreamFraming | None = None

    @property
    def copies(self) -> int:
        """Series of a panel that each id gives."""
        return 1 if self.columns.mode == "joint" else len(self.columns.targets)

    def admitting(self, raws: Sequence[Raw]) -> Learned:
        """The same with scalings for ids that training did not see, from the rows given here."""
        scaler = self.scaling.numbers
        for raw in raws:
            if scaler.per_series and raw.id not in scaler.series:
                scaler = scaler.with_series(raw.id, raw.numbers)
        return replace(self, scaling=replace(self.scaling, numbers=scaler))

    def index(self, panel: Panel, raws: Sequence[Raw], horizon: int) -> WindowIndex:
        """Every window that fits, in time order over all series.

        Raises:
            DataError: a series holds no window.
        """
        times = None
        if all(raw.times is not None for raw in raws):
            times = np.concatenate([raw.times for raw in raws for _ in range(self.copies)])  # type: ignore[misc]
        names = self.columns.series_names([raw.id for raw in raws])
        return WindowIndex.over(panel.lengths, self.context, horizon, times=times, names=names)

    def windows(self, panel: Panel, index: WindowIndex, what: str, network: torch.nn.Module) -> WindowSource:
        """The windows of the index that hold something, asked for the index's horizon.

        Args:
            panel: the series.
            index: which windows.
            what: the part they are of, for messages.
            network: gives dtype and device.

        Raises:
            DataError: there are none.
        """
        if not len(index):
            raise DataError(
                f"the {what} part holds no window: it needs at least horizon = {index.horizon} rows.",
                "Make it longer, or use a shorter horizon.",
            )
        chosen = observed_windows(panel, index)
        if not len(chosen):
            raise DataError(f"the {what} part holds no window with observed values.", "Choose another part.")
        framing = replace(self.framing, horizon=index.horizon)
        like = next(network.parameters())
        return WindowSource(panel, chosen.origin, chosen.series, framing, like.dtype, like.device)

    def seasonal_of(self, raws: Sequence[Raw]) -> Array:
        """(S, K) mean seasonal difference of these rows, in the table's units."""
        K = len(self.columns.targets)
        rows = np.stack([seasonal_difference(raw.numbers[:, :K], self.season) for raw in raws])
        return rows if self.columns.mode == "joint" else rows.reshape(-1, 1)


def answer_windows(network: ForecastNetwork, learned: Learned, windows: WindowSource, steps: int) -> Answer:
    """Forecasts of these windows after the table's scaling; their panel goes on for `steps` rows at least."""
    asked = replace(windows, framing=replace(windows.framing, horizon=learned.framing.horizon))
    if learned.strategy == "recursive":
        return recursive(network, asked, learned.spread, steps, generator(learned.seed, "paths"))
    outputs, level = run(network, asked)
    found = answer(network.shape, outputs, level, asked.framing.spread, learned.spread)
    return Answer(found.point[:, :steps], None if found.quantiles is None else found.quantiles[:, :steps])


def in_units(found: Answer, center: Array, scale: Array) -> Answer:
    """Forecasts in the table's units; center and scale are (n, K)."""
    point = found.point * scale[:, None] + center[:, None]
    if found.quantiles is None:
        return Answer(point, None)
    return Answer(point, found.quantiles * scale[:, None, :, None] + center[:, None, :, None])


def forecast_windows(
    network: ForecastNetwork, learned: Learned, windows: WindowSource, raws: Sequence[Raw], seasonal: Array
) -> Forecasts:
    """Forecast windows and put them beside what came, in the table's units.

    Args:
        network: the trained one.
        learned: the rest.
        windows: asked for H steps.
        raws: the ids of the windows' panel.
        seasonal: (S, K) mean seasonal differences.
    """
    center, scale = learned.scaling.maps(raws, learned.columns)
    center, scale = center[windows.owner], scale[windows.owner]  # (n, K)
    found = in_units(answer_windows(network, learned, windows, windows.framing.horizon), center, scale)
    return Forecasts(
        series=windows.owner,
        origins=windows.origins - windows.panel.starts[windows.owner],
        point=found.point,
        quantiles=found.quantiles,
        levels=learned.spread.levels,
        truth=windows.truth() * scale[:, None] + center[:, None],
        scale=scale,
        seasonal=seasonal[windows.owner],
    )
