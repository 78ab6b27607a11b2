"""What a network has learned to look for: filters, embeddings, and the input that excites a unit most.

    filter      a row of W, a weight an input: what one unit or gate of a layer listens to
    embedding   a row of E a word; the map is its two principal axes, distances are angles (cosine)
    excitement  x* = argmax h_T(x) over ‖x‖ = ‖x_found‖, by ascent on the sphere from x_found, the stretch of
                the data that excited the unit most

The input that is made shows what a unit would like, the one that was found what it gets. That the first is at
most as loud as the second keeps the unit from being shouted at.

Sources: Erhan et al. 2009 (activation maximisation under a norm); Pearson 1901 (principal axes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from saiki.core.checks import require_int
from saiki.core.errors import OptionError, ValueRangeError
from saiki.core.ragged import Ragged
from saiki.insight.curves import Floats, number, numbers
from saiki.insight.unroll import F64, Track, as_batch, doubled, run, still, title, tracks
from saiki.nn import Dense, Embedding, RecurrentLayer


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Filters:
    """The input weights of one layer.

    Args:
        name: the layer, as the network calls it; `.l1`, `.reverse` behind it where it has several.
        gate: the gate, where the layer has any; "" for a dense layer.
        weights: (H, I) a row a unit, a column an input.
    """

    name: str
    gate: str
    weights: Floats

    def to_json(self) -> dict[str, Any]:
        """As plain lists."""
        return {"name": self.name, "gate": self.gate, "weights": numbers(self.weights)}


def filters(network: torch.nn.Module) -> tuple[Filters, ...]:
    """The input weights of every recurrent and dense layer, gate by gate, from the bottom up.

    Args:
        network: any module with layers of `saiki.nn`.
    Raises:
        OptionError: it has none.
    """
    found = []
    for path, layer in network.named_modules():
        name = title(path, layer)
        if isinstance(layer, Dense):
            found.append(Filters(name=name, gate="", weights=_array(layer.weight)))
        elif isinstance(layer, RecurrentLayer):
            for level, cell in enumerate(layer.cells):
                for suffix in ("", "_reverse") if layer.bidirectional else ("",):
                    W = getattr(layer, f"weight_ih_l{level}{suffix}", None)
                    if W is None or W.shape[0] != len(cell.gates) * cell.hidden_size:
                        continue  # a cell of one's own, with weights of its own
                    full = name + (f".l{level}" if layer.num_layers > 1 else "")
                    full += suffix.replace("_", ".")
                    parts = zip(cell.gates, W.split(cell.hidden_size))
                    found += [Filters(name=full, gate=gate, weights=_array(part)) for gate, part in parts]
    if not found:
        raise OptionError("the network has no layer with input weights to look at.")
    return tuple(found)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddingMap:
    """An embedding's vectors and their two principal axes.

    Args:
        name: the layer, as the network calls it.
        vectors: (V, E), a row an id.
        places: (V, 2) the vectors on their two principal axes, around their mean. Each axis points to where
            its largest entry is positive, so that a map does not depend on the algorithm.
        explained: (2,) share of the variance along each axis.
    """

    name: str
    vectors: Floats
    places: Floats
    explained: Floats

    def neighbours(self, index: int, count: int = 5) -> list[tuple[int, float]]:
        """The ids whose vectors point most nearly the same way, with the cosine of the angle; nearest first.

        Raises:
            ValueRangeError: no such id.
        """
        V = len(self.vectors)
        if not 0 <= index < V:
            raise ValueRangeError(f"index is {index} but the embedding has ids 0 to {V - 1}.")
        norms = np.linalg.norm(self.vectors, axis=1)
        unit = self.vectors / np.where(norms > 0, norms, 1.0)[:, None]
        cosine = unit @ unit[index]
        order = [int(k) for k in np.argsort(-cosine, kind="stable") if k != index]
        return [(k, float(cosine[k])) for k in order[: require_int(count, "count", 1)]]

    def to_json(self) -> dict[str, Any]:
        """Places and shares as plain lists; the vectors are the network's."""
        return {"name": self.name, "places": numbers(self.places), "explained": numbers(self.explained)}


