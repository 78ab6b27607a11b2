"""The step of every cell, linearised: D_t, F_t and G_t in the parts of `saiki.learning.jacobians`.

The built-in cells with named activations are differentiated by hand, from the gates that a step returns; all
others by `torch.func`, with F_t as a matrix. Letters are those of the cells' own pages; a is what stands in
front of a gate's activation, and a gate's slope is the derivative of that activation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from saiki.cells import GRU, LSTM, Cell, ElementwiseLSTM, Elman, Jordan
from saiki.cells.base import slope, slope_from_output
from saiki.core.activations import get_activation
from saiki.core.errors import OptionError
from saiki.learning.jacobians import Factor, Jacobians, Local, Steps, Units


def known(cell: Cell[Any, Any]) -> bool:
    """Whether the cell's derivatives are written down here: a built-in one with activations by name."""
    names = ("activation", "output_activation", "gate_activation")
    return type(cell) in _EXACT and all(isinstance(getattr(cell, name, ""), str) for name in names)


def unit_states(cell: Cell[Any, Any]) -> tuple[tuple[int, ...], ...]:
    """Which of a known cell's states a unit has, as in `Local.units`; a Jordan network's y has its own."""
    each = range(len(cell.states))
    return tuple((k,) for k in each) if isinstance(cell, Jordan) else (tuple(each),)


def linearise(steps: Steps) -> Jacobians:
    """D_t, F_t and G_t of each row, whichever steps and sequences they come from."""
    return _EXACT[type(steps.cell)](steps) if known(steps.cell) else _by_torch(steps)


def localise(steps: Steps, self_path: bool) -> Local:
    """The block of D_t within each unit, and F_t, of a cell that is `known`.

    Args:
        steps: rows of a run.
        self_path: leave out every path through R, so that only what a state hands on to itself remains: f of
            an LSTM with its peepholes, z of a GRU. Otherwise R_jj is in.
    """
    return _LOCAL[type(steps.cell)](steps, self_path)


# Elman


def _elman(s: Steps) -> tuple[Tensor, tuple[Factor, ...]]:
    """f'(a), and F."""
    f = _slope(s, "activation", s.after.h)
    rights = {"weight_ih": s.x, "weight_hh": s.before.h, "bias": None}
    return f, tuple(Factor(name, 0, (f,), rights[name]) for name in s.cell.parameter_shapes())


def _elman_exact(s: Steps) -> Jacobians:
    f, factors = _elman(s)
    R, W = s.params.weight_hh, s.params.weight_ih
    return Jacobians(s.cell.state_sizes, f[:, :, None] * R, (), f[:, :, None] * W, factors)


def _elman_local(s: Steps, self_path: bool) -> Local:
    f, factors = _elman(s)
    own = torch.zeros_like(f) if self_path else f * s.params.weight_hh.diagonal()
    return Local((Units((0,), own[:, None, None]),), factors)


# Jordan


def _jordan(s: Steps) -> tuple[Tensor, Tensor, Tensor, tuple[Factor, ...]]:
    """f'(a), g' of the output, ∂y_t/∂h_t, and F."""
    f, g = _slope(s, "activation", s.after.h), _slope(s, "output_activation", s.after.y)
    through = g[:, :, None] * s.params.weight_hy  # (R, K, H)
    hidden = (f, through * f[:, None])
    rights = {"weight_ih": s.x, "weight_hh": s.before.h, "weight_yh": s.before.y, "bias": None}
    rights |= {"weight_hy": s.after.h, "bias_y": None}
    factors = [
        Factor(name, 0, (None, g), rights[name], units=1)
        if name in ("weight_hy", "bias_y")
        else Factor(name, 0, hidden, rights[name])
        for name in s.cell.parameter_shapes()
    ]
    return f, g, through, tuple(factors)


def _jordan_exact(s: Steps) -> Jacobians:
    f, _, through, factors = _jordan(s)
    p, H = s.params, s.cell.hidden_size
    R = p.weight_yh.new_zeros(H, H) if p.weight_hh is None else p.weight_hh
    hidden = f[:, :, None] * torch.cat([R, p.weight_yh], dim=1)  # (R, H, H + K): ∂h_t/∂(h, y)_{t-1}
    inputs = f[:, :, None] * p.weight_ih
    dense = torch.cat([hidden, through @ hidden], dim=1)
    return Jacobians(s.cell.state_sizes, dense, (), torch.cat([inputs, through @ inputs], dim=1), factors)


