"""Which engine runs a job: the one named by the call, else by `use(...)`, else the best that can.

"auto" takes the native kernels where they are built and have the cell, then torch's fused operator where
torch has the cell's equation, and the reference loop everywhere else, and says once which cells run on the
loop. An engine asked for by name runs or raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor

from saiki.cells import Cell
from saiki.core.checks import require_shape, require_tensor
from saiki.core.errors import DTypeError, EngineError, LengthError, OptionError, ShapeError
from saiki.core.log import say_once
from saiki.core.names import choose
from saiki.engine.base import Direction, Engine, Job, LayerRun, Run
from saiki.engine.cpu import NativeCPU
from saiki.engine.native import native
from saiki.engine.operators import FAMILIES, target
from saiki.engine.reference import Reference
from saiki.engine.torch_fused import TorchFused

ENGINES: dict[str, Engine] = {engine.name: engine for engine in (NativeCPU(), TorchFused(), Reference())}
_AUTO = ("cpu", "torch_fused", "reference")  # in order of preference
_CPU = torch.device("cpu")
_BUILT_IN = frozenset(FAMILIES.values())
_LISTS = (list, tuple)
_TENSORS = (Tensor, torch.nn.Parameter)
_DIRECTIONS = get_args(Direction)
_NAMES = {"auto": "auto", **{name: name for name in ENGINES}}

_selected: ContextVar[str] = ContextVar("saiki_engine", default="auto")


@contextmanager
def use(engine: str) -> Iterator[None]:
    """Run everything inside the `with` block on one engine, where a layer does not name its own.

    Args:
        engine: "auto", "reference", "torch_fused" or "cpu".
    Raises:
        OptionError: there is no such engine.

    Example:
        with saiki.engine.use("reference"):
            output, state = layer(x)
    """
    token = _selected.set(choose(engine, _NAMES, "engine"))
    try:
        yield
    finally:
        _selected.reset(token)


def selected() -> str:
    """The engine that `use` has selected here; "auto" where it has not."""
    return _selected.get()


def available(
    cell: Cell[Any, Any],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    trace: bool = False,
    grad: bool = True,
) -> tuple[str, ...]:
    """The engines that can run this cell there.

    Args:
        cell: what is to run.
        device: where the tensors are.
        dtype: their floating type.
        trace: whether states and gates are wanted.
        grad: whether gradients are wanted.
    """
    device = torch.device(device)
    return tuple(
        name
        for name, engine in ENGINES.items()
        if engine.obstacle(cell, device, dtype, trace=trace, grad=grad) is None
    )


@dataclass(frozen=True)
class Info:
    """What there is to run on; `str()` is a few lines to read."""

    selected: str
    engines: tuple[str, ...]
    native: bool
    native_note: str
    torch_version: str
    threads: int
    instruction_set: str  # what the native kernels run on; "" without them
    instruction_sets: tuple[str, ...]  # all that were built and run here, best first

    def __str__(self) -> str:
        return "\n".join(
            (
                f"engine: {self.selected} (of auto, {', '.join(self.engines)})",
                f"native extension: {self.native_note}",
                f"torch {self.torch_version}, {self.threads} thread{'s' * (self.threads != 1)}",
            )
        )


def info() -> Info:
    """Say which engine is selected, which there are, and what the native kernels run on.

    Raises:
        OptionError: SAIKI_ISA names no instruction set that can run here.
    """
    module = native()
    built = not isinstance(module, str)
    picked, sets = "", ()
    if isinstance(module, str):
        note = module
    else:
        picked, told = target(), module.info()
        sets = tuple(told["runs_here"])
        note = f"{picked} (of {', '.join(sets)}; built: {', '.join(told['built'])})"
    engines = tuple(name for name in ENGINES if built or name != "cpu")
    return Info(
        *(_selected.get(), engines, built, note, torch.__version__, torch.get_num_threads(), picked, sets)
    )


def run(
    cell: Cell[Any, Any],
    params: Sequence[Mapping[str, Tensor]],
    data: Tensor,
    batch_sizes: Tensor,
    states: Sequence[Sequence[Tensor]],
    directions: Sequence[Direction] = ("forward",),
    *,
    engine: str | None = None,
    trace: bool = False,
) -> list[Run]:
    """Run one layer over a packed ragged batch.

    Args:
        cell: the recurrence.
        params: its parameters by name, one mapping a direction.
        data: (N, I) floating, packed and time-major, as in `Ragged.data`.
        batch_sizes: (T,) int64 on the CPU: the sequences still running at each step; never rising, sum N.
        states: the initial state a direction, each a tuple of (B, size) in packed order, B = batch_sizes[0].
        directions: "forward" or "reverse" (from each sequence's own last step), one for each of `params`.
        engine: a name, or None for what `use()` has selected.
        trace: whether to return every state and gate of every step.
    Returns:
        One `Run` a direction.
    Raises:
        ShapeError, LengthError, DTypeError, ValueRangeError: the tensors do not fit the cell or each other.
        OptionError: an unknown engine or direction, or parameters that do not belong to the cell.
        EngineError: the engine asked for by name cannot run this.
    """
    wanted = _selected.get() if engine is None else choose(engine, _NAMES, "engine")
    job = _checked(cell, params, data, batch_sizes, states, directions, trace)
    return _pick(wanted, job).run(job)


def run_layer(
    cell: Cell[Any, Any],
    params: Sequence[Mapping[str, Tensor]],
    data: Tensor,
    batch_sizes: Tensor,
    states: Sequence[Sequence[Tensor]],
    directions: Sequence[Direction] = ("forward",),
    *,
    engine: str | None = None,
    trace: bool = False,
) -> LayerRun:
    """`run`, with the outputs of the directions side by side, (N, D·K): what the next layer reads."""
    wanted = _selected.get() if engine is None else choose(engine, _NAMES, "engine")
    job = _checked(cell, params, data, batch_sizes, states, directions, trace)
    return _pick(wanted, job).run_layer(job)


def _pick(wanted: str, job: Job) -> Engine:
    device, dtype = job.data.device, job.data.dtype
    steps = job.batch_sizes.shape[0] > 0
    if wanted == "auto":
        for name in _AUTO:
            one = ENGINES[name]
            obstacle = one.obstacle(job.cell, device, dtype, trace=job.trace, grad=job.needs_grad)
            if obstacle is None and (steps or not one.needs_steps):
                if name == "reference" and not job.trace and steps:
                    say_once(
                        f"engine:{device.type}:{dtype}:{job.cell.label}",
                        f"{job.cell.label} runs on the reference engine on {device.type} ({dtype}): "
                        f"right, but slow; there is no kernel for it yet",
                    )
                return one
    chosen = ENGINES[wanted]
    obstacle = chosen.obstacle(job.cell, device, dtype, trace=job.trace, grad=job.needs_grad)
    if obstacle is not None:
        there = available(job.cell, device, dtype, trace=job.trace, grad=job.needs_grad)
        raise EngineError(
            f"engine {wanted!r} cannot run {job.cell.label!r} here: {obstacle}. "
            f"Available: {', '.join(there)}; or engine='auto' to let the library choose"
        )
    return chosen if steps or not chosen.needs_steps else ENGINES["reference"]


def _checked(
    cell: Cell[Any, Any],
    params: Sequence[Mapping[str, Tensor]],
    data: Tensor,
    batch_sizes: Tensor,
    states: Sequence[Sequence[Tensor]],
    directions: Sequence[Direction],
    trace: bool,
) -> Job:
    if torch.compiler.is_compiling() or not _plainly_fit(cell, params, data, batch_sizes, states, directions):
        _check(cell, params, data, batch_sizes, states, directions)
    tupled = tuple([cell.state_type(*state) for state in states])
    return Job(cell, tuple(params), data, batch_sizes, tupled, tuple(directions), trace)


class _Layout(NamedTuple):
    """What a cell's tensors must be."""

    parameters: dict[str, tuple[int, ...]]
    names: frozenset[str]
    states: int
    sizes: tuple[int, ...]


@lru_cache(maxsize=1024)
def _layout_of(cell: Cell[Any, Any]) -> _Layout:
    shapes = cell.parameter_shapes()
    return _Layout(shapes, frozenset(shapes), len(cell.states), cell.state_sizes)


def _plainly_fit(
    cell: Cell[Any, Any],
    params: Sequence[Mapping[str, Tensor]],
    data: Tensor,
    batch_sizes: Tensor,
    states: Sequence[Sequence[Tensor]],
    directions: Sequence[Direction],
) -> bool:
    """Whether all is right and nothing unusual; `_check` looks at the rest, and says what is wrong.

    This runs at every call, and is most of what a call on a few numbers costs: hence the plain words.
    """
    if type(cell) not in _BUILT_IN or type(params) not in _LISTS or type(states) not in _LISTS:
        return False
    if type(directions) not in _LISTS or not len(params) == len(states) == len(directions) > 0:
        return False
    if type(data) is not Tensor or data.is_nested or not data.is_cpu or data.ndim != 2:
        return False
    layout, dtype, live = _layout_of(cell), data.dtype, _live(batch_sizes, data.shape[0])
    if not dtype.is_floating_point or live is None:
        return False
    tensors: list[tuple[Any, tuple[int, ...]]] = [(data, (data.shape[0], cell.input_size))]
    for given, state, direction in zip(params, states, directions):
        if type(direction) is not str or direction not in _DIRECTIONS:
            return False
        if type(given) is not dict or given.keys() != layout.names:
            return False
        tensors += [(given[name], shape) for name, shape in layout.parameters.items()]
        if not isinstance(state, tuple) or len(state) != layout.states:
            return False
        tensors += [(value, (live, size)) for value, size in zip(state, layout.sizes)]
    for value, shape in tensors:
        if type(value) not in _TENSORS or value.is_nested or value.layout is not torch.strided:
            return False
        if value.shape != shape or value.dtype is not dtype or not value.is_cpu:
            return False
    return True


def _live(batch_sizes: Tensor, rows: int) -> int | None:
    """How many sequences run at the first step; None where this cannot be told or the sizes are wrong."""
    module = native()
    plain = type(batch_sizes) is Tensor and batch_sizes.dtype is torch.int64 and batch_sizes.is_contiguous()
    if isinstance(module, str) or not plain or batch_sizes.ndim != 1:
        return None
    try:
        live: int = module.running(batch_sizes, rows)
    except TypeError:  # on another device, or without numbers: under a transform or a tracer
        return None
    return None if live < 0 else live


def _check(
    cell: Cell[Any, Any],
    params: Sequence[Mapping[str, Tensor]],
    data: Tensor,
    batch_sizes: Tensor,
    states: Sequence[Sequence[Tensor]],
    directions: Sequence[Direction],
) -> None:
    if not isinstance(cell, Cell):
        raise OptionError(f"cell must be a saiki.cells.Cell but is {type(cell).__name__}")
    for name, value in (("params", params), ("states", states), ("directions", directions)):
        if not isinstance(value, list | tuple):
            raise DTypeError(f"{name} is {type(value).__name__} but must be a list, one entry a direction.")
    if not directions or any(d not in get_args(Direction) for d in directions):
        raise OptionError(f"directions must be one or more of 'forward' and 'reverse', but is {directions!r}")
    if not len(params) == len(states) == len(directions):
        raise OptionError(
            f"params, states and directions must be equally many, one a direction, "
            f"but are {len(params)}, {len(states)} and {len(directions)}"
        )
    require_tensor(data, "data", ndim=2)
    if data.shape[1] != cell.input_size:
        require_shape(data, "data", (None, cell.input_size), "(N, I)")
    live: int | None = None
    if (
        not torch.compiler.is_compiling()
    ):  # a traced batch has no sizes yet; the native kernels look themselves
        live = _check_batch_sizes(batch_sizes, len(data))

    for tensors, state in zip(params, states):
        cell.params(tensors)
        one = next(iter(tensors.values()))  # the parameters say which type and device the rest must have
        require_tensor(data, "data", dtype=one.dtype, device=one.device)
        if not isinstance(state, tuple | list) or len(state) != len(cell.states):
            came = f"{len(state)} tensors" if isinstance(state, tuple | list) else type(state).__name__
            raise ShapeError(f"a state of {cell.name} is ({', '.join(cell.states)}) but {came} came.")
        for name, value, size in zip(cell.states, state, cell.state_sizes):
            require_tensor(value, f"state.{name}")
            if live is None:
                live = value.shape[0]
            if value.shape != (live, size):
                raise ShapeError(
                    f"state.{name} is {tuple(value.shape)} but must be (B, size) = ({live}, {size}): "
                    f"{live} sequences run at the first step.",
                    f"Start from cell.initial_state({live}).",
                )
        for name, value in (*tensors.items(), *zip(cell.states, state)):
            require_tensor(value, name, dtype=data.dtype, device=data.device)


def _check_batch_sizes(batch_sizes: Tensor, rows: int) -> int:
    """How many sequences run at the first step, if the sizes describe `rows` rows."""
    require_tensor(batch_sizes, "batch_sizes", ndim=1, floating=False, dtype=torch.int64, device=_CPU)
    if not len(batch_sizes):
        if rows:
            raise LengthError(f"batch_sizes has no steps but data has {rows} rows")
        return 0
    if int(batch_sizes[-1]) < 1 or bool((batch_sizes[1:] > batch_sizes[:-1]).any()):
        raise LengthError(
            f"batch_sizes must be at least 1 and never rise, but is {batch_sizes.tolist()[:20]}: "
            f"the j-th value counts the sequences with more than j steps"
        )
    possible = len(batch_sizes) <= rows and int(batch_sizes[0]) <= rows  # else the sum might wrap around
    if not possible or int(batch_sizes.sum()) != rows:
        total = sum(batch_sizes.tolist())
        raise LengthError(f"batch_sizes adds up to {total} rows but data has {rows}")
    return int(batch_sizes[0])
