"""Random calls straight into `saiki._native`, most of them malformed; a process of test_malformed.py.

    python native_calls.py FIRST LAST       makes the calls FIRST … LAST-1, which their numbers determine

A valid call is drawn first; then some of its arguments, anywhere in its nested tuples, are spoilt. Half of
the calls get arrays that lie inside larger ones full of `OUTSIDE`, which must still be there after, and must
not come out; the other half get arrays that end where their memory ends, for the address sanitizer to see.
Each call is printed before it is made, then what is wrong with what it did.
"""

from __future__ import annotations

import ctypes
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
import torch

from saiki import _native

OUTSIDE = 7.7e30  # what lies around the arguments; nothing inside comes near it
BEYOND = 1e29
AROUND = 32  # numbers of it on either side
SHAPES: dict[str, Callable[..., tuple[int, ...] | None]] = {
    "weight_ih": lambda s: (s.G * s.H, s.I),
    "weight_hh": lambda s: None if not s.option("hidden_feedback") else (s.G * s.H, s.H),
    "bias": lambda s: (s.G * s.H,) if s.option("bias") else None,
    "weight_ph": lambda s: (2 + s.forgets, s.H) if s.options.get("peepholes") else None,
    "bias_hn": lambda s: (
        (s.H,) if s.family == "gru" and s.option("reset_after") and s.option("bias") else None
    ),
    "weight_yh": lambda s: (s.H, s.K) if s.family == "jordan" else None,
    "weight_hy": lambda s: (s.K, s.H) if s.family == "jordan" else None,
    "bias_y": lambda s: (s.K,) if s.family == "jordan" and s.option("bias") else None,
}


@dataclass
class Array:
    """An argument to be made: so many numbers, which the call reads, or is to write."""

    shape: tuple[int, ...]
    written: bool = False
    values: tuple[int, ...] | None = None  # of batch sizes
    made: list[np.ndarray] = field(default_factory=list)  # the array, and what surrounds it


@dataclass
class Spoilt:
    """An argument that is not what it should be; the words are for the report."""

    value: Any
    words: str


@dataclass
class Cell:
    """A random cell, and the kernel that runs it."""

    family: str
    I: int
    H: int
    K: int
    options: dict[str, Any]
    dtype: str
    target: str

    def option(self, name: str) -> bool:
        return bool(self.options.get(name, True))

    @property
    def forgets(self) -> bool:
        return self.option("forget_gate") and not self.options.get("coupled")

    @property
    def G(self) -> int:
        return {"lstm": 3 + self.forgets, "gru": 3}.get(self.family, 1)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        return {"lstm": (self.H, self.H), "jordan": (self.H, self.K)}.get(self.family, (self.H,))

    def parameters(self, written: bool = False) -> tuple[Array | None, ...]:
        shapes = (SHAPES[name](self) for name in _native.parameters)
        return tuple(None if shape is None else Array(shape, written) for shape in shapes)

    def kernel(self) -> Any:
        return _native.Kernel(
            self.family, self.I, self.H, self.K, dtype=self.dtype, target=self.target, **self.options
        )


def draw_cell(draws: Random) -> Cell:
    family = draws.choice(["elman", "jordan", "lstm", "gru"])
    I, H = draws.choice([1, 2, 3, 5, 17]), draws.choice([1, 2, 4, 9, 16, 17, 33])
    options: dict[str, Any] = {"bias": draws.random() < 0.7, "activation": draws.choice(_native.activations)}
    if family == "jordan":
        options["hidden_feedback"] = draws.random() < 0.6
    if family == "lstm":
        options["peepholes"] = draws.random() < 0.5
        options |= draws.choice([{}, {"forget_gate": False}, {"coupled": True}])
    if family == "gru":
        options["reset_after"] = draws.random() < 0.5
    K = draws.choice([1, 2, 9]) if family == "jordan" else H
    return Cell(
        family, I, H, K, options, draws.choice(["float32", "float64"]), draws.choice(_native.targets())
    )


def draw_sizes(draws: Random) -> tuple[int, ...]:
    sizes: list[int] = []
    for _ in range(draws.choice([0, 1, 2, 4])):
        sizes.append(draws.randint(1, sizes[-1]) if sizes else draws.choice([1, 2, 5, 9]))
    return tuple(sizes)


# what a call would be if nothing were wrong: a function and nested tuples of arguments


