"""The forecaster that reads a stream from its first row: one recurrent network that carries its state.

    s_t = cell(s_{t-1}, x_t)      x_t as `forecast_rows` shows the row
    a_t = W h_t + b               (H, K, P), P parameters a forecast, read as the window forecaster reads them

At every step the network answers the next H rows. The network is a plain `Stack`, so any learning rule takes
it; how its numbers are ordered into quantiles belongs to the loss (`StreamLoss`) and to `decoded`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from saiki.core.errors import DataError, OptionError
from saiki.core.ragged import Ragged
from saiki.learning import Batch
from saiki.losses import get_loss
from saiki.models.forecast_model import Learned
from saiki.models.forecast_network import ForecastShape, ordered, spread_bias
from saiki.models.forecast_paths import Answer, answer, spread_from
from saiki.models.forecast_rows import Reader, Reading, StreamFraming, read_rows, scaled_inputs, spreads
from saiki.models.forecast_scores import Forecasts
from saiki.models.forecast_table import Columns, Raw
from saiki.models.forecast_windows import Array, WindowSource
from saiki.models.options import Layer
from saiki.nn import Dense, DenseConfig, Stack
from saiki.nn.flow import Layer as FlowLayer
from saiki.nn.recurrent import RecurrentLayer

_AT_ONCE = 65_536  # rows run at once where no gradient is kept; changes memory only


def decoded(outputs: Tensor, shape: ForecastShape) -> Tensor:
    """(N, H·K·P) of the network to (N, H, K), (N, H, K, 2) or (N, H, K, Q), quantiles in order."""
    a = outputs.reshape(len(outputs), shape.horizon, shape.targets, shape.parameters)
    if shape.kind == "point":
        return a[..., 0]
    return a if shape.kind == "gaussian" else ordered(a, shape.median)


@dataclass(frozen=True)
class StreamLoss:
    """The loss of one step's forecasts: `base` on what `decoded` makes of the network's numbers.

    Attributes:
        base: one value a row, of (N, H, K[, P]) outputs and (N, H, K) targets.
        shape: what the network answers.
    """

    base: Callable[..., Tensor]
    shape: ForecastShape

    def __call__(self, outputs: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        """(N,) mean over each row's observed targets."""
        value: Tensor = get_loss(self.base)(decoded(outputs, self.shape), targets, mask)
        return value


def build_stack(
    layers: Sequence[Layer],
    features: int,
    shape: ForecastShape,
    *,
    source: torch.Generator,
    dtype: torch.dtype,
    device: torch.device | str | None,
) -> Stack:
    """The network of a stream: the layers, and a head of H·K·P outputs a step.

    Raises:
        OptionError: a layer looks at other steps or runs backwards, or nothing is recurrent.
    """
    outputs = shape.horizon * shape.targets * shape.parameters
    head = ("head", DenseConfig(size=outputs))
    stack = Stack.build([*layers, head], features, generator=source, dtype=dtype, device=device)
    recurrent = False
    for name, layer in stack.layers.items():
        if isinstance(layer, RecurrentLayer):
            recurrent = True
            if layer.bidirectional:
                raise OptionError(
                    f"layer {name!r} is bidirectional, but a stream is read row by row: its backward "
                    "direction starts in the future, which is not there yet.",
                    "Use bidirectional=False, or mode='window'.",
                )
        elif isinstance(layer, FlowLayer) and (layer.over_time or layer.pools):
            raise OptionError(
                f"layer {name!r} ({type(layer).__name__}) looks at other steps, but a stream is answered at "
                "every row, as it comes.",
                "Leave it out, or use mode='window'.",
            )
    if not recurrent:
        raise OptionError(
            "network has no recurrent layer, so nothing carries the past of a stream.",
            "Add one, such as LSTMConfig(hidden_size=32).",
        )
    return stack


@torch.no_grad()
def start_at_level(network: Stack, shape: ForecastShape, targets: Array) -> None:
    """Set the head so that the first forecast is the level, with the spread of what came after it.

    Args:
        network: as `build_stack` made it.
        shape: what it answers.
        targets: (n, H, K) of the training rows.
    """
    head = network.layers["head"]
    assert isinstance(head, Dense) and head.bias is not None
    head.weight.zero_()
    head.bias.copy_(spread_bias(targets, shape).to(head.bias))


