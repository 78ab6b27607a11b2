"""Forecast one or many series: the estimator.

table → columns and their roles → split in time → scale on training rows → windows → network → train
      → intervals → measure beside simple models
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor

from saiki.core.checks import require_bool, require_int
from saiki.core.errors import OptionError, SchemaError, UsageError, ValueRangeError
from saiki.core.random import generator
from saiki.data import Table, WindowScaling, embedding_size, like_form, read_table
from saiki.learning import BPTT, Observer, Training, get_rule
from saiki.models.base import Estimator, inside_search
from saiki.models.forecast_ahead import (
    as_columns,
    beyond,
    contexts,
    covariates_ahead,
    end_of,
    extended,
    history,
    last_windows,
)
from saiki.models.forecast_begin import begun, check_room, first_row, split_rows, used_rows
from saiki.models.forecast_details import attention_of, details_of, online_details, part_of
from saiki.models.forecast_files import ForecasterFitted, put_together, taken_apart
from saiki.models.forecast_measure import fit_simple, measure, skill
from saiki.models.forecast_model import Learned, Strategy, forecast_windows
from saiki.models.forecast_network import (
    ForecastNetwork,
    build_network,
    start_at_ridge,
)
from saiki.models.forecast_online import Stream, offline_rule
from saiki.models.forecast_options import (
    ForecasterOptions,
    GapsOption,
    MissingOption,
    Mode,
    Part,
    ScalingOption,
    check_options,
    loss_of,
)
from saiki.models.forecast_paths import Answer, fit_spread
from saiki.models.forecast_scores import Backtest, Forecasts
from saiki.models.forecast_stream import build_stack
from saiki.models.forecast_stream_files import stream_from, stream_tensors
from saiki.models.forecast_streaming import (
    fit_stream,
    online_of,
    plain_rows,
    stream_beyond,
    stream_hidden,
    stream_origins,
    update_stream,
)
from saiki.models.forecast_table import (
    Columns,
    Covariates,
    IdMode,
    Raw,
    SeriesMode,
    check_table,
    choose_columns,
    make_panel,
    read_raw,
)
from saiki.models.forecast_windows import Panel, WindowSource, spread_of
from saiki.models.options import Array, CommonOptions, Layer, RandomState, Rule
from saiki.models.reporting import SIBLING
from saiki.nn import AttentionPoolConfig, EmbeddingConfig, LastConfig, Stack


class Forecaster(Estimator):
    """Forecast the next H steps of one or many series with a recurrent network.

        ŷ = s · (W stack(x) + b + A x) + o        x: the last C steps, less their level o, over their spread s

    With `mode="stream"` there is no window: one recurrent network reads each series from its first row,
    carries its state, answers the next H rows at every step, and `update` goes on learning from new rows.

    Several series are told by columns (wide) or by an id column (long). `series="shared"` runs one network on
    each series by itself; `series="joint"` shows it all target columns at once.

    Args:
        horizon: H, steps ahead.
        context: C, past steps a forecast looks at; None takes two seasons, and at least the horizon. In a
            stream the simple models look at C rows, the network at all.
        targets: columns to forecast; None takes every number column without another role.
        time: time column; None finds it.
        id: column that tells series apart, for long tables.
        covariates: `Covariates(past=…, future=…, static=…)`, the same as a mapping, or a list of past ones.
        quantiles: levels to forecast besides the point (which is the median); None for points alone.
        strategy: "direct" answers all H steps at once; "recursive" feeds the median of one step back, H
            times, and takes intervals from sampled paths.
        series: "shared" or "joint".
        ids: tell a shared network which series it sees, "one_hot" or "embed"; None does not, and the
            model then takes series it never saw.
        mode: "window" cuts the past into windows of C steps; "stream" reads it once, from the first row, and
            can go on learning (`update`).
        season: m, steps in a season, for the seasonal-naive forecast and MASE; None asks the time column.
        scaling: "series" (standard, each id by itself), "standard", "minmax" or None, all fixed after the
            training rows; in a stream also "running", mean and spread of about the last 10 C rows.
        window_scaling: what is taken away from each window and given back after: its "last" or "mean" value,
            or None; a stream has a running mean of about C rows. With it, adding a constant to a series
            shifts its forecasts by that constant.
        level: show the network what window scaling took away; the sentence above then no longer holds.
        highway: add a linear map of the window's own lags, started at its ridge solution; a stream has none.
        attention: weigh the past steps against where the window ends, and answer from both: [h_C ; Σ α_t h_t]
            (`saiki.nn.AttentionPool`). The report draws the weights, and where baselines are measured the
            same network is trained once more without.
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
        unit: of the targets, such as "ppm"; the report writes it behind the numbers.
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
        batch_size: windows an update; in a stream series an update.
        patience: see `Estimator`.
        training: see `Estimator`.
        rule: see `Estimator`. A window of the past is a sequence of its own with its answer at the end, so
            BPTT is the one rule for windows. A stream takes any; None is truncated BPTT over the context.
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
        learned_: everything fit learned besides the network's weights.
        metrics_: figures on the test part, or on the validation part where there is none.
        baselines_: the same figures of the simple models.
        details_: which part that was, and the errors by step ahead.
        backtest_: `Backtest` on that part; not saved.
        stream_: where a stream stands: state, pending targets, scaling, optimiser.
        online_: `Backtest` of the forecasts whose targets the last `update` brought; not saved.

    Example:
        model = Forecaster(horizon=52, context=104, missing="mask").fit("co2.csv")
        model.forecast()  # the next 52 weeks with their intervals
    """

    task: ClassVar[str] = "forecaster"
    OptionsFile: ClassVar[type[CommonOptions]] = ForecasterOptions
    FittedFile: ClassVar[type] = ForecasterFitted

    network_: Stack  # or a ForecastNetwork, which has what is used of one: sizes, state, summary
    learned_: Learned
    backtest_: Backtest | None
    stream_: Stream
    online_: Backtest | None

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
        mode: Mode = "window",
        season: int | None = None,
        scaling: ScalingOption | None = "series",
        window_scaling: WindowScaling = "last",
        level: bool = False,
        highway: bool = True,
        attention: bool = False,
        calibrate: bool = True,
        missing: MissingOption = "error",
        gaps: GapsOption | None = None,
        sort: bool = False,
        validation: Part = 0.2,
        test: Part = None,
        until: int | str | None = None,
        unit: str = "",
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
        rule: Rule = None,
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
        self.mode = mode
        self.season = season
        self.scaling = scaling
        self.window_scaling = window_scaling
        self.level = level
        self.highway = highway
        self.attention = attention
        self.calibrate = calibrate
        self.missing = missing
        self.gaps = gaps
        self.sort = sort
        self.validation = validation
        self.test = test
        self.until = until
        self.unit = unit
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
        self.rule = rule
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
        check_options(self)
        table = self._table(data)
        columns = choose_columns(
            table,
            targets=self.targets,
            covariates=Covariates.of(self.covariates),
            mode=self.series,
            id_mode=self.ids,
        )
        check_table(table, columns, self.missing)
        if self.strategy == "recursive" and columns.past:
            raise OptionError(
                f"strategy='recursive' cannot use the past covariate {columns.past[0]!r}: it would have to "
                "be forecast, too.",
                "Use strategy='direct', or leave it out.",
            )
        loss = loss_of(self)
        raws = [used_rows(raw, self.until) for raw in read_raw(table, columns)]
        spans = [split_rows(self, raw) for raw in raws]
        train_rows = [raw.rows(span.train) for raw, span in zip(raws, spans)]
        learned = begun(self, table, columns, train_rows)
        check_room(self, learned, spans)
        if self.mode == "stream":
            options: dict[str, Any] = {"checkpoint": checkpoint, "resume": resume}
            options |= {"every_minutes": every_minutes, "observers": observers}
            fit_stream(self, learned, raws, spans, loss, **options)
            return self
        panel = make_panel(raws, columns, learned.scaling)
        network = self._network(learned, panel, values=sum(map(len, train_rows)) * panel.values.shape[1])

        index = learned.index(panel, raws, learned.shape.horizon)
        parts = {
            name: [getattr(span, name) for span in spans for _ in range(learned.copies)]
            for name in ("train", "validation", "test")
        }
        train = learned.windows(panel, index.within(parts["train"]), "training", network)
        learned = replace(
            learned,
            framing=replace(learned.framing, spread=spread_of(train)),
            tail=[raw.rows(slice(len(raw) - learned.context, len(raw))) for raw in raws],
        )
        train = replace(train, framing=learned.framing)
        validation = everything = None
        if self.validation:
            validation = learned.windows(panel, index.within(parts["validation"]), "validation", network)
            if self._refits():
                origins = np.concatenate([train.origins, validation.origins])
                owner = np.concatenate([train.owner, validation.owner])
                everything = replace(train, origins=origins, owner=owner)
        start_at_ridge(network, train)
        self.learned_ = learned
        self.n_features_in_ = panel.values.shape[1] + panel.known.shape[1]
        K = len(columns.targets)
        self._train(
            cast("Stack", network),  # it has what is used of one: sizes, state, summary
            loss,
            train,
            validation,
            everything=everything,
            values=sum(int(np.isfinite(raw.numbers[:, :K]).sum()) for raw in train_rows),
            sequences=len(train),
            checkpoint=checkpoint,
            resume=resume,
            every_minutes=every_minutes,
            observers=observers,
        )
        honest = None if self._refits() else validation
        spread = fit_spread(network, learned.spread, train, honest, self.calibrate)
        learned = self.learned_ = replace(learned, spread=spread)

        def forecasts(windows: WindowSource) -> Forecasts:
            return forecast_windows(network, learned, windows, raws, learned.seasonal)

        self._judge(panel, raws, parts, forecasts)
        if self.attention and self.baselines and self.metrics_ and not inside_search():
            self._judge_without_attention(table)
        return self

    @property
    def columns_(self) -> Columns:
        """The role of every column."""
        return self.learned_.columns

    @property
    def context_(self) -> int:
        """C, the steps a forecast looks at."""
        return self.learned_.context

    @property
    def season_(self) -> int | None:
        """m, steps a season, or None."""
        return self.learned_.season

    @property
    def series_names_(self) -> list[str]:
        """Names of the series that training saw."""
        return self.learned_.columns.known_series

    def _refits(self) -> bool:
        return bool(self.validation) and self.training is not None and self.training.refit == "all"

    def _training(self) -> Training:
        training = super()._training()
        if self.mode != "stream" or self.rule is not None or not hasattr(self, "learned_"):
            return training
        rule = get_rule(training.rule)  # a stream has no end to wait for: the default is another
        return replace(training, rule=offline_rule(None if isinstance(rule, BPTT) else rule, self.context_))

    def _gaps(self) -> GapsOption:
        """What is done about absent rows."""
        return self.gaps or ("error" if self.missing == "error" else "complete")

    def _table(self, data: object, targets: bool = True, gaps: GapsOption | None = None) -> Table:
        if isinstance(data, Table):
            return data
        time: str | Literal[False] | None = self.time
        if time is None and hasattr(self, "network_"):  # the column that fit found, and no other
            time = self.columns_.time or False
        return read_table(
            data,
            time=time,
            id=self.id,
            targets=self.targets if targets else None,
            sort=self.sort,
            gaps=gaps or self._gaps(),
        )

    def _network(self, learned: Learned, panel: Panel, values: int) -> ForecastNetwork:
        features, shape = learned.framing.features(panel), learned.shape
        layers = self._layers(
            values=values,
            input_size=features,
            output_size=shape.horizon * shape.targets * shape.parameters,
            after=[],
        )
        pools = any((layer[1] if isinstance(layer, tuple) else layer).pools for layer in layers)
        if self.attention and pools:
            raise OptionError(
                "attention=True adds a layer that pools over the past, and network has one already.",
                "Leave one of both out.",
            )
        if not pools and self.attention:
            layers.append(("attention", AttentionPoolConfig(last=True, both_ends=self.bidirectional)))
        elif not pools:
            layers.append(LastConfig(both_ends=self.bidirectional))
        if self.ids == "embed":
            place = features - (panel.targets if self.level else 0) - 1
            size = embedding_size(panel.series)
            layers.insert(0, EmbeddingConfig(num_embeddings=panel.series, size=size, column=place))
        self.layers_ = layers
        source, device = generator(self.seed_, "weights"), self._device()
        return build_network(layers, features, shape, source=source, dtype=self._torch_dtype(), device=device)

    # ---- measuring -----------------------------------------------------------------------------------------

    def _judge(
        self,
        panel: Panel,
        raws: Sequence[Raw],
        parts: Mapping[str, list[slice]],
        forecasts: Callable[[WindowSource], Forecasts],
    ) -> None:
        """Our figures, and the simple models', on the test part or else on the validation part."""
        index = self.learned_.index(panel, raws, self.horizon)
        self.metrics_, self.baselines_, self.backtest_ = {}, [], None
        splits = [part_of(name, self.learned_, index, raws, spans) for name, spans in parts.items()]
        self.details_ = {"splits": [part for part in splits if part["windows"]]}
        what = "test" if self.test else "validation" if self.validation else None
        if what is None:
            return
        baselines = self.baselines and not inside_search()
        if baselines:
            learned = index.within(parts["train"])
            if what == "test" and self.validation:  # what the model learned from or stopped by
                both = [learned.origin, index.within(parts["validation"]).origin]
                learned = index.select(np.isin(index.origin, np.concatenate(both)))
            self.learned_ = replace(self.learned_, simple=fit_simple(self.learned_, panel, learned))
        windows = self.learned_.windows(panel, index.within(parts[what]), what, self.network_)
        found = measure(forecasts(windows), self.learned_, windows, raws, baselines)
        self.backtest_ = found
        self.metrics_, self.baselines_ = dict(found.metrics), [dict(row) for row in found.baselines]
        self.details_ |= details_of(what, self.learned_, found, raws)
        if self.mode == "window":
            self.details_ |= attention_of(self._net, windows)

    def _judge_without_attention(self, table: Table) -> None:
        """Train the same network without attention and put its figures beside ours."""
        plain = clone(self).set_params(attention=False, baselines=False, random_state=self.seed_).fit(table)
        self.baselines_.append({"name": f"{SIBLING} without attention", **plain.metrics_})
        self.details_["baselines_by_horizon"][f"{SIBLING} without attention"] = [
            row["mae"] for row in plain.details_["by_horizon"]
        ]

    @property
    def _net(self) -> ForecastNetwork:
        return cast("ForecastNetwork", self.network_)

    def report(self) -> str | None:
        """The report as one self-contained HTML page."""
        from saiki.models.forecast_report import report_of

        self._require_fitted()
        return report_of(self)

    # ---- what a user asks ----------------------------------------------------------------------------------

    def backtest(self, data: object, *, start: Part = None, every: int = 1) -> Backtest:
        """Forecast from many origins of a table and measure the forecasts; nothing is learned from it.

        In a stream the table is read from its first row, whatever was read before.

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
        learned, windows, raws, forecasts = self._origins(data, start, every)
        return measure(forecasts, learned, windows, raws, self.baselines and not inside_search())

    def score(self, data: object, y: object = None) -> float:
        """Skill over the naive forecast, 1 - MAE / MAE of seasonal-naive; 1 is perfect, 0 no better.

        Args:
            data: a table; every origin with a whole context is forecast.
            y: ignored.
        """
        del y
        learned, windows, raws, forecasts = self._origins(data, None, 1)
        return skill(forecasts, learned, windows, raws)

    def _origins(
        self, data: object, start: Part, every: int
    ) -> tuple[Learned, WindowSource, list[Raw], Forecasts]:
        """The windows of a backtest, the rows they are cut from, and the model's forecasts of them."""
        self._require_fitted()
        require_int(every, "every", 1)
        table = self._table(data)
        check_table(table, self.columns_, self.missing)
        raws = [used_rows(raw, self.until) for raw in read_raw(table, self.columns_)]
        firsts = [
            min(self.context_, len(raw)) if start is None else first_row(raw, start, "start") for raw in raws
        ]
        spans = [slice(first, len(raw)) for first, raw in zip(firsts, raws)]
        before = [raw.rows(slice(0, span.start)) for raw, span in zip(raws, spans)]
        learned = self.learned_.admitting(before)
        panel = make_panel(raws, learned.columns, learned.scaling)
        every_span = [span for span in spans for _ in range(learned.copies)]
        index = learned.index(panel, raws, self.horizon).within(every_span)
        if every > 1 and len(index):
            first = np.full(panel.series, np.iinfo(np.int64).max)
            np.minimum.at(first, index.series, index.step)
            index = index.select((index.step - first[index.series]) % every == 0)
        windows = learned.windows(panel, index, "backtest", self.network_)
        seasonal = learned.seasonal_of(before)
        if self.mode == "stream":
            return learned, windows, raws, stream_origins(self, learned, raws, windows, seasonal)
        return learned, windows, raws, forecast_windows(self._net, learned, windows, raws, seasonal)

    def forecast(self, data: object = None, steps: int | None = None, *, future: object = None) -> Any:  # noqa: ANN401
        """Forecast what comes after the last row.

        Args:
            data: a table with the columns that fit saw, to go on from its end; None goes on from the end of
                the table that fit saw, or, in a stream, of the last `update`. In a stream the table is read
                from its first row and leaves nothing behind; `update` is for rows that go on.
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
        form, style = self.columns_.form, self.columns_.style
        if data is not None:
            data = self._table(data)
            form, style = data.form, data.time_style
        learned, raws, found = self._beyond(data, H, future)
        columns = as_columns(learned, raws, found, H)
        return like_form(columns, form, time=self.columns_.time, style=style)

    def predict(self, data: object = None, *, future: object = None) -> Array:
        """The point forecasts after the last row, as an array.

        Args:
            data: see `forecast`.
            future: see `forecast`.

        Returns:
            (H, columns): one column a target; with an id column, the targets of each id side by side.
        """
        self._require_fitted()
        _, _, found = self._beyond(data, self.horizon, future)
        flat: Array = np.moveaxis(found.point, 1, 0).reshape(self.horizon, -1)
        return flat

    def _beyond(self, data: object, steps: int, future: object) -> tuple[Learned, list[Raw], Answer]:
        """What was learned (with a scaling for new series), each context, and the forecasts after it."""
        columns = self.columns_
        rows_ahead = None if future is None else self._table(future, targets=False)
        if self.mode == "stream":
            return stream_beyond(self, None if data is None else self._table(data), rows_ahead, steps)
        raws = self.learned_.tail if data is None else history(self._table(data), columns, self.missing)
        ahead = covariates_ahead(raws, columns, steps, rows_ahead)
        learned = self.learned_.admitting([raw.rows(slice(0, end_of(raw, columns))) for raw in raws])
        cut = contexts(raws, learned)
        return learned, cut, beyond(self._net, learned, cut, ahead, steps)

    def transform(self, data: object) -> Array:
        """The last hidden representation of each series' newest context, usable as features.

        Args:
            data: a table with the columns that fit saw.

        Returns:
            (series, D).
        """
        self._require_fitted()
        if self.mode == "stream":
            return stream_hidden(self, self._table(data))
        raws = history(self._table(data), self.columns_, self.missing)
        learned = self.learned_.admitting(raws)
        cut = contexts(raws, learned)
        H, F = learned.framing.horizon, self.columns_.future_size
        longer = extended(cut, [np.zeros((H, F))] * len(cut), learned, H)
        windows = last_windows(longer, learned, self._net)
        with torch.inference_mode():
            hidden: Array = self._net.hidden(windows.inputs()[0]).cpu().numpy()
        return hidden

    def update(self, data: object, *, learn: bool = True) -> Self:
        """Read new rows of the stream one after another, and learn from each target as it arrives.

        At each row the model first learns the step whose H targets are now there, by the learning rule, then
        forecasts from the row. State, pending targets, running scaling and optimiser go on from call to call
        and are saved with the model: rows given one by one, in blocks, or after `saiki.load` lead to the same
        bits. `online_` has the figures of the forecasts whose targets arrived, each made before any of them
        was seen, beside the simple models'.

        The rate is `lr`, without a schedule; clipping, penalties and groups are `training`'s. With rule BPTT
        the gradient reaches back over the context (16 to 128 steps).

        Args:
            data: the rows after the last one read, in the form of fit's table, or as numbers: 3.2, a list of
                rows. Where covariates are known ahead, rows at the end without a target are rows to come.
            learn: False reads, forecasts and measures, but changes no weight.

        Returns:
            self.

        Raises:
            UsageError: the model reads windows.
            NotFittedError: before fit.
            DataError, ShapeError: rows that do not go on from the last one, an infinite or (with
                missing="error") missing value, another number of columns. The stream is as it was.
            NonFiniteError: a loss or a gradient became NaN or infinite. The model is as it was.
        """
        if self.mode != "stream":
            raise UsageError(
                f"update is for a forecaster that reads a stream, and this one has mode={self.mode!r}: it "
                "looks at windows of the past and keeps nothing from row to row.",
                "Fit it with mode='stream', or fit it again with the new rows.",
            )
        self._require_fitted()
        require_bool(learn, "learn")
        table = self._table(plain_rows(data), gaps="keep")
        self.stream_, self.learned_, self.online_ = update_stream(self, table, learn=learn)
        self.details_ = {**self.details_, "online": online_details(self.details_.get("online"), self.online_)}
        return self

    # ---- files ---------------------------------------------------------------------------------------------

    def _stream_tensors(self) -> dict[str, Array]:
        return stream_tensors(self.stream_) if self.mode == "stream" and hasattr(self, "stream_") else {}

    def _restore_stream(self, tensors: Mapping[str, Array]) -> None:
        if self.mode != "stream":
            super()._restore_stream(tensors)
        self.stream_ = stream_from(tensors, online_of(self))

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

    def _fitted(self) -> ForecasterFitted:
        return taken_apart(self.learned_)[0]

    def _tensors(self) -> dict[str, Array]:
        return taken_apart(self.learned_)[1]

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
        del output_size  # the stack's; the head's follows from what is asked
        if self.mode == "stream":
            return build_stack(layers, input_size, fitted.shape(), source=source, dtype=dtype, device=None)
        network = build_network(layers, input_size, fitted.shape(), source=source, dtype=dtype, device=None)
        return cast("Stack", network)

    def _restore(self, fitted: ForecasterFitted, tensors: Mapping[str, Array]) -> None:
        asked = 1 if self.strategy == "recursive" else self.horizon
        if fitted.asked != asked:
            raise SchemaError(f"the network answers {fitted.asked} steps, but the options ask for {asked}.")
        if (fitted.stream is None) != (self.mode == "window"):
            raise SchemaError(f"mode is {self.mode!r}, but what was learned is of the other mode.")
        self.learned_ = put_together(fitted, tensors, horizon=self.horizon, strategy=self.strategy)
        columns = fitted.columns
        self.n_features_in_ = columns.panel_targets + columns.past_size + columns.future_size
        self.backtest_ = self.online_ = None
