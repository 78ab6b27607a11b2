"""Checks at the door: public functions call these, the code beneath may assume.

Each returns the checked value in its plain form (a Python int, an int64 tensor on the CPU) or raises an error
that names the argument. torch and numpy are imported inside, so this module costs nothing to import.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from saiki.core.errors import DTypeError, LengthError, ShapeError, ValueRangeError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

__all__ = [
    "as_tensor",
    "channels_first",
    "explain_channels_first",
    "require_bool",
    "require_finite",
    "require_int",
    "require_lengths",
    "require_number",
    "require_positive",
    "require_probability",
    "require_shape",
    "require_tensor",
]


def require_int(value: object, name: str, low: int | None = None, high: int | None = None) -> int:
    """`value` as an int in [low, high].

    Raises:
        DTypeError: it is not a whole number (a bool and a float are none).
        ValueRangeError: it is outside the range.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise DTypeError(f"{name} is {_show(value)} but must be a whole number{_range(low, high)}.")
    number = int(value)
    if (low is not None and number < low) or (high is not None and number > high):
        raise ValueRangeError(f"{name} is {_show(number)} but must be a whole number{_range(low, high)}.")
    return number


def require_number(
    value: object,
    name: str,
    low: float | None = None,
    high: float | None = None,
    *,
    above: float | None = None,
) -> float:
    """`value` as a finite float in [low, high], and greater than `above`.

    Raises:
        DTypeError: it is not a real number (a bool is none).
        ValueRangeError: it is NaN, infinite or outside the range.
    """
    wanted = "a finite number" + _range(low, high) + (f" greater than {above}" if above is not None else "")
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise DTypeError(f"{name} is {_show(value)} but must be {wanted}.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if (
        not math.isfinite(number)
        or (low is not None and number < low)
        or (high is not None and number > high)
        or (above is not None and number <= above)
    ):
        raise ValueRangeError(f"{name} is {_show(value)} but must be {wanted}.")
    return number


def require_positive(value: object, name: str) -> float:
    """`value` as a finite float greater than 0."""
    return require_number(value, name, above=0)


def require_probability(value: object, name: str) -> float:
    """`value` as a float in [0, 1]."""
    return require_number(value, name, low=0, high=1)


def require_bool(value: object, name: str) -> bool:
    """`value` as a bool; 0 and 1 are refused, because they are so often a misplaced argument.

    Raises:
        DTypeError: it is neither True nor False.
    """
    import numpy as np

    if not isinstance(value, bool | np.bool_):
        raise DTypeError(f"{name} is {_show(value)} but must be True or False.")
    return bool(value)