@dataclass(frozen=True, eq=False)
class StreamSource:
    """Whole series read from their first row: a `saiki.learning.Source`.

    Attributes:
        readings: one a series.
        spans: the rows whose values are asked for: a step counts if all its H rows lie in the span.
        framing: how they are shown.
        dtype: of the batches.
        device: of the batches.
    """

    readings: Sequence[Reading]
    spans: Sequence[slice]
    framing: StreamFraming
    dtype: torch.dtype = torch.float32
    device: torch.device | str = "cpu"

    def __len__(self) -> int:
        return len(self.readings)

    @cached_property
    def lengths(self) -> Tensor:
        """(n,) rows that are read of each: up to the last step that is asked something."""
        return torch.tensor([max(0, span.stop - self.framing.horizon) for span in self.spans])

    def fingerprint(self) -> str:
        """SHA-256 over what is shown and asked."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256(
            repr(
                (
                    list(self.spans),
                    replace(self.framing, shown=None, asked=None),  # type: ignore[arg-type]
                    self.dtype,
                )
            ).encode()
        )
        for reading in self.readings:
            for array in (
                reading.inputs,
                reading.level,
                reading.center,
                reading.scale,
                reading.truth,
                reading.known,
                reading.constant,
            ):
                digest.update(np.ascontiguousarray(array).tobytes())
        for array in (self.framing.shown, self.framing.asked):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def batch(self, indices: Tensor) -> Batch:
        """The series of these numbers; targets (N, H, K) in packed order, 0 where nothing is asked."""
        inputs, targets = [], []
        for index in indices.tolist():
            reading, span, rows = self.readings[index], self.spans[index], int(self.lengths[index])
            inputs.append(reading.features(self.framing, 0, rows))
            asked = reading.targets(self.framing, 0, rows)
            asked[: max(0, span.start - 1)] = np.nan  # the step before the span asks for its first row
            targets.append(asked)
        return chunk_of(inputs, targets, self.dtype, self.device)


def chunk_of(
    inputs: Sequence[Array], targets: Sequence[Array], dtype: torch.dtype, device: torch.device | str
) -> Batch:
    """A batch of B sequences: (n_b, F) inputs, (n_b, H, K) targets with NaN where nothing is asked."""
    x = ragged_of(inputs, dtype, device)
    y = ragged_of(targets, dtype, device).data
    seen = ~torch.isnan(y)
    return Batch(
        inputs=x,
        targets=torch.where(seen, y, torch.zeros_like(y)),
        mask=None if bool(seen.all()) else seen,
        per_step=True,
    )


def ragged_of(rows: Sequence[Array], dtype: torch.dtype, device: torch.device | str) -> Ragged:
    """Sequences of rows as one ragged batch."""
    return Ragged.from_list(
        [torch.from_numpy(np.ascontiguousarray(each)).to(device=device, dtype=dtype) for each in rows]
    )


# ---- reading tables ----------------------------------------------------------------------------------------


def read_all(
    learned: Learned, raws: Sequence[Raw], ahead: Sequence[Array]
) -> tuple[list[Reading], list[Reader]]:
    """Every id from its first row.

    Args:
        learned: scaling and framing.
        raws: the rows, to the last that was measured.
        ahead: (·, F) covariates known of the rows after them.
    Returns:
        The readings of the panel's series, and a reader an id.
    """
    readings, readers = [], []
    for raw, rest in zip(raws, ahead):
        found, reader = read_rows(
            raw, Reader.fresh(learned.columns), stream_of(learned), learned.columns, learned.scaling, rest
        )
        readings += found
        readers.append(reader)
    return readings, readers


def stream_of(learned: Learned) -> StreamFraming:
    """The stream's framing; a model of windows has none and never gets here."""
    assert learned.stream is not None
    return learned.stream


def measured_spreads(
    learned: Learned, readings: Sequence[Reading], spans: Sequence[slice]
) -> tuple[Learned, list[Reading]]:
    """The framing with the spreads of the training rows, and the readings made again with them."""
    framing = spreads(readings, spans, stream_of(learned))
    return replace(learned, stream=framing), scaled_inputs(readings, framing)


def split_ahead(raw: Raw, columns: Columns, end: int) -> tuple[Raw, Array]:
    """The rows that were measured, and (·, F) the covariates known of the rows to come after them."""
    rest = raw.rows(slice(end, len(raw)))
    first = len(columns.numbers) - len(columns.plain(columns.future))
    return raw.rows(slice(0, end)), np.concatenate([rest.numbers[:, first:], rest.future_levels], axis=1)


# ---- running, nothing learned ------------------------------------------------------------------------------


