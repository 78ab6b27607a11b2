"""What a fitted forecaster keeps in its model folder besides options and weights, and the way back.

Nothing that is read is believed: names are enumerated, numbers bounded, and every array's shape is compared
with what the columns and the options ask for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Le

from saiki.core.errors import SchemaError
from saiki.data import Scaler
from saiki.models.baselines import LAG_SCALINGS, LagRegression
from saiki.models.forecast_model import Learned, Strategy
from saiki.models.forecast_network import ForecastShape
from saiki.models.forecast_paths import Spread
from saiki.models.forecast_rows import StreamFraming
from saiki.models.forecast_table import Columns, Raw, Scaling
from saiki.models.forecast_windows import Array, Framing

_MOST = 2**24  # steps, series, columns: more than any table that fits into memory would need
Count = Annotated[int, Ge(1), Le(_MOST)]
Size = Annotated[int, Ge(0), Le(_MOST)]


@dataclass(frozen=True, kw_only=True)
class ScalerFile:
    """A `Scaler` without its numbers."""

    kind: Literal["standard", "minmax", "none"]
    columns: list[str]
    series: list[str]


@dataclass(frozen=True, kw_only=True)
class SimpleFile:
    """A lag regression without its numbers; one entry a target of the panel, in the order of the tensors."""

    method: Literal["linear", "ridge", "lasso"]
    scaling: Literal["raw", "window-scaled"]
    alpha: float
    windows: Size


@dataclass(frozen=True, kw_only=True)
class StreamFile:
    """How a stream is shown, without its numbers."""

    mask: bool
    running: bool


@dataclass(frozen=True, kw_only=True)
class ForecasterFitted:
    """What fit learned beside tensors, as config.json keeps it."""

    columns: Columns
    context: Count
    asked: Count
    seed: Annotated[int, Ge(0)]
    season: Count | None
    kind: Literal["point", "quantile", "gaussian"]
    quantiles: list[Annotated[float, Ge(0), Le(1)]]
    levels: list[Annotated[float, Ge(0), Le(1)]]
    known: Size
    highway: bool
    level: bool
    masked: list[Size]
    window_scaling: Literal["last", "mean"] | None
    numbers: ScalerFile
    static: ScalerFile
    ids: list[str | int | float | None]
    dated: bool
    simple: list[list[SimpleFile]]
    calibrated: Literal["quantiles", "residuals"] | None
    stream: StreamFile | None = None

    def shape(self) -> ForecastShape:
        """What the network answers."""
        return ForecastShape(
            horizon=self.asked,
            targets=self.columns.panel_targets,
            kind=self.kind,
            quantiles=tuple(self.quantiles),
            known=self.known,
            lags=self.context if self.highway else 0,
            level=self.level,
        )


def taken_apart(learned: Learned) -> tuple[ForecasterFitted, dict[str, Array]]:
    """The part for config.json and the part for model.safetensors."""
    shape, framing, spread, tail = learned.shape, learned.framing, learned.spread, learned.tail
    dated = tail[0].times is not None and tail[0].times.dtype.kind == "M"
    fitted = ForecasterFitted(
        columns=learned.columns,
        context=learned.context,
        asked=shape.horizon,
        seed=learned.seed,
        season=learned.season,
        kind=shape.kind,
        quantiles=list(shape.quantiles),
        levels=list(spread.levels),
        known=shape.known,
        highway=shape.lags > 0,
        level=framing.level,
        masked=list(framing.masked),
        window_scaling=framing.window_scaling,
        numbers=ScalerFile(**learned.scaling.numbers.to_config()),
        static=ScalerFile(**learned.scaling.static.to_config()),
        ids=[_plain(raw.value) for raw in tail],
        dated=dated,
        simple=[
            [SimpleFile(method=m.method, scaling=m.scaling, alpha=m.alpha, windows=m.windows) for m in each]  # type: ignore[arg-type]
            for each in learned.simple
        ],
        calibrated="residuals" if spread.residuals is not None else "quantiles",
        stream=None
        if learned.stream is None
        else StreamFile(mask=learned.stream.mask, running=learned.stream.running),
    )
    tensors = {
        **{f"numbers.{name}": value for name, value in learned.scaling.numbers.tensors().items()},
        **{f"static.{name}": value for name, value in learned.scaling.static.tensors().items()},
        "window.spread": framing.spread,
        "stretch": spread.stretch,
        "seasonal": learned.seasonal,
        "tail.numbers": np.stack([raw.numbers for raw in tail]),
        "tail.past": np.stack([raw.past_levels for raw in tail]),
        "tail.future": np.stack([raw.future_levels for raw in tail]),
        "tail.static": np.stack([raw.static for raw in tail]),
    }
    if learned.stream is not None:
        tensors |= {"stream.shown": learned.stream.shown, "stream.asked": learned.stream.asked}
    if spread.residuals is not None:
        tensors["residuals"] = spread.residuals
    if tail[0].times is not None:
        times = np.stack([raw.times for raw in tail if raw.times is not None])
        tensors["tail.times"] = times.astype(np.int64) if dated else times.astype(np.float64)
    for k, each in enumerate(learned.simple):
        for place, model in enumerate(each):
            tensors[f"simple.{k}.{place}.weight"] = model.weight
            tensors[f"simple.{k}.{place}.bias"] = model.bias
    return fitted, {name: np.ascontiguousarray(value) for name, value in tensors.items()}


def _plain(value: object) -> str | int | float | None:
    if isinstance(value, np.generic):
        value = value.item()
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


def put_together(
    fitted: ForecasterFitted,
    given: Mapping[str, Array],
    *,
    horizon: int,
    strategy: Strategy,
) -> Learned:
    """The way back from `taken_apart`.

    Raises:
        SchemaError: names and numbers do not fit each other.
    """
    columns, shape = fitted.columns, fitted.shape()
    tensors = dict(given)
    S, K, C = len(columns.known_series), columns.panel_targets, fitted.context
    n = len(columns.ids)
    _check_names(fitted)
    if len(fitted.ids) != n:
        raise SchemaError(f"{len(fitted.ids)} ids are kept, but the columns name {n}.")

    def take(name: str, *size: int, positive: bool = False, gaps: bool = False) -> Array:
        if name not in tensors:
            raise SchemaError(f"tensor {name} is missing but must be {size}.")
        array = np.asarray(tensors.pop(name))
        if array.shape != size or array.dtype.kind not in "fi":
            raise SchemaError(f"tensor {name} is {array.shape} of {array.dtype} but must be numbers, {size}.")
        bad = np.isinf(array) if gaps else ~np.isfinite(array)
        if bad.any() or (positive and (array <= 0).any()):
            raise SchemaError(
                f"tensor {name} holds values that are not {'positive' if positive else 'finite'}."
            )
        return array

    numbers = _scaler(fitted.numbers, columns.numbers, "numbers", tensors)
    if numbers.series and set(numbers.series) != set(columns.ids):
        raise SchemaError("the scaling names other series than the columns do.")
    statics = [f"static {i}" for i in range(columns.static_size)]
    static = _scaler(fitted.static, statics, "static", tensors)
    framing = Framing(
        context=C,
        horizon=shape.horizon,
        window_scaling=fitted.window_scaling,
        level=fitted.level,
        masked=tuple(fitted.masked),
        spread=take("window.spread", K, positive=True),
    )
    residuals = None
    if fitted.calibrated == "residuals":
        residuals = take("residuals", shape.horizon, K, len(fitted.levels))
    spread = Spread(
        levels=tuple(fitted.levels),
        stretch=take("stretch", shape.parameters, positive=True),
        residuals=residuals,
    )
    rows = {
        "numbers": take("tail.numbers", n, C, len(columns.numbers), gaps=True),
        "past": take("tail.past", n, C, _one_hot(columns, columns.past)),
        "future": take("tail.future", n, C, _one_hot(columns, columns.future)),
        "static": take("tail.static", n, columns.static_size),
    }
    times = take("tail.times", n, C) if columns.time is not None else None
    if times is not None and fitted.dated:
        times = times.astype("datetime64[us]")
    tail = [
        Raw(
            id=name,
            value=fitted.ids[place],
            times=None if times is None else times[place],
            numbers=rows["numbers"][place],
            past_levels=rows["past"][place],
            future_levels=rows["future"][place],
            static=rows["static"][place],
        )
        for place, name in enumerate(columns.ids)
    ]
    seasonal = take("seasonal", S, K, gaps=True)
    stream = None
    if fitted.stream is not None:
        stream = StreamFraming(
            horizon=shape.horizon,
            context=C,
            window_scaling=fitted.window_scaling,
            level=fitted.level,
            mask=fitted.stream.mask,
            running=fitted.stream.running,
            shown=take("stream.shown", K, positive=True),
            asked=take("stream.asked", K, positive=True),
        )
    simple = [
        [
            LagRegression(
                entry.method,
                entry.scaling,
                take(f"simple.{k}.{place}.weight", horizon, C),
                take(f"simple.{k}.{place}.bias", horizon),
                entry.alpha,
                entry.windows,
            )
            for place, entry in enumerate(each)
        ]
        for k, each in enumerate(fitted.simple)
    ]
    if tensors:
        raise SchemaError(f"there is a tensor {sorted(tensors)[0]!r}, which the model has no place for.")
    return Learned(
        columns=columns,
        horizon=horizon,
        strategy=strategy,
        seed=fitted.seed,
        context=C,
        season=fitted.season,
        framing=framing,
        shape=shape,
        scaling=Scaling(numbers, static),
        spread=spread,
        tail=tail,
        seasonal=seasonal,
        simple=simple,
        stream=stream,
    )


def _check_names(fitted: ForecasterFitted) -> None:
    columns = fitted.columns
    K = columns.panel_targets
    if not columns.targets or not columns.ids:
        raise SchemaError("the columns name no target or no series.")
    if fitted.known != columns.future_size:
        raise SchemaError(
            f"known is {fitted.known} but the columns have {columns.future_size} covariates ahead."
        )
    if any(not 0 <= column < K + columns.past_size for column in fitted.masked):
        raise SchemaError(f"masked names columns {fitted.masked}, but there are {K + columns.past_size}.")
    for name in ("quantiles", "levels"):
        levels: Sequence[float] = getattr(fitted, name)
        if list(levels) != sorted(set(levels)) or any(not 0 < level < 1 for level in levels):
            raise SchemaError(f"{name} are {levels} but must ascend between 0 and 1.")
    if fitted.kind == "quantile":
        if 0.5 not in fitted.quantiles or not set(fitted.levels) <= set(fitted.quantiles):
            raise SchemaError(
                f"levels {fitted.levels} and 0.5 must be among the quantiles {fitted.quantiles}."
            )
    elif fitted.quantiles:
        raise SchemaError(f"a network of kind {fitted.kind!r} has no quantiles.")
    if fitted.simple and len(fitted.simple) != K:
        raise SchemaError(f"there are {len(fitted.simple)} sets of simple models but {K} targets.")


def _scaler(file: ScalerFile, columns: Sequence[str], name: str, tensors: dict[str, Array]) -> Scaler:
    if list(file.columns) != list(columns):
        raise SchemaError(f"the scaling of {name} is of {file.columns} but must be of {list(columns)}.")
    parts: dict[str, Array] = {}
    for part in ("center", "scale"):
        if f"{name}.{part}" not in tensors:
            raise SchemaError(f"tensor {name}.{part} is missing.")
        parts[part] = tensors.pop(f"{name}.{part}")
    config: dict[str, Any] = {"kind": file.kind, "columns": file.columns, "series": file.series}
    return Scaler.restore(config, parts)


def _one_hot(columns: Columns, names: Sequence[str]) -> int:
    return sum(len(columns.levels[name]) for name in names if name in columns.levels)


assert LAG_SCALINGS == ("raw", "window-scaled")  # SimpleFile spells them out
