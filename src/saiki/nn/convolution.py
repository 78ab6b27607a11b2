"""Convolution over time: an output step sees a few neighbouring steps, those of its own sequence alone."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor

from saiki.core.checks import require_bool, require_int
from saiki.core.errors import OptionError
from saiki.core.initialisers import initialise
from saiki.core.ragged import Ragged
from saiki.core.random import generator as make_generator
from saiki.engine import product
from saiki.nn.basic import MAX_SIZE
from saiki.nn.flow import Flow, Layer, require_dtype, require_features, require_ragged

MAX_KERNEL = 65_536  # steps a kernel spans; a size from a file is checked before anything is allocated


@final
class Convolution(Layer):
    """A convolution over time (as everywhere in networks, a cross-correlation), strided and dilated.

        y_s = Σ_{j=0}^{k-1} W_j x_{s·S - P + j·D} + b        x is 0 before the first and after the last step

    A sequence of T steps becomes one of ⌊(T + P + P' - D (k - 1) - 1) / S⌋ + 1 steps, P zeros before it and
    P' after it; with the padding left to the layer that is ⌈T / S⌉.

    Args:
        input_size: F, features in.
        size: K, features out.
        kernel_size: k, steps that one output step sees.
        stride: S, steps from one output step to the next.
        dilation: D, steps between those that are seen.
        causal: True: an output step sees no later step than its own. False: as many before as after.
        padding: P = P', zeros at either end; None pads just enough to keep ⌈T / S⌉ steps: D (k - 1) zeros
            before the sequence if causal, half of them at either end if not (an odd one at the end).
        bias: with b; it starts at zero.
        generator: for the initial W, Glorot uniform over its k F inputs and K outputs.
        device: where the parameters live.
        dtype: of the parameters; torch's default if not given.
    Shapes:
        Ragged (N, F) in, Ragged with fewer or more steps and K features out; a sequence without steps stays
        without. Parameters: `weight` (K, F, k) as in torch.nn.Conv1d, `bias` (K,).
    Raises:
        OptionError: causal with a padding of its own.
    Source: Waibel et al. 1989, "Phoneme recognition using time-delay neural networks".
    """

    over_time: ClassVar[bool] = True

    def __init__(
        self,
        input_size: int,
        size: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        causal: bool = False,
        padding: int | None = None,
        bias: bool = True,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.input_size = require_int(input_size, "input_size", 1, MAX_SIZE)
        self.size = require_int(size, "size", 1, MAX_SIZE)
        self.kernel_size = require_int(kernel_size, "kernel_size", 1, MAX_KERNEL)
        self.stride = require_int(stride, "stride", 1, MAX_KERNEL)
        self.dilation = require_int(dilation, "dilation", 1, MAX_KERNEL)
        self.causal = require_bool(causal, "causal")
        self.padding = None if padding is None else require_int(padding, "padding", 0, MAX_KERNEL)
        require_one_padding(self.causal, self.padding)
        dtype = require_dtype(dtype)
        flat = initialise(
            "glorot_uniform",
            (self.size, self.input_size * self.kernel_size),
            make_generator(generator),
            dtype=dtype,
            device=device,
        )
        self.weight = torch.nn.Parameter(flat.view(self.size, self.input_size, self.kernel_size))
        if bias:
            self.bias = torch.nn.Parameter(torch.zeros(self.size, dtype=dtype, device=device))
        else:
            self.register_parameter("bias", None)

    def forward(self, x: Flow) -> Ragged:
        """Convolve; see the class."""
        ragged = require_ragged(x, "Convolution")
        require_features(ragged, self.input_size, self.weight, "Convolution")
        lengths = self.lengths(ragged.lengths)
        T = int(lengths.max()) if lengths.numel() else 0
        after = Ragged.from_padded(torch.empty((T, ragged.B)), lengths)  # who stands where from now on
        seen = torch.cat([ragged.data, ragged.data.new_zeros((1, self.input_size))])
        taken = seen.index_select(0, self._rows(ragged, after).to(ragged.device))
        flat = taken.reshape(-1, self.kernel_size * self.input_size)
        weight = self.weight.transpose(1, 2).reshape(self.size, -1)
        return after.with_data(product.linear(flat, weight, self.bias))

    def _rows(self, before: Ragged, after: Ragged) -> Tensor:
        """(N' k,) the packed input row that each output row takes at each place of the kernel; N, the row of
        zeros, outside the sequence.
        """
        sequence, step = after.row_sequence, after.row_step
        wanted = step[:, None] * self.stride - self.ends[0] + torch.arange(self.kernel_size) * self.dilation
        inside = (wanted >= 0) & (wanted < before.lengths[sequence][:, None])
        starts = before.batch_sizes.cumsum(0) - before.batch_sizes  # (T,) first packed row of each step
        place = torch.empty_like(before.order)
        place[before.order] = torch.arange(before.B)
        if not before.N:
            return torch.zeros(0, dtype=torch.int64)
        rows = starts[wanted.clamp(0, before.T - 1)] + place[sequence][:, None]
        return torch.where(inside, rows, before.N).reshape(-1)

    @property
    def ends(self) -> tuple[int, int]:
        """Zeros before the first step, and after the last."""
        if self.padding is not None:
            return self.padding, self.padding
        span = self.dilation * (self.kernel_size - 1)
        return (span, 0) if self.causal else (span // 2, span - span // 2)

    def lengths(self, lengths: Tensor) -> Tensor:
        """Steps that come out of sequences of so many steps, (B,) int64."""
        span = self.dilation * (self.kernel_size - 1)
        made = torch.div(lengths + sum(self.ends) - span - 1, self.stride, rounding_mode="floor") + 1
        return torch.where(lengths > 0, made.clamp(min=0), 0)

    def steps(self, T: int | str) -> int | str:
        """Steps that come out of T; in letters where T is one."""
        if isinstance(T, int):
            return int(self.lengths(torch.tensor([T]))[0])
        surplus = sum(self.ends) - self.dilation * (self.kernel_size - 1)
        if surplus == 0:
            return T if self.stride == 1 else f"⌈{T}/{self.stride}⌉"
        inner = f"{T} {'+' if surplus > 0 else '−'} {abs(surplus)}"
        return inner if self.stride == 1 else f"⌈({inner})/{self.stride}⌉"

    def width(self, input_size: int) -> int:
        """Features out."""
        super().width(input_size)
        return self.size

    def extra_repr(self) -> str:
        """Options for print()."""
        return (
            f"{self.input_size}, size={self.size}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"dilation={self.dilation}, causal={self.causal}, padding={self.padding}"
        )


def require_one_padding(causal: bool, padding: int | None) -> None:
    """Refuse a causal convolution with a padding of its own: it would see later steps, or lose its first."""
    if causal and padding is not None:
        raise OptionError(
            f"causal=True pads the start by itself, but padding is {padding}.", "Leave one of the two out."
        )
