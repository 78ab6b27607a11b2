"""Layers that treat each step by itself: Embedding, Dense, Activation, Dropout, LayerNorm."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from saiki.core.activations import ACTIVATIONS, get_activation
from saiki.core.checks import require_bool, require_int, require_positive, require_probability
from saiki.core.custom import described
from saiki.core.errors import DTypeError, OptionError, ShapeError, ValueRangeError
from saiki.core.initialisers import initialise
from saiki.core.names import choose
from saiki.core.ragged import Ragged
from saiki.core.random import generator as make_generator
from saiki.engine import product
from saiki.nn.flow import (
    Flow,
    Layer,
    dropout_mask,
    kind,
    on_rows,
    require_dtype,
    require_features,
)

SOFTMAX = "softmax"  # over the features of a step, so it is no activation of a single unit
LAYER_ACTIVATIONS: tuple[str, ...] = (*ACTIVATIONS, SOFTMAX)
MAX_SIZE = (
    1_000_000  # units of a layer; a size from a file is checked against it before anything is allocated
)
MAX_EMBEDDINGS = 10_000_000  # below 2^24, so that ids in float32 columns stay exact


def embedding_width(input_size: int, size: int, column: int | None) -> int:
    """Features out of an `Embedding` where `input_size` go in; ShapeError if they do not fit."""
    if column is None:
        if input_size != 1:
            raise ShapeError(
                f"takes one id a step but gets {input_size} features.",
                "With ids in one column among others give column=.",
            )
        return size
    if column >= input_size:
        raise ShapeError(
            f"takes its ids from column {column} but gets {input_size} features; columns count from 0."
        )
    return input_size - 1 + size


@final
class Embedding(Layer):
    """Replace integer ids by learned vectors.

        y_t = E[x_t]                              column=None
        y_t = [x_t without its column ; E[id]]    column=k: one column of a row of measurements holds the id

    Args:
        num_embeddings: V, the number of ids; ids run from 0 to V - 1.
        size: width of a vector.
        column: which feature holds the id, the others pass through in their order and the vector comes after
            them. None: the whole input is ids.
        frozen: the vectors are not trained.
        generator: for the initial vectors, standard normal.
        device: where the parameters live.
        dtype: of the vectors; torch's default if not given.
    Shapes:
        column=None: data (N,) or (N, 1) in, (N, size) out. column=k: (N, F) in, (N, F - 1 + size) out. Ids
        are integers, or whole numbers in a floating column. Parameter: `weight` (V, size).
    Raises:
        ValueRangeError: an id outside [0, V) or not whole; the message names its sequence and step.
    """

    def __init__(
        self,
        num_embeddings: int,
        size: int,
        *,
        column: int | None = None,
        frozen: bool = False,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_embeddings = require_int(num_embeddings, "num_embeddings", 1, MAX_EMBEDDINGS)
        self.size = require_int(size, "size", 1, MAX_SIZE)
        self.column = None if column is None else require_int(column, "column", 0)
        dtype = require_dtype(dtype)
        weight = torch.randn(
            (self.num_embeddings, self.size), generator=make_generator(generator), dtype=dtype
        )
        self.weight = torch.nn.Parameter(weight.to(device), requires_grad=not frozen)

    def width(self, input_size: int) -> int:
        """Features out."""
        return embedding_width(input_size, self.size, self.column)

    @property
    def frozen(self) -> bool:
        """True if the vectors are not trained."""
        return not self.weight.requires_grad

    def forward(self, x: Flow) -> Flow:
        """Look the ids up; see the class."""
        if not isinstance(x, Ragged | Tensor):
            raise DTypeError(f"x is {kind(x)} but Embedding takes a Ragged or a tensor of ids")
        data = x.data if isinstance(x, Ragged) else x
        if self.column is None:
            ids, rest = self._plain(x, data), None
        else:
            require_features(x, None, self.weight, "Embedding with a column")
            if self.column >= data.shape[-1]:
                raise ShapeError(
                    f"x has {data.shape[-1]} features a step but Embedding takes its ids from column "
                    f"{self.column}; columns count from 0"
                )
            ids = data[..., self.column]
            rest = torch.cat([data[..., : self.column], data[..., self.column + 1 :]], dim=-1)
        vectors = torch.nn.functional.embedding(self._checked(x, ids), self.weight)
        if rest is not None:
            vectors = torch.cat([rest, vectors], dim=-1)
        return x.with_data(vectors) if isinstance(x, Ragged) else vectors

    def _plain(self, x: Flow, data: Tensor) -> Tensor:
        """The ids of an input that is nothing but ids."""
        if data.device != self.weight.device:
            raise DTypeError(
                f"x is on {data.device} but the weights of Embedding are on {self.weight.device}"
            )
        if isinstance(x, Ragged) and data.ndim == 1:
            return data
        if data.ndim >= 1 and data.shape[-1] == 1:
            return data[..., 0]
        raise ShapeError(
            f"x has shape {tuple(data.shape)} but Embedding takes one id a step: data (N,) or (N, 1); "
            f"with ids in one column among others give column="
        )

    def _checked(self, x: Flow, ids: Tensor) -> Tensor:
        """The ids as int64, each in [0, V)."""
        if ids.dtype == torch.bool or ids.is_complex() or ids.layout != torch.strided:
            raise DTypeError(f"ids have dtype {ids.dtype} ({ids.layout}) but Embedding takes integers")
        bad = (ids < 0) | (ids >= self.num_embeddings)
        if ids.dtype.is_floating_point:
            bad |= ids != ids.floor()  # NaN differs from itself
        if bool(bad.any()):
            row = int(bad.reshape(-1).nonzero()[0, 0])
            value = ids.reshape(-1)[row].item()
            if isinstance(x, Ragged):
                where = f"sequence {int(x.row_sequence[row])}, step {int(x.row_step[row])}"
            else:
                where = f"row {row}"
            raise ValueRangeError(
                f"id {value} at {where} is not a whole number in [0, {self.num_embeddings}); "
                f"map the ids to 0 .. {self.num_embeddings - 1} or build Embedding with more of them"
            )
        return ids.long()

    def extra_repr(self) -> str:
        """Options for print()."""
        column = "" if self.column is None else f", column={self.column}"
        return f"{self.num_embeddings}, size={self.size}{column}{', frozen=True' if self.frozen else ''}"


@final
class Dense(Layer):
    """A fully connected layer, step by step: y = f(W x + b).

    Args:
        input_size: F, features in.
        size: K, features out.
        activation: f by name ("identity", "tanh", "relu", "softmax", ...), or a function of a tensor.
        bias: with b; it starts at zero.
        generator: for the initial W, Glorot uniform.
        device: where the parameters live.
        dtype: of the parameters; torch's default if not given.
    Shapes:
        Ragged (N, F) or tensor (..., F) in, the same with K features out. Parameters: `weight` (K, F), `bias`
        (K,).
    """

    def __init__(
        self,
        input_size: int,
        size: int,
        *,
        activation: str | Callable[[Tensor], Tensor] = "identity",
        bias: bool = True,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.input_size = require_int(input_size, "input_size", 1, MAX_SIZE)
        self.size = require_int(size, "size", 1, MAX_SIZE)
        self.activation = _checked_activation(activation)
        dtype = require_dtype(dtype)
        source = make_generator(generator)
        weight = initialise(
            "glorot_uniform", (self.size, self.input_size), source, dtype=dtype, device=device
        )
        self.weight = torch.nn.Parameter(weight)
        if bias:
            self.bias = torch.nn.Parameter(torch.zeros(self.size, dtype=dtype, device=device))
        else:
            self.register_parameter("bias", None)

    def forward(self, x: Flow) -> Flow:
        """Compute f(W x + b); see the class."""
        require_features(x, self.input_size, self.weight, "Dense")
        return on_rows(x, self._rows)

    def width(self, input_size: int) -> int:
        """Features out."""
        super().width(input_size)
        return self.size

    def _rows(self, x: Tensor) -> Tensor:
        return _apply(self.activation, product.linear(x, self.weight, self.bias))

    def extra_repr(self) -> str:
        """Options for print()."""
        return f"{self.input_size}, size={self.size}, activation={_shown(self.activation)}"


@final
class Activation(Layer):
    """An activation as a layer of its own: y = f(x).

    Args:
        activation: by name, or a function of a tensor. "softmax" is taken over the features of a step.
    """

    def __init__(self, activation: str | Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.activation = _checked_activation(activation)

    def forward(self, x: Flow) -> Flow:
        """Compute f(x); see the class."""
        require_features(x, None, None, "Activation")
        return on_rows(x, lambda rows: _apply(self.activation, rows))

    @property
    def title(self) -> str:
        """The activation's name."""
        return _shown(self.activation)

    def extra_repr(self) -> str:
        """Options for print()."""
        return self.title


