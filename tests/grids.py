"""Grids of test cases: not every combination of all factors, but every combination of any two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, product
from random import Random
from typing import Any


def pairwise(factors: Mapping[str, Sequence[Any]], seed: int = 20011) -> list[dict[str, Any]]:
    """Rows in which any two levels of any two factors meet at least once; the same rows for the same seed.

    Greedy: a row begins with the first pair that has not met, and then gives each factor the level that meets
    the most new ones (Cohen et al. 1997, "The AETG system").
    """
    names = sorted(
        factors, key=lambda name: -len(factors[name])
    )  # the longest decide how many rows there are
    missing = {
        (one, a, other, b): None  # a dict, because it keeps its order
        for one, other in combinations(names, 2)
        for a, b in product(range(len(factors[one])), range(len(factors[other])))
    }
    rows, draws = [], Random(seed)
    while missing:
        one, a, other, b = next(iter(missing))
        row = {one: a, other: b}
        for name in names:
            if name in row:
                continue
            count = len(factors[name])

            def news(level: int, name: str = name, row: dict[str, int] = row) -> int:
                return sum(
                    ((name, level, there, at) in missing) or ((there, at, name, level) in missing)
                    for there, at in row.items()
                )

            row[name] = max(draws.sample(range(count), count), key=news)  # ties by chance: no habits
        for (first, at), (second, then) in product(row.items(), repeat=2):
            missing.pop((first, at, second, then), None)
        rows.append({name: factors[name][row[name]] for name in factors})
    return rows
