"""The forecaster's options: as config.json keeps them, checked, and what follows for loss and network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from torch import Tensor

from saiki.core.checks import require_bool, require_int
from saiki.core.errors import DTypeError, OptionError, ValueRangeError
from saiki.learning import BPTT, get_rule
from saiki.losses import Gaussian, Quantile, get_loss
from saiki.models.forecast_network import Kind
from saiki.models.forecast_table import column_names
from saiki.models.options import CommonOptions

if TYPE_CHECKING:
    from saiki.models.forecaster import Forecaster

ScalingOption: TypeAlias = Literal["standard", "minmax", "series", "running"]
Mode: TypeAlias = Literal["window", "stream"]
MissingOption: TypeAlias = Literal["error", "interpolate", "mask"]
GapsOption: TypeAlias = Literal["error", "complete", "keep"]
Part: TypeAlias = float | int | str | None


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
    unit: str
    mode: str = "window"  # model folders older than the option lack it
    attention: bool = False  # and this one


def check_options(model: Forecaster) -> None:
    """Refuse options that make no sense, before anything is read.

    Raises:
        OptionError, DTypeError, ValueRangeError: which one, and what it must be.
    """
    require_int(model.horizon, "horizon", 1)
    if model.context is not None:
        require_int(model.context, "context", 1)
    if model.season is not None:
        require_int(model.season, "season", 1)
    for name in ("level", "highway", "calibrate", "sort", "attention"):
        require_bool(getattr(model, name), name)
    if not isinstance(model.unit, str):
        raise DTypeError(f"unit is {model.unit!r} but must be text such as 'ppm', or ''.")
    for name, known in (
        ("strategy", ("direct", "recursive")),
        ("series", ("shared", "joint")),
        ("ids", (None, "one_hot", "embed")),
        ("mode", ("window", "stream")),
        ("scaling", (None, "series", "standard", "minmax", "running")),
        ("window_scaling", (None, "last", "mean")),
        ("missing", ("error", "interpolate", "mask")),
        ("gaps", (None, "error", "complete", "keep")),
    ):
        value = getattr(model, name)
        if value not in known:
            shown = ", ".join(repr(option) for option in known)
            raise OptionError(f"{name} is {value!r} but must be one of {shown}.")
    if model.mode == "stream":
        check_stream_options(model)
    elif model.scaling == "running":
        raise OptionError(
            "scaling is 'running', which moves with the rows of a stream, but mode is 'window'.",
            "Use mode='stream', or scaling='series'.",
        )
    elif not isinstance(get_rule(model._training().rule), BPTT):
        raise OptionError(
            f"rule is {get_rule(model._training().rule)!r}, which carries a state from one stretch of a "
            "sequence to the next, but a forecaster of windows starts each of them anew and answers at "
            "its end.",
            "Leave rule out, which is BPTT through the whole context, or use a shorter context.",
        )
    if model.ids is not None and model.series == "joint":
        raise OptionError(
            "ids tells a shared network its series apart, but series='joint' shows all of them at once.",
            "Use ids=None.",
        )
    levels_of(model)
    if model.targets is not None:
        column_names(model.targets, "targets")


def check_stream_options(model: Forecaster) -> None:
    """Refuse what only windows have.

    Raises:
        OptionError: step-by-step answers, or two directions of time.
    """
    if model.strategy != "direct":
        raise OptionError(
            f"strategy is {model.strategy!r}, but a stream is answered with its whole horizon at each row.",
            "Leave strategy out, or use mode='window'.",
        )
    if model.attention:
        raise OptionError(
            "attention is True, but it weighs the steps of a window, and a stream has none: its state is all "
            "that is kept of the past.",
            "Use attention=False, or mode='window'.",
        )
    if model.bidirectional:
        raise OptionError(
            "bidirectional is True, but a stream is read row by row: the backward direction starts in the "
            "future, which is not there yet.",
            "Use bidirectional=False, or mode='window'.",
        )


def levels_of(model: Forecaster) -> tuple[float, ...]:
    """The quantiles asked for, checked; empty for points alone."""
    if model.quantiles is None:
        return ()
    if isinstance(model.quantiles, (str, int, float)):
        raise DTypeError(
            f"quantiles is {model.quantiles!r} but must be a list such as (0.1, 0.5, 0.9), or None."
        )
    levels = tuple(model.quantiles)
    numbers = all(isinstance(q, (int, float)) and not isinstance(q, bool) and 0 < q < 1 for q in levels)
    if not levels or not numbers or list(levels) != sorted(set(levels)):
        raise ValueRangeError(
            f"quantiles is {levels!r} but must be ascending numbers between 0 and 1.",
            "For example (0.1, 0.5, 0.9).",
        )
    return tuple(float(q) for q in levels)


def loss_of(model: Forecaster) -> Callable[..., Tensor]:
    """The row loss."""
    levels, loss = levels_of(model), model.loss
    if loss == "cross_entropy":
        raise OptionError("loss='cross_entropy' is for classes, but a forecast is a number.", "Use 'auto'.")
    if loss == "quantile" and not levels:
        raise OptionError("loss='quantile' needs quantiles.", "Give quantiles=(0.1, 0.5, 0.9).")
    if isinstance(loss, Quantile) and not {0.5, *levels} <= set(loss.quantiles):
        raise OptionError(
            f"the loss has the quantiles {loss.quantiles}, but 0.5 and {levels} must be among them.",
            "Use loss='auto', which takes the forecaster's own.",
        )
    kind, quantiles = kind_of(model)
    if kind == "quantile":
        return Quantile(quantiles)
    return get_loss("squared" if loss == "auto" else loss)


def kind_of(model: Forecaster) -> tuple[Kind, tuple[float, ...]]:
    """What the network answers, and at which quantiles (the median is always among them)."""
    levels, loss = levels_of(model), model.loss
    if isinstance(loss, Quantile):
        return "quantile", tuple(loss.quantiles)
    if loss == "quantile" or (loss == "auto" and levels):
        return "quantile", tuple(sorted({*levels, 0.5}))
    return ("gaussian" if loss == "gaussian" or isinstance(loss, Gaussian) else "point"), ()
