"""Forecast one or many series: the estimator.

table → columns and their roles → split in time → scale on training rows → windows → network → train
      → intervals → measure beside simple models
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

from saiki.core.checks import require_bool, require_int
from saiki.core.errors import DataError, DTypeError, OptionError, SchemaError, ValueRangeError
from saiki.core.random import generator
from saiki.data import Table, WindowScaling, check_complete, like_form, read_table, split_in_time
from saiki.data import Windows as WindowIndex
from saiki.learning import Observer, Training
from saiki.losses import Gaussian, Quantile, get_loss
from saiki.models.base import Array, CommonOptions, Estimator, Layer, RandomState, inside_search
from saiki.models.baselines import (
    MOST_WINDOWS,
    LagRegression,
    fit_lag_regressions,
    seasonal_naive,
)
from saiki.models.forecast_files import ForecasterFitted, Learned, put_together, taken_apart
from saiki.models.forecast_network import ForecastNetwork, ForecastShape, Kind, start_at_ridge
from saiki.models.forecast_paths import Answer, Spread, answer, calibration, recursive, run
from saiki.models.forecast_scores import Backtest, Forecasts, by_horizon, figures, seasonal_difference
from saiki.models.forecast_table import (
    Columns,
    Covariates,
    IdMode,
    Raw,
    Scaling,
    SeriesMode,
    check_table,
    choose_columns,
    make_panel,
    read_raw,
    rows_to_come,
    show,
)
from saiki.models.forecast_windows import (
    Framing,
    Panel,
    WindowSource,
    fill_gaps,
    observed_windows,
    spread_of,
)
from saiki.nn import EmbeddingConfig, LastConfig, Stack

Strategy: TypeAlias = Literal["direct", "recursive"]
ScalingOption: TypeAlias = Literal["standard", "minmax", "series"]
MissingOption: TypeAlias = Literal["error", "interpolate", "mask"]
GapsOption: TypeAlias = Literal["error", "complete", "keep"]
Part: TypeAlias = float | int | str | None

_BASELINE_VALUES = 20_000_000  # lags and targets a simple model is fitted on at most, 160 MB


@dataclass(frozen=True, kw_only=True)
class ForecasterOptions(CommonOptions):
    """The forecaster's options as config.json keeps them."""

    horizon: int
    context: int | None
    targets: str | list[str] | None
    time: str | None
    id: str | None
    covariates: dict[str, list[str]] | None
    quantiles: list[float] | None
    strategy: str
    series: str
    ids: str | None
    season: int | None
    scaling: str | None
    window_scaling: str | None
    level: bool
    highway: bool
    calibrate: bool
    missing: str
    gaps: str | None
    sort: bool
    validation: float | int | str | None
    test: float | int | str | None
    until: int | str | None