@torch.inference_mode()
def run_stream(
    network: Stack, learned: Learned, readings: Sequence[Reading], wanted: Sequence[Array]
) -> list[Array]:
    """Read series from their first rows and keep the answers at some.

    Args:
        network: the trained one.
        learned: the rest.
        readings: S series.
        wanted: rows of each, in rising order.
    Returns:
        For each series (len(wanted), H, K[, P]) outputs in the network's units, float64.
    """
    network.eval()
    framing, shape = stream_of(learned), learned.shape
    like = next(network.parameters())
    stops = [int(rows[-1]) + 1 if len(rows) else 0 for rows in wanted]
    each = max(1, _AT_ONCE // max(len(readings), 1))
    found: list[list[Array]] = [[] for _ in readings]
    state = None
    for first in range(0, max(stops, default=0), each):
        part = [
            reading.features(framing, min(first, stop), min(first + each, stop))
            for reading, stop in zip(readings, stops)
        ]
        out, state = network.run(ragged_of(part, like.dtype, like.device), state)
        assert isinstance(out, Ragged)
        for series, rows in enumerate(out.to_list()):
            at = wanted[series][(wanted[series] >= first) & (wanted[series] < first + each)] - first
            chosen = rows[torch.from_numpy(at).to(rows.device)]
            found[series].append(decoded(chosen, shape).double().cpu().numpy())
    tail = {"point": (), "gaussian": (2,), "quantile": (len(shape.quantiles),)}[shape.kind]
    empty = np.zeros((0, shape.horizon, shape.targets, *tail))
    return [np.concatenate([empty, *parts]) for parts in found]


def answered(
    learned: Learned, readings: Sequence[Reading], wanted: Sequence[Array], outputs: Sequence[Array]
) -> Answer:
    """Forecasts in the table's units, (n, H, K) over all series in turn.

    Args:
        learned: how outputs are read.
        readings: S series.
        wanted: rows of each.
        outputs: at these rows, from `run_stream`.
    """
    level, center, scale = (
        np.concatenate([getattr(r, name)[rows] for r, rows in zip(readings, wanted)])
        for name in ("level", "center", "scale")
    )
    read = answer(learned.shape, np.concatenate(outputs), level, stream_of(learned).asked, learned.spread)
    point = read.point * scale[:, None] + center[:, None]
    if read.quantiles is None:
        return Answer(point, None)
    return Answer(point, read.quantiles * scale[:, None, :, None] + center[:, None, :, None])


def stream_forecasts(
    network: Stack, learned: Learned, readings: Sequence[Reading], windows: WindowSource, seasonal: Array
) -> Forecasts:
    """Forecast at the origins of some windows, each from all rows before it, in the table's units.

    Args:
        network: the trained one.
        learned: the rest.
        readings: the series of the windows' panel, from their first rows.
        windows: their origins are forecast; their contexts are what simple models see.
        seasonal: (S, K) mean seasonal differences.
    """
    steps = windows.origins - windows.panel.starts[windows.owner] - 1  # the last row read before an origin
    order = np.lexsort((steps, windows.owner))
    wanted = [steps[order][windows.owner[order] == series] for series in range(len(readings))]
    found = answered(learned, readings, wanted, run_stream(network, learned, readings, wanted))
    back = np.argsort(order)
    truth = np.concatenate(
        [_truth(reading, rows, learned.horizon) for reading, rows in zip(readings, wanted)]
    )[back]
    scale = np.concatenate([reading.scale[rows] for reading, rows in zip(readings, wanted)])[back]
    return Forecasts(
        series=windows.owner,
        origins=steps + 1,
        point=found.point[back],
        quantiles=None if found.quantiles is None else found.quantiles[back],
        levels=learned.spread.levels,
        truth=truth,
        scale=scale,
        seasonal=seasonal[windows.owner],
    )


def _truth(reading: Reading, rows: Array, horizon: int) -> Array:
    """(n, H, K) what came after these rows, which is all there."""
    found: Array = reading.truth[rows[:, None] + np.arange(1, horizon + 1)]
    return found


def fit_stream_spread(
    network: Stack,
    learned: Learned,
    readings: Sequence[Reading],
    spans: Sequence[slice],
    *,
    honest: bool,
    calibrate: bool,
) -> Learned:
    """How wide intervals are, measured at the steps asked for in these spans.

    Args:
        network: the trained one.
        learned: the rest.
        readings: the series from their first rows.
        spans: of the validation part, or of the training part where there is none.
        honest: whether nothing was learned from these rows.
        calibrate: stretch quantiles until each has its share.
    """
    H = learned.horizon
    wanted = [np.arange(max(0, span.start - 1), max(0, span.stop - H)) for span in spans]
    if learned.shape.kind == "gaussian" or not learned.spread.levels:
        return learned
    if learned.shape.kind == "quantile" and not (honest and calibrate):
        return learned
    outputs = np.concatenate(run_stream(network, learned, readings, wanted))
    truth = np.concatenate(
        [r.targets(stream_of(learned), 0, len(r))[rows] for r, rows in zip(readings, wanted)]
    )
    return replace(learned, spread=spread_from(learned.shape, learned.spread, outputs, truth))


def require_rows(readings: Sequence[Reading], names: Sequence[str]) -> None:
    """A stream must hold an observed value to be gone on from.

    Raises:
        DataError: a series has none.
    """
    for reading, name in zip(readings, names):
        if not len(reading) or not reading.ready[-1].any():
            raise DataError(
                f"series {name!r} has no observed value (or too few for its running scale) in its "
                f"{len(reading):,} rows.",
                "Bring a longer history.",
            )