def forward(draws: Random) -> tuple[str, Any, tuple[Any, ...], dict[str, Any]]:
    cell, sizes = draw_cell(draws), draw_sizes(draws)
    kernel, B, N = cell.kernel(), max(sizes, default=0), sum(sizes)
    directions = draws.choice([1, 2])
    joint = Array((N, 2 * cell.K), True) if directions == 2 and draws.random() < 0.5 else None
    runs = []
    for _ in range(directions):
        parameters: Any = cell.parameters()
        saved = Array((N, kernel.saved_columns), True) if draws.random() < 0.5 else None
        if saved is None and draws.random() < 0.3:
            parameters = kernel.pack(build(parameters, draws, cell.dtype), "same", 1)
        states = tuple(Array((B, size)) for size in cell.state_sizes)
        last = tuple(Array((B, size), True) for size in cell.state_sizes)
        output = joint or Array((N, cell.K), True)
        runs.append((draws.random() < 0.5, parameters, states, output, last, saved))
    arguments = (Array((N, cell.I)), Array((len(sizes),), values=sizes), tuple(runs), draws.choice([1, 1, 2]))
    return cell.dtype, kernel.forward, arguments, {}


def backward(draws: Random) -> tuple[str, Any, tuple[Any, ...], dict[str, Any]]:
    cell, sizes = draw_cell(draws), draw_sizes(draws)
    kernel, B, N = cell.kernel(), max(sizes, default=0), sum(sizes)
    directions = draws.choice([1, 2])
    width = cell.K * (2 if directions == 2 and draws.random() < 0.5 else 1)
    output, d_output = Array((N, width)), Array((N, width)) if draws.random() < 0.7 else None

    def some(array: Array | None) -> Array | None:
        return array if draws.random() < 0.7 else None

    runs = tuple(
        (
            draws.random() < 0.5,
            cell.parameters(),
            tuple(Array((B, size)) for size in cell.state_sizes),
            output,
            Array((N, kernel.saved_columns)),
            d_output,
            tuple(some(Array((B, size))) for size in cell.state_sizes),
            tuple(some(array) for array in cell.parameters(True)),
            tuple(some(Array((B, size), True)) for size in cell.state_sizes),
        )
        for _ in range(directions)
    )
    data, d_data = Array((N, cell.I)), some(Array((N, cell.I), True))
    arguments = (data, Array((len(sizes),), values=sizes), runs, d_data, draws.choice([1, 1, 2]))
    return cell.dtype, kernel.backward, arguments, {}


def influence(draws: Random) -> tuple[str, Any, tuple[Any, ...], dict[str, Any]]:
    cell, sizes = draw_cell(draws), draw_sizes(draws)
    kernel, B, N = cell.kernel(), max(sizes, default=0), sum(sizes)
    rule = draws.choice(["exact", "snap1", "eprop"])
    S = sum(cell.state_sizes)
    rows = B * (S if rule == "exact" else 2 if cell.family == "lstm" else 1)
    into: list[Array | None] = []
    sums: list[Array | None] = []
    for array in (*cell.parameters(), Array((S,))):
        wanted = array is not None and draws.random() < 0.8
        count = int(np.prod(array.shape)) if array is not None else 0
        into.append(Array((rows, count), True) if wanted else None)
        sums.append(Array((count,), True) if wanted else None)
    run = (
        cell.parameters(),
        tuple(Array((B, size)) for size in cell.state_sizes),
        Array((N, cell.K)),
        Array((N, kernel.saved_columns)),
        Array((N, cell.K)) if draws.random() < 0.8 else None,
    )
    data, batch_sizes = Array((N, cell.I)), Array((len(sizes),), values=sizes)
    arguments = (data, batch_sizes, run, tuple(into), tuple(sums), rule, draws.choice([1, 1, 2]))
    return cell.dtype, kernel.influence, arguments, {}


def pack(draws: Random) -> tuple[str, Any, tuple[Any, ...], dict[str, Any]]:
    cell = draw_cell(draws)
    weights = draws.choice(["same", "bfloat16"]) if cell.dtype == "float32" else "same"
    return cell.dtype, cell.kernel().pack, (cell.parameters(), weights, 1), {}