def _jordan_local(s: Steps, self_path: bool) -> Local:
    f, g, through, factors = _jordan(s)
    p = s.params
    hidden, output = torch.zeros_like(f), torch.zeros_like(g)
    if not self_path:
        if p.weight_hh is not None:
            hidden = f * p.weight_hh.diagonal()
        output = (through * f[:, None] * p.weight_yh.T).sum(2)  # y_k to itself by way of every h
    units = (Units((0,), hidden[:, None, None], through), Units((1,), output[:, None, None]))
    return Local(units, factors)


# LSTM


class _Memory(NamedTuple):
    """The derivatives of a step of an LSTM by what stands in front of its gates."""

    to_h: Tensor  # (R, G, H) ∂h_t/∂a
    to_c: Tensor  # (R, G, H) ∂c_t/∂a
    seen: Tensor  # (R, H) ∂h_t/∂c_t
    carried: Tensor  # (R, H) ∂c_t/∂c_{t-1}, but for the paths through h


def _memory(s: Steps, p: Mapping[str, Tensor], coupled: bool) -> _Memory:
    cell: Any = s.cell
    i, g, o = s.gates["i"], s.gates["g"], s.gates["o"]
    psi = get_activation(cell.output_activation)
    y = psi.function(s.after.c)
    by_o = _slope(s, "gate_activation", o) * y  # ∂h_t/∂a_o
    seen = o * slope(psi, s.after.c, y)  # ∂h_t/∂c_t
    if "o" in p:
        seen = seen + p["o"] * by_o
    written = g - s.before.c if coupled else g
    c_by = {"i": _slope(s, "gate_activation", i) * written, "g": _slope(s, "activation", g) * i}
    c_by["o"] = torch.zeros_like(o)
    if "f" in s.gates:
        carried = s.gates["f"]
        c_by["f"] = _slope(s, "gate_activation", carried) * s.before.c
    else:
        carried = 1 - i if coupled else torch.ones_like(i)
    for name in p:
        if name != "o":  # that one sees c_t
            carried = carried + p[name] * c_by[name]
    h_by = {name: by_o if name == "o" else seen * c_by[name] for name in cell.gates}
    to_h = torch.stack([h_by[name] for name in cell.gates], dim=1)
    to_c = torch.stack([c_by[name] for name in cell.gates], dim=1)
    return _Memory(to_h, to_c, seen, carried)


def _lstm(s: Steps) -> tuple[_Memory, tuple[Factor, ...]]:
    cell: Any = s.cell
    p = dict(zip(cell.peephole_gates, s.params.weight_ph)) if cell.peepholes else {}
    by = _memory(s, p, cell.coupled)
    left = (by.to_h.flatten(1), by.to_c.flatten(1))
    rights = {"weight_ih": s.x, "weight_hh": s.before.h, "bias": None}
    factors = [Factor(name, 0, left, rights[name]) for name in rights if getattr(s.params, name) is not None]
    if p:
        sees = {"i": s.before.c, "f": s.before.c, "o": s.after.c}
        places = [cell.gates.index(name) for name in p]
        seen = torch.stack([sees[name] for name in p], dim=1)  # (R, gates, H)
        diagonals = tuple((to[:, places] * seen).flatten(1) for to in (by.to_h, by.to_c))
        factors.append(Factor("weight_ph", 0, diagonals, None))
    return by, tuple(factors)


def _lstm_exact(s: Steps) -> Jacobians:
    (to_h, to_c, seen, carried), factors = _lstm(s)
    R, W = s.params.weight_hh, s.params.weight_ih
    return Jacobians(
        s.cell.state_sizes,
        torch.cat([_by_gates(to_h, R), _by_gates(to_c, R)], dim=1),
        ((0, 1, seen * carried), (1, 1, carried)),
        torch.cat([_by_gates(to_h, W), _by_gates(to_c, W)], dim=1),
        factors,
    )