def embeddings(network: torch.nn.Module) -> tuple[EmbeddingMap, ...]:
    """Every embedding of a network, on its two principal axes.

    Raises:
        OptionError: it has none.
    """
    layers = [(path, layer) for path, layer in network.named_modules() if isinstance(layer, Embedding)]
    if not layers:
        raise OptionError("the network has no Embedding to look at.")
    return tuple(_mapped(title(path, layer), _array(layer.weight)) for path, layer in layers)


def _mapped(name: str, vectors: Floats) -> EmbeddingMap:
    centred = vectors - vectors.mean(axis=0)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    wanted = min(2, len(values))
    axes = axes[:wanted] * np.sign(axes[np.arange(wanted), np.abs(axes[:wanted]).argmax(axis=1)])[:, None]
    places, share = np.zeros((len(vectors), 2)), np.zeros(2)
    places[:, :wanted] = centred @ axes.T
    total = float((values**2).sum())
    share[:wanted] = values[:wanted] ** 2 / total if total > 0 else 0.0
    return EmbeddingMap(name=name, vectors=vectors, places=places, explained=share)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Excitement:
    """The input that most excites one unit: one made for it, beside the stretch of data it liked best.

    Args:
        layer: as the network calls it.
        unit: of the layer's output.
        made: (steps, F) the input made for it, of the norm of `found`; the last step is the one that counts.
        made_value: the unit's output after `made`, from the initial state.
        found: (steps, F) the stretch of the data that ends where the unit was loudest. Fewer rows where the
            sequence had only begun.
        found_value: the unit's output there, with all that came before.
        found_alone: the unit's output after `found`, from the initial state; never more than `made_value`.
        sequence: where `found` was: among the sequences of the data.
        step: the step at which it ends, from 0.
    """

    layer: str
    unit: int
    made: Floats
    made_value: float
    found: Floats
    found_value: float
    found_alone: float
    sequence: int
    step: int

    def to_json(self) -> dict[str, Any]:
        """As plain lists and numbers."""
        return {
            "layer": self.layer,
            "unit": self.unit,
            "made": numbers(self.made),
            "made_value": number(self.made_value),
            "found": numbers(self.found),
            "found_value": number(self.found_value),
            "found_alone": number(self.found_alone),
            "sequence": self.sequence,
            "step": self.step,
        }


def exciting_input(
    network: torch.nn.Module,
    data: object,
    unit: int,
    *,
    layer: str | None = None,
    steps: int = 32,
    iterations: int = 100,
) -> Excitement:
    """Find the stretch of data that excites a unit most, and make an input that excites it more.

    The input is what reaches the first recurrent layer: the features themselves where nothing stands before
    it, vectors where an Embedding does. The made one starts as the found one and climbs on the sphere of its
    norm, with a step that halves whenever it would go down.

    Args:
        network: a `Stack` or a recurrent layer; of an estimator `network_`, of a forecaster `network_.stack`.
        data: sequences as the network takes them; all are searched.
        unit: of the layer's output, from 0.
        layer: its name, such as "lstm" or "lstm.l1"; the first if not given.
        steps: the longest stretch.
        iterations: steps of ascent.
    Raises:
        OptionError: no such layer, one that reads backwards, or one behind a layer that changes the number of
            steps.
        ValueRangeError: no such unit, or a value that is not finite.
        LengthError: no sequence with a step.
    """
    batch = as_batch(data, None)
    ran = run(network, batch.inputs)
    track = _track(tracks(ran), layer)
    if not torch.equal(track.lengths, batch.inputs.lengths):
        raise OptionError(
            f"layer {track.name!r} stands behind a layer that changes the number of steps, so its steps are "
            f"not the input's.",
            "Look at a layer before it.",
        )
    output = track.states[1:, :, track.blocks()[track.cell.output]]
    units = output.shape[-1]
    if not 0 <= require_int(unit, "unit") < units:
        raise ValueRangeError(f"unit is {unit} but layer {track.name!r} has units 0 to {units - 1}.")
    heard = torch.where(track.inside().to(output.device), output[:, :, unit], -torch.inf)  # (T, B)
    t, b = divmod(int(heard.argmax()), heard.shape[1])
    first = max(0, t + 1 - require_int(steps, "steps", 1))
    raw = batch.inputs.to_list()[b][first : t + 1]
    x = Ragged.from_list([raw])
    climb = _Climb(network, x, track, unit)
    z = ran.x.to_list()[b][first : t + 1].detach()
    alone, _ = climb(z)
    made, loudest = _ascend(climb, z, require_int(iterations, "iterations", 0))
    return Excitement(
        layer=track.name,
        unit=unit,
        made=_array(made),
        made_value=loudest,
        found=_array(z),
        found_value=float(heard[t, b]),
        found_alone=alone,
        sequence=_which(data, b),
        step=t,
    )


