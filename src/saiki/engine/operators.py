"""The native kernels as operators of torch: `saiki::layer` and `saiki::layer_backward`.

    layer(data, batch_sizes, parameters, states, cell, reverse) -> output, last
    layer_backward(..., d_output, d_last, wanted) -> the gradients that are wanted

One call runs a whole layer, both directions side by side, and is one node of autograd. What torch asks of an
operator is here: a kernel for the CPU, a fake one that tells shapes (torch.compile, torch.export), gradients,
and rules for `torch.func.vmap`. A derivative of the gradients is taken through the reference engine.

`parameters` and `states` are flat: those of the first direction, then those of the second; parameters in the
order of `_native.parameters`, those alone that the cell has. `cell` is the cell as text, see `text_of`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from operator import itemgetter
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_legacy_batchedtensor
from torch._functorch import autograd_function

from saiki.cells import GRU, LSTM, Cell, Elman, Jordan
from saiki.core.errors import EngineError, OptionError
from saiki.engine.base import Job
from saiki.engine.native import native
from saiki.engine.reference import Reference

FAMILIES: dict[str, type[Cell[Any, Any]]] = {cell.name: cell for cell in (Elman, Jordan, LSTM, GRU)}
_NAMES = {torch.float32: "float32", torch.float64: "float64"}

Tensors = Sequence[Tensor]
Result = tuple[Tensor, list[Tensor], list[Tensor]]  # output, last, saved


@lru_cache(maxsize=1024)
def _text_of(cell: Cell[Any, Any]) -> str:
    return json.dumps({"cell": cell.name, **cell.options()})


@torch.compiler.assume_constant_result
def text_of(cell: Cell[Any, Any]) -> str:
    """A built-in cell with named activations as text, which a saved graph can hold."""
    return _text_of(cell)


class Plan:
    """What is known of a cell beforehand: sizes, where its parameters go, its kernels."""

    def __init__(self, text: str) -> None:
        options = json.loads(text)
        self.cell = FAMILIES[options.pop("cell")](**options)
        module = require_native()
        own = self.cell.parameter_shapes()
        self.names = tuple(name for name in module.parameters if name in own)
        # the kernels' slots, filled from the cell's parameters and a None behind them
        self.slots = itemgetter(
            *(self.names.index(name) if name in own else -1 for name in module.parameters)
        )
        self.P = len(self.names)
        self.S = len(self.cell.states)
        self.O: int = self.cell.output_size
        self.kernels: dict[tuple[torch.dtype, str], Any] = {}

    def kernel(self, dtype: torch.dtype) -> Any:  # noqa: ANN401 - a _native.Kernel
        """The kernel for this element type, on the instruction set that SAIKI_ISA names or the best."""
        key = (dtype, target())
        kernel = self.kernels.get(key)
        if kernel is None:
            kernel = self.kernels[key] = make_kernel(self.cell, dtype, key[1])
        return kernel

    def groups(self, flat: Sequence[Any], each: int) -> list[tuple[Any, ...]]:
        """A flat list by direction."""
        return [tuple(flat[k : k + each]) for k in range(0, len(flat), each)]


_plan_of = lru_cache(maxsize=1024)(Plan)


@torch.compiler.assume_constant_result
def plan_of(text: str) -> Plan:
    """The plan of a cell as text."""
    return _plan_of(text)


def require_native() -> ModuleType:
    """The extension; EngineError where it was not built."""
    module = native()
    if isinstance(module, str):
        raise EngineError(f"the native engine is not here: {module}")
    return module


@torch.compiler.assume_constant_result
def target() -> str:
    """The instruction set to run on; OptionError where SAIKI_ISA names none that can run."""
    try:
        name: str = require_native().default_target()
    except ValueError as error:
        raise OptionError(f"{error}.", "Unset SAIKI_ISA to have the best one picked.") from None
    return name


def make_kernel(cell: Cell[Any, Any], dtype: torch.dtype, target: str) -> Any:  # noqa: ANN401
    """A `_native.Kernel` for a built-in cell."""
    options = cell.options()
    options.pop("reset", None)
    sizes = (options.pop("input_size"), options.pop("hidden_size"))
    options.pop("output_size", None)
    if isinstance(cell, GRU):
        options["reset_after"] = cell.reset == "after"
    return require_native().Kernel(
        cell.name, *sizes, cell.output_size, **options, dtype=_NAMES[dtype], target=target
    )


# --- on the CPU ---------------------------------------------------------------------------------------------


def run_forward(
    data: Tensor,
    batch_sizes: Tensor,
    parameters: Tensors,
    states: Tensors,
    cell: str,
    reverse: Sequence[bool],
    save: bool = False,
) -> Result:
    """Call the kernel: output (N, D·O), the final states, and what backward needs."""
    plan = plan_of(cell)
    kernel = plan.kernel(data.dtype)
    P, S, N, D = plan.P, plan.S, data.shape[0], len(reverse)
    given = [p.contiguous() for p in parameters]
    first = [s.contiguous() for s in states]
    output = data.new_empty((N, D * plan.O))
    last = [torch.empty_like(s) for s in first]
    saved = [data.new_empty((N, kernel.saved_columns)) for _ in reverse] if save else []
    runs = tuple(
        (
            backwards,
            plan.slots([*given[d * P : d * P + P], None]),
            tuple(first[d * S : d * S + S]),
            output,
            tuple(last[d * S : d * S + S]),
            saved[d] if save else None,
        )
        for d, backwards in enumerate(reverse)
    )
    kernel.forward(data.contiguous(), batch_sizes.contiguous(), runs, torch.get_num_threads())
    return output, last, saved


def run_backward(
    data: Tensor,
    batch_sizes: Tensor,
    parameters: Tensors,
    states: Tensors,
    output: Tensor,
    saved: Tensors,
    d_output: Tensor | None,
    d_last: Sequence[Tensor | None],
    cell: str,
    reverse: Sequence[bool],
    wanted: Sequence[bool],
) -> list[Tensor]:
    """Call the kernel: the gradients of data, parameters and states, those alone that are wanted."""
    plan = plan_of(cell)
    kernel = plan.kernel(data.dtype)
    P, S, D = plan.P, plan.S, len(reverse)
    data = data.contiguous()
    given = [p.contiguous() for p in parameters]
    first = [s.contiguous() for s in states]
    grads = [torch.empty_like(x) if want else None for x, want in zip((data, *given, *first), wanted)]
    d_parameters, d_states = grads[1 : 1 + D * P], grads[1 + D * P :]
    came = [None if d is None else d.contiguous() for d in d_last]
    if d_output is not None:
        d_output = d_output.contiguous()
    output = output.contiguous()
    runs = tuple(
        (
            backwards,
            plan.slots([*given[d * P : d * P + P], None]),
            tuple(first[d * S : d * S + S]),
            output,
            saved[d].contiguous(),
            d_output,
            tuple(came[d * S : d * S + S]),
            plan.slots([*d_parameters[d * P : d * P + P], None]),
            tuple(d_states[d * S : d * S + S]),
        )
        for d, backwards in enumerate(reverse)
    )
    kernel.backward(data, batch_sizes.contiguous(), runs, grads[0], torch.get_num_threads())
    return [grad for grad in grads if grad is not None]


# --- without numbers ----------------------------------------------------------------------------------------


def _fake_forward(
    data: Tensor,
    batch_sizes: Tensor,
    parameters: Tensors,
    states: Tensors,
    cell: str,
    reverse: Sequence[bool],
    save: bool = False,
) -> Result:
    plan = plan_of(cell)
    N, D = data.shape[0], len(reverse)
    columns = plan.kernel(data.dtype).saved_columns
    return (
        data.new_empty((N, D * plan.O)),
        [s.new_empty(s.shape) for s in states],
        [data.new_empty((N, columns)) for _ in reverse] if save else [],
    )


def _fake_backward(
    data: Tensor,
    batch_sizes: Tensor,
    parameters: Tensors,
    states: Tensors,
    output: Tensor,
    saved: Tensors,
    d_output: Tensor | None,
    d_last: Sequence[Tensor | None],
    cell: str,
    reverse: Sequence[bool],
    wanted: Sequence[bool],
) -> list[Tensor]:
    inputs = (data, *parameters, *states)
    return [x.new_empty(x.shape) for x, want in zip(inputs, wanted) if want]


# --- gradients ----------------------------------------------------------------------------------------------

# torch hands the Autograd kernel a set of keys: who would have to look at the call after autograd. Where that
# is the CPU alone (no tracer, no transform, no lazy negative), its kernel is called without another dispatch.
_BELOW = torch._C._after_autograd_keyset
_PLAIN = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU).raw_repr()


_TENSORS = (Tensor, torch.nn.Parameter)

Keys = torch._C.DispatchKeySet | None  # None: nobody else is looking, which `unobserved` has found out


def unobserved(*tensors: Tensor | None) -> bool:
    """Whether torch's dispatcher, some microseconds a call, would find nobody to hand the call to."""
    return (
        not torch._C._len_torch_dispatch_stack()
        and not torch._C._len_torch_function_stack()
        and not torch._C._are_functorch_transforms_active()
        and all(t is None or (type(t) in _TENSORS and t.is_cpu and not t.is_neg()) for t in tensors)
    )