def _lstm_local(s: Steps, self_path: bool) -> Local:
    by, factors = _lstm(s)
    own = s.params.weight_hh.unflatten(0, (by.to_h.shape[1], -1)).diagonal(dim1=1, dim2=2)  # (G, H): R_jj
    return Local((_memory_units(by, None if self_path else own),), factors)


def _memory_units(by: _Memory, R: Tensor | None) -> Units:
    """h and c of a unit to themselves; R (G, H): what each unit hears itself by, None to leave it out."""
    to_h, to_c, seen, carried = by
    h_to_h, h_to_c = (torch.zeros_like(seen) if R is None else (to * R).sum(1) for to in (to_h, to_c))
    block = torch.stack([h_to_h, seen * carried, h_to_c, carried], dim=1).unflatten(1, (2, 2))
    return Units((0, 1), block)


# the elementwise LSTM


def _elementwise(s: Steps) -> tuple[_Memory, tuple[Factor, ...]]:
    by = _memory(s, {}, coupled=False)
    left = (by.to_h.flatten(1), by.to_c.flatten(1))
    heard = tuple((to * s.before.h[:, None]).flatten(1) for to in (by.to_h, by.to_c))
    factors = [Factor("weight_ih", 0, left, s.x), Factor("weight_hh", 0, heard, None)]
    if s.params.bias is not None:
        factors.append(Factor("bias", 0, left, None))
    return by, tuple(factors)


def _elementwise_exact(s: Steps) -> Jacobians:
    by, factors = _elementwise(s)
    block = _memory_units(by, s.params.weight_hh).block
    W = s.params.weight_ih
    return Jacobians(
        s.cell.state_sizes,
        s.x.new_zeros(len(s.x), 2 * s.cell.hidden_size, 0),
        tuple((to, source, block[:, to, source]) for to, source in product(range(2), repeat=2)),
        torch.cat([_by_gates(by.to_h, W), _by_gates(by.to_c, W)], dim=1),
        factors,
    )


def _elementwise_local(s: Steps, self_path: bool) -> Local:
    by, factors = _elementwise(s)
    return Local((_memory_units(by, None if self_path else s.params.weight_hh),), factors)


# GRU


def _gru(s: Steps) -> tuple[dict[str, Tensor], Tensor, tuple[Factor, ...]]:
    """∂h_t/∂a by gate, ∂h_t/∂(R_n …), and F; "r" is (R, H, H) where the reset comes before the product."""
    cell: Any = s.cell
    h, r, z, n = s.before.h, s.gates["r"], s.gates["z"], s.gates["n"]
    H, R_n = cell.hidden_size, s.params.weight_hh[2 * cell.hidden_size :]
    by = {
        "z": _slope(s, "gate_activation", z) * (h - n),
        "n": _slope(s, "activation", n) * (1 - z),
    }
    slope_r = _slope(s, "gate_activation", r)
    biased = s.params.bias is not None
    factors = []
    if cell.reset == "after":
        by["r"] = by["n"] * linear(h, R_n, s.params.bias_hn) * slope_r
        inner = r * by["n"]  # ∂h_t/∂(R_n h_{t-1} + b_hn)
        from_x = torch.cat([by["r"], by["z"], by["n"]], dim=1)
        factors.append(Factor("weight_ih", 0, (from_x,), s.x))
        factors.append(Factor("weight_hh", 0, (torch.cat([by["r"], by["z"], inner], dim=1),), h))
        if biased:
            factors += [Factor("bias", 0, (from_x,), None), Factor("bias_hn", 0, (inner,), None)]
    else:
        by["r"] = by["n"][:, :, None] * R_n * (h * slope_r)[:, None]  # (R, H, H): through every unit's n
        inner = by["n"]  # ∂h_t/∂(R_n (r ∘ h_{t-1}))
        both = torch.cat([by["z"], by["n"]], dim=1)
        factors += [Factor("weight_ih", 0, (by["r"],), s.x), Factor("weight_ih", H, (both,), s.x)]
        factors += [Factor("weight_hh", 0, (by["r"],), h), Factor("weight_hh", H, (by["z"],), h)]
        factors.append(Factor("weight_hh", 2 * H, (inner,), r * h))
        if biased:
            factors += [Factor("bias", 0, (by["r"],), None), Factor("bias", H, (both,), None)]
    return by, inner, tuple(factors)