@final
class Dropout(Layer):
    """Set features to zero with probability p while training, and scale the rest by 1 / (1 - p).

    Args:
        p: probability of a zero, in [0, 1].
        locked: one mask a sequence, the same at each of its steps (Gal & Ghahramani 2016), instead of a new
            one every step. It lasts for one call: the next chunk of a stream has another mask.
        generator: the layer's own generator is derived from it; torch's global one is left alone. Its state
            belongs in a checkpoint: see `saiki.nn.generators`.
    """

    def __init__(
        self, p: float = 0.5, *, locked: bool = False, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.p = require_probability(p, "p")
        self.locked = require_bool(locked, "locked")
        self.generator = make_generator(make_generator(generator), "dropout")

    def forward(self, x: Flow) -> Flow:
        """Drop while training; see the class."""
        require_features(x, None, None, "Dropout")
        if not self.training or self.p == 0.0:
            return x
        if not isinstance(x, Ragged):
            return x * dropout_mask(tuple(x.shape), self.p, self.generator, x)
        if not self.locked:
            return x.with_data(x.data * dropout_mask(tuple(x.data.shape), self.p, self.generator, x.data))
        mask = dropout_mask((x.B, x.data.shape[-1]), self.p, self.generator, x.data)
        return x.with_data(x.data * mask[x.row_sequence])

    def extra_repr(self) -> str:
        """Options for print()."""
        return f"p={self.p}, locked={self.locked}"


@final
class LayerNorm(Layer):
    """Normalise the features of each step: y = gain ∘ (x - mean) / √(variance + ε) + bias.

    Args:
        size: F, features.
        eps: ε, keeps a constant step from dividing by zero.
        device: where the parameters live.
        dtype: of the parameters; torch's default if not given.
    Shapes:
        Ragged (N, F) or tensor (..., F) in and out. Parameters: `gain` (F,) starts at one, `bias` (F,) at
        zero.
    Source: Ba, Kiros & Hinton 2016.
    """

    def __init__(
        self,
        size: int,
        *,
        eps: float = 1e-5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.input_size = require_int(size, "size", 1, MAX_SIZE)
        self.eps = require_positive(eps, "eps")
        dtype = require_dtype(dtype)
        self.gain = torch.nn.Parameter(torch.ones(self.input_size, dtype=dtype, device=device))
        self.bias = torch.nn.Parameter(torch.zeros(self.input_size, dtype=dtype, device=device))

    def forward(self, x: Flow) -> Flow:
        """Normalise; see the class."""
        require_features(x, self.input_size, self.gain, "LayerNorm")
        shape = (self.input_size,)
        return on_rows(x, lambda r: torch.nn.functional.layer_norm(r, shape, self.gain, self.bias, self.eps))

    def extra_repr(self) -> str:
        """Options for print()."""
        return f"{self.input_size}, eps={self.eps}"


def _checked_activation(activation: object) -> str | Callable[[Tensor], Tensor]:
    """A known name, or a function as it is; OptionError otherwise."""
    if isinstance(activation, str):
        choose(activation, dict.fromkeys(LAYER_ACTIVATIONS), "activation")
        return activation
    if not callable(activation):
        raise OptionError(f"activation is {kind(activation)} but must be a name or a function of a tensor")
    return activation


def _apply(activation: str | Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """f(x) for an activation by name or as a function."""
    if activation == SOFTMAX:
        return torch.softmax(x, dim=-1)
    return get_activation(activation).function(x)


def _shown(activation: str | Callable[[Tensor], Tensor]) -> str:
    return activation if isinstance(activation, str) else described(activation)