def step(draws: Random) -> tuple[str, Any, tuple[Any, ...], dict[str, Any]]:
    cell, B = draw_cell(draws), draws.choice([0, 1, 1, 3])
    kernel = cell.kernel()
    weights = "bfloat16" if cell.dtype == "float32" and draws.random() < 0.3 else "same"
    packed = kernel.pack(build(cell.parameters(), draws, cell.dtype), weights, 1)
    last = tuple(Array((B, size), True) for size in cell.state_sizes)
    first = tuple(Array((B, size), True) for size in cell.state_sizes)  # `last` may be the very same arrays
    if draws.random() < 0.3:
        first = last
    return cell.dtype, kernel.step, (packed, Array((B, cell.I)), first, last, 1), {}


def construct(draws: Random) -> tuple[str, Any, tuple[Any, ...], dict[str, Any]]:
    cell = draw_cell(draws)
    options = {**cell.options, "dtype": cell.dtype, "target": cell.target}
    return cell.dtype, _native.Kernel, (cell.family, cell.I, cell.H, cell.K), options


def matmul(draws: Random) -> tuple[str, Any, tuple[Any, ...], dict[str, Any]]:
    M, N, K = (draws.choice([0, 1, 2, 5, 9, 17, 33]) for _ in "MNK")
    dtype = draws.choice(["float32", "float64"])
    bias = Array((N,)) if draws.random() < 0.5 else None
    options = {
        "accumulate": draws.random() < 0.5,
        "threads": draws.choice([1, 2]),
        "target": draws.choice(_native.targets()),
    }
    return dtype, _native.matmul, (Array((M, K)), Array((K, N)), bias, Array((M, N), True)), options


def activate(draws: Random) -> tuple[str, Any, tuple[Any, ...], dict[str, Any]]:
    name, dtype = draws.choice(_native.activations), draws.choice(["float32", "float64"])
    arguments = (name, Array((draws.choice([0, 1, 7, 33]),)), draws.random() < 0.5)
    return dtype, _native.activate, arguments, {"target": draws.choice(_native.targets())}


def never_right(draws: Random) -> tuple[str, Any, tuple[Any, ...], dict[str, Any]]:
    calls = [
        (_native.multiply_add_rate, ("float32", draws.choice([0.0, -1.0, float("nan"), 1e300]), 1)),
        (_native.multiply_add_rate, ("float16", 1e-4, 1)),
        (_native.multiply_add_rate, ("float32", 1e-4, draws.choice([0, -1, 2**20, 2**40]))),
        (_native.targets, (1,)),
        (_native.Packed, ()),
        (_native.Kernel, ()),
        (_native.Kernel.__new__(_native.Kernel).forward, (None, None, None)),  # never initialised
        (_native.Kernel.__new__(_native.Kernel).pack, ((None,) * 8,)),
    ]
    function, arguments = draws.choice(calls)
    return "float32", function, arguments, {}


KINDS = [
    *[forward] * 7,
    *[backward] * 7,
    *[influence] * 6,
    *[step] * 3,
    *[pack] * 2,
    *[construct] * 2,
    *[matmul] * 3,
    activate,
    never_right,
]

# making arrays, right and wrong


def numbers(array: Array, draws: Random, dtype: Any, exact: bool) -> np.ndarray:
    """The array as it should be; its surroundings are remembered."""
    if array.made:
        return array.made[0]  # the same argument in two places
    if array.values is not None:
        dtype = "int64"
    count = int(np.prod(array.shape))
    around = 0 if exact else AROUND
    outside = OUTSIDE if dtype != "int64" else 2**40 + 7
    whole = np.full(count + 2 * around, outside, dtype=dtype)
    view = whole[around : around + count].reshape(array.shape)
    if array.values is not None:
        view[...] = array.values
    else:
        generator = np.random.default_rng(draws.getrandbits(32))
        view[...] = generator.integers(-4, 5, array.shape) / 8
    array.made = [view, whole]
    return view


