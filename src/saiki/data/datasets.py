"""What a data set is, whether built in, generated or read from a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from saiki.data.table import Table

Task = Literal["forecast", "classify", "regress", "label steps", "translate"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Data with its origin: either a table, or sequences with targets.

    Attributes:
        name: short name, as given to `load`.
        description: what the numbers are.
        source: who measured or made them, and from where they were taken.
        licence: terms of use.
        task: what they are good for.
        table: the table, for forecasts; else None.
        sequences: (T_i, F) arrays, or texts, for the other tasks; else empty.
        targets: (n,) one class or number a sequence, or a list of (T_i,) classes or numbers, one a
            step; or (n,) texts; None for a table.
        classes: names of the classes, by code; empty where the targets are numbers.
    """

    name: str
    description: str
    source: str
    licence: str
    task: Task
    table: Table | None = field(default=None, repr=False)
    sequences: tuple[Any, ...] = field(default=(), repr=False)
    targets: Any = field(default=None, repr=False)
    classes: tuple[str, ...] = ()

    @property
    def X(self) -> Table | list[Any]:
        """What `fit` takes first: the table, or the list of sequences."""
        return self.table if self.table is not None else list(self.sequences)

    @property
    def y(self) -> Any:  # noqa: ANN401 (an array or a list of arrays)
        """What `fit` takes second: the targets; None for a table, which holds its own."""
        return self.targets

    def __len__(self) -> int:
        return len(self.table) if self.table is not None else len(self.sequences)
