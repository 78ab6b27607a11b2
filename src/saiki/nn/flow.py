"""What flows between layers, and the parts that layers share: base class, door checks, dropout masks."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from saiki.core.checks import require_tensor
from saiki.core.errors import DTypeError, ShapeError, ValueRangeError
from saiki.core.ragged import Ragged

Flow = Ragged | Tensor  # a ragged batch, or, after pooling over time, one row (B, K) a sequence


class Layer(torch.nn.Module, abc.ABC):
    """A module of a `Stack`: a ragged batch in, a ragged batch (or, for pooling over time, a tensor (B, K))
    out.

    Subclass it for a layer of your own and write `forward`, and `width` if it changes the number of features.
    Layers that treat each step by itself also take what comes after pooling, a tensor (..., F).
    """

    over_time: ClassVar[bool] = False  # needs a ragged batch
    pools: ClassVar[bool] = False  # makes one row a sequence of it

    @abc.abstractmethod
    def forward(self, x: Flow) -> Flow:
        """Compute the layer's output."""

    def width(self, input_size: int) -> int:
        """Features out where `input_size` go in: here as many.

        Raises:
            ShapeError: the layer was built for another number.
        """
        own = getattr(self, "input_size", None)
        if own is not None and own != input_size:
            raise ShapeError(f"was built for {own} features but gets {input_size}.")
        return input_size


def kind(value: object) -> str:
    """Say in a few words what came, for messages: its type, and for a tensor its shape and dtype."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} of {value.dtype}"
    if isinstance(value, Ragged):
        return f"a Ragged of {value.B} sequences with data {tuple(value.data.shape)} of {value.data.dtype}"
    return f"a {type(value).__name__}"


def require_features(x: Flow, size: int | None, like: Tensor | None, layer: str) -> None:
    """Check what a layer is given, at its door.

    Args:
        x: a Ragged with data (N, F), or a tensor (..., F).
        size: the F that the layer was built for; None takes any.
        like: a parameter whose dtype and device the input must share; None takes any floating dtype.
        layer: the layer's name for messages.
    Raises:
        DTypeError: not a Ragged or a dense tensor, not floating, or another dtype than the weights'.
        ShapeError: no feature axis, or another number of features.
        ValueRangeError: on another device than the weights.
    """
    if not isinstance(x, Ragged | Tensor):
        raise DTypeError(
            f"x is {kind(x)} but {layer} takes a Ragged or a tensor.", "Build one with Ragged.of(...)."
        )
    data = require_tensor(x.data if isinstance(x, Ragged) else x, "x")
    if isinstance(x, Ragged) and data.ndim != 2:
        raise ShapeError(
            f"x.data is {tuple(data.shape)} but {layer} takes one row of features a step, (N, F).",
            "Bring the features of a step onto one axis.",
        )
    if data.ndim < 1:
        raise ShapeError(f"x is a tensor () but {layer} takes (..., F).")
    if size is not None and data.shape[-1] != size:
        raise ShapeError(f"x has {data.shape[-1]} features a step but {layer} was built for {size}.")
    if like is not None:
        require_like(data, like, "x", layer)


def require_like(x: Tensor, weight: Tensor, name: str, layer: str) -> None:
    """Check that `x` has the dtype (else DTypeError) and device (else ValueRangeError) of the layer's
    weights.
    """
    if x.dtype != weight.dtype:
        raise DTypeError(
            f"{name} holds {x.dtype} but the weights of {layer} hold {weight.dtype}.",
            f"Convert one: {name}.to({weight.dtype}) or layer.to({x.dtype}).",
        )
    if x.device != weight.device:
        raise ValueRangeError(
            f"{name} is on {x.device} but the weights of {layer} are on {weight.device}.",
            f"Move one: {name}.to('{weight.device}') or layer.to('{x.device}').",
        )


def require_dtype(dtype: torch.dtype | None) -> torch.dtype:
    """The dtype for new parameters: torch's default for None; DTypeError unless floating."""
    if dtype is None:
        return torch.get_default_dtype()
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise DTypeError(f"dtype is {dtype} but parameters need a floating one, such as torch.float32.")
    return dtype


def require_ragged(x: object, layer: str) -> Ragged:
    """Check that `x` still has a time axis that lengths describe; DTypeError otherwise."""
    if not isinstance(x, Ragged):
        raise DTypeError(
            f"x is {kind(x)} but {layer} works over time and takes a Ragged; build one with "
            f"Ragged.from_list(...), or put {layer} before the layer that pools over time"
        )
    return x


def on_rows(x: Flow, function: Callable[[Tensor], Tensor]) -> Flow:
    """Apply a function of the last axis to each step of a Ragged, or to a tensor as it is."""
    return x.with_data(function(x.data)) if isinstance(x, Ragged) else function(x)


def dropout_mask(shape: tuple[int, ...], p: float, generator: torch.Generator, like: Tensor) -> Tensor:
    """Draw a mask of zeros (probability p) and 1 / (1 - p), so that the expectation of x ∘ mask is x.

    Args:
        shape: of the mask.
        p: probability of a zero.
        generator: on the CPU, whatever the device: its state is what a checkpoint keeps. For another
            device one seed is drawn from it and the mask is made over there.
        like: gives dtype and device.
    """
    source = generator
    if like.device != generator.device:
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        source = torch.Generator(like.device).manual_seed(seed)
    keep = torch.rand(shape, generator=source, device=like.device) >= p
    return keep.to(like.dtype) * (1.0 / (1.0 - p) if p < 1.0 else 0.0)


def generators(module: torch.nn.Module) -> dict[str, torch.Generator]:
    """Return every random generator that the layers of a module own, by the layer's name.

    A checkpoint keeps `get_state()` of each, and `set_state` gives the masks back bit for bit. All are on the
    CPU. A generator that two layers share appears once.
    """
    found: dict[str, torch.Generator] = {}
    seen: set[int] = set()
    for name, layer in module.named_modules():
        source = getattr(layer, "generator", None)
        if isinstance(source, torch.Generator) and id(source) not in seen:
            seen.add(id(source))
            found[name] = source
    return found
