"""The decoder of `saiki.nn.encoder_decoder` one step at a time: for decoding, and for input feeding.

    u_t = [E y_{t-1} ; s ; o_{t-1}]        those of the three that the network's context asks for
    z_t = decoder cell(z_{t-1}, u_t)       layer on layer
    o_t = tanh(W_c [c_t ; h^z_t] + b_c)    with attention; h^z_t itself without
    scores of y_t = W_o o_t + b_o

Where no gradient is wanted the cells run on weights packed once (`saiki.engine.session`). Where one is, the
weight gradients of all steps are one product at the end (`saiki.nn.deferred`), or, for other cells and for an
engine asked for by name, the steps run through `saiki.engine`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch
from torch import Tensor

from saiki.cells import Cell
from saiki.core.errors import ShapeError
from saiki.core.ragged import Ragged
from saiki.engine import Session, available, product, run_layer, session
from saiki.engine.dispatch import selected
from saiki.nn.attention import Attention, Memory
from saiki.nn.basic import Dense, Dropout
from saiki.nn.deferred import DeferredCell, DeferredLinear, defers
from saiki.nn.flow import dropout_mask
from saiki.nn.recurrent import RecurrentLayer

Layers = tuple[tuple[Tensor, ...], ...]  # the state of each layer of the decoder, (R, size) each


@final
@dataclass(frozen=True, eq=False)
class DecoderState:
    """R sequences between two steps: a value; `select` gives that of some of them.

    Attributes:
        layers: the state of each layer of the decoder, (R, size) each.
        fed: o_{t-1} (R, H) with input feeding.
        whole: s (R, M) where the context is given at every step.
        memory: what attention looks at.
        attention: (R, S) the weights of the step just made; None without attention and before the first.
        steps: the weights that the next step uses.
    """

    layers: Layers
    fed: Tensor | None
    whole: Tensor | None
    memory: Memory | None
    attention: Tensor | None
    steps: DecoderSteps

    @property
    def rows(self) -> int:
        """R, sequences."""
        return self.layers[0][0].shape[0]

    def select(self, rows: Tensor) -> DecoderState:
        """The state of these rows, in this order.

        Args:
            rows: (R',) int64 in [0, R), each as often as wanted.
        """

        def taken(value: Tensor | None) -> Tensor | None:
            return None if value is None else value.index_select(0, rows.to(value.device))

        return DecoderState(
            layers=tuple(tuple(v.index_select(0, rows.to(v.device)) for v in s) for s in self.layers),
            fed=taken(self.fed),
            whole=taken(self.whole),
            memory=None if self.memory is None else self.memory.select(rows),
            attention=taken(self.attention),
            steps=self.steps,
        )

    def first(self, count: int) -> DecoderState:
        """The state of the first `count` rows, without copying; not of a beam."""
        return replace(
            self,
            layers=tuple(tuple(v[:count] for v in s) for s in self.layers),
            fed=None if self.fed is None else self.fed[:count],
            whole=None if self.whole is None else self.whole[:count],
            memory=None if self.memory is None else self.memory.first(count),
            attention=None if self.attention is None else self.attention[:count],
        )


@final
@dataclass(frozen=True, eq=False)
class DecoderSteps:
    """What one step of a decoder needs: its cells with their weights, attention, and the head."""

    cells: tuple[Cell[Any, Any], ...]
    params: tuple[Mapping[str, Tensor], ...]
    attention: Attention | None
    combine: Dense | None
    head: Dense
    dropout: Dropout
    feeds: bool
    decoder: RecurrentLayer
    sessions: tuple[Session, ...] | None = None
    turned: Mapping[str, Tensor] = field(default_factory=dict)  # weights as the product reads them fastest
    deferred: tuple[DeferredCell, ...] | None = None  # for one pass under autograd
    combined: DeferredLinear | None = None

    @classmethod
    def of(
        cls,
        decoder: RecurrentLayer,
        attention: Attention | None,
        combine: Dense | None,
        head: Dense,
        dropout: Dropout,
        feeds: bool,
    ) -> DecoderSteps:
        """The parts of a network as they are; `frozen` packs them."""
        params = tuple(
            {name: getattr(decoder, f"{name}_l{k}") for name in cell.parameter_shapes()}
            for k, cell in enumerate(decoder.cells)
        )
        return cls(decoder.cells, params, attention, combine, head, dropout, feeds, decoder)

    def frozen(self) -> DecoderSteps:
        """The same for steps without gradient: the weights packed for the native kernels, where they run.

        Raises:
            EngineError: the layer asks for engine="cpu", which cannot run its cell here.
        """
        wanted = selected() if self.decoder.engine is None else self.decoder.engine
        weight = self.head.weight
        if not weight.is_cpu or wanted not in ("auto", "cpu"):
            return self
        if wanted == "auto" and any(
            "cpu" not in available(cell, weight.device, weight.dtype, grad=False) for cell in self.cells
        ):
            return self
        # a step has few rows: turning the weights anew would be a good part of its product
        parts = {"head": self.head, "combine": self.combine}
        turned = {
            name: part.weight.detach().t().contiguous().t()
            for name, part in parts.items()
            if part is not None
        }
        kind = "float64" if weight.dtype == torch.float64 else "float32"
        threads = torch.get_num_threads()
        packed = tuple(
            session(cell, params, weights=kind, threads=threads)
            for cell, params in zip(self.cells, self.params)
        )
        return replace(self, sessions=packed, turned=turned)

    def _deferred(self, sizes: Sequence[int]) -> DecoderSteps:
        """The same for one pass of these many rows a step, under autograd: weight gradients at its end.

        An engine that was asked for by name runs the cells itself.
        """
        wanted = selected() if self.decoder.engine is None else self.decoder.engine
        ours = wanted == "auto" and all(defers(cell) for cell in self.cells)
        assert self.combine is not None
        return replace(
            self,
            deferred=tuple(DeferredCell(*pair, sizes) for pair in zip(self.cells, self.params))
            if ours
            else None,
            combined=DeferredLinear(self.combine.weight, self.combine.bias, sizes),
        )

    def advance(self, x: Tensor | None, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """One step without dropout: scores (R, V'), and the state after it.

        Args:
            x: E y_{t-1} (R, F); None where the decoder does not read it.
            state: of R sequences.
        Raises:
            ShapeError: not one symbol a row of the state.
        """
        if x is not None and x.shape[0] != state.rows:
            raise ShapeError(f"there are {x.shape[0]} symbols for a state of {state.rows} rows.")
        o, after = self._step(x, state, drop=False)
        return product.linear(o, self.turned.get("head", self.head.weight), self.head.bias), after

    def unroll(self, read: Ragged, initial: Layers, memory: Memory) -> tuple[Ragged, Tensor]:
        """All steps of a batch, one after another, each reading what the one before gave out.

        Args:
            read: E y_{t-1} at every step, data (N, F).
            initial: z_0 of each layer, (B, size) each, in the user's order.
            memory: of the B sources, in the user's order.
        Returns:
            The scores, data (N, V'); and the weights (B, T, S), in the user's order.
        """
        sizes = read.batch_sizes.tolist()
        steps = self._deferred(sizes) if torch.is_grad_enabled() else self.frozen()
        live = read.order[: read.live].to(read.device)
        state = DecoderState(
            layers=tuple(tuple(v.index_select(0, live) for v in s) for s in initial),
            fed=read.data.new_zeros((read.live, self.head.input_size)),
            whole=None,
            memory=memory.select(live),
            attention=None,
            steps=steps,
        )
        outputs, weights = [], []
        start = 0
        for n in sizes:
            if n < state.rows:
                state = state.first(n)
            o, state = steps._step(read.data[start : start + n], state, drop=self.dropout.training)
            assert state.attention is not None
            outputs.append(o)
            weights.append(state.attention)
            start += n
        o = torch.cat(outputs) if outputs else read.data.new_zeros((0, self.head.input_size))
        seen = torch.cat(weights) if weights else read.data.new_zeros((0, memory.steps))
        logits = self.head(self.dropout(read.with_data(o)))
        assert isinstance(logits, Ragged)
        return logits, read.with_data(seen).to_padded(batch_first=True)

    def _step(self, x: Tensor | None, state: DecoderState, *, drop: bool) -> tuple[Tensor, DecoderState]:
        """o_t (R, H) and the state after it."""
        parts = [part for part in (x, state.whole, state.fed) if part is not None]
        u = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        layers = []
        for k, before in enumerate(state.layers):
            if k and drop and self.decoder.dropout > 0:
                u = u * dropout_mask(tuple(u.shape), self.decoder.dropout, self.decoder.generator, u)
            after = self._cell(k, u, before)
            layers.append(after)
            u = getattr(after, self.cells[k].output)
        o, weights = u, None
        if self.attention is not None:
            assert self.combine is not None and state.memory is not None
            context, seen = self.attention.look(u[:, None], state.memory)
            both = torch.cat((context[:, 0], u), dim=-1)
            if self.combined is not None:
                o = torch.tanh(self.combined(both))
            else:
                weight = self.turned.get("combine", self.combine.weight)
                o = torch.tanh(product.linear(both, weight, self.combine.bias))
            weights = seen[:, 0]
        fed = o if self.feeds else None
        return o, DecoderState(tuple(layers), fed, state.whole, state.memory, weights, state.steps)

    def _cell(self, k: int, u: Tensor, before: tuple[Tensor, ...]) -> Any:  # noqa: ANN401 - the state tuple
        cell = self.cells[k]
        state = before if isinstance(before, cell.state_type) else cell.state_type(*before)
        if self.deferred is not None:
            return self.deferred[k](u, state)
        if self.sessions is not None:
            if not all(v.is_contiguous() for v in state):
                state = cell.state_type(*(v.contiguous() for v in state))
            return self.sessions[k].step(u.contiguous(), state)
        sizes = torch.tensor([u.shape[0]] if u.shape[0] else [], dtype=torch.int64)
        ran = run_layer(cell, [dict(self.params[k])], u, sizes, [state], engine=self.decoder.engine)
        return ran.states[0] if u.shape[0] else state