def dlpack(
    pointer: int | None, shape: tuple[int, ...], bits: int, lanes: int = 1, ndim: int | None = None
) -> Any:
    """An object with a hand-made DLPack tensor, such as no library would make."""

    class Tensor(ctypes.Structure):
        _fields_ = (
            ("data", ctypes.c_void_p),
            ("device_type", ctypes.c_int32),
            ("device_id", ctypes.c_int32),
            ("ndim", ctypes.c_int32),
            ("code", ctypes.c_uint8),
            ("bits", ctypes.c_uint8),
            ("lanes", ctypes.c_uint16),
            ("shape", ctypes.POINTER(ctypes.c_int64)),
            ("strides", ctypes.POINTER(ctypes.c_int64)),
            ("byte_offset", ctypes.c_uint64),
            ("context", ctypes.c_void_p),
            ("deleter", ctypes.c_void_p),
        )

    sizes = (ctypes.c_int64 * 8)(*shape)
    steps = (ctypes.c_int64 * 8)(*(int(np.prod(shape[k + 1 :])) for k in range(len(shape))))
    tensor = Tensor(
        pointer, 1, 0, len(shape) if ndim is None else ndim, 2, bits, lanes, sizes, steps, 0, None, None
    )
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)

    class Producer:
        keep = (tensor, sizes, steps)

        def __dlpack__(self, *_: Any, **__: Any) -> Any:
            return new(ctypes.addressof(tensor), b"dltensor", None)

        def __dlpack_device__(self) -> tuple[int, int]:
            return (1, 0)

    return Producer()


ODD: list[Callable[[], Any]] = [
    lambda: None,
    lambda: 3,
    lambda: -1,
    lambda: 2**31,
    lambda: 2**63,
    lambda: 2**70,
    lambda: 0.5,
    lambda: float("nan"),
    lambda: "tanh",
    lambda: "",
    lambda: "\ud800",
    lambda: b"bytes",
    lambda: bytearray(64),
    lambda: (),
    lambda: (None,),
    lambda: [],
    lambda: {},
    lambda: object(),
    lambda: _native,
    lambda: _native.Kernel,
    lambda: _native.Kernel.__new__(_native.Kernel),
    lambda: _native.Packed.__new__(_native.Packed),
    lambda: _native.Kernel("elman", 2, 3, 3),
    lambda: _native.Kernel("lstm", 2, 3, 3, dtype="float64").pack(
        (np.zeros((12, 2)), np.zeros((12, 3)), np.zeros(12), None, None, None, None, None)
    ),
    lambda: np.float64(1),
    lambda: np.zeros(()),
    lambda: memoryview(np.zeros((2, 3), np.float32)),
    lambda: (ctypes.c_float * 4)(),
    lambda: range(3),
    lambda: (2, 1),
    lambda: True,
]


def relaid(array: np.ndarray, draws: Random) -> tuple[np.ndarray, str]:
    """The same shape, laid out as the kernels do not take it, or as they must notice that they do."""
    how = draws.choice(["holes", "backwards", "turned", "repeated", "overlapping", "misaligned", "read-only"])
    if how == "holes":
        wide = np.full((*array.shape, 2), OUTSIDE if array.dtype.kind == "f" else 77, array.dtype)
        wide[..., 0] = array
        return wide[..., 0], how
    if how == "backwards":
        axis = draws.randrange(array.ndim)
        return np.flip(np.flip(array, axis).copy(), axis), how
    if how == "turned":
        return np.asfortranarray(array), how
    if how == "repeated":
        return np.broadcast_to(array[..., :1] if array.size else array, array.shape), how
    if how == "overlapping" and array.ndim == 2 and array.size:
        strides = (array.itemsize * draws.choice([0, 1, array.shape[1] - 1, -1]), array.itemsize)
        room = np.zeros(array.size * 2 + 64, array.dtype)
        return np.lib.stride_tricks.as_strided(room[array.size + 32 :], array.shape, strides), how
    if how == "misaligned":
        room = bytearray(array.nbytes + 1)
        view = np.frombuffer(room, np.uint8)[1:].view(array.dtype).reshape(array.shape)
        view[...] = array
        return view, how
    array = array.copy()
    array.flags.writeable = False
    return array, "read-only"


