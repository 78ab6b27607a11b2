"""The table of a network's layers, output shapes and parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

Shape = tuple[int | str, ...]  # letters stand for what is not known: B sequences, T steps


@final
@dataclass(frozen=True)
class SummaryRow:
    """One line: a layer's name, its kind, the shape of its output, and how many parameters it has."""

    name: str
    kind: str
    shape: Shape
    parameters: int

    @property
    def shape_text(self) -> str:
        """The shape as "(B, 10, 50)"."""
        inner = ", ".join(str(size) for size in self.shape)
        return f"({inner},)" if len(self.shape) == 1 else f"({inner})"


@final
@dataclass(frozen=True)
class Summary:
    """What `Stack.summary` returns; `print` it for the table.

    Args:
        rows: the input, then each layer in order. A parameter that two layers share counts in the first.
        trainable: parameters that are trained.
        non_trainable: parameters that are frozen.
    """

    rows: Sequence[SummaryRow]
    trainable: int
    non_trainable: int

    @property
    def total(self) -> int:
        """All parameters."""
        return self.trainable + self.non_trainable

    def __str__(self) -> str:
        head = ("Layer", "Output shape", "Parameters")
        lines = [
            (f"{row.name} ({row.kind})" if row.kind else row.name, row.shape_text, f"{row.parameters:,}")
            for row in self.rows
        ]
        first, second, third = (max(len(line[k]) for line in (head, *lines)) for k in range(3))
        rule = "─" * (first + second + third + 4)

        def row(cells: tuple[str, str, str]) -> str:
            return f"{cells[0]:<{first}}  {cells[1]:<{second}}  {cells[2]:>{third}}"

        counts = {
            "Total parameters": self.total,
            "Trainable": self.trainable,
            "Non-trainable": self.non_trainable,
        }
        left = first + second + 2
        foot = [f"{what:<{left}}  {count:>{third},}" for what, count in counts.items()]
        return "\n".join([row(head), rule, *map(row, lines), rule, *foot])