def _gru_exact(s: Steps) -> Jacobians:
    by, inner, factors = _gru(s)
    R_r, R_z, R_n = s.params.weight_hh.chunk(3)
    W_r, W_z, W_n = s.params.weight_ih.chunk(3)
    dense = by["z"][:, :, None] * R_z
    inputs = by["z"][:, :, None] * W_z + by["n"][:, :, None] * W_n
    if s.cell.reset == "after":  # type: ignore[attr-defined]
        dense = dense + inner[:, :, None] * R_n + by["r"][:, :, None] * R_r
        inputs = inputs + by["r"][:, :, None] * W_r
    else:
        dense = dense + inner[:, :, None] * R_n * s.gates["r"][:, None] + by["r"] @ R_r
        inputs = inputs + by["r"] @ W_r
    dense.diagonal(dim1=1, dim2=2).add_(s.gates["z"])
    return Jacobians(s.cell.state_sizes, dense, (), inputs, factors)


def _gru_local(s: Steps, self_path: bool) -> Local:
    by, inner, factors = _gru(s)
    own = s.gates["z"]
    if not self_path:
        R_r, R_z, R_n = s.params.weight_hh.chunk(3)
        own = own + by["z"] * R_z.diagonal()
        if s.cell.reset == "after":  # type: ignore[attr-defined]
            own = own + inner * R_n.diagonal() + by["r"] * R_r.diagonal()
        else:
            own = own + inner * R_n.diagonal() * s.gates["r"] + (by["r"] * R_r.T).sum(2)
    return Local((Units((0,), own[:, None, None]),), factors)


# any other cell


def _by_torch(s: Steps) -> Jacobians:
    """D, F and G by `torch.func`, a row at a time under `vmap`."""
    cell = s.cell
    names = list(cell.parameter_shapes())
    values = tuple(getattr(s.params, name) for name in names)

    def step(params: tuple[Tensor, ...], state: tuple[Tensor, ...], x: Tensor) -> Tensor:
        taken = dict.fromkeys(cell.params_type._fields) | dict(zip(names, params))
        one = cell.step(cell.params_type(**taken), cell.state_type(*(part[None] for part in state)), x[None])
        return torch.cat([part[0] for part in one])

    derive = torch.func.vmap(torch.func.jacrev(step, argnums=(0, 1, 2)), in_dims=(None, 0, 0))
    try:
        by_params, by_state, by_x = derive(tuple(v.detach() for v in values), tuple(s.before), s.x)
    except RuntimeError as error:
        raise OptionError(
            f"the step of {cell.label!r} cannot be differentiated row by row by torch.func: "
            f"{str(error).splitlines()[0]}",
            "Write it without branches on values and without numpy (torch.where instead of if), or use "
            "rule='bptt'.",
        ) from error
    full = torch.cat([part.flatten(2) for part in by_params], dim=2)
    return Jacobians(cell.state_sizes, torch.cat(by_state, dim=2), (), by_x, (), full)


# small parts


def _slope(s: Steps, option: str, y: Tensor) -> Tensor:
    """The derivative of one of the cell's activations where it gave y."""
    return slope_from_output(get_activation(getattr(s.cell, option)), y)


def _by_gates(left: Tensor, weight: Tensor) -> Tensor:
    """Σ over the gates of diag(left_g) weight_g: (R, G, H), (G·H, columns) -> (R, H, columns)."""
    return torch.einsum("rgh,ghc->rhc", left, weight.unflatten(0, (left.shape[1], -1)))


_EXACT: dict[type, Callable[[Steps], Jacobians]] = {
    Elman: _elman_exact,
    Jordan: _jordan_exact,
    LSTM: _lstm_exact,
    GRU: _gru_exact,
    ElementwiseLSTM: _elementwise_exact,
}
_LOCAL: dict[type, Callable[[Steps, bool], Local]] = {
    Elman: _elman_local,
    Jordan: _jordan_local,
    LSTM: _lstm_local,
    GRU: _gru_local,
    ElementwiseLSTM: _elementwise_local,
}
