"""Initial values of parameters by name: LeCun, Glorot, He (each uniform and normal), orthogonal, zeros, ones.

    LeCun   Var w = 1 / fan_in                keeps the variance of a = W x
    Glorot  Var w = 2 / (fan_in + fan_out)    a compromise between a = W x and its gradient
    He      Var w = 2 / fan_in                the same behind a rectifier, which loses half
    uniform on [-√(3 Var), √(3 Var)], or normal with mean 0
    orthogonal  R Rᵀ = I (or Rᵀ R = I if R has more rows than columns): no direction grows or shrinks

A matrix is (fan_out, fan_in), as `weight_ih` and `weight_hh` are. Numbers are drawn in float64 where the
generator lives and rounded after, so one seed means one matrix whatever the precision.

Sources: LeCun et al. 1998 (Efficient BackProp, section 4.6); Glorot & Bengio 2010, eqs. 12 and 16;
He et al. 2015, eq. 10; Saxe et al. 2014 and Mezzadri 2007 (the sign that makes QR uniform).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from saiki.core.checks import require_int
from saiki.core.errors import DTypeError, ShapeError
from saiki.core.names import choose

__all__ = ["INITIALISERS", "initialise", "variance"]

_VARIANCE: dict[str, Callable[[int, int], float]] = {
    "lecun": lambda fan_in, fan_out: 1 / fan_in,
    "glorot": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "he": lambda fan_in, fan_out: 2 / fan_in,
}
INITIALISERS: tuple[str, ...] = (
    *(f"{scheme}_{shape}" for scheme in _VARIANCE for shape in ("uniform", "normal")),
    "orthogonal",
    "zeros",
    "ones",
)


def variance(name: str, fan_in: int, fan_out: int) -> float:
    """Var w of the scheme `name` ("glorot_uniform", "he_normal", …) for these fans."""
    choose(
        name, {known: known for known in INITIALISERS if known.partition("_")[0] in _VARIANCE}, "initialiser"
    )
    return _VARIANCE[name.partition("_")[0]](max(fan_in, 1), max(fan_out, 1))


def initialise(
    name: str,
    shape: Sequence[int],
    generator: torch.Generator,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
    fan_in: int | None = None,
    fan_out: int | None = None,
) -> Tensor:
    """A new tensor of this shape with the initial values that `name` stands for.

    Args:
        name: one of `INITIALISERS`.
        shape: sizes of the tensor; a matrix is (fan_out, fan_in), more axes multiply both fans.
        generator: where the randomness comes from; the same state gives the same tensor.
        dtype: floating type of the result.
        device: where the result lives; None is the CPU.
        fan_in: number of inputs of a unit, if the shape does not say it (a vector, a block of gates).
        fan_out: number of units an input goes to, likewise.
    Returns:
        A tensor of `shape` without gradient.
    Raises:
        OptionError: the name is unknown.
        ShapeError: fans are needed and the shape is a vector; orthogonal of something not a matrix.
        DTypeError: the type is not floating, the shape no sequence, or the generator is none.
    """
    choose(name, dict.fromkeys(INITIALISERS), "initialiser")
    if isinstance(shape, str) or not isinstance(shape, Sequence):
        raise DTypeError(f"shape is {shape!r} but must be a sequence of sizes, such as (4, 3).")
    sizes = tuple(require_int(size, "shape", low=0) for size in shape)
    if not dtype.is_floating_point:
        raise DTypeError(
            f"dtype is {dtype} but parameters are floating numbers.", "Use torch.float32 or torch.float64."
        )
    if name == "zeros":
        return torch.zeros(sizes, dtype=dtype, device=device)
    if name == "ones":
        return torch.ones(sizes, dtype=dtype, device=device)
    if not isinstance(generator, torch.Generator):
        raise DTypeError(
            f"generator is {type(generator).__name__} but must be a torch.Generator.",
            "Make one with saiki.core.random.generator(seed).",
        )
    if name == "orthogonal":
        return _orthogonal(sizes, generator).to(dtype=dtype, device=device or "cpu")
    fan_in, fan_out = _fans(name, sizes, fan_in, fan_out)
    var = variance(name, fan_in, fan_out)
    where = generator.device
    if name.endswith("_uniform"):
        drawn = torch.rand(sizes, generator=generator, dtype=torch.float64, device=where)
        drawn = (2 * drawn - 1) * math.sqrt(3 * var)
    else:
        drawn = torch.randn(sizes, generator=generator, dtype=torch.float64, device=where) * math.sqrt(var)
    return drawn.to(dtype=dtype, device=device or "cpu")


def _fans(name: str, shape: tuple[int, ...], fan_in: int | None, fan_out: int | None) -> tuple[int, int]:
    if len(shape) < 2 and (fan_in is None or (fan_out is None and name.startswith("glorot"))):
        raise ShapeError(
            f"{name} needs fan_in and fan_out, and shape {shape} is not a matrix (fan_out, fan_in).",
            "Give fan_in= and fan_out=, or use zeros for a bias.",
        )
    rest = math.prod(shape[2:])
    if fan_in is None:
        fan_in = shape[1] * rest
    if fan_out is None:
        fan_out = shape[0] * rest if shape else 1
    return require_int(fan_in, "fan_in", low=0), require_int(fan_out, "fan_out", low=0)


def _orthogonal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if len(shape) != 2:
        raise ShapeError(
            f"orthogonal makes a matrix, and shape {shape} has {len(shape)} axes.", "Give (rows, columns)."
        )
    rows, columns = shape
    tall = torch.randn(
        max(rows, columns),
        min(rows, columns),
        generator=generator,
        dtype=torch.float64,
        device=generator.device,
    )
    raw, r = torch.linalg.qr(tall)
    # QR alone prefers some matrices; a positive diagonal of R makes every orthogonal matrix equally likely.
    q: Tensor = raw * torch.where(r.diagonal() < 0, -1.0, 1.0)
    return q if rows >= columns else q.T.contiguous()
