"""What every recurrence has in common: its options, names, shapes, first values, and one step.

A cell is a small frozen dataclass that holds no tensors. With the letters of the textbooks

    s_t = step(θ, s_{t-1}, x_t)        the state s is a named tuple, θ the parameters

and everything else follows from it. A cell of one's own subclasses `Cell` and writes `step` alone; unless it
says otherwise it has one gate block "h", one state h (B, H), and the parameters W (H, I), R (H, H), b (H).

| name | letter | shape | meaning |
|---|---|---|---|
| `weight_ih` | W | (G·H, I) | input weights, one block of H rows a gate |
| `weight_hh` | R | (G·H, H) | recurrent weights, one block of H rows a gate |
| `bias` | b | (G·H,) | the one bias vector of the equations; absent with `bias=False` |

Default initialisation of every cell: W Glorot uniform and R orthogonal, each gate block by itself; biases 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, Self, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import linear

from saiki.core.activations import Activation, get_activation
from saiki.core.checks import require_bool, require_int, require_tensor
from saiki.core.errors import DTypeError, OptionError, ShapeError
from saiki.core.initialisers import initialise

P = TypeVar("P", bound=tuple[Any, ...])
S = TypeVar("S", bound=tuple[Any, ...])


class Params(NamedTuple):
    """Parameters of a cell with nothing beyond W, R and b."""

    weight_ih: Tensor  # (G·H, I)
    weight_hh: Tensor  # (G·H, H)
    bias: Tensor | None  # (G·H,)


class State(NamedTuple):
    """State of a cell that carries its hidden units alone."""

    h: Tensor  # (B, H)


class HasAffine(Protocol):
    """Whatever has W, R and b."""

    @property
    def weight_ih(self) -> Tensor: ...  # noqa: D102
    @property
    def weight_hh(self) -> Tensor: ...  # noqa: D102
    @property
    def bias(self) -> Tensor | None: ...  # noqa: D102


class StepGradients(NamedTuple, Generic[S]):
    """What one step hands back in time: ∂L/∂θ by name, ∂L/∂s_{t-1}, ∂L/∂x_t."""

    params: dict[str, Tensor]
    state: S
    x: Tensor


@dataclass(frozen=True, kw_only=True)
class Cell(ABC, Generic[P, S]):
    """A recurrence: options, names and shapes, default initialisation, and `step`.

    Args:
        input_size: I, the features of x_t, at least 1.
        hidden_size: H, the hidden units, at least 1.
        bias: whether the equations have their biases.
    Raises:
        DTypeError, ValueRangeError: a size is no integer of at least 1, or a flag is no bool.
        OptionError: an option is unknown or contradicts another.
    """

    input_size: int = field(kw_only=False)
    hidden_size: int = field(kw_only=False)
    bias: bool = True

    name: ClassVar[str] = "custom"
    params_type: ClassVar[type[Any]] = Params
    state_type: ClassVar[type[Any]] = State
    output: ClassVar[str] = "h"  # the state that is the layer's output

    def __post_init__(self) -> None:
        self._check_size("input_size")
        self._check_size("hidden_size")
        self._check_flag("bias")

    # names and shapes

    @property
    def gates(self) -> tuple[str, ...]:
        """The gates, in the order of the row blocks of `weight_ih`, `weight_hh` and `bias`."""
        return ("h",)

    @property
    def states(self) -> tuple[str, ...]:
        """The names of the state's tensors."""
        names: tuple[str, ...] = self.state_type._fields
        return names

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The width of each of the state's tensors, as `states` names them."""
        return (self.hidden_size,) * len(self.states)

    @cached_property
    def output_size(self) -> int:
        """The width of the output."""
        return self.hidden_size

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each parameter that these options use, in drawing order."""
        rows = len(self.gates) * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, self.input_size),
            "weight_hh": (rows, self.hidden_size),
        }
        if self.bias:
            shapes["bias"] = (rows,)
        return shapes

    def options(self) -> dict[str, Any]:
        """Every constructor argument by name, fit for JSON; `type(cell)(**cell.options())` equals the cell.

        Raises:
            OptionError: an option is a callable, which has no name that a file could hold.
        """
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, value in values.items():
            if callable(value):
                raise OptionError(
                    f"{name} of this {self.name} cell is a callable, which no file can hold.",
                    "Give an activation by name if the cell is to be saved.",
                )
        return values

    @property
    def label(self) -> str:
        """A short name with the options that differ from their defaults, for tables and test names."""
        parts = [self.name]
        for f in fields(self):
            value = getattr(self, f.name)
            if f.default is MISSING or value == f.default:
                continue
            shown = getattr(value, "__name__", None) or value
            parts.append(f"{f.name}={shown}")
        return " ".join(parts)

    @classmethod
    def variants(cls, input_size: int, hidden_size: int) -> tuple[Self, ...]:
        """One cell for each combination of options worth a test, a benchmark row or a line in a table."""
        return (cls(input_size, hidden_size),)

    # values

    def initial_parameters(
        self,
        generator: torch.Generator | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> dict[str, Tensor]:
        """Draw the default initialisation: W Glorot uniform, R orthogonal, each a gate block; the rest 0.

        Args:
            generator: where the randomness comes from; None takes torch's own.
            dtype: floating type of the parameters.
            device: where they are to live. The numbers are drawn on the CPU, so they do not depend on it.
        Returns:
            The parameters by name, in the order of `parameter_shapes`.
        """
        source = torch.default_generator if generator is None else generator
        drawn = {name: self._initial(name, shape, source) for name, shape in self.parameter_shapes().items()}
        return {name: value.to(device=device, dtype=dtype) for name, value in drawn.items()}

    def _initial(self, name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draw one parameter in float64; a cell with parameters of its own extends this."""
        match name:
            case "weight_ih":
                return self._by_block("glorot_uniform", shape, generator)
            case "weight_hh":
                return self._by_block("orthogonal", shape, generator)
            case _ if len(shape) > 1 and name != "weight_ph":
                return initialise("glorot_uniform", shape, generator, dtype=torch.float64)
            case _:
                return torch.zeros(shape, dtype=torch.float64)

    def _by_block(self, how: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draw each gate's block of rows as the matrix of one layer, with fans of its own."""
        block = (self.hidden_size, *shape[1:])
        return torch.cat([initialise(how, block, generator, dtype=torch.float64) for _ in self.gates])

    def initial_state(
        self,
        batch_size: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> S:
        """The state of zeros before the first step, one row a sequence."""
        zeros = [torch.zeros(batch_size, size, dtype=dtype, device=device) for size in self.state_sizes]
        state: S = self.state_type(*zeros)
        return state

    def params(self, mapping: Mapping[str, Tensor]) -> P:
        """Take the parameters from a mapping by name; those that the options do not use are None.

        Raises:
            OptionError: a parameter is missing, or there is one that these options do not use.
            DTypeError: a parameter is no dense floating tensor.
            ShapeError: a parameter is of the wrong shape.
        """
        shapes = self.parameter_shapes()
        if not isinstance(mapping, Mapping):
            raise DTypeError(
                f"the parameters are {type(mapping).__name__} but must be a mapping from name to tensor."
            )
        if mapping.keys() != shapes.keys():
            missing = ", ".join(name for name in shapes if name not in mapping) or "none"
            unused = ", ".join(name for name in mapping if name not in shapes) or "none"
            raise OptionError(
                f"the parameters do not fit {self.label!r}, which has {', '.join(shapes)}: "
                f"missing {missing}; not used by these options: {unused}"
            )
        for name, shape in shapes.items():
            if require_tensor(mapping[name], name).shape != shape:
                raise ShapeError(
                    f"{name} is {tuple(mapping[name].shape)} but must be {shape}: "
                    f"the cell has input_size={self.input_size}, hidden_size={self.hidden_size}, "
                    f"gates {' '.join(self.gates)}"
                )
        params: P = self.params_type(**{name: mapping.get(name) for name in self.params_type._fields})
        return params

    # time

    @abstractmethod
    def step(self, params: P, state: S, x: Tensor) -> S:
        """Advance by one time step.

        Args:
            params: from `params()`.
            state: s_{t-1}, tensors (B, size).
            x: x_t, (B, I).
        Returns:
            s_t. Pure: nothing is changed in place and nothing is remembered.
        """

    def step_with_gates(self, params: P, state: S, x: Tensor) -> tuple[S, dict[str, Tensor]]:
        """`step`, and the activated gates (B, H) by name; a cell that does not tell its gates returns {}."""
        return self.step(params, state, x), {}

    def step_backward(
        self, params: P, state_prev: S, x: Tensor, state: S, gates: Mapping[str, Tensor], dstate: S
    ) -> StepGradients[S]:
        """Take ∂L/∂s_t back through one step: here by differentiating `step`, in the built-in cells by hand.

        Args:
            params: θ.
            state_prev: s_{t-1}.
            x: x_t.
            state: s_t, as `step_with_gates` returned it.
            gates: the activated gates it returned.
            dstate: ∂L/∂s_t, from the output at t and from all later steps.
        Returns:
            ∂L/∂θ of this step alone (by name), ∂L/∂s_{t-1} and ∂L/∂x_t.
        """
        names = [name for name, value in zip(self.params_type._fields, params) if value is not None]
        with torch.enable_grad():
            leaves = [
                value.detach().requires_grad_() for value in (*params, *state_prev, x) if value is not None
            ]
            n = len(names)
            by_name = dict(zip(names, leaves))
            again = self.step(
                self.params_type(**{name: by_name.get(name) for name in self.params_type._fields}),
                self.state_type(*leaves[n:-1]),
                leaves[-1],
            )
            taken = torch.autograd.grad(again, leaves, dstate, allow_unused=True)
        grads = [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, taken)]
        return StepGradients(dict(zip(names, grads)), self.state_type(*grads[n:-1]), grads[-1])

    # checks, for the constructors

    def _check_size(self, name: str) -> None:
        # a numpy integer becomes a plain one, so that options() is JSON
        object.__setattr__(self, name, require_int(getattr(self, name), name, low=1))

    def _check_flag(self, name: str) -> None:
        object.__setattr__(self, name, require_bool(getattr(self, name), name))

    def _check_activations(self, *names: str) -> None:
        for name in names:
            get_activation(getattr(self, name))


def affine(params: HasAffine, h: Tensor, x: Tensor) -> Tensor:
    """a_t = W x_t + R h_{t-1} + b, (B, G·H)."""
    return linear(x, params.weight_ih, params.bias) + h @ params.weight_hh.T


def slope_from_output(activation: Activation, y: Tensor) -> Tensor:
    """f'(a) told from y = f(a) alone, which is all that a step keeps.

    Raises:
        OptionError: the activation is a user's own callable, whose derivative is not known.
    """
    if activation.derivative_from_output is None:
        raise OptionError(
            "step_backward needs the derivative of each activation, and a user's own callable has none.",
            "Use an activation by name, or let autograd differentiate step.",
        )
    return activation.derivative_from_output(y)


def slope(activation: Activation, a: Tensor, y: Tensor) -> Tensor:
    """f'(a) where both a and y = f(a) are at hand; raises like `slope_from_output`."""
    return slope_from_output(activation, y) if activation.derivative is None else activation.derivative(a, y)


def in_blocks(names: Sequence[str], a: Tensor) -> dict[str, Tensor]:
    """Cut a (B, G·H) into its gate blocks (B, H) by name."""
    return dict(zip(names, a.chunk(len(names), dim=-1)))