def strange(array: np.ndarray, draws: Random) -> tuple[Any, str]:
    """A tensor or exporter of the right shape that is not what it seems."""
    size = max(1, int(np.prod(array.shape)))
    plain = torch.from_numpy(np.ascontiguousarray(array))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        choices: dict[str, Callable[[], Any]] = {
            "torch": lambda: plain.clone(),
            "torch meta": lambda: plain.to("meta"),
            "torch sparse": lambda: plain.to_sparse(),
            "torch half": lambda: plain.to(torch.bfloat16),
            "torch leaf": lambda: plain.clone().requires_grad_(plain.is_floating_point()),
            "torch negated view": lambda: (
                torch._neg_view(plain.clone()) if plain.is_floating_point() else plain
            ),
            "torch expanded": lambda: (
                plain.reshape(-1)[:1].expand(size)[: plain.numel()].reshape(plain.shape)
                if plain.numel()
                else plain
            ),
            "torch huge": lambda: plain.new_zeros(()).expand((2**31,) * min(array.ndim, 2)),
            "torch without storage": lambda: plain.clone().untyped_storage().resize_(0) and plain,
            "torch nested": lambda: torch.nested.nested_tensor([plain.clone()]),
            "torch parameter": lambda: torch.nn.Parameter(plain.clone(), requires_grad=False),
            "null pointer": lambda: dlpack(None, array.shape, array.itemsize * 8),
            "negative sizes": lambda: dlpack(
                plain.data_ptr(), tuple(-n for n in array.shape), array.itemsize * 8
            ),
            "huge sizes": lambda: dlpack(plain.data_ptr(), (2**62,) * array.ndim, array.itemsize * 8),
            "lanes": lambda: dlpack(plain.data_ptr(), array.shape, array.itemsize * 8, lanes=4),
            "no rank": lambda: dlpack(plain.data_ptr(), (), array.itemsize * 8, ndim=0),
            "negative rank": lambda: dlpack(plain.data_ptr(), array.shape, array.itemsize * 8, ndim=-1),
            "odd bits": lambda: dlpack(plain.data_ptr(), array.shape, 24),
            "exporter": lambda: dlpack(plain.data_ptr(), array.shape, array.itemsize * 8),
        }
        name = draws.choice(list(choices))
        value = choices[name]()
    KEPT.append(plain)
    return value, name


KEPT: list[Any] = []  # memory that a hand-made tensor points to
TYPES = [
    "float16",
    "float32",
    "float64",
    "int32",
    "int64",
    "uint8",
    "bool",
    "complex64",
    ">f4",
    ">f8",
    "object",
    "U3",
    "M8[s]",
]