def require_tensor(
    x: object,
    name: str,
    *,
    ndim: int | Sequence[int] | None = None,
    floating: bool = True,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """`x` if it is a plain dense tensor of this rank, element type and device.

    Args:
        x: what the user gave.
        name: the argument's name, for the message.
        ndim: the rank, or the ranks allowed.
        floating: refuse integers, booleans and complex numbers.
        dtype: the exact element type, where only one will do.
        device: where it must live.
    Raises:
        DTypeError: not a tensor, not dense, or the wrong element type.
        ShapeError: the wrong rank.
        ValueRangeError: on another device.
    """
    import torch

    if not isinstance(x, torch.Tensor):
        raise DTypeError(
            f"{name} is {type(x).__name__} but must be a torch.Tensor.",
            f"Convert it with torch.as_tensor({name}).",
        )
    if x.is_nested or x.layout is not torch.strided or x.is_quantized:
        raise DTypeError(
            f"{name} is a {_layout(x)} tensor but must be a plain dense one.", "Use .to_dense() first."
        )
    if floating and not x.is_floating_point():
        raise DTypeError(f"{name} holds {x.dtype} but must hold floating numbers.", f"Use {name}.float().")
    if x.is_complex():
        raise DTypeError(f"{name} holds {x.dtype} but must hold real numbers.")
    if dtype is not None and x.dtype != dtype:
        raise DTypeError(f"{name} holds {x.dtype} but must hold {dtype}.", f"Use {name}.to({dtype}).")
    if ndim is not None:
        allowed = (ndim,) if isinstance(ndim, int) else tuple(ndim)
        if x.ndim not in allowed:
            ranks = " or ".join(str(rank) for rank in allowed)
            raise ShapeError(f"{name} is {tuple(x.shape)}, {_axes(x.ndim)}, but must have {ranks} axes.")
    if device is not None and x.device != device:
        raise ValueRangeError(
            f"{name} is on {x.device} but must be on {device}.", f"Use {name}.to({str(device)!r})."
        )
    return x


def require_shape(
    x: Tensor | np.ndarray[Any, Any], name: str, shape: Sequence[int | None], letters: str = ""
) -> None:
    """Refuse an array whose sizes differ from `shape`; None stands for any size.

    Args:
        x: the array.
        name: the argument's name, for the message.
        shape: the sizes that must be.
        letters: what they stand for, such as "(B, H)", for the message.
    Raises:
        ShapeError: the sizes differ.
    """
    came = tuple(int(size) for size in x.shape)
    if len(came) != len(shape) or any(want is not None and have != want for have, want in zip(came, shape)):
        wanted = "(" + ", ".join("any" if size is None else str(size) for size in shape)
        wanted += ",)" if len(shape) == 1 else ")"
        raise ShapeError(f"{name} is {came} but must be {letters + ' = ' if letters else ''}{wanted}.")


def require_lengths(lengths: object, T: int, B: int, name: str = "lengths") -> Tensor:
    """Lengths of B sequences inside T steps, as an int64 tensor of its own on the CPU.

    Args:
        lengths: (B,) whole numbers in [0, T]: a tensor, an array or a list.
        T: steps there are.
        B: sequences there are.
        name: the argument's name, for the message.
    Returns:
        (B,) int64 on the CPU.
    Raises:
        DTypeError: not whole numbers (floats are refused, NaN among them).
        ShapeError: not B of them.
        LengthError: one is negative or longer than T; its sequence is named.
    """
    import torch

    hint = f"Give {B} whole numbers between 0 and {T}."
    values = _numeric_array(lengths, name, hint)
    if values.ndim != 1 or values.shape[0] != B:
        raise ShapeError(f"{name} is {values.shape} but must be (B,) = ({B},), one length a sequence.", hint)
    if values.dtype.kind not in "iu":
        if B == 0:  # an empty list has no integers to show
            return torch.zeros(0, dtype=torch.int64)
        raise DTypeError(f"{name} holds {values.dtype} but a length is a whole number of steps.", hint)
    wrong = (values < 0) | (values > T)
    if wrong.any():
        b = int(wrong.argmax())
        raise LengthError(
            f"{name}[{b}] is {int(values[b])} but sequence {b} must have between 0 and {T} steps.", hint
        )
    return torch.from_numpy(values.astype("int64", copy=True))


def require_finite(array: object, name: str, labels: Sequence[str] = ("row", "step", "feature")) -> None:
    """Refuse NaN and infinity, naming the first place of one.

    Args:
        array: a tensor, an array or a list of arrays (then the first label counts the arrays).
        name: the argument's name, for the message.
        labels: what the axes are called, first to last; axes beyond them are called "axis k".
    Raises:
        ValueRangeError: a value is not finite.
    """
    import numpy as np

    if isinstance(array, list | tuple):
        for index, part in enumerate(array):
            require_finite(part, f"{name}, {labels[0] if labels else 'part'} {index}", tuple(labels[1:]))
        return
    values = _numeric_array(array, name, "Give numbers.")
    if values.dtype.kind != "f":
        return
    finite = np.isfinite(values)
    if finite.all():
        return
    place = np.unravel_index(int((~finite).argmax()), values.shape)
    names = [labels[axis] if axis < len(labels) else f"axis {axis}" for axis in range(values.ndim)]
    where = ", ".join(f"{axis} {index}" for axis, index in zip(names, place))
    bad = values[place]
    what = "NaN (missing)" if np.isnan(bad) else "infinite"
    count = int((~finite).sum())
    raise ValueRangeError(
        f"{name} is {what}{' at ' + where if where else ''}, where a finite number must be"
        + (f"; {count} values in all are not finite." if count > 1 else "."),
        "Fill, interpolate or drop such values first.",
    )


def channels_first(shape: Sequence[int]) -> bool:
    """True if a 3-d (batch, steps, features) array looks like (batch, features, steps)."""
    return len(shape) == 3 and 0 < 4 * int(shape[1]) <= int(shape[2])


def explain_channels_first(shape: Sequence[int], name: str = "X", features: int | None = None) -> str | None:
    """A hint for an array that seems to have its channels first, or None if it does not.

    Args:
        shape: of a (batch, steps, features) array.
        name: the argument's name, for the message.
        features: the number of features that was expected, if known; an axis of that size decides.
    """
    if len(shape) != 3:
        return None
    batch, second, third = (int(size) for size in shape)
    if features is not None:
        likely = second == features != third
    else:
        likely = channels_first(shape)
    if not likely:
        return None
    return (
        f"{name} is ({batch}, {second}, {third}), read as {batch} sequences of {second} steps with {third} "
        f"features. It looks channels-first, {second} features over {third} steps: "
        f"if so, use {name}.transpose(0, 2, 1)."
    )


def as_tensor(value: object, name: str, dtype: torch.dtype | None = None) -> Tensor:
    """A dense real tensor out of a tensor, an array or nested lists, sharing memory where that is safe.

    Args:
        value: what the user gave. A tensor stays as it is, with its gradient.
        name: the argument's name, for the message.
        dtype: element type of the result; None keeps what came (unsigned 16 and 32 bits widen).
    Raises:
        DTypeError: text, dates, objects, complex numbers, or a tensor that is not dense.
        ShapeError: nested lists of unequal lengths.
    """
    import torch

    if isinstance(value, torch.Tensor):
        tensor = require_tensor(value, name, floating=False)
    else:
        array = _numeric_array(value, name, "Give an array of numbers.")
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        widened = {"uint16": "int32", "uint32": "int64"}.get(array.dtype.name)
        if widened is not None:
            array = array.astype(widened)
        elif array.dtype.name in ("uint64", "longdouble", "float128", "float96"):
            raise DTypeError(
                f"{name} holds {array.dtype}, which has no tensor type.", "Use float64 or int64."
            )
        # torch takes no negative strides, and writing through a read-only array would break its promise
        if not array.flags.writeable or any(stride < 0 for stride in array.strides):
            array = array.copy()
        tensor = torch.from_numpy(array)
    return tensor if dtype is None else tensor.to(dtype)


def _numeric_array(value: object, name: str, hint: str) -> np.ndarray[Any, Any]:
    """A numpy array of numbers; anything else is an error that names the argument."""
    import sys

    import numpy as np

    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        tensor: Any = require_tensor(value, name, floating=False)
        if tensor.is_meta:
            raise ValueRangeError(f"{name} is on the meta device, where a tensor has no values.", hint)
        if tensor.dtype == torch.bfloat16:
            tensor = tensor.float()
        array = tensor.detach().cpu().numpy()
    else:
        if value is None or isinstance(value, str | bytes | dict | set):
            raise DTypeError(f"{name} is {_show(value)} but must be an array of numbers.", hint)
        if isinstance(value, np.ndarray):
            array = value
        else:
            try:
                array = np.asarray(value)
            except (ValueError, TypeError, RuntimeError, OverflowError) as error:
                raise ShapeError(f"{name} cannot be read as an array of numbers: {error}.", hint) from error
    if np.ma.isMaskedArray(array):
        raise DTypeError(f"{name} is a masked array, whose mask would be lost.", "Fill it first.")
    if array.dtype.kind not in "biuf":
        kind = {
            "O": "Python objects",
            "U": "text",
            "S": "bytes",
            "M": "dates",
            "m": "durations",
            "c": "complex numbers",
        }
        held = kind.get(array.dtype.kind, "something else")
        raise DTypeError(f"{name} holds {held} ({array.dtype}) but must hold numbers.", hint)
    return cast("np.ndarray[Any, Any]", array)


def _range(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" between {low} and {high}"
    if low is not None:
        return f" of at least {low}"
    if high is not None:
        return f" of at most {high}"
    return ""


def _show(value: object) -> str:
    text = repr(value)
    if len(text) > 60:
        text = text[:60] + "…"
    return text if isinstance(value, int | float | str | None) else f"{text} ({type(value).__name__})"


def _axes(count: int) -> str:
    return f"{count} axis" if count == 1 else f"{count} axes"


def _layout(x: Tensor) -> str:
    if x.is_nested:
        return "nested"
    return "quantized" if x.is_quantized else str(x.layout).removeprefix("torch.")


def listed(items: Iterable[object], limit: int = 5) -> str:
    """The first few items for a message: "a, b, c and 4 more"."""
    known = [str(item) for item in items]
    more = f" and {len(known) - limit} more" if len(known) > limit else ""
    return ", ".join(known[:limit]) + more