def _track(found: Sequence[Track], name: str | None) -> Track:
    ahead = [track for track in found if not track.name.endswith(".reverse")]
    if name is None:
        return ahead[0]
    for track in ahead:
        if track.name == name:
            return track
    if any(track.name == name for track in found):
        raise OptionError(f"layer {name!r} reads backwards; only layers that read forwards can be asked.")
    raise OptionError(f"no layer {name!r}; there are {', '.join(track.name for track in ahead)}.")


def _which(data: object, b: int) -> int:
    """The place among all sequences of the b-th that has a step."""
    inputs = getattr(data, "inputs", data)
    lengths = (inputs if isinstance(inputs, Ragged) else Ragged.of(inputs, name="data")).lengths
    return int(torch.nonzero(lengths > 0)[b])


class _Climb:
    """A unit's output at the last step of one sequence, as a function of what reaches the first layer."""

    def __init__(self, network: torch.nn.Module, x: Ragged, track: Track, unit: int) -> None:
        self.network, self.x, self.track, self.unit = network, x, track, unit
        self.tensors = doubled(network)

    def __call__(self, z: Tensor) -> tuple[float, Tensor]:
        """The output, and its gradient (steps, F)."""
        leaf = z.detach().requires_grad_()
        heard: list[Tensor] = []
        begun = False

        def listen(layer: torch.nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            nonlocal begun
            assert isinstance(layer, RecurrentLayer)
            given: Ragged = arguments[0]
            if not begun:
                begun, given = True, given.with_data(leaf)
            if layer is self.track.layer and not heard:
                # not through the hooks again, and with every level's states
                told: dict[str, Ragged] = layer.forward(given, None, True)[-1]  # type: ignore[assignment]
                heard.append(told[f"{self.track.cell.output}_l{self.track.level}"].data[-1, self.unit])
            return (given, *arguments[1:])

        with still(self.network, listen), torch.enable_grad():
            torch.func.functional_call(self.network, self.tensors, (self.x,))
            (gradient,) = torch.autograd.grad(heard[0], leaf)
        return float(heard[0].detach()), gradient


def _ascend(climb: _Climb, z: Tensor, iterations: int) -> tuple[Tensor, float]:
    """Climb on the sphere of z's norm; never goes down."""
    radius = float(z.norm())
    value, gradient = climb(z)
    if radius == 0.0 or not bool(gradient.norm() > 0):
        return z, value
    rate = 1.0
    for _ in range(iterations):
        step = z / radius + rate * gradient / gradient.norm()
        tried = radius * step / step.norm()
        higher, slope = climb(tried)
        if higher > value:
            z, value, gradient, rate = tried, higher, slope, 2 * rate
        else:
            rate /= 2
            if rate < 1e-6:
                break
        if not bool(gradient.norm() > 0):
            break
    return z, value


def _array(values: Tensor) -> Floats:
    array: Floats = values.detach().to(F64).cpu().numpy()
    return array