def spoil(array: Array, draws: Random, dtype: str, others: list[Array]) -> Spoilt:
    """Something instead of an array."""
    view = numbers(array, draws, dtype, exact=draws.random() < 0.5)
    how = draws.choice(["type", "rank", "shape", "layout", "odd", "strange", "content", "alias", "sizes"])
    if how == "type":
        other = draws.choice(TYPES)
        return Spoilt(np.zeros(view.shape, other), f"<{other} {view.shape}>")
    if how == "rank":
        shape = draws.choice([(1, *view.shape), (*view.shape, 1), view.shape[:-1], (), (1,) * 7 + view.shape])
        return Spoilt(np.zeros(shape, view.dtype), f"<shape {shape}>")
    if how == "shape":
        sizes = list(view.shape)
        axis = draws.randrange(len(sizes))
        sizes[axis] = max(0, sizes[axis] + draws.choice([-1, 1, 2, -sizes[axis], sizes[axis], 1000]))
        return Spoilt(np.zeros(sizes, view.dtype), f"<shape {tuple(sizes)}>")
    if how == "layout":
        value, words = relaid(view, draws)
        return Spoilt(value, f"<{words} {value.shape}>")
    if how == "strange":
        value, words = strange(view, draws)
        return Spoilt(value, f"<{words} {view.shape}>")
    if how == "content" and array.values is None:
        view[...] = draws.choice([np.nan, np.inf, -np.inf, 1e38, -1e-40])
        return Spoilt(view, f"<full of {view.flat[0] if view.size else 0} {view.shape}>")
    if how == "alias":
        other = draws.choice(others)
        there = numbers(other, draws, dtype, exact=False)
        if other.shape == array.shape:
            return Spoilt(there, "<another argument>")
        flat = there.reshape(-1)[: view.size]
        return Spoilt(
            flat.reshape(view.shape) if flat.size == view.size else there, "<part of another argument>"
        )
    if how == "sizes" and array.values is not None:
        values = list(array.values)
        change = draws.choice(
            [lambda: values.append(9), lambda: values.reverse(), values.clear, lambda: values.pop()]
        )
        if values:
            change()
        extreme = [0, -1, 2**62, -(2**63), 2**63 - 1, 1000]
        values += draws.choices(extreme, k=draws.choice([0, 1, 4]))
        return Spoilt(np.array(values, dtype=np.int64), f"<sizes {values}>")
    value = draws.choice(ODD)()
    return Spoilt(value, f"<{value!r:.60}>")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where an argument may be spoilt: every array, number, flag and tuple."""
    if path:
        yield path
    if isinstance(value, tuple) and not isinstance(value, np.ndarray):
        for k, item in enumerate(value):
            yield from places(item, (*path, k))


def found(value: Any, path: tuple[Any, ...]) -> Any:
    return found(value[path[0]], path[1:]) if path else value


def chance(value: Any) -> float:
    """How likely an argument is to be spoilt: arrays have the most ways to be wrong."""
    return 1.0 if isinstance(value, Array) else 0.05 if value is None else 0.15


def arrays_in(value: Any) -> Iterator[Array]:
    if isinstance(value, Array):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from arrays_in(item)


def replaced(value: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(value)
    items = list(value)
    items[path[0]] = replaced(items[path[0]], path[1:], change)
    return tuple(items)


def build(value: Any, draws: Random, dtype: str, exact: bool = False) -> Any:
    """Arguments as the call gets them."""
    if isinstance(value, Array):
        return numbers(value, draws, dtype, exact)
    if isinstance(value, Spoilt):
        return value.value
    return tuple(build(item, draws, dtype, exact) for item in value) if isinstance(value, tuple) else value


def words(value: Any) -> str:
    if isinstance(value, Array):
        return f"{'out' if value.written else 'in'}{list(value.shape)}"
    if isinstance(value, Spoilt):
        return value.words
    if isinstance(value, tuple):
        return f"({', '.join(words(item) for item in value)})"
    return f"{value!r:.60}"


def attempt(number: int, say: Callable[[str], None]) -> str:
    """Make one call; what is wrong with what it did, or nothing."""
    draws = Random(number)
    KEPT.clear()
    kind = draws.choice(KINDS)
    dtype, function, arguments, options = kind(draws)
    exact = draws.random() < 0.5
    arrays = list(arrays_in(arguments))

    def change(value: Any) -> Any:
        if isinstance(value, Array) and draws.random() < 0.9:
            return spoil(value, draws, dtype, arrays)
        if isinstance(value, tuple) and draws.random() < 0.7:
            new = draws.choice([value[:-1], (*value, None), list(value), (), (value,), value[::-1]])
            return new if isinstance(new, tuple) else Spoilt(build(tuple(new), draws, dtype), "<a list>")
        odd = draws.choice(ODD)()
        return Spoilt(odd, f"<{odd!r:.60}>")

    wrong = draws.choice([0, 1, 1, 1, 2, 3])
    valid = not wrong and kind is not never_right
    for _ in range(wrong):
        there = [path for path in places(arguments) if draws.random() < chance(found(arguments, path))]
        if there and (not options or draws.random() < 0.6):
            arguments = replaced(arguments, draws.choice(there), change)
        elif options:
            name = draws.choice(list(options))
            options[name] = change(options[name])
    given = build(arguments, draws, dtype, exact)
    named = {name: build(value, draws, dtype, exact) for name, value in options.items()}
    name = getattr(function, "__name__", str(function))
    told = ", ".join(f"{key}={words(value)}" for key, value in options.items())
    say(f"{number} {name}{words(arguments)} {told}\n")

    before = [(array, array.made[1].copy()) for array in arrays if array.made]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nanobind warns of objects that were never initialised
        try:
            function(*given, **named)
        except (TypeError, ValueError, MemoryError) as error:
            if len(str(error)) < 10 and not isinstance(error, MemoryError):
                return f"{type(error).__name__} says too little: {error}"
            if valid:
                return f"a valid call was refused: {error}"
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        else:
            if valid and any(beyond(array.made[0]) for array in arrays if array.made):
                return "a number from outside came out, or one was not written"
    for array, was in before:
        view, whole = array.made
        inside = np.zeros(whole.shape, bool)
        around = (whole.size - view.size) // 2
        inside[around : around + view.size] = array.written
        if not np.array_equal(whole[~inside], was[~inside], equal_nan=True):
            return f"it wrote to what it may only read, or outside of {words(array)}"
    return ""


def beyond(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" and bool((np.abs(array) >= BEYOND).any() or np.isnan(array).any())


def main(first: int, last: int) -> None:
    for number in range(first, last):
        complaint = attempt(number, lambda text: print(text, end="", flush=True))
        print(f"= {complaint}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
