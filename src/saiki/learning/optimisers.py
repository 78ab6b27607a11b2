"""Optimisers by name, parameter groups, and what is penalised.

    sgd        w ← w - η g
    momentum   v ← μ v + g, w ← w - η v                      (torch's), or with `textbook=True`
               Δw_t = μ Δw_{t-1} - (1 - μ) η_t g, w ← w + Δw_t
    nesterov   the same two, with the gradient taken at w + μ Δw_{t-1}
    adagrad    s ← s + g², w ← w - η g / (√s + ε)
    rmsprop    v ← ρ v + (1 - ρ) g², w ← w - η g / (√v + ε)     or g / √(v + ε) with `eps_inside=True`
    adam       m, v: means of g and g², w ← w - η m̂ / (√v̂ + ε)
    adamw      adam, with w ← w - η α w apart from the gradient

The arithmetic is torch's wherever the equations are the same. Each is a frozen configuration; `Updater` is
one at work on named parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, ClassVar, final

import torch
from torch import Tensor
from torch.nn import functional as F

from saiki.core.checks import require_bool, require_number
from saiki.core.errors import CheckpointError, OptionError, UsageError
from saiki.core.names import nearest
from saiki.learning.options import named
from saiki.nn.basic import Embedding

TorchGroups = list[dict[str, Any]]


@dataclass(frozen=True)
class Optimizer(ABC):
    """How a gradient becomes a change of the weights; holds no tensors."""

    type: ClassVar[str]
    own_weight_decay: ClassVar[float] = 0.0  # what weight_decay=None means

    @abstractmethod
    def build(self, groups: TorchGroups) -> torch.optim.Optimizer:
        """A torch optimiser over groups that carry `params`, `lr` and `weight_decay`."""


@final
@dataclass(frozen=True)
class SGD(Optimizer):
    """Plain descent: w ← w - η g."""

    type: ClassVar[str] = "sgd"

    def build(self, groups: TorchGroups) -> torch.optim.Optimizer:
        """See `Optimizer.build`."""
        return torch.optim.SGD(groups)


@final
@dataclass(frozen=True)
class Momentum(Optimizer):
    """Descent with momentum.

        torch's:      v_t = μ v_{t-1} + g        w ← w - η_t v_t
        textbook:     Δw_t = μ Δw_{t-1} - (1 - μ) η_t g        w ← w + Δw_t

    At a constant rate the textbook's form is torch's with η (1 - μ). Under a schedule they differ: the
    textbook remembers past changes of the weights, torch past gradients, which it scales by today's rate.
    torch's `dampening` is neither (its first step is not dampened).

    Args:
        momentum: μ in [0, 1).
        textbook: which of the two.
    Source: Polyak 1964; Rumelhart, Hinton & Williams 1986.
    """

    momentum: float = 0.9
    textbook: bool = False
    type: ClassVar[str] = "momentum"

    def __post_init__(self) -> None:
        _require_share(self.momentum, "momentum")
        require_bool(self.textbook, "textbook")

    def build(self, groups: TorchGroups) -> torch.optim.Optimizer:
        """See `Optimizer.build`."""
        if self.textbook:
            return _TextbookMomentum(groups, self.momentum, nesterov=False)
        return torch.optim.SGD(groups, momentum=self.momentum)


@final
@dataclass(frozen=True)
class Nesterov(Optimizer):
    """Momentum with the gradient taken where the momentum leads, at w + μ Δw_{t-1}.

    The network's weights hold that point during training, in torch's form and in the textbook's.

    Args:
        momentum: μ in [0, 1).
        textbook: Δw_t = μ Δw_{t-1} - (1 - μ) η_t g instead of torch's v_t = μ v_{t-1} + g.
    Source: Nesterov 1983; Sutskever et al. 2013.
    """

    momentum: float = 0.9
    textbook: bool = False
    type: ClassVar[str] = "nesterov"

    def __post_init__(self) -> None:
        _require_share(self.momentum, "momentum")
        require_bool(self.textbook, "textbook")
        if self.momentum == 0:
            raise OptionError("nesterov needs a momentum above 0.", "Without one it is sgd.")

    def build(self, groups: TorchGroups) -> torch.optim.Optimizer:
        """See `Optimizer.build`."""
        if self.textbook:
            return _TextbookMomentum(groups, self.momentum, nesterov=True)
        return torch.optim.SGD(groups, momentum=self.momentum, nesterov=True)


@final
@dataclass(frozen=True)
class AdaGrad(Optimizer):
    """Rates that shrink with the squared gradients seen: s ← s + g², w ← w - η g / (√s + ε).

    Args:
        eps: ε > 0; without it a gradient that is 0 from the start gives 0/0.
        initial: s at the start, at least 0.
    Source: Duchi, Hazan & Singer 2011.
    """

    eps: float = 1e-10
    initial: float = 0.0
    type: ClassVar[str] = "adagrad"

    def __post_init__(self) -> None:
        require_number(self.eps, "eps", above=0)
        require_number(self.initial, "initial", low=0)

    def build(self, groups: TorchGroups) -> torch.optim.Optimizer:
        """See `Optimizer.build`."""
        return torch.optim.Adagrad(groups, eps=self.eps, initial_accumulator_value=self.initial)


@final
@dataclass(frozen=True)
class RMSprop(Optimizer):
    """Rates divided by a running root mean square of the gradient: v ← ρ v + (1 - ρ) g².

        outside (torch):      w ← w - η g / (√v + ε)
        inside (textbook):    w ← w - η g / √(v + ε)

    With a small gradient the first steps of the two can differ three times.

    Args:
        rho: ρ in [0, 1).
        eps: ε > 0; the texts put 1e-6 inside the root, torch 1e-8 outside.
        eps_inside: which of the two.
    Source: Tieleman & Hinton 2012; Goodfellow et al. 2016, algorithm 8.5 (inside).
    """

    rho: float = 0.9
    eps: float = 1e-8
    eps_inside: bool = False
    type: ClassVar[str] = "rmsprop"

    def __post_init__(self) -> None:
        _require_share(self.rho, "rho")
        require_number(self.eps, "eps", above=0)
        require_bool(self.eps_inside, "eps_inside")

    def build(self, groups: TorchGroups) -> torch.optim.Optimizer:
        """See `Optimizer.build`."""
        if self.eps_inside:
            return _RMSpropInside(groups, self.rho, self.eps)
        return torch.optim.RMSprop(groups, alpha=self.rho, eps=self.eps)


@final
@dataclass(frozen=True)
class Adam(Optimizer):
    """Means of the gradient and of its square, both corrected for their start at 0.

        m ← β₁ m + (1 - β₁) g        v ← β₂ v + (1 - β₂) g²
        w ← w - η (m / (1 - β₁^t)) / (√(v / (1 - β₂^t)) + ε)

    Args:
        beta1: β₁ in [0, 1).
        beta2: β₂ in [0, 1).
        eps: ε > 0.
    Source: Kingma & Ba 2015.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    type: ClassVar[str] = "adam"

    def __post_init__(self) -> None:
        _require_share(self.beta1, "beta1")
        _require_share(self.beta2, "beta2")
        require_number(self.eps, "eps", above=0)

    def build(self, groups: TorchGroups) -> torch.optim.Optimizer:
        """See `Optimizer.build`."""
        return torch.optim.Adam(groups, betas=(self.beta1, self.beta2), eps=self.eps)


