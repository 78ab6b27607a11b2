"""How large a network for how much data: the rule of thumb of ten training values a parameter, both ways.

    P(H) = Σ_layers D · |cell(I_l, H)| + K (D·H + 1)      I_1 = inputs, I_l = D·H after, D directions
    fits when  10 · P ≤ N                                 N training values

It is a rule of thumb, not a verdict: early stopping, dropout and weight decay let larger networks do well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from saiki.cells import CELLS
from saiki.core.errors import OptionError
from saiki.core.names import choose

VALUES_PER_PARAMETER = 10  # the rule of thumb
MAX_HIDDEN_SIZE = 1024  # suggested at most; beyond this, data is not what limits the width


@dataclass(frozen=True, kw_only=True)
class SizeSuggestion:
    """A hidden size and the sum behind it; `print` shows the arithmetic, `int` gives the size.

    Attributes:
        hidden_size: units a layer, at least 1.
        parameters: parameters of the whole network at that size.
        values: training values it was sized for.
        values_per_parameter: the rule in use.
        fits: whether the rule holds; False when even one unit is too many.
        arithmetic: the sum, line by line.
    """

    hidden_size: int
    parameters: int
    values: int
    values_per_parameter: float
    fits: bool
    arithmetic: str

    def __int__(self) -> int:
        return self.hidden_size

    def __str__(self) -> str:
        return self.arithmetic


def suggest_size(
    cell: str,
    n_values: int,
    input_size: int,
    output_size: int,
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    values_per_parameter: float = VALUES_PER_PARAMETER,
) -> SizeSuggestion:
    """The widest recurrent network whose parameters the data can pay for, by the rule of thumb.

    The largest H with values_per_parameter · P(H) ≤ n_values, P counted from the cell's own parameter shapes.

    Args:
        cell: "elman", "jordan", "lstm", "elementwise_lstm" or "gru".
        n_values: training values: rows times features.
        input_size: features a step.
        output_size: outputs of the dense head.
        num_layers: recurrent layers.
        bidirectional: two directions of time.
        values_per_parameter: training values each parameter should have.

    Returns:
        A `SizeSuggestion`; `print` it to see the arithmetic.

    Raises:
        OptionError: an unknown cell, or a size that is not a positive whole number.

    Example:
        >>> suggest_size("lstm", 50_000, 3, 1).hidden_size
        33
    """
    choose(cell, CELLS, "cell")
    given = {"input_size": input_size, "output_size": output_size, "num_layers": num_layers}
    for name, value in given.items():
        if isinstance(value, bool) or int(value) != value or value < 1:
            raise OptionError(f"{name} is {value!r} but must be a whole number from 1 on")
    if isinstance(n_values, bool) or int(n_values) != n_values or n_values < 0:
        raise OptionError(f"n_values is {n_values!r} but must be a whole number, rows times features")
    if not (values_per_parameter > 0 and math.isfinite(values_per_parameter)):
        raise OptionError(f"values_per_parameter is {values_per_parameter!r} but must be a positive number")
    budget = int(n_values / values_per_parameter)

    def total(hidden_size: int) -> int:
        return sum(
            part for _, part in _parts(cell, hidden_size, input_size, output_size, num_layers, bidirectional)
        )

    low, high = 1, MAX_HIDDEN_SIZE  # P grows with H: halve until the last H that fits
    while low < high:
        middle = (low + high + 1) // 2
        if total(middle) <= budget:
            low = middle
        else:
            high = middle - 1
    parts = _parts(cell, low, input_size, output_size, num_layers, bidirectional)
    parameters = sum(part for _, part in parts)
    fits = parameters <= budget
    lines = [
        f"{n_values:,} training values at {values_per_parameter:g} a parameter pay for {budget:,} parameters",
        *(f"  {label} = {part:,}" for label, part in parts),
        f"  total {parameters:,}: hidden_size={low}"
        + ("" if fits else ", already more than the data pays for; prefer more data or a simpler model")
        + (f", one unit more needs {total(low + 1):,}" if fits and low < MAX_HIDDEN_SIZE else "")
        + (f", the widest suggested ({MAX_HIDDEN_SIZE})" if fits and low == MAX_HIDDEN_SIZE else ""),
    ]
    return SizeSuggestion(
        hidden_size=low,
        parameters=parameters,
        values=int(n_values),
        values_per_parameter=float(values_per_parameter),
        fits=fits,
        arithmetic="\n".join(lines),
    )


def _parts(
    cell: str, hidden_size: int, input_size: int, output_size: int, num_layers: int, bidirectional: bool
) -> list[tuple[str, int]]:
    """Each layer's parameters with the sum they come from, and the head's."""
    directions = 2 if bidirectional else 1
    parts = []
    width = input_size
    for layer in range(num_layers):
        shapes, out = _shapes(cell, width, hidden_size)
        count = directions * sum(math.prod(shape) for shape in shapes.values())
        terms = " + ".join("×".join(str(n) for n in shape) for shape in shapes.values())
        label = f"{cell} {layer + 1}: {f'2 ({terms})' if bidirectional else terms}"
        parts.append((label, count))
        width = directions * out
    parts.append((f"head: {output_size} ({width} + 1)", output_size * (width + 1)))
    return parts


def _shapes(cell: str, input_size: int, hidden_size: int) -> tuple[dict[str, tuple[int, ...]], int]:
    kind = CELLS[cell]
    options: dict[str, Any] = {"output_size": hidden_size} if cell == "jordan" else {}
    built = kind(input_size=input_size, hidden_size=hidden_size, **options)
    return built.parameter_shapes(), built.output_size


def parameter_note(parameters: int, values: int, sequences: int) -> str:
    """How many parameters for how many training values, in a sentence, with a note where that is many."""
    text = (
        f"{parameters:,} parameters for {values:,} training values in {sequences:,} sequences "
        f"({values / max(parameters, 1):.3g} values a parameter)"
    )
    if parameters > values:
        return (
            f"{text}. More parameters than values: the network could learn them by heart; the rule of thumb "
            "is ten values a parameter. Watch the validation error, or use fewer units."
        )
    if values < VALUES_PER_PARAMETER * parameters:
        return f"{text}. The rule of thumb, not a verdict, is ten values a parameter."
    return f"{text}."
