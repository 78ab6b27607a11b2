"""A stream's state as tensors for stream.safetensors, and the way back.

What is read is compared with what the columns and the network ask for; a state of another model is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch

from saiki.core.errors import SaikiError, SchemaError
from saiki.learning import RuleState, TruncatedBPTT, Updater
from saiki.models.forecast_model import Learned
from saiki.models.forecast_online import Online, Stream, generators_of
from saiki.models.forecast_rows import Reader, Reading
from saiki.models.forecast_table import Raw
from saiki.models.forecast_windows import Array

_RAW = ("numbers", "past_levels", "future_levels")


def stream_tensors(stream: Stream) -> dict[str, Array]:
    """The state as flat arrays; rows of several series lie end to end."""
    found: dict[str, Array] = {
        "counts": np.array([stream.rows, stream.updates], dtype=np.int64),
        "scored": np.array(stream.scored, dtype=np.int64),
        "pending.lengths": np.array([len(reading) for reading in stream.pending], dtype=np.int64),
        "known.lengths": np.array([len(reading.known) for reading in stream.pending], dtype=np.int64),
        "tail.lengths": np.array([len(raw) for raw in stream.tails], dtype=np.int64),
        "points": np.concatenate(stream.points),
        "quantiles": np.concatenate(stream.quantiles),
    }
    for field in fields(Reader):
        found[f"reader.{field.name}"] = np.stack([getattr(reader, field.name) for reader in stream.readers])
    for field in fields(Reading):
        parts = [getattr(reading, field.name) for reading in stream.pending]
        found[f"pending.{field.name}"] = (
            np.stack(parts) if field.name == "constant" else np.concatenate(parts)
        )
    for name in _RAW:
        found[f"tail.{name}"] = np.concatenate([getattr(raw, name) for raw in stream.tails])
    times = [raw.times for raw in stream.tails if raw.times is not None]
    if times:
        joined = np.concatenate(times)
        found["tail.times"] = (
            joined.astype(np.int64) if joined.dtype.kind == "M" else joined.astype(np.float64)
        )
    for prefix, tensors in (
        ("rule", stream.rule.tensors),
        ("optimiser", stream.optimiser),
        ("generator", stream.generators),
    ):
        for name, value in tensors.items():
            found[f"{prefix}/{name}"] = value.detach().cpu().numpy()
    return {name: np.array(value, order="C") for name, value in found.items()}  # keeps numbers without axes


def stream_from(given: Mapping[str, Array], online: Online) -> Stream:
    """The way back from `stream_tensors`.

    Raises:
        SchemaError: names or shapes do not fit the model.
    """
    tensors = {name: np.asarray(value) for name, value in given.items()}
    learned = online.learned
    columns = learned.columns
    S, H, K, n = len(columns.known_series), learned.horizon, columns.panel_targets, len(columns.ids)

    def take(name: str, *size: int | None, whole: bool = False) -> Array:
        if name not in tensors:
            raise SchemaError(f"tensor {name} is missing.")
        array = tensors.pop(name)
        wrong = len(array.shape) != len(size) or any(
            wanted is not None and came != wanted for came, wanted in zip(array.shape, size)
        )
        if wrong or array.dtype.kind not in ("i" if whole else "fib"):
            wanted = ", ".join("·" if each is None else str(each) for each in size)
            raise SchemaError(f"tensor {name} is {array.shape} of {array.dtype} but must be ({wanted}).")
        if whole and (array < 0).any():
            raise SchemaError(f"tensor {name} holds a number below 0.")
        if array.dtype.kind == "f" and np.isinf(array).any():
            raise SchemaError(f"tensor {name} holds an infinite value.")
        return array

    rows, updates = take("counts", 2, whole=True).tolist()
    scored = take("scored", S, whole=True).tolist()
    lengths = take("pending.lengths", S, whole=True).tolist()
    known = take("known.lengths", S, whole=True).tolist()
    tails = take("tail.lengths", n, whole=True).tolist()
    if max(lengths) > 2**31 or any(a > b for a, b in zip(scored, lengths)):
        raise SchemaError("the pending steps are counted wrongly.")
    total, levels = sum(lengths), given["quantiles"].shape[-1] if "quantiles" in given else 0
    points = take("points", total, H, K)
    quantiles = take("quantiles", total, H, K, levels)
    readers = _readers(take, columns.numbers, columns.targets, n)
    pending = _pending(take, learned, lengths, known)
    stream = Stream(
        readers=readers,
        tails=_tails(take, learned, tails),
        pending=pending,
        points=_cut(points, lengths),
        quantiles=_cut(quantiles, lengths),
        scored=scored,
        rule=RuleState(_under("rule", tensors, online)),
        optimiser=_under("optimiser", tensors, online),
        generators=_under("generator", tensors, online),
        rows=rows,
        updates=updates,
    )
    if tensors:
        raise SchemaError(f"there is a tensor {sorted(tensors)[0]!r}, which the stream has no place for.")
    _require_fitting(stream, online)
    return stream


def _readers(take: Any, numbers: Sequence[str], targets: Sequence[str], n: int) -> list[Reader]:  # noqa: ANN401
    N, K = len(numbers), len(targets)
    parts = {
        field.name: take(f"reader.{field.name}", n, K if field.name == "level" else N)
        for field in fields(Reader)
    }
    return [Reader(**{name: part[place] for name, part in parts.items()}) for place in range(n)]


def _pending(
    take: Any,  # noqa: ANN401
    learned: Learned,
    lengths: Sequence[int],
    known: Sequence[int],
) -> list[Reading]:
    columns = learned.columns
    S, K, F, total = len(columns.known_series), columns.panel_targets, columns.future_size, sum(lengths)
    widths = {
        "inputs": None,
        "level": K,
        "center": K,
        "scale": K,
        "ready": K,
        "truth": K,
        "known_center": F,
        "known_scale": F,
    }
    parts = {name: _cut(take(f"pending.{name}", total, width), lengths) for name, width in widths.items()}
    parts["known"] = _cut(take("pending.known", sum(known), F), known)
    parts["constant"] = list(take("pending.constant", S, None))
    for ready in parts["ready"]:
        if ready.dtype != np.bool_:
            raise SchemaError("tensor pending.ready must hold truth values.")
    return [Reading(**{name: part[series] for name, part in parts.items()}) for series in range(S)]


def _tails(take: Any, learned: Learned, lengths: Sequence[int]) -> list[Raw]:  # noqa: ANN401
    columns, total = learned.columns, sum(lengths)
    sizes = {
        "numbers": len(columns.numbers),
        "past_levels": columns.past_size - len(columns.plain(columns.past)),
        "future_levels": columns.future_size - len(columns.plain(columns.future)),
    }
    parts = {name: _cut(take(f"tail.{name}", total, width), lengths) for name, width in sizes.items()}
    times = None
    if columns.time is not None:
        joined = take("tail.times", total)
        times = _cut(joined.astype("datetime64[us]") if joined.dtype.kind == "i" else joined, lengths)
    return [
        Raw(
            id=old.id,
            value=old.value,
            times=None if times is None else times[place],
            static=old.static,
            **{name: part[place] for name, part in parts.items()},
        )
        for place, old in enumerate(learned.tail)
    ]


def _cut(array: Array, lengths: Sequence[int]) -> list[Array]:
    return np.split(array, np.cumsum(lengths)[:-1])


def _under(prefix: str, tensors: dict[str, Array], online: Online) -> dict[str, torch.Tensor]:
    start = prefix + "/"
    device = next(online.network.parameters()).device
    found = {}
    for name in [name for name in tensors if name.startswith(start)]:
        value = torch.from_numpy(np.array(tensors.pop(name), order="C"))
        found[name.removeprefix(start)] = value if prefix == "generator" else value.to(device)
    return found


def _require_fitting(stream: Stream, online: Online) -> None:
    """The rule's, the optimiser's and the generators' tensors are those of this network."""
    wanted = online.rule.start(online.network, len(stream.pending)).tensors
    for name, value in wanted.items():
        came = stream.rule.tensors.get(name)
        if came is None or came.shape != value.shape or came.dtype != value.dtype:
            shape = "missing" if came is None else f"{tuple(came.shape)} of {came.dtype}"
            raise SchemaError(
                f"tensor rule/{name} is {shape} but must be {tuple(value.shape)} of {value.dtype}."
            )
    for name, value in stream.rule.tensors.items():
        if value.shape[:1] != (len(stream.pending),):
            raise SchemaError(
                f"tensor rule/{name} is {tuple(value.shape)} but must be of {len(stream.pending)} series."
            )
    if isinstance(online.rule, TruncatedBPTT) and online.rule.window > online.rule.every:
        size = (len(stream.pending), online.rule.window - online.rule.every, online.network.input_size)
        came = stream.rule.tensors.get("inputs")
        if came is None or came.shape != size:
            shape = "missing" if came is None else f"{tuple(came.shape)}"
            raise SchemaError(f"tensor rule/inputs is {shape} but must be {size}.")
    theirs = {name: (value.shape, value.dtype) for name, value in generators_of(online.network).items()}
    if {name: (value.shape, value.dtype) for name, value in stream.generators.items()} != theirs:
        raise SchemaError("the random generators are those of another network.")
    kept: dict[str, set[str]] = {}
    for name in stream.optimiser:
        kept.setdefault(name.rpartition("/")[0], set()).add(name.rpartition("/")[2])
    if any(quantities != next(iter(kept.values())) for quantities in kept.values()):
        raise SchemaError("the optimiser lacks quantities of some parameters.")
    width = stream.pending[0].features(online.learned.stream, 0, 0).shape[1]  # type: ignore[arg-type]
    if width != online.network.input_size:
        raise SchemaError(
            f"the rows have {width} features but the network takes {online.network.input_size}."
        )
    training = online.training
    try:
        Updater(training.optimizer, online.network, lr=online.lr).load(stream.optimiser)  # type: ignore[arg-type]
    except SaikiError as error:
        raise SchemaError(error.message, error.hint) from error