@final
@dataclass(frozen=True)
class AdamW(Optimizer):
    """Adam with the weights shrunk apart from the gradient: w ← w - η α w, then Adam's step.

    Unless `weight_decay` is given, α = 0.01.

    Args:
        beta1: β₁ in [0, 1).
        beta2: β₂ in [0, 1).
        eps: ε > 0.
    Source: Loshchilov & Hutter 2019.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    type: ClassVar[str] = "adamw"
    own_weight_decay: ClassVar[float] = 0.01

    def __post_init__(self) -> None:
        _require_share(self.beta1, "beta1")
        _require_share(self.beta2, "beta2")
        require_number(self.eps, "eps", above=0)

    def build(self, groups: TorchGroups) -> torch.optim.Optimizer:
        """See `Optimizer.build`."""
        return torch.optim.AdamW(groups, betas=(self.beta1, self.beta2), eps=self.eps)


OPTIMISERS: dict[str, type[Optimizer]] = {
    kind.type: kind for kind in (SGD, Momentum, Nesterov, AdaGrad, RMSprop, Adam, AdamW)
}


def get_optimizer(optimizer: str | Mapping[str, object] | Optimizer) -> Optimizer:
    """An optimiser by name, from a mapping with a `type`, or as it is.

    Raises:
        OptionError: an unknown name or option; the nearest one is offered.
    """
    return named(optimizer, OPTIMISERS, Optimizer, "optimizer")  # type: ignore[type-abstract]


@final
@dataclass(frozen=True)
class Group:
    """Parameters chosen by name, and what is different for them.

    Args:
        pattern: a shell pattern matched against the whole name: `"*.bias"`, `"0.*"`, `"*weight_hh*"`. The
            first group that matches a parameter decides.
        lr: their rate η_0; the schedule multiplies it like any other. None: the common one.
        weight_decay: None: the common rule (W and R only); a number applies to all that match.
        l1: likewise.
        frozen: leave them as they are.
    """

    pattern: str
    lr: float | None = None
    weight_decay: float | None = None
    l1: float | None = None
    frozen: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.pattern, str) or not self.pattern:
            raise OptionError(f"pattern is {self.pattern!r} but must be text such as '*.bias'.")
        for name in ("lr", "weight_decay", "l1"):
            if getattr(self, name) is not None:
                require_number(getattr(self, name), name, low=0)
        require_bool(self.frozen, "frozen")


def penalised(network: torch.nn.Module) -> frozenset[str]:
    """Names of the parameters that weight decay and L1 act on: W and R.

    These are the matrices that a sum of inputs goes through: `weight_ih`, `weight_hh`, `weight_yh`,
    `weight_hy` of recurrent layers, and a `weight` of two or more dimensions (dense layers). Biases,
    peepholes (`weight_ph`), gains, learned initial states, and embeddings are left alone: none of them
    multiplies an input, and an embedding's rows would shrink for words that do not occur.
    """
    kinds = (Embedding, torch.nn.Embedding)
    embedded = {id(p) for m in network.modules() if isinstance(m, kinds) for p in m.parameters(False)}
    chosen = set()
    for name, parameter in network.named_parameters():
        leaf = name.rpartition(".")[2]
        recurrent = leaf.startswith(("weight_ih", "weight_hh", "weight_yh", "weight_hy"))
        dense = leaf == "weight" and parameter.ndim >= 2 and id(parameter) not in embedded
        if recurrent or dense:
            chosen.add(name)
    return frozenset(chosen)


def frozen_names(names: Iterable[str], groups: Sequence[Group]) -> frozenset[str]:
    """The names whose first matching group is frozen."""
    return frozenset(
        name for name in names if (group := _group_of(name, groups)) is not None and group.frozen
    )


def _group_of(name: str, groups: Sequence[Group]) -> Group | None:
    return next((group for group in groups if fnmatchcase(name, group.pattern)), None)


@final
class Updater:
    """An optimiser at work on named parameters: clipped gradients in, changed weights out.

    The L1 penalty λ Σ|w| is applied as a proximal step after the optimiser's own,
        w ← sign(w) max(|w| - η λ, 0),
    because only so do weights become exactly 0; a subgradient step hovers about it. For sgd this is the
    proximal gradient method (ISTA); for adaptive optimisers the threshold uses the plain rate η. Weight
    decay α is the penalty α w²/2, added to the gradient (for adamw: apart from it).

    Args:
        optimizer: the configuration.
        network: whose trainable parameters (those that require a gradient) are updated.
        lr: η_0.
        weight_decay: α for the parameters `penalised` names; None: the optimiser's own, 0 but for adamw.
        l1: λ for the same parameters.
        groups: what is different for some.
    Raises:
        OptionError: a group matches no parameter, or nothing is left to train.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        network: torch.nn.Module,
        *,
        lr: float,
        weight_decay: float | None = None,
        l1: float = 0.0,
        groups: Sequence[Group] = (),
    ) -> None:
        every = dict(network.named_parameters())
        for group in groups:
            if not any(fnmatchcase(name, group.pattern) for name in every):
                guess = nearest(group.pattern, every)
                raise OptionError(
                    f"the group pattern {group.pattern!r} matches no parameter"
                    + (f"; did you mean {guess!r}?" if guess else "."),
                    f"The parameters are: {', '.join(every)}.",
                )
        decayed = penalised(network)
        alpha = optimizer.own_weight_decay if weight_decay is None else weight_decay
        together: dict[tuple[float, float, float], dict[str, torch.nn.Parameter]] = {}
        for name, parameter in every.items():
            own = _group_of(name, groups)
            if not parameter.requires_grad or (own is not None and own.frozen):
                continue
            own = own or Group("*")
            key = (
                lr if own.lr is None else own.lr,
                (alpha if name in decayed else 0.0) if own.weight_decay is None else own.weight_decay,
                (l1 if name in decayed else 0.0) if own.l1 is None else own.l1,
            )
            together.setdefault(key, {})[name] = parameter
        if not together:
            raise OptionError(
                "there is nothing to train: every parameter is frozen.",
                "Unfreeze a layer, or leave out the group that freezes them.",
            )
        self._parameters = {name: p for members in together.values() for name, p in members.items()}
        self._rates = [key[0] for key in together]
        self._l1 = [key[2] for key in together]
        self._torch = optimizer.build(
            [
                {"params": list(members.values()), "lr": rate, "weight_decay": decay}
                for (rate, decay, _), members in together.items()
            ]
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters that are updated."""
        return tuple(self._parameters)

    def step(self, gradients: Mapping[str, Tensor], factor: float = 1.0) -> None:
        """One update.

        Args:
            gradients: by parameter name; a parameter without one is left alone.
            factor: what the schedule multiplies every rate by.
        """
        for name, parameter in self._parameters.items():
            parameter.grad = gradients.get(name)
        try:
            for group, rate in zip(self._torch.param_groups, self._rates):
                group["lr"] = rate * factor
            self._torch.step()
        finally:
            for parameter in self._parameters.values():
                parameter.grad = None
        with torch.no_grad():
            for group, l1 in zip(self._torch.param_groups, self._l1):
                if l1 > 0:
                    for parameter in group["params"]:
                        parameter.copy_(F.softshrink(parameter, group["lr"] * l1))

    def tensors(self) -> dict[str, Tensor]:
        """The whole state as flat tensors, `parameter name / quantity`; copies."""
        flat: dict[str, Tensor] = {}
        for name, parameter in self._parameters.items():
            for key, value in self._torch.state.get(parameter, {}).items():
                if value is None:
                    continue
                if not isinstance(value, Tensor):
                    raise UsageError(
                        f"the optimiser keeps {key!r} of {name} as {type(value).__name__}, not a tensor."
                    )
                flat[f"{name}/{key}"] = value.detach().clone()
        return flat

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up the state that `tensors` gave.

        Raises:
            CheckpointError: a quantity of an unknown parameter, or of another shape.
        """
        self._torch.state.clear()
        for flat_name, value in tensors.items():
            name, _, key = flat_name.rpartition("/")
            parameter = self._parameters.get(name)
            if parameter is None:
                raise CheckpointError(
                    f"the optimiser's state {flat_name!r} belongs to no parameter of this network."
                )
            if value.shape not in (parameter.shape, torch.Size(())):
                raise CheckpointError(
                    f"the optimiser's state {flat_name!r} is {tuple(value.shape)} but must be "
                    f"{tuple(parameter.shape)}."
                )
            # torch keeps the count of steps on the CPU, everything else beside the parameter
            place = torch.device("cpu") if key == "step" else parameter.device
            self._torch.state[parameter][key] = value.detach().clone().to(place)


class _TextbookMomentum(torch.optim.Optimizer):
    """Δw_t = μ Δw_{t-1} - (1 - μ) η_t g with a buffer of its own for Δw, right under a schedule too."""

    def __init__(self, groups: TorchGroups, momentum: float, *, nesterov: bool) -> None:
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0})
        self._momentum = momentum
        self._nesterov = nesterov

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        mu = self._momentum
        for group in self.param_groups:
            for w in group["params"]:
                if w.grad is None:
                    continue
                g = w.grad + group["weight_decay"] * w if group["weight_decay"] else w.grad
                before = self.state[w].get("delta")
                if before is None:
                    before = torch.zeros_like(w)
                delta = mu * before - (1 - mu) * group["lr"] * g
                # under nesterov w holds w + μ Δw_{t-1}: take the old look-ahead back, step, look ahead again
                w.add_(delta - mu * before + mu * delta if self._nesterov else delta)
                self.state[w]["delta"] = delta


class _RMSpropInside(torch.optim.Optimizer):
    """v ← ρ v + (1 - ρ) g², w ← w - η g / √(v + ε)."""

    def __init__(self, groups: TorchGroups, rho: float, eps: float) -> None:
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0})
        self._rho = rho
        self._eps = eps

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for w in group["params"]:
                if w.grad is None:
                    continue
                g = w.grad + group["weight_decay"] * w if group["weight_decay"] else w.grad
                v = self.state[w].setdefault("square_avg", torch.zeros_like(w))
                v.mul_(self._rho).addcmul_(g, g, value=1 - self._rho)
                w.addcdiv_(g, (v + self._eps).sqrt(), value=-group["lr"])


def _require_share(value: object, name: str) -> None:
    if require_number(value, name, low=0, high=1) == 1:
        raise OptionError(f"{name} is 1 but must be below 1.")