def _is_plain(keyset: Keys) -> bool:
    return keyset is None or bool((keyset & _BELOW).raw_repr() == _PLAIN)


def below(keyset: Keys, operator: Any, plain: Callable[..., Any], *args: Any) -> Any:  # noqa: ANN401
    """Go on beneath autograd: straight to the CPU's kernel where nobody else is looking."""
    if _is_plain(keyset):
        return plain(*args)
    assert keyset is not None  # it would be plain
    with torch._C._AutoDispatchBelowAutograd():
        return operator.redispatch(keyset & _BELOW, *args)


def below_node(keyset: Keys, operator: Any, plain: Callable[..., Any], *args: Any) -> Any:  # noqa: ANN401
    """`below` inside of a node, where gradients are off: for its own level, not for those beneath."""
    if _is_plain(keyset):
        return plain(*args)
    with torch.set_grad_enabled(torch._C._are_functorch_transforms_active()):
        return below(keyset, operator, plain, *args)


def applied(node: type[torch.autograd.Function], *args: Any) -> Any:  # noqa: ANN401
    """node.apply(*args), as of one level where transforms of torch.func are at work.

    The dispatcher has opened the level already when it comes to autograd, and goes on to the next beneath it;
    `apply` by itself would begin with the outermost once more, which is right outside of operators alone.
    """
    if not torch._C._are_functorch_transforms_active():
        return node.apply(*args)
    with autograd_function.enable_single_level_autograd_function():  # type: ignore[attr-defined]
        return super(torch.autograd.Function, node).apply(*args)  # type: ignore[misc]