class Forecaster(Estimator):
    """Forecast the next H steps of one or many series with a recurrent network.

        ŷ = s · (W stack(x) + b + A x) + o        x: the last C steps, less their level o, over their spread s

    Several series are told by columns (wide) or by an id column (long). `series="shared"` runs one network on
    each series by itself; `series="joint"` shows it all target columns at once.

    Args:
        horizon: H, steps ahead.
        context: C, past steps a forecast looks at; None takes two seasons, and at least the horizon.
        targets: columns to forecast; None takes every number column without another role.
        time: time column; None finds it.
        id: column that tells series apart, for long tables.
        covariates: `Covariates(past=…, future=…, static=…)`, the same as a mapping, or a list of past ones.
        quantiles: levels to forecast besides the point (which is the median); None for points alone.
        strategy: "direct" answers all H steps at once; "recursive" feeds the median of one step back, H
            times, and takes intervals from sampled paths.
        series: "shared" or "joint".
        ids: tell a shared network which series it sees, "one_hot" or "embedding"; None does not, and the
            model then takes series it never saw.
        season: m, steps in a season, for the seasonal-naive forecast and MASE; None asks the time column.
        scaling: "series" (standard, each id by itself), "standard", "minmax" or None.
        window_scaling: what is taken away from each window and given back after: its "last" or "mean" value,
            or None. With it, adding a constant to a series shifts its forecasts by that constant.
        level: show the network what window scaling took away; the sentence above then no longer holds.
        highway: add a linear map of the window's own lags, started at its ridge solution.
        calibrate: stretch the quantiles until each has its share of the validation part.
        missing: "error", "interpolate" (inside each context) or "mask" (0 and a flag). Missing targets are
            left out of loss and figures.
        gaps: rows absent from a regular grid: "error", "complete" or "keep"; None is "error" where nothing
            may be missing, else "complete".
        sort: put the rows in time order first.
        validation: the part before the test part that early stopping watches: a share of the rows, a number
            of rows, its first time, or None.
        test: the last part, which nothing is learned from and the figures are measured on; likewise.
        until: last time (or number of rows) of the table to use; None uses all.
        network: see `Estimator`; layers from a context to one row a window. Pooling over time (Last) is
            added where it is left out, and the heads always are.
        cell: see `Estimator`.
        hidden_size: see `Estimator`.
        num_layers: see `Estimator`.
        bidirectional: over the context alone.
        dropout: see `Estimator`.
        loss: "auto" (quantile; squared for quantiles=None), "gaussian", another name, or a callable of
            (outputs, targets[, mask]). Losses of points take their quantiles from the residuals.
        lr: see `Estimator`.
        max_epochs: see `Estimator`.
        batch_size: windows an update.
        patience: see `Estimator`.
        training: see `Estimator`.
        baselines: see `Estimator`.
        random_state: see `Estimator`.
        device: see `Estimator`.
        dtype: see `Estimator`.
        engine: see `Estimator`.
        verbose: see `Estimator`.

    Attributes:
        columns_: `Columns`, the role of every column.
        context_: C.
        season_: m, or None.
        series_names_: names of the series that training saw.
        metrics_: figures on the test part, or on the validation part where there is none.
        baselines_: the same figures of the simple models.
        details_: which part that was, and the errors by step ahead.
        backtest_: `Backtest` on that part; not saved.

    Example:
        model = Forecaster(horizon=52, context=104, missing="mask").fit("co2.csv")
        model.forecast()  # the next 52 weeks with their intervals
    """

    task: ClassVar[str] = "forecaster"
    OptionsFile: ClassVar[type[CommonOptions]] = ForecasterOptions
    FittedFile: ClassVar[type] = ForecasterFitted

    columns_: Columns
    kind_: Kind
    levels_: tuple[float, ...]
    framing_: Framing
    scaling_: Scaling
    spread_: Spread
    tail_: list[Raw]
    lag_models_: list[list[LagRegression]]
    seasonal_: Array
    context_: int
    season_: int | None
    series_names_: list[str]
    backtest_: Backtest | None

    def __init__(
        self,
        horizon: int = 1,
        context: int | None = None,
        *,
        targets: str | Sequence[str] | None = None,
        time: str | None = None,
        id: str | None = None,
        covariates: Covariates | Mapping[str, Sequence[str]] | Sequence[str] | None = None,
        quantiles: Sequence[float] | None = (0.1, 0.5, 0.9),
        strategy: Strategy = "direct",
        series: SeriesMode = "shared",
        ids: IdMode | None = None,
        season: int | None = None,
        scaling: ScalingOption | None = "series",
        window_scaling: WindowScaling = "last",
        level: bool = False,
        highway: bool = True,
        calibrate: bool = True,
        missing: MissingOption = "error",
        gaps: GapsOption | None = None,
        sort: bool = False,
        validation: Part = 0.2,
        test: Part = None,
        until: int | str | None = None,
        network: Sequence[Layer | Mapping[str, Any]] | None = None,
        cell: str = "lstm",
        hidden_size: int | str = 64,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        loss: str | Callable[..., Tensor] = "auto",
        lr: float = 1e-3,
        max_epochs: int = 100,
        batch_size: int | str = 64,
        patience: int | None = 10,
        training: Training | None = None,
        baselines: bool = True,
        random_state: RandomState = None,
        device: str = "cpu",
        dtype: str = "float32",
        engine: str | None = None,
        verbose: bool | None = None,
    ) -> None:
        self.horizon = horizon
        self.context = context
        self.targets = targets
        self.time = time
        self.id = id
        self.covariates = covariates
        self.quantiles = quantiles
        self.strategy = strategy
        self.series = series
        self.ids = ids
        self.season = season
        self.scaling = scaling
        self.window_scaling = window_scaling
        self.level = level
        self.highway = highway
        self.calibrate = calibrate
        self.missing = missing
        self.gaps = gaps
        self.sort = sort
        self.validation = validation
        self.test = test
        self.until = until
        self.network = network
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.loss = loss
        self.lr = lr
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.patience = patience
        self.training = training
        self.baselines = baselines
        self.random_state = random_state
        self.device = device
        self.dtype = dtype
        self.engine = engine
        self.verbose = verbose

    # ---- fit -----------------------------------------------------------------------------------------------

    def fit(
        self,
        data: object,
        y: object = None,
        *,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        every_minutes: float | None = None,
        observers: Sequence[Observer] = (),
    ) -> Self:
        """Train on a table of measurements.

        Args:
            data: a path (CSV, .gz, Parquet), a pandas, polars or pyarrow frame, a mapping of columns, an
                array (T,) or (T, F), or a `saiki.data.Table`.
            y: ignored; the targets are columns of the table.
            checkpoint: folder for checkpoints, written before the first update and after every epoch.
            resume: go on from the newest good checkpoint in that folder, bit for bit.
            every_minutes: minutes between checkpoints instead of epochs.
            observers: `saiki.learning.Observer`s, told of what happens.

        Returns:
            self.

        Raises:
            DataError, OptionError, DTypeError, ValueRangeError: what is wrong with the data or the options,
                before any training starts.
            NonFiniteError: the loss or a gradient became infinite or NaN.
            CheckpointError, DiskError: the checkpoint belongs to another run, or the disk refuses.
        """
        del y
        self._begin(checkpoint, resume)
        self._check_options()
        table = self._table(data)
        self.columns_ = choose_columns(
            table,
            targets=self.targets,
            covariates=Covariates.of(self.covariates),
            mode=self.series,
            id_mode=self.ids,
        )
        check_table(table, self.columns_, self.missing)
        if self.strategy == "recursive" and self.columns_.past:
            raise OptionError(
                f"strategy='recursive' cannot use the past covariate {self.columns_.past[0]!r}: it would "
                "have to be forecast, too.",
                "Use strategy='direct', or leave it out.",
            )
        self._settle_sizes(table)
        raws = [self._used(raw) for raw in read_raw(table, self.columns_)]
        spans = [self._split(raw) for raw in raws]
        train_rows = [raw.rows(span.train) for raw, span in zip(raws, spans)]
        self.scaling_ = Scaling.fit(
            train_rows,
            self.columns_,
            "standard" if self.scaling == "series" else self.scaling,
            per_series=self.scaling == "series",
        )
        panel = make_panel(raws, self.columns_, self.scaling_)
        self._check_room(panel, spans)
        self.seasonal_ = self._seasonal(train_rows)
        index = self._index(panel, raws, self._asked)
        parts = {name: self._each(spans, name) for name in ("train", "validation", "test")}
        train = self._windows(panel, index, parts["train"], "training")
        validation = None
        if self.validation is not None and self.validation != 0:
            validation = self._windows(panel, index, parts["validation"], "validation")
        self.framing_ = replace(self.framing_, spread=spread_of(train))
        train = replace(train, framing=self.framing_)
        validation = None if validation is None else replace(validation, framing=self.framing_)

        loss = self._choose_loss()
        network = self._assembled(panel, values=sum(map(len, train_rows)) * panel.values.shape[1])
        start_at_ridge(network, train)
        self.spread_ = self._no_spread(network)
        self.tail_ = [raw.rows(slice(len(raw) - self.context_, len(raw))) for raw in raws]
        self.lag_models_ = []
        self.n_features_in_ = panel.values.shape[1] + panel.known.shape[1]
        refit = self.training is not None and self.training.refit == "all"
        everything = None
        if refit and validation is not None:
            origins = np.concatenate([train.origins, validation.origins])
            everything = replace(
                train, origins=origins, owner=np.concatenate([train.owner, validation.owner])
            )
        self._train(
            cast("Stack", network),  # it has what is used of one: sizes, state, summary
            loss,
            train,
            validation,
            everything=everything,
            values=int(
                sum(np.isfinite(raw.numbers[:, : len(self.columns_.targets)]).sum() for raw in train_rows)
            ),
            sequences=len(train),
            checkpoint=checkpoint,
            resume=resume,
            every_minutes=every_minutes,
            observers=observers,
        )
        self.spread_ = self._intervals(network, train, validation, refit)
        self._judge(panel, raws, parts)
        return self

    def _check_options(self) -> None:
        require_int(self.horizon, "horizon", 1)
        if self.context is not None:
            require_int(self.context, "context", 1)
        if self.season is not None:
            require_int(self.season, "season", 1)
        for name in ("level", "highway", "calibrate", "sort"):
            require_bool(getattr(self, name), name)
        for name, known in (
            ("strategy", ("direct", "recursive")),
            ("series", ("shared", "joint")),
            ("ids", (None, "one_hot", "embedding")),
            ("scaling", (None, "series", "standard", "minmax")),
            ("window_scaling", (None, "last", "mean")),
            ("missing", ("error", "interpolate", "mask")),
            ("gaps", (None, "error", "complete", "keep")),
        ):
            value = getattr(self, name)
            if value not in known:
                shown = ", ".join(repr(option) for option in known)
                raise OptionError(f"{name} is {value!r} but must be one of {shown}.")
        if self.ids is not None and self.series == "joint":
            raise OptionError(
                "ids tells a shared network its series apart, but series='joint' shows all of them at once.",
                "Use ids=None.",
            )
        self._levels()

    def _levels(self) -> tuple[float, ...]:
        """The quantiles asked for, checked; empty for points alone."""
        if self.quantiles is None:
            return ()
        if isinstance(self.quantiles, (str, int, float)):
            raise DTypeError(
                f"quantiles is {self.quantiles!r} but must be a list such as (0.1, 0.5, 0.9), or None."
            )
        levels = tuple(self.quantiles)
        numbers = all(isinstance(q, (int, float)) and not isinstance(q, bool) and 0 < q < 1 for q in levels)
        if not levels or not numbers or list(levels) != sorted(set(levels)):
            raise ValueRangeError(
                f"quantiles is {levels!r} but must be ascending numbers between 0 and 1.",
                "For example (0.1, 0.5, 0.9).",
            )
        return tuple(float(q) for q in levels)

    def _table(self, data: object, targets: bool = True) -> Table:
        if isinstance(data, Table):
            return data
        gaps = self.gaps or ("error" if self.missing == "error" else "complete")
        time: str | Literal[False] | None = self.time
        if time is None and hasattr(self, "network_"):  # the column that fit found, and no other
            time = self.columns_.time or False
        return read_table(
            data, time=time, id=self.id, targets=self.targets if targets else None, sort=self.sort, gaps=gaps
        )

    def _settle_sizes(self, table: Table) -> None:
        season = self.season
        if season is None and table.frequency is not None:
            season = table.frequency.season
        self.season_ = None if season is None or season <= 1 else int(season)
        self.context_ = self.context if self.context is not None else max(2 * (season or 1), self.horizon)
        self._asked = 1 if self.strategy == "recursive" else self.horizon
        K = self.columns_.panel_targets
        masked: tuple[int, ...] = ()
        if self.missing == "mask":
            masked = tuple(range(K + self.columns_.past_size))
        self.framing_ = Framing(
            context=self.context_,
            horizon=self._asked,
            window_scaling=self.window_scaling,
            level=self.level,
            masked=masked,
            spread=np.ones(K),
        )
        self.series_names_ = self.columns_.known_series

    def _used(self, raw: Raw) -> Raw:
        """The rows up to `until`."""
        if self.until is None:
            return raw
        if isinstance(self.until, int) and not isinstance(self.until, bool):
            return raw.rows(slice(0, require_int(self.until, "until", 1)))
        if raw.times is None:
            raise DTypeError(
                f"until is {self.until!r}, but without a time column it must be a number of rows."
            )
        split = split_in_time(raw.times, validation=None, test=self.until, name=raw.id)
        end = split.test.start
        if end < len(raw) and str(show(raw.times[end], self.columns_)) == str(self.until):
            end += 1  # the time itself is used
        return raw.rows(slice(0, end))

    def _split(self, raw: Raw) -> Any:  # noqa: ANN401  a TimeSplit
        rows = len(raw) if raw.times is None else raw.times
        return split_in_time(rows, validation=self.validation, test=self.test, name=raw.id)

    def _check_room(self, panel: Panel, spans: Sequence[Any]) -> None:
        """A series must hold a window in its training rows."""
        need = self.context_ + self._asked
        for name, span in zip(self.columns_.ids, spans):
            if span.train.stop < need:
                what = f"series {name!r}" if self.columns_.id is not None else "the series"
                kept = "" if self.validation is None and self.test is None else " for training"
                raise DataError(
                    f"{what} has {span.train.stop:,} rows{kept}, but a window needs context + horizon = "
                    f"{self.context_} + {self._asked} = {need}.",
                    "Use a shorter context or horizon, hold out less, or bring a longer series.",
                )

    def _each(self, spans: Sequence[Any], name: str) -> list[slice]:
        """The span of each of the panel's series."""
        times = 1 if self.columns_.mode == "joint" else len(self.columns_.targets)
        return [getattr(span, name) for span in spans for _ in range(times)]

    def _index(self, panel: Panel, raws: Sequence[Raw], horizon: int) -> WindowIndex:
        """Every window that fits, in time order over all series."""
        times = None
        if all(raw.times is not None for raw in raws):
            copies = 1 if self.columns_.mode == "joint" else len(self.columns_.targets)
            times = np.concatenate([raw.times for raw in raws for _ in range(copies)])  # type: ignore[misc]
        names = self.columns_.series_names([raw.id for raw in raws])
        return WindowIndex.over(panel.lengths, self.context_, horizon, times=times, names=names)

    def _windows(
        self, panel: Panel, index: WindowIndex, spans: Sequence[slice], what: str, horizon: int | None = None
    ) -> WindowSource:
        """The windows whose asked rows lie in the spans and hold something."""
        inside = index.within(spans)
        if not len(inside):
            raise DataError(
                f"the {what} part holds no window: it needs at least horizon = {index.horizon} rows.",
                "Make it longer, or use a shorter horizon.",
            )
        chosen = observed_windows(panel, inside)
        if not len(chosen):
            raise DataError(f"the {what} part holds no window with observed values.", "Choose another part.")
        framing = self.framing_ if horizon is None else replace(self.framing_, horizon=horizon)
        return WindowSource(panel, chosen.origin, chosen.series, framing, self._torch_dtype(), self._device())

    def _seasonal(self, train_rows: Sequence[Raw]) -> Array:
        """(S, K) mean seasonal difference of the training rows, in the table's units."""
        K = len(self.columns_.targets)
        rows = np.stack([seasonal_difference(raw.numbers[:, :K], self.season_) for raw in train_rows])
        return rows if self.columns_.mode == "joint" else rows.reshape(-1, 1)

    # ---- network and loss ----------------------------------------------------------------------------------

    def _choose_loss(self) -> Callable[..., Tensor]:
        """The row loss; settles what the network answers (`kind_`) and at which levels."""
        levels = self._levels()
        loss = self.loss
        if loss == "auto":
            loss = "quantile" if levels else "squared"
        if loss == "cross_entropy":
            raise OptionError(
                "loss='cross_entropy' is for classes, but a forecast is a number.", "Use 'auto'."
            )
        if loss == "quantile" and not levels:
            raise OptionError("loss='quantile' needs quantiles.", "Give quantiles=(0.1, 0.5, 0.9).")
        if isinstance(loss, Quantile):
            if 0.5 not in loss.quantiles or not set(levels) <= set(loss.quantiles):
                raise OptionError(
                    f"the loss has the quantiles {loss.quantiles}, but 0.5 and {levels} must be among them.",
                    "Use loss='auto', which takes the forecaster's own.",
                )
            self.kind_, self.levels_ = "quantile", tuple(loss.quantiles)
            return loss
        if loss == "quantile":
            self.kind_, self.levels_ = "quantile", tuple(sorted({*levels, 0.5}))
            return Quantile(self.levels_)
        self.kind_ = "gaussian" if loss == "gaussian" or isinstance(loss, Gaussian) else "point"
        self.levels_ = levels
        return get_loss(loss)

    def _shape(self, known: int) -> ForecastShape:
        return ForecastShape(
            horizon=self._asked,
            targets=self.columns_.panel_targets,
            kind=self.kind_,
            quantiles=self.levels_ if self.kind_ == "quantile" else (),
            known=known,
            lags=self.context_ if self.highway else 0,
            level=self.level,
        )

    def _assembled(self, panel: Panel, values: int) -> ForecastNetwork:
        features = self.framing_.features(panel)
        shape = self._shape(panel.known.shape[1])
        layers = self._layers(
            values=values,
            input_size=features,
            output_size=shape.horizon * shape.targets * shape.parameters,
            after=[LastConfig(both_ends=self.bidirectional)],
        )
        if not any((layer[1] if isinstance(layer, tuple) else layer).pools for layer in layers):
            layers.append(LastConfig(both_ends=self.bidirectional))
        if self.ids == "embedding":
            place = features - (panel.targets if self.level else 0) - 1
            size = min(16, 1 + int(np.ceil(np.sqrt(panel.series))))
            layers.insert(0, EmbeddingConfig(num_embeddings=panel.series, size=size, column=place))
        self.layers_ = layers
        return self._network_of(
            layers,
            features,
            shape,
            source=generator(self.seed_, "weights"),
            dtype=self._torch_dtype(),
            device=self._device(),
        )

    @staticmethod
    def _network_of(
        layers: Sequence[Layer],
        features: int,
        shape: ForecastShape,
        *,
        source: torch.Generator,
        dtype: torch.dtype,
        device: torch.device | str | None,
    ) -> ForecastNetwork:
        stack = Stack.build(layers, features, generator=source, dtype=dtype, device=device)
        if not stack.pooled:
            raise OptionError("network must end in one row a window.", "Add LastConfig() at its end.")
        return ForecastNetwork(stack, shape, generator=source, dtype=dtype, device=device or "cpu")

    def _no_spread(self, network: ForecastNetwork) -> Spread:
        return Spread(levels=self._levels(), stretch=np.ones(network.shape.parameters), residuals=None)

    def _intervals(
        self, network: ForecastNetwork, train: WindowSource, validation: WindowSource | None, refit: bool
    ) -> Spread:
        """Calibrate quantiles on the validation part; for points, take the residuals' own."""
        spread = self._no_spread(network)
        honest = None if refit else validation
        if self.kind_ == "quantile":
            if honest is None or not self.calibrate:
                return spread
            outputs, level = run(network, honest)
            truth = (honest.truth() - level[:, None]) / self.framing_.spread
            stretch = calibration(outputs, truth, network.shape.quantiles, network.shape.median)
            return replace(spread, stretch=stretch)
        if self.kind_ == "point" and spread.levels:
            windows = honest if honest is not None else train
            outputs, level = run(network, windows)
            residuals = (windows.truth() - level[:, None]) / self.framing_.spread - outputs
            empty = np.isnan(residuals).all(axis=0)
            quantiles = np.nanquantile(np.where(empty, 0.0, residuals), spread.levels, axis=0)
            return replace(spread, residuals=np.moveaxis(quantiles, 0, -1))
        return spread

    # ---- forecasts of windows ------------------------------------------------------------------------------

    def _answer(self, windows: WindowSource, steps: int) -> Answer:
        """Forecasts of these windows after the table's scaling; their panel must go on for `steps` rows."""
        network = cast("ForecastNetwork", self.network_)
        if self.strategy == "recursive":
            source = generator(self.seed_, "paths")
            return recursive(network, windows, self.spread_, steps, source)
        outputs, level = run(network, windows)
        found = answer(network, outputs, level, windows.framing, self.spread_)
        quantiles = None if found.quantiles is None else found.quantiles[:, :steps]
        return Answer(found.point[:, :steps], quantiles)

    def _forecasts(self, windows: WindowSource, raws: Sequence[Raw], seasonal: Array) -> Forecasts:
        """Forecast windows and put them beside what came, in the table's units."""
        center, scale = self.scaling_.maps(raws, self.columns_)
        center, scale = center[windows.owner], scale[windows.owner]  # (n, K)
        H = windows.framing.horizon
        direct = windows if self.strategy == "direct" else replace(windows, framing=self.framing_)
        found = self._answer(direct, H)
        quantiles = found.quantiles
        if quantiles is not None:
            quantiles = quantiles * scale[:, None, :, None] + center[:, None, :, None]
        return Forecasts(
            series=windows.owner,
            origins=windows.origins - windows.panel.starts[windows.owner],
            point=found.point * scale[:, None] + center[:, None],
            quantiles=quantiles,
            levels=self.spread_.levels,
            truth=windows.truth() * scale[:, None] + center[:, None],
            scale=scale,
            seasonal=seasonal[windows.owner],
        )

    # ---- measuring -----------------------------------------------------------------------------------------

    def _judge(self, panel: Panel, raws: Sequence[Raw], parts: Mapping[str, list[slice]]) -> None:
        """Our figures, and the simple models', on the test part or else on the validation part."""
        index = self._index(panel, raws, self.horizon)
        self.metrics_, self.baselines_, self.backtest_ = {}, [], None
        self.details_ = {"splits": [self._part(name, index, raws, spans) for name, spans in parts.items()]}
        self.details_["splits"] = [part for part in self.details_["splits"] if part["windows"]]
        what = "test" if self.test else "validation" if self.validation else None
        if what is None:
            return
        windows = self._windows(panel, index, parts[what], what, self.horizon)
        if self.baselines and not inside_search():
            learned = index.within(parts["train"])
            if what == "test" and self.validation:
                both = [learned.origin, index.within(parts["validation"]).origin]
                learned = index.select(np.isin(index.origin, np.concatenate(both)))
            self._fit_baselines(panel, observed_windows(panel, learned))
        self.backtest_ = self._measure(windows, raws, self.seasonal_)
        self.metrics_ = dict(self.backtest_.metrics)
        self.baselines_ = [dict(row) for row in self.backtest_.baselines]
        self.details_ |= {
            "measured_on": what,
            "origins": len(windows),
            "levels": list(self.spread_.levels),
            "by_horizon": [_finite(row) for row in self.backtest_.by_horizon],
            "baselines_by_horizon": {
                name: [None if np.isnan(v) else float(v) for v in values]
                for name, values in self.backtest_.baselines_by_horizon.items()
            },
            "fan": self._fan(self.backtest_.forecasts, raws),
        }

    def _part(
        self, name: str, index: WindowIndex, raws: Sequence[Raw], spans: Sequence[slice]
    ) -> dict[str, Any]:
        """What served for what, for the report."""
        copies = len(spans) // len(raws)
        inside = index.within(spans)
        K = len(self.columns_.targets)
        rows = [raw.rows(span) for raw, span in zip(raws, spans[::copies])]
        missing = sum(int(np.isnan(raw.numbers[:, :K]).sum()) for raw in rows)
        ends = [raw.times[[0, -1]] for raw in rows if raw.times is not None and len(raw)]
        span = ""
        if ends:
            low, high = min(end[0] for end in ends), max(end[1] for end in ends)
            span = f"{show(low, self.columns_)} to {show(high, self.columns_)}"
        label = "training" if name == "train" else name
        return {"name": label, "windows": len(inside), "span": span, "missing": missing}

    def _fan(self, forecasts: Forecasts, raws: Sequence[Raw]) -> dict[str, Any]:
        """The last forecast of the first series beside what came, for the report."""
        from saiki.models.forecast_report import plain_times

        at = int(np.flatnonzero(forecasts.series == forecasts.series.min())[-1])
        copies = 1 if self.columns_.mode == "joint" else len(self.columns_.targets)
        raw = raws[int(forecasts.series[at]) // copies]
        origin, H = int(forecasts.origins[at]), self.horizon
        target = int(forecasts.series[at]) % copies
        past = raw.rows(slice(max(0, origin - self.context_), origin))
        levels = list(forecasts.levels) or [0.5]
        point = forecasts.point[at, :, :1]
        quantiles = point if forecasts.quantiles is None else forecasts.quantiles[at, :, 0]

        def numbers(values: Array) -> list[float | None]:
            return [None if np.isnan(value) else float(value) for value in values]

        ahead = raw.rows(slice(origin, origin + H)).times
        return {
            "name": self.columns_.targets[target],
            "levels": levels,
            "times": plain_times(ahead, origin, H),
            "quantiles": quantiles.T.tolist(),
            "truth": numbers(forecasts.truth[at, :, 0]),
            "past_times": plain_times(past.times, origin - len(past), len(past)),
            "past": numbers(past.numbers[:, target]),
        }

    def beyond_first(self) -> Answer:
        """The forecast after the end of the data that fit saw, (series, H, K) in the table's units.

        Raises:
            DataError: covariates known ahead are needed, which only `forecast(future=…)` is given.
        """
        ahead = self._ahead(self.tail_, self.horizon, None)
        return self._beyond(self.tail_, ahead, self.horizon)

    def report(self) -> str | None:
        """The report as one self-contained HTML page."""
        from saiki.models.forecast_report import report_of

        self._require_fitted()
        return report_of(self)

    def _fit_baselines(self, panel: Panel, index: WindowIndex) -> None:
        """One set of regressions for all series of a shared model, one a target for a joint one."""
        if not len(index):
            return
        most = min(MOST_WINDOWS, _BASELINE_VALUES // (self.context_ + self.horizon))
        some = index.select(np.unique(np.linspace(0, len(index) - 1, most).astype(np.int64)))
        windows = WindowSource(panel, some.origin, some.series, replace(self.framing_, horizon=self.horizon))
        lags, truth = windows.filled(), windows.truth()
        self.lag_models_ = [
            fit_lag_regressions(lags[..., k], truth[..., k], gap=self.horizon, order=some.step)
            for k in range(panel.targets)
        ]

    def _simple(self, windows: WindowSource) -> dict[str, Array]:
        """(n, H, K) forecasts of each simple model, after the table's scaling."""
        K = windows.panel.targets
        found = {"seasonal-naive" if self.season_ else "naive (last value)": self._naive(windows)}
        if self.lag_models_ and all(self.lag_models_):
            lags = windows.filled()
            for place, model in enumerate(self.lag_models_[0]):
                each = [self.lag_models_[k][place].predict(lags[..., k]) for k in range(K)]
                found[model.name] = np.stack(each, axis=-1)
        return found

    def _naive(self, windows: WindowSource) -> Array:
        """(n, H, K) the last season again, or the last value where there is no whole season before."""
        step = windows.origins - windows.panel.starts[windows.owner]
        width = self.season_ or 1
        rows = windows.origins[:, None] + np.arange(-width, 0)
        rows = np.where((step >= width)[:, None], rows, windows.origins[:, None] - 1)
        K = windows.panel.targets
        history = fill_gaps(windows.panel.values[rows][..., :K])
        each = [seasonal_naive(history[..., k], self.horizon, self.season_) for k in range(K)]
        return np.stack(each, axis=-1)

    def _measure(self, windows: WindowSource, raws: Sequence[Raw], seasonal: Array) -> Backtest:
        forecasts = self._forecasts(windows, raws, seasonal)
        center, scale = self.scaling_.maps(raws, self.columns_)
        baselines: list[dict[str, Any]] = []
        ahead: dict[str, Array] = {}
        if self.baselines and not inside_search():
            for name, z in self._simple(windows).items():
                point = z * scale[windows.owner][:, None] + center[windows.owner][:, None]
                simple = forecasts.with_point(point)
                baselines.append({"name": name, **figures(simple)})
                ahead[name] = np.array([row["mae"] for row in by_horizon(simple)])
        names = self.columns_.series_names([raw.id for raw in raws])
        return Backtest(
            metrics=figures(forecasts),
            by_horizon=by_horizon(forecasts),
            baselines=baselines,
            baselines_by_horizon=ahead,
            forecasts=forecasts,
            names=names,
            times=self._origin_times(forecasts, raws),
        )

    def _origin_times(self, forecasts: Forecasts, raws: Sequence[Raw]) -> list[str]:
        copies = 1 if self.columns_.mode == "joint" else len(self.columns_.targets)
        found = []
        for series, row in zip(forecasts.series, forecasts.origins):
            times = raws[int(series) // copies].times
            found.append(str(int(row)) if times is None else show(times[int(row)], self.columns_))
        return found

    # ---- what a user asks ----------------------------------------------------------------------------------

    def backtest(self, data: object, *, start: Part = None, every: int = 1) -> Backtest:
        """Forecast from many origins of a table and measure the forecasts; nothing is learned from it.

        Args:
            data: a table with the columns that fit saw.
            start: the part whose rows are forecast: a share, a number of rows at the end, or its first time;
                None takes every row that has a whole context before it.
            every: keep every n-th origin of each series.

        Returns:
            `Backtest`: figures, errors by step ahead, the same of the simple models, and every forecast.

        Raises:
            DataError: the table lacks a column, or is too short.
        """
        windows, raws, seasonal = self._origins(data, start, every)
        return self._measure(windows, raws, seasonal)

    def _origins(self, data: object, start: Part, every: int) -> tuple[WindowSource, list[Raw], Array]:
        """The windows of a backtest, the rows they are cut from, and each series' seasonal difference."""
        self._require_fitted()
        require_int(every, "every", 1)
        table = self._table(data)
        check_table(table, self.columns_, self.missing)
        raws = [self._used(raw) for raw in read_raw(table, self.columns_)]
        spans = []
        for raw in raws:
            rows = len(raw) if raw.times is None else raw.times
            if start is None:
                spans.append(slice(min(self.context_, len(raw)), len(raw)))
            else:
                spans.append(split_in_time(rows, validation=None, test=start, name=raw.id).test)
        self._admit([raw.rows(slice(0, span.start)) for raw, span in zip(raws, spans)])
        panel = make_panel(raws, self.columns_, self.scaling_)
        copies = 1 if self.columns_.mode == "joint" else len(self.columns_.targets)
        index = self._index(panel, raws, self.horizon).within([span for span in spans for _ in range(copies)])
        if every > 1 and len(index):
            first = np.full(panel.series, np.iinfo(np.int64).max)
            np.minimum.at(first, index.series, index.step)
            index = index.select((index.step - first[index.series]) % every == 0)
        whole = [slice(0, length) for length in panel.lengths]
        windows = self._windows(panel, index, whole, "backtest", self.horizon)
        seasonal = self._seasonal([raw.rows(slice(0, span.start)) for raw, span in zip(raws, spans)])
        return windows, raws, seasonal

    def _admit(self, raws: Sequence[Raw]) -> None:
        """Give series that training did not see a scaling of their own, from the rows given here."""
        scaler = self.scaling_.numbers
        for raw in raws:
            if scaler.per_series and raw.id not in scaler.series:
                if len(scaler.series) == 1 and self.columns_.id is None:
                    continue
                scaler = scaler.with_series(raw.id, raw.numbers)
        self.scaling_ = Scaling(scaler, self.scaling_.static)

    def forecast(self, data: object = None, steps: int | None = None, *, future: object = None) -> Any:  # noqa: ANN401
        """Forecast what comes after the last row.

        Args:
            data: a table with the columns that fit saw, to go on from its end; None goes on from the end of
                the table that fit saw.
            steps: how many steps; None is the horizon. A direct model answers up to its horizon, a recursive
                one any number.
            future: a table with the covariates known ahead, one row a step to come (and the id column where
                there is one). Rows at the end of `data` without a single target serve as well.

        Returns:
            A table of the kind that came in (a mapping of columns for a file): the time column, the id
            column, and for each target NAME the point forecast NAME and its quantiles NAME_q0.1, ….

        Raises:
            DataError: a column is absent, a series is shorter than the context, or the covariates known ahead
                do not reach far enough.
            ValueRangeError: more steps than a direct model answers.
        """
        self._require_fitted()
        H = self.horizon if steps is None else require_int(steps, "steps", 1)
        if self.strategy == "direct" and self.horizon < H:
            raise ValueRangeError(
                f"steps is {H}, but this model was trained to answer {self.horizon} steps.",
                f"Train with horizon={H}, or with strategy='recursive'.",
            )
        columns = self.columns_
        form, style = columns.form, columns.style
        if data is None:
            raws = list(self.tail_)
        else:
            table = self._table(data)
            form, style = table.form, table.time_style
            raws = self._history(table)
        ahead = self._ahead(raws, H, future)
        raws = [raw.rows(slice(0, self._end(raw))) for raw in raws]
        for raw in raws:
            if len(raw) < self.context_:
                what = f"series {raw.id!r}" if columns.id is not None else "the series"
                raise DataError(
                    f"{what} has {len(raw)} rows, but a forecast looks at the last {self.context_}.",
                    "Bring a longer history.",
                )
        self._admit(raws)
        raws = [raw.rows(slice(len(raw) - self.context_, len(raw))) for raw in raws]
        found = self._beyond(raws, ahead, H)
        return like_form(self._written(raws, found, H), form, time=columns.time, style=style)

    def _history(self, table: Table) -> list[Raw]:
        """The rows of a table to forecast from, its gaps and columns checked."""
        columns = self.columns_
        if columns.future and self.missing == "error":
            check_table(table, columns, "mask")  # rows to come have no targets yet
            raws = read_raw(table, columns)
            observed = np.concatenate([np.arange(len(raw)) < self._end(raw) for raw in raws])
            past = replace(
                table,
                columns={name: values[observed] for name, values in table.columns.items()},
                lines=table.lines[observed],
            )
            check_complete(past, [*columns.targets, *columns.past])
            return raws
        check_table(table, columns, self.missing)
        return read_raw(table, columns)

    def _end(self, raw: Raw) -> int:
        """One past the last observed row; rows after it are to come, where covariates are known ahead."""
        if not self.columns_.future:
            return len(raw)
        seen = np.flatnonzero(~np.isnan(raw.numbers[:, : len(self.columns_.targets)]).all(axis=1))
        return int(seen[-1]) + 1 if len(seen) else 0

    def _ahead(self, raws: Sequence[Raw], steps: int, future: object) -> list[Array]:
        """(H, F) covariates known ahead for each id, not yet scaled: numbers, then levels."""
        columns = self.columns_
        size = columns.future_size
        if not size:
            if future is not None:
                raise OptionError(
                    "future was given, but the model knows no covariate ahead.", "Leave it out."
                )
            return [np.zeros((steps, 0)) for _ in raws]
        given: dict[str, Raw] = {}
        if future is not None:
            table = self._table(future, targets=False)
            check_table(table, columns, "mask", future=True)
            given = {raw.id: raw for raw in read_raw(rows_to_come(table, columns), columns)}
        first = len(columns.numbers) - len(columns.plain(columns.future))
        found = []
        for raw in raws:
            source = given.get(raw.id)
            rest = source if source is not None else raw.rows(slice(self._end(raw), len(raw)))
            if source is not None and source.times is not None and raw.times is not None:
                later = source.times > raw.times[self._end(raw) - 1]
                rest = source.rows(slice(int(np.argmax(later)) if later.any() else len(source), len(source)))
            if len(rest) < steps:
                what = f" of series {raw.id!r}" if columns.id is not None else ""
                raise DataError(
                    f"a forecast of {steps} steps needs the covariates {', '.join(columns.future)}{what} for "
                    f"as many steps to come, but {len(rest)} were given.",
                    "Give future=TABLE with one row a step, or add such rows at the end of the data.",
                )
            part = np.concatenate([rest.numbers[:steps, first:], rest.future_levels[:steps]], axis=1)
            if np.isnan(part).any():
                raise DataError(
                    f"the covariates known ahead ({', '.join(columns.future)}) have missing values.",
                    "Fill them in.",
                )
            found.append(part)
        return found

    def _beyond(self, raws: Sequence[Raw], ahead: Sequence[Array], steps: int) -> Answer:
        """Forecasts after the end of each series, in the table's units."""
        columns, H = self.columns_, max(steps, self._asked)
        panel = make_panel(raws, columns, self.scaling_)
        copies = 1 if columns.mode == "joint" else len(columns.targets)
        plain = len(columns.plain(columns.future))
        known = np.zeros((panel.series, H, panel.known.shape[1]))
        first = len(columns.numbers) - plain
        for place, (raw, part) in enumerate(zip(raws, ahead)):
            index = self.scaling_.numbers.index(raw.id)
            center = self.scaling_.numbers.center[index, first:]
            scale = self.scaling_.numbers.scale[index, first:]
            z = np.concatenate([(part[:, :plain] - center) / scale, part[:, plain:]], axis=1)
            # what lies beyond the steps asked for is cut off after; it only has to be a number
            z = np.concatenate([z, np.repeat(z[-1:], H - steps, axis=0)])
            known[place * copies : (place + 1) * copies] = z
        windows = self._latest(panel.extended(H, known), H)
        unseen = np.isnan(windows.shown()[..., : panel.targets]).all(axis=1)
        if unseen.any():
            name = columns.series_names([raw.id for raw in raws])[int(np.argwhere(unseen)[0, 0])]
            raise DataError(
                f"series {name!r} has no observed value in its last {self.context_} rows.",
                "Bring a history with values in it.",
            )
        found = self._answer(windows, steps)
        center, scale = self.scaling_.maps(raws, columns)
        point = found.point * scale[:, None] + center[:, None]
        quantiles = found.quantiles
        if quantiles is not None:
            quantiles = quantiles * scale[:, None, :, None] + center[:, None, :, None]
        return Answer(point, quantiles)

    def _latest(self, longer: Panel, steps: int | None = None) -> WindowSource:
        """The last window of each series of a panel that was extended by `steps` rows."""
        origins = longer.starts[1:] - (self._asked if steps is None else steps)
        owner = np.arange(longer.series)
        return WindowSource(longer, origins, owner, self.framing_, self._torch_dtype(), self._device())

    def _written(self, raws: Sequence[Raw], found: Answer, steps: int) -> dict[str, Array]:
        """The answer as columns."""
        columns = self.columns_
        out: dict[str, list[Array]] = {}
        K = len(columns.targets)
        for place, raw in enumerate(raws):
            if columns.time is not None and raw.times is not None and columns.frequency is not None:
                out.setdefault(columns.time, []).append(columns.frequency.following(raw.times[-1], steps))
            if columns.id is not None:
                out.setdefault(columns.id, []).append(np.array([raw.value] * steps))
            for k, target in enumerate(columns.targets):
                series, column = (place, k) if columns.mode == "joint" else (place * K + k, 0)
                out.setdefault(target, []).append(found.point[series, :, column])
                for j, level in enumerate(self.spread_.levels):
                    assert found.quantiles is not None
                    name = f"{target}_q{level:g}"
                    out.setdefault(name, []).append(found.quantiles[series, :, column, j])
        return {name: np.concatenate(parts) for name, parts in out.items()}

    def predict(self, data: object = None, *, future: object = None) -> Array:
        """The point forecasts after the last row, as an array.

        Args:
            data: see `forecast`.
            future: see `forecast`.

        Returns:
            (H, columns): one column a target; with an id column, the targets of each id side by side.
        """
        self._require_fitted()
        raws = list(self.tail_) if data is None else self._history(self._table(data))
        ahead = self._ahead(raws, self.horizon, future)
        raws = [raw.rows(slice(max(0, self._end(raw) - self.context_), self._end(raw))) for raw in raws]
        self._admit(raws)
        point = self._beyond(raws, ahead, self.horizon).point  # (S, H, K)
        flat: Array = np.moveaxis(point, 1, 0).reshape(self.horizon, -1)
        return flat

    def score(self, data: object, y: object = None) -> float:
        """Skill over the naive forecast, 1 - MAE / MAE of seasonal-naive; 1 is perfect, 0 no better.

        Args:
            data: a table; every origin with a whole context is forecast.
            y: ignored.
        """
        del y
        windows, raws, seasonal = self._origins(data, None, 1)
        forecasts = self._forecasts(windows, raws, seasonal)
        center, scale = self.scaling_.maps(raws, self.columns_)
        naive = self._naive(windows) * scale[windows.owner][:, None] + center[windows.owner][:, None]
        simple = figures(forecasts.with_point(naive))["mae"]
        return float(1 - figures(forecasts)["mae"] / simple) if simple > 0 else float("nan")

    def transform(self, data: object) -> Array:
        """The last hidden representation of each series' newest context, usable as features.

        Args:
            data: a table with the columns that fit saw.

        Returns:
            (series, D).
        """
        self._require_fitted()
        raws = self._history(self._table(data))
        raws = [raw.rows(slice(max(0, self._end(raw) - self.context_), self._end(raw))) for raw in raws]
        self._admit(raws)
        panel = make_panel(raws, self.columns_, self.scaling_)
        panel = panel.extended(self._asked, np.zeros((panel.series, self._asked, panel.known.shape[1])))
        windows = self._latest(panel)
        with torch.inference_mode():
            hidden = cast("ForecastNetwork", self.network_).hidden(windows.inputs()[0])
        found: Array = hidden.cpu().numpy()
        return found

    # ---- files ---------------------------------------------------------------------------------------------

    def _option(self, name: str, value: Any) -> Any:  # noqa: ANN401  JSON out
        if name == "covariates" and value is not None:
            given = Covariates.of(value)
            return {"past": list(given.past), "future": list(given.future), "static": list(given.static)}
        if name in ("validation", "test", "until") and isinstance(value, np.datetime64):
            return str(value)
        return super()._option(name, value)

    @classmethod
    def _arguments(cls, options: dict[str, Any]) -> dict[str, Any]:
        if options["quantiles"] is not None:
            options["quantiles"] = tuple(options["quantiles"])
        return super()._arguments(options)

    def _learned(self) -> Learned:
        return Learned(
            columns=self.columns_,
            context=self.context_,
            season=self.season_,
            framing=self.framing_,
            shape=self._shape(self.columns_.future_size),
            scaling=self.scaling_,
            spread=self.spread_,
            tail=self.tail_,
            seasonal=self.seasonal_,
            simple=self.lag_models_,
        )

    def _fitted(self) -> ForecasterFitted:
        return taken_apart(self._learned())[0]

    def _tensors(self) -> dict[str, Array]:
        return taken_apart(self._learned())[1]

    def _assemble(
        self,
        layers: Sequence[Layer],
        input_size: int,
        output_size: int,
        fitted: ForecasterFitted,
        *,
        source: torch.Generator,
        dtype: torch.dtype,
    ) -> Stack:
        del output_size
        network = self._network_of(
            layers, input_size, fitted.shape(), source=source, dtype=dtype, device=None
        )
        return cast("Stack", network)

    def _restore(self, fitted: ForecasterFitted, tensors: Mapping[str, Array]) -> None:
        learned = put_together(fitted, tensors, self.horizon)
        self.columns_ = learned.columns
        self.context_, self.season_ = learned.context, learned.season
        self.framing_, self.scaling_, self.spread_ = learned.framing, learned.scaling, learned.spread
        self.kind_, self.levels_ = learned.shape.kind, learned.shape.quantiles or learned.spread.levels
        self._asked = learned.shape.horizon
        if self._asked != (1 if self.strategy == "recursive" else self.horizon):
            raise SchemaError(f"the network answers {self._asked} steps, which the options do not ask for.")
        self.tail_, self.seasonal_, self.lag_models_ = learned.tail, learned.seasonal, learned.simple
        self.series_names_ = learned.columns.known_series
        self.n_features_in_ = (
            learned.columns.panel_targets + learned.columns.past_size + learned.columns.future_size
        )
        self.backtest_ = None


def _finite(row: Mapping[str, float]) -> dict[str, float | None]:
    """Figures as JSON has them: None for what could not be measured."""
    return {name: float(value) if np.isfinite(value) else None for name, value in row.items()}
