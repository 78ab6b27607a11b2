"""Output layers over a vocabulary: the whole softmax, tied or not, the adaptive one, the sampled one.

    -ln p(t | h) = ln Σ_k exp(a_k) - a_t        a = W h + b        one value a row

With V words the table of scores a is the largest thing a language model makes, so these layers take the
targets and give the losses: the scores are turned into the gradient where they lie, once.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from saiki.core.checks import require_int
from saiki.core.errors import DTypeError, LabelError, OptionError, ShapeError
from saiki.core.initialisers import initialise
from saiki.core.random import generator as make_generator
from saiki.engine import product
from saiki.nn.basic import MAX_EMBEDDINGS, MAX_SIZE, Dense, Embedding
from saiki.nn.flow import Flow, Layer, require_dtype, require_features

BLOCK = 1 << 22  # scores made at once where no gradient is wanted: 16 MB in float32
TINY = 1e-30  # a probability below has lost digits in float32, or is 0
DIVISOR = 4  # each group of rarer words is seen through a quarter of the width of the one before


class SoftmaxLayer(Layer, abc.ABC):
    """The output layer of a language model; abstract.

    It is the last layer of a `Stack` and hands on what it is given, so that the stack's output is h and no
    table of scores is made that nobody asked for; `losses` and `log_probabilities` are made of h.

    Args:
        input_size: H, features of h.
        classes: V, at least 1.
    """

    def __init__(self, input_size: int, classes: int) -> None:
        super().__init__()
        self.input_size = require_int(input_size, "input_size", 1, MAX_SIZE)
        self.classes = require_int(classes, "classes", 1, MAX_EMBEDDINGS)

    def forward(self, x: Flow) -> Flow:
        """Hand on h; see the class."""
        require_features(x, self.input_size, None, type(self).__name__)
        return x

    def losses(self, h: Tensor, targets: Tensor) -> Tensor:
        """Negative log-probability of each row's true class.

            ℓ_n = ln Σ_k exp(a_nk) - a_nt        t the true class of row n

        Args:
            h: (N, H).
            targets: (N,) int64 in [0, V).
        Returns:
            (N,) nats. It can be differentiated once.
        Raises:
            ShapeError, DTypeError: the shapes or types do not fit.
            LabelError: a class outside [0, V).
        """
        require_features(h, self.input_size, None, type(self).__name__)
        if not isinstance(targets, Tensor) or targets.dtype != torch.int64:
            came = targets.dtype if isinstance(targets, Tensor) else type(targets).__name__
            raise DTypeError(f"targets is {came} but must be int64 classes.", "Convert it with .long().")
        if h.ndim != 2 or targets.shape != h.shape[:1]:
            raise ShapeError(
                f"h is {tuple(h.shape)} and targets {tuple(targets.shape)}, but they must be (N, H) and (N,)."
            )
        if targets.numel():
            low, high = (int(value) for value in targets.aminmax())
            if low < 0 or high >= self.classes:
                raise LabelError(
                    f"targets holds class {low if low < 0 else high} but the {self.classes} classes are "
                    f"0 to {self.classes - 1}."
                )
        return self._losses(h, targets)

    @abc.abstractmethod
    def _losses(self, h: Tensor, targets: Tensor) -> Tensor:
        """`losses` of what was checked."""

    @abc.abstractmethod
    def log_probabilities(self, h: Tensor) -> Tensor:
        """ln p of every class.

        Args:
            h: (N, H).
        Returns:
            (N, V); the exponentials of a row sum to 1.
        """


@final
class FullSoftmax(SoftmaxLayer):
    """Every class has a score: p = softmax(W h + b).

    Args:
        input_size: H.
        classes: V.
        tied: an embedding whose vectors serve as W; it must have V vectors of H. None: a W of its own.
        generator: for the initial W, Glorot uniform; b starts at zero.
        device: where the parameters live.
        dtype: of the parameters.
    Shapes:
        Parameters: `weight` (V, H) unless tied, `bias` (V,).
    Raises:
        ShapeError: the embedding has other sizes.
    Source: Press & Wolf 2017; Inan, Khosravi & Socher 2017 (tied weights).
    """

    def __init__(
        self,
        input_size: int,
        classes: int,
        *,
        tied: Embedding | None = None,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(input_size, classes)
        dtype = require_dtype(dtype)
        # a tuple hides the embedding from torch: its vectors are one parameter, the embedding's
        self._shared: tuple[Embedding, ...] = () if tied is None else (tied,)
        if tied is None:
            source = make_generator(generator)
            weight = initialise("glorot_uniform", (classes, input_size), source, dtype=dtype, device=device)
            self.weight = torch.nn.Parameter(weight)
        elif (tied.num_embeddings, tied.size) != (classes, input_size):
            raise ShapeError(
                f"the embedding has {tied.num_embeddings} vectors of {tied.size}, but to be tied it must "
                f"have {classes} of {input_size}, as many as the layer before the softmax has units.",
                "Give the embedding the size of the last layer, or tied=False.",
            )
        self.bias = torch.nn.Parameter(torch.zeros(classes, dtype=dtype, device=device))

    @property
    def tied(self) -> bool:
        """Whether W is an embedding's."""
        return bool(self._shared)

    @property
    def table(self) -> Tensor:
        """W, (V, H)."""
        return self._shared[0].weight if self._shared else self.weight

    def _losses(self, h: Tensor, targets: Tensor) -> Tensor:
        weight, bias = self.table, self.bias
        if torch.is_grad_enabled() and any(t.requires_grad for t in (h, weight, bias)):
            found: Tensor = _Losses.apply(h, weight, bias, targets)
            return found
        rows = max(1, BLOCK // self.classes)
        parts = [
            _likelihood(h[start : start + rows], weight, bias, targets[start : start + rows])[0]
            for start in range(0, len(h), rows)
        ]
        return torch.cat(parts) if parts else h.new_zeros(0)

    def log_probabilities(self, h: Tensor) -> Tensor:
        """See `SoftmaxLayer.log_probabilities`."""
        require_features(h, self.input_size, self.bias, "FullSoftmax")
        return torch.log_softmax(product.linear(h, self.table, self.bias), dim=-1)

    def extra_repr(self) -> str:
        """Options for print()."""
        return f"{self.input_size}, classes={self.classes}, tied={self.tied}"


@final
class AdaptiveSoftmax(SoftmaxLayer):
    """Frequent classes at full width, rarer ones in groups behind a narrower projection.

        p(k) = p_0(k)                        k < c_0, the short list
        p(k) = p_0(group j) p_j(k | j)       c_{j-1} ≤ k < c_j,  p_j = softmax(W_j P_j h + b_j)

    The classes must be numbered by falling frequency. P_j has H / 4^j rows, so that a group that is rarely
    right costs little.

    Args:
        input_size: H.
        classes: V.
        cutoffs: c_0 < c_1 < … < V, where the short list and each group but the last ends.
        generator: for the initial weights.
        device: where the parameters live.
        dtype: of the parameters.
    Raises:
        OptionError: the cutoffs do not rise inside (0, V).
    Source: Grave, Joulin, Cissé, Grangier & Jégou 2017.
    """

    def __init__(
        self,
        input_size: int,
        classes: int,
        cutoffs: Sequence[int],
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(input_size, classes)
        self.cutoffs = tuple(require_int(c, "a cutoff") for c in cutoffs)
        rising = all(a < b for a, b in zip((0, *self.cutoffs), (*self.cutoffs, classes)))
        if not self.cutoffs or not rising:
            raise OptionError(
                f"cutoffs is {self.cutoffs} but must be numbers that rise between 0 and the {classes} "
                "classes."
            )
        make = {"generator": make_generator(generator), "device": device, "dtype": dtype}
        groups = len(self.cutoffs)
        self.head = FullSoftmax(input_size, self.cutoffs[0] + groups, **make)  # type: ignore[arg-type]
        self.projections = torch.nn.ModuleList()
        self.tails = torch.nn.ModuleList()
        for j, (low, high) in enumerate(zip(self.cutoffs, (*self.cutoffs[1:], classes)), start=1):
            width = max(1, input_size // DIVISOR**j)
            self.projections.append(Dense(input_size, width, bias=False, **make))  # type: ignore[arg-type]
            self.tails.append(FullSoftmax(width, high - low, **make))  # type: ignore[arg-type]

    def _losses(self, h: Tensor, targets: Tensor) -> Tensor:
        short = self.cutoffs[0]
        group = torch.bucketize(targets, torch.tensor(self.cutoffs, device=targets.device), right=True)
        found = self.head._losses(h, torch.where(group > 0, short + group - 1, targets))
        for j, low in enumerate(self.cutoffs):
            rows = (group == j + 1).nonzero()[:, 0]
            if len(rows):
                inner = self.tails[j]._losses(self.projections[j](h[rows]), targets[rows] - low)  # type: ignore[operator]
                found = found.index_add(0, rows, inner)
        return found

    def log_probabilities(self, h: Tensor) -> Tensor:
        """See `SoftmaxLayer.log_probabilities`."""
        short = self.cutoffs[0]
        first = self.head.log_probabilities(h)
        parts = [first[:, :short]]
        for j, (projection, tail) in enumerate(zip(self.projections, self.tails)):
            inner = tail.log_probabilities(projection(h))  # type: ignore[operator]
            parts.append(first[:, short + j : short + j + 1] + inner)
        return torch.cat(parts, dim=1)

    def extra_repr(self) -> str:
        """Options for print()."""
        return f"{self.input_size}, classes={self.classes}, cutoffs={self.cutoffs}"


@final
class SampledSoftmax(SoftmaxLayer):
    """A full softmax that learns from the true class and a few drawn ones, new ones at each call.

        ℓ_n = ln (e^{a_nt} + Σ_s e^{a_ns} / (S q_s)) - a_nt        S classes s drawn from q, without t
        q_k = ln((k + 2)/(k + 1)) / ln(V + 1)

    The sum over s has the expectation Σ_{k≠t} e^{a_nk}, so with many samples this is the full softmax; its
    logarithm is biased where they are few. Classes must be numbered by falling frequency, which q follows.
    Evaluation, and a call without gradients, use every class.

    Args:
        full: the layer that is estimated.
        samples: S, at least 1.
        generator: the layer's own is derived from it; its state belongs in a checkpoint.
    Source: Bengio & Senécal 2008; Jean, Cho, Memisevic & Bengio 2015.
    """

    def __init__(self, full: FullSoftmax, samples: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__(full.input_size, full.classes)
        self.full = full
        self.samples = require_int(samples, "samples", 1, MAX_EMBEDDINGS)
        self.generator = make_generator(make_generator(generator), "sampled softmax")

    def _losses(self, h: Tensor, targets: Tensor) -> Tensor:
        if not (self.training and torch.is_grad_enabled()):
            return self.full._losses(h, targets)
        drawn = self._draw().to(targets.device)
        ids = torch.cat([targets, drawn])
        vectors = torch.nn.functional.embedding(ids, self.full.table)  # one gather, so one gradient of V rows
        bias = self.full.bias[ids]
        N = len(targets)
        true = (h * vectors[:N]).sum(dim=1) + bias[:N]
        others = product.linear(h, vectors[N:], bias[N:] - self._log_expected(drawn).to(h))  # (N, S)
        others = others.masked_fill(drawn[None, :] == targets[:, None], -torch.inf)
        return torch.logsumexp(torch.cat([true[:, None], others], dim=1), dim=1) - true

    def _draw(self) -> Tensor:
        """(S,) classes from q, on the CPU: ⌊(V + 1)^u⌋ - 1 with u uniform on [0, 1)."""
        u = torch.rand(self.samples, generator=self.generator, dtype=torch.float64)
        return ((self.classes + 1) ** u).long().sub_(1).clamp_(0, self.classes - 1)

    def _log_expected(self, ids: Tensor) -> Tensor:
        """ln(S q_k)."""
        k = ids.double()
        return torch.log(torch.log1p(1 / (k + 1)) * (self.samples / math.log(self.classes + 1)))

    def log_probabilities(self, h: Tensor) -> Tensor:
        """See `SoftmaxLayer.log_probabilities`."""
        return self.full.log_probabilities(h)

    def extra_repr(self) -> str:
        """Options for print()."""
        return f"samples={self.samples}"


# ---- the losses of a full softmax -------------------------------------------------------------------------


def _likelihood(h: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Losses (N,) and probabilities (N, V); one exponential a score."""
    p = product.linear(h, weight, bias)
    if not len(p):
        return p.new_zeros(0), p
    torch.softmax(p, dim=1, out=p)
    true = p.gather(1, targets[:, None])[:, 0]
    losses = -true.log()
    small = (true < TINY).nonzero()[:, 0]  # -ln p of these would be inexact, or infinite
    if len(small):
        scores = product.linear(h[small], weight, bias)
        chosen = scores.gather(1, targets[small, None])[:, 0]
        losses[small] = torch.logsumexp(scores, dim=1) - chosen
    return losses, p


class _Losses(torch.autograd.Function):
    """-ln softmax(W h + b)_t as a node. Its gradient with respect to the scores is p - onehot(t), made in the
    table of probabilities itself.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:  # noqa: ANN401
        losses, p = _likelihood(h.detach(), weight.detach(), bias.detach(), targets)
        ctx.save_for_backward(h, weight, targets)
        ctx.p = p
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_losses: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        wants_h, wants_weight, wants_bias, _ = ctx.needs_input_grad
        h, weight, targets = ctx.saved_tensors
        p, scale, true = ctx.p, d_losses[:, None], targets[:, None]
        one = p.new_ones(()).expand(len(p), 1)
        p.scatter_add_(1, true, -one)  # now ∂ℓ/∂a
        dh = product.linear(p, weight.t()) * scale if wants_h else None
        d_weight = product.linear(p.t(), (h * scale).t()) if wants_weight else None
        d_bias = p.t() @ d_losses if wants_bias else None
        p.scatter_add_(1, true, one)  # p again, should anyone differentiate a second time
        return dh, d_weight, d_bias, None