class _Layer(torch.autograd.Function):
    """One node a layer, both directions."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        keyset: Keys,
        cell: str,
        reverse: Sequence[bool],
        P: int,
        data: Tensor,
        batch_sizes: Tensor,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        args = (data, batch_sizes, tensors[:P], tensors[P:], cell, reverse, True)
        output, last, saved = below_node(keyset, _LAYER, run_forward, *args)
        ctx.save_for_backward(data, batch_sizes, output, *tensors, *saved)
        ctx.mark_non_differentiable(*saved)
        ctx.set_materialize_grads(False)
        ctx.cell, ctx.reverse, ctx.P, ctx.T, ctx.alone = cell, reverse, P, len(tensors), keyset is None
        return (output, *last, *saved)

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401
        d_output: Tensor | None,
        *d_rest: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        data, batch_sizes, output, *rest = ctx.saved_tensors
        P: int = ctx.P
        T: int = ctx.T
        _, _, _, _, d_data, _, *d_tensors = ctx.needs_input_grad
        d_last = d_rest[: T - P]
        came = [d for d in (d_output, *d_last) if d is not None]
        if not came:
            return (None,) * (6 + T)
        wanted = [d_data, *d_tensors]
        grads: Iterator[Tensor]
        if any(is_legacy_batchedtensor(d) for d in came):  # autograd.grad(is_grads_batched=True)
            inputs = (data, *rest[:T])
            grads = _by_reference(ctx.cell, batch_sizes, inputs, P, ctx.reverse, (d_output, *d_last), wanted)
        else:
            args = (data, batch_sizes, rest[:P], rest[P:T], output, rest[T:], d_output, d_last)
            alone = ctx.alone and not torch.is_grad_enabled() and unobserved(*came)
            grads = iter((run_backward if alone else _BACKWARD)(*args, ctx.cell, ctx.reverse, wanted))
        return (
            *(None, None, None, None),
            next(grads) if d_data else None,
            None,
            *(next(grads) if want else None for want in d_tensors),
        )


class _LayerBackward(torch.autograd.Function):
    """The gradients as functions of the inputs and of the gradients that came: to be differentiated again."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        keyset: Keys,
        cell: str,
        reverse: Sequence[bool],
        wanted: Sequence[bool],
        sizes: tuple[int, int, int],  # how many parameters, states, saved tensors
        data: Tensor,
        batch_sizes: Tensor,
        output: Tensor,
        d_output: Tensor | None,
        *tensors: Tensor | None,
    ) -> tuple[Tensor, ...]:
        P, S, K = sizes
        parameters, states = tensors[:P], tensors[P : P + S]
        saved, d_last = tensors[P + S : P + S + K], tensors[P + S + K :]
        grads = below_node(
            *(keyset, _BACKWARD, run_backward),
            *(data, batch_sizes, parameters, states, output, saved, d_output, d_last, cell, reverse, wanted),
        )
        # output and saved follow from the inputs, so the inputs' share of the derivative is the whole
        ctx.save_for_backward(data, batch_sizes, *parameters, *states, d_output, *d_last)
        ctx.set_materialize_grads(False)
        ctx.cell, ctx.reverse, ctx.wanted, ctx.sizes = cell, reverse, wanted, sizes
        return tuple(grads)

    @staticmethod
    def backward(ctx: Any, *seconds: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        P, S, K = ctx.sizes
        data, batch_sizes, *rest = ctx.saved_tensors
        primals, came = (data, *rest[: P + S]), rest[P + S :]  # came: d_output, then d_last
        there = [k for k, d in enumerate(came) if d is not None]
        plan = plan_of(ctx.cell)

        def outputs(*inputs: Tensor) -> tuple[Tensor, ...]:
            """What the gradients came for: output and final states, as the reference engine has them."""
            told = _reference(plan, batch_sizes, inputs, P, ctx.reverse)
            return tuple(told[k] for k in there)

        def gradients(*inputs: Tensor) -> tuple[Tensor, ...]:
            pull = torch.func.vjp(outputs, *inputs[: len(primals)])[1]
            pulled = pull(tuple(inputs[len(primals) :]))
            return tuple(grad for grad, want in zip(pulled, ctx.wanted) if want)

        inputs = (*primals, *(came[k] for k in there))
        told, pull = torch.func.vjp(gradients, *inputs)[:2]
        grads = pull(tuple(torch.zeros_like(t) if d is None else d for t, d in zip(told, seconds)))
        d_primals, d_came = grads[: len(primals)], dict(zip(there, grads[len(primals) :]))
        return (
            *(None,) * 5,
            d_primals[0],
            None,
            None,
            d_came.get(0),
            *d_primals[1:],
            *(None,) * K,
            *(d_came.get(1 + k) for k in range(S)),
        )


def _reference(
    plan: Plan, batch_sizes: Tensor, inputs: Tensors, P: int, reverse: Sequence[bool]
) -> tuple[Tensor, ...]:
    """The operator's differentiable results, (output, *last), by the reference engine."""
    data, parameters, states = inputs[0], inputs[1 : 1 + P], inputs[1 + P :]
    layer = Reference().run_layer(
        Job(
            plan.cell,
            tuple(dict(zip(plan.names, group)) for group in plan.groups(parameters, plan.P)),
            data,
            batch_sizes,
            tuple(plan.cell.state_type(*group) for group in plan.groups(states, plan.S)),
            tuple("reverse" if backwards else "forward" for backwards in reverse),
            trace=False,
        )
    )
    return layer.output, *(s for state in layer.states for s in state)


def _by_reference(
    cell: str,
    batch_sizes: Tensor,
    inputs: Tensors,
    P: int,
    reverse: Sequence[bool],
    came: Sequence[Tensor | None],
    wanted: Sequence[bool],
) -> Iterator[Tensor]:
    """The gradients that are wanted, by autograd through the reference engine."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        leaves = [x.view_as(x) if x.requires_grad else x for x in inputs]
        told = _reference(plan_of(cell), batch_sizes, leaves, P, reverse)
        pairs = [(t, d) for t, d in zip(told, came) if d is not None and t.requires_grad]
        learnt = [leaf for leaf, want in zip(leaves, wanted) if want]
        outputs, gradients = zip(*pairs)
        return iter(
            torch.autograd.grad(outputs, learnt, gradients, create_graph=again, materialize_grads=True)
        )


def _autograd_forward(
    keyset: torch._C.DispatchKeySet,
    data: Tensor,
    batch_sizes: Tensor,
    parameters: Tensors,
    states: Tensors,
    cell: str,
    reverse: Sequence[bool],
    save: bool = False,
) -> Result:
    if torch.is_grad_enabled() and torch._C._any_requires_grad(data, *parameters, *states):
        P = len(parameters)
        output, *rest = applied(_Layer, keyset, cell, reverse, P, data, batch_sizes, *parameters, *states)
        S = len(states)
        return output, rest[:S], rest[S:] if save else []
    args = (data, batch_sizes, parameters, states, cell, reverse, save)
    result: Result = below(keyset, _LAYER, run_forward, *args)
    return result


def _autograd_backward(
    keyset: torch._C.DispatchKeySet,
    data: Tensor,
    batch_sizes: Tensor,
    parameters: Tensors,
    states: Tensors,
    output: Tensor,
    saved: Tensors,
    d_output: Tensor | None,
    d_last: Sequence[Tensor | None],
    cell: str,
    reverse: Sequence[bool],
    wanted: Sequence[bool],
) -> list[Tensor]:
    if torch.is_grad_enabled():
        leaves = (data, *parameters, *states, d_output, *d_last)
        if torch._C._any_requires_grad(*leaves):
            sizes = (len(parameters), len(states), len(saved))
            return list(
                applied(
                    *(
                        _LayerBackward,
                        keyset,
                        cell,
                        reverse,
                        wanted,
                        sizes,
                        data,
                        batch_sizes,
                        output,
                        d_output,
                    ),
                    *(*parameters, *states, *saved, *d_last),
                )
            )
    args = (data, batch_sizes, parameters, states, output, saved, d_output, d_last, cell, reverse, wanted)
    grads: list[Tensor] = below(keyset, _BACKWARD, run_backward, *args)
    return grads


# --- torch.func.vmap ----------------------------------------------------------------------------------------
# V copies of every sequence make a batch of V·B: each step's V·sizes[t] rows stay together, and no sequence
# becomes longer than one before it. What is mapped over parameters has no such form and is done one by one.


def _fold(x: Tensor, dim: int | None, V: int) -> Tensor:
    """(rows, size) for each of V, to (rows·V, size)."""
    x = x.unsqueeze(1).expand(-1, V, -1) if dim is None else x.movedim(dim, 1)
    return x.reshape(x.shape[0] * V, x.shape[2])


def _unfold(x: Tensor, V: int) -> Tensor:
    """(rows·V, size) back to (rows, V, size)."""
    return x.view(x.shape[0] // V, V, x.shape[1])


def _pick(x: Any, dim: Any, v: int) -> Any:  # noqa: ANN401
    """The v-th of V."""
    if isinstance(x, list | tuple):
        return [_pick(one, d, v) for one, d in zip(x, dim)]
    return x if dim is None or x is None else x.select(dim, v)


def _one_by_one(operator: Any, V: int, in_dims: tuple[Any, ...], args: tuple[Any, ...], tensors: int) -> Any:  # noqa: ANN401
    """The operator's results for each of V; the first `tensors` arguments may be mapped over."""
    mapped, rest = args[:tensors], args[tensors:]
    return [operator(*(_pick(a, d, v) for a, d in zip(mapped, in_dims)), *rest) for v in range(V)]


def _vmap_forward(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:  # noqa: ANN401
    data, batch_sizes, parameters, states, *rest = args
    V = info.batch_size
    d_data, d_sizes, d_parameters, d_states = in_dims[:4]
    if d_sizes is None and all(d is None for d in d_parameters):
        output, last, saved = _LAYER(
            _fold(data, d_data, V),
            batch_sizes * V,
            parameters,
            [_fold(s, d, V) for s, d in zip(states, d_states)],
            *rest,
        )
        result = (
            _unfold(output, V),
            [_unfold(t, V) for t in last],
            [_unfold(t, V) for t in saved],
        )
        return result, (1, [1] * len(last), [1] * len(saved))
    results = _one_by_one(_LAYER, V, in_dims, args, 4)
    outputs, lasts, saveds = zip(*results)
    last = [torch.stack(ts) for ts in zip(*lasts)]
    saved = [torch.stack(ts) for ts in zip(*saveds)]
    return (torch.stack(outputs), last, saved), (0, [0] * len(last), [0] * len(saved))


def _vmap_backward(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:  # noqa: ANN401
    data, batch_sizes, parameters, states, output, saved, d_output, d_last, cell, reverse, wanted = args
    V = info.batch_size
    summed = any(wanted[1 : 1 + len(parameters)])  # over the batch, so not to be told apart afterwards
    if in_dims[1] is None and all(d is None for d in in_dims[2]) and not summed:

        def fold(x: Any, dim: Any) -> Any:  # noqa: ANN401
            if isinstance(x, list | tuple):
                return [fold(one, d) for one, d in zip(x, dim)]
            return None if x is None else _fold(x, dim, V)

        grads = _BACKWARD(
            *(fold(data, in_dims[0]), batch_sizes * V, parameters),
            *(fold(x, d) for x, d in zip((states, output, saved, d_output, d_last), in_dims[3:8])),
            *(cell, reverse, wanted),
        )
        return [_unfold(g, V) for g in grads], [1] * len(grads)
    results = _one_by_one(_BACKWARD, V, in_dims, args, 8)
    return [torch.stack(gs) for gs in zip(*results)], [0] * len(results[0])


# --- registration -------------------------------------------------------------------------------------------

LIBRARY = torch.library.Library("saiki", "DEF")
LIBRARY.define(
    "layer(Tensor data, Tensor batch_sizes, Tensor[] parameters, Tensor[] states, str cell, bool[] reverse, "
    "bool save=False) -> (Tensor output, Tensor[] last, Tensor[] saved)"
)
LIBRARY.define(
    "layer_backward(Tensor data, Tensor batch_sizes, Tensor[] parameters, Tensor[] states, Tensor output, "
    "Tensor[] saved, Tensor? d_output, Tensor?[] d_last, str cell, bool[] reverse, bool[] wanted) -> Tensor[]"
)
_LAYER = torch.ops.saiki.layer.default
_BACKWARD = torch.ops.saiki.layer_backward.default
for _name, _cpu, _fake, _autograd, _vmap in (
    ("layer", run_forward, _fake_forward, _autograd_forward, _vmap_forward),
    ("layer_backward", run_backward, _fake_backward, _autograd_backward, _vmap_backward),
):
    LIBRARY.impl(_name, _cpu, "CPU")
    LIBRARY.impl(_name, _autograd, "Autograd", with_keyset=True)
    torch.library.register_fake(f"saiki::{_name}", _fake, lib=LIBRARY)
    torch.library.register_vmap(f"saiki::{_name}", _vmap, lib=LIBRARY)


def layer(
    data: Tensor,
    batch_sizes: Tensor,
    parameters: Tensors,
    states: Tensors,
    cell: str,
    reverse: Sequence[bool],
) -> tuple[Tensor, list[Tensor]]:
    """`saiki::layer` without the dispatcher where autograd alone would look: output, final states."""
    if torch.compiler.is_compiling() or not unobserved(data, batch_sizes, *parameters, *states):
        output, last, _ = _LAYER(data, batch_sizes, parameters, states, cell, reverse)
    elif torch.is_grad_enabled() and torch._C._any_requires_grad(data, *parameters, *states):
        P, S = len(parameters), len(states)
        output, *rest = _Layer.apply(None, cell, reverse, P, data, batch_sizes, *parameters, *states)
        last = rest[:S]
    else:
        output, last, _ = run_forward(data, batch_sizes, parameters, states, cell, reverse)
    return output, last
