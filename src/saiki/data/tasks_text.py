"""Generated pairs of texts: sums, and dates as people write them.

| set | source | target |
|---|---|---|
| `addition` | `123+45` | `168` |
| `dates` | `Sunday, 5th of July 1998` | `1998-07-05` |

Both are pure functions of their options, `seed` among them, and hold no source twice.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable

import numpy as np

from saiki.core.checks import require_bool, require_int
from saiki.core.errors import ValueRangeError
from saiki.data.datasets import Dataset

__all__ = ["addition", "dates"]

FIRST, LAST = datetime.date(1950, 1, 1), datetime.date(2049, 12, 31)
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def addition(
    *, n: int = 50_000, digits: int = 3, reverse: bool = False, padded: bool = False, seed: int | None = 0
) -> Dataset:
    """The addition problem: read a sum symbol by symbol, write its value digit by digit.

        "123+45" → "168"

    Each number has 1 to `digits` digits, every length as likely as the others, its digits uniform (so a
    number may be drawn with leading zeros, which are not written). A sum a+b is there once, and never as b+a
    besides: a part held out holds no sum that was learned, in either order.

    Args:
        n: pairs.
        digits: of the largest number.
        reverse: write the source backwards, "54+321".
        padded: fill both sides with spaces to their greatest lengths, 2 digits + 1 and digits + 1, as a
            network of fixed lengths needs it; the symbols are then 12, digits, plus and space.
        seed: of the draw.
    Raises:
        ValueRangeError: there are not that many different sums.
    Source: Zaremba & Sutskever 2014, section 4 (reading sums symbol by symbol), in the form of the textbooks.
    """
    n, digits = require_int(n, "n", 1), require_int(digits, "digits", 1, 9)
    require_bool(reverse, "reverse")
    require_bool(padded, "padded")
    numbers = 10**digits
    there = numbers * (numbers + 1) // 2
    if n > there // 2:
        raise ValueRangeError(
            f"n is {n} but of the {there} different sums of {digits} digits at most half, {there // 2}, can "
            "be drawn.",
            "Ask for fewer, or for more digits.",
        )
    rng = np.random.default_rng(seed)
    seen: set[tuple[int, int]] = set()
    sources: list[str] = []
    targets: list[str] = []
    while len(sources) < n:
        lengths = rng.integers(1, digits + 1, (n, 2))
        drawn = rng.integers(0, 10**lengths)
        for a, b in drawn.tolist():
            key = (min(a, b), max(a, b))
            if key in seen or len(sources) == n:
                continue
            seen.add(key)
            source, target = f"{a}+{b}", str(a + b)
            if padded:
                source, target = source.ljust(2 * digits + 1), target.ljust(digits + 1)
            sources.append(source[::-1] if reverse else source)
            targets.append(target)
    return Dataset(
        name="addition",
        description=f"{n} sums of two numbers of up to {digits} digits, as text",
        source=f"generated, seed {seed}",
        licence="none needed",
        task="translate",
        sequences=tuple(sources),
        targets=targets,
    )


def dates(*, n: int = 10_000, seed: int | None = 0) -> Dataset:
    """Dates as people write them, and as ISO 8601 does.

        "Sunday, 5th of July 1998" → "1998-07-05"

    Days from 1950 to 2049, all as likely, in one of the forms of `FORMS`, some in capitals or small letters.
    Where the form alone would not say which number is the day, one reading holds throughout: 5.7.1998 and
    5-7-1998 have the day first, 7/5/1998 the month. Years of two digits are of 1950 to 2049.

    Args:
        n: pairs; no source comes twice.
        seed: of the draw.
    Raises:
        ValueRangeError: more than could be found without repeating a source.
    """
    n = require_int(n, "n", 1, 200_000)  # of about a million that there are
    rng = np.random.default_rng(seed)
    seen: set[str] = set()
    sources: list[str] = []
    targets: list[str] = []
    days = (LAST - FIRST).days + 1
    while len(sources) < n:
        day = FIRST + datetime.timedelta(days=int(rng.integers(days)))
        text = FORMS[int(rng.integers(len(FORMS)))](day)
        case = int(rng.integers(6))
        text = text.lower() if case == 0 else text.upper() if case == 1 else text
        if text in seen:
            continue
        seen.add(text)
        sources.append(text)
        targets.append(day.isoformat())
    return Dataset(
        name="dates",
        description=f"{n} dates from 1950 to 2049 in {len(FORMS)} ways of writing, and in ISO 8601",
        source=f"generated, seed {seed}",
        licence="none needed",
        task="translate",
        sequences=tuple(sources),
        targets=targets,
    )


def _nth(day: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th."""
    ending = "th" if 10 <= day % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{ending}"


def _month(day: datetime.date) -> str:
    return MONTHS[day.month - 1]


def _weekday(day: datetime.date) -> str:
    return DAYS[day.weekday()]


FORMS: tuple[Callable[[datetime.date], str], ...] = (
    lambda d: f"{d.day} {_month(d)} {d.year}",
    lambda d: f"{_month(d)} {d.day}, {d.year}",
    lambda d: f"{_weekday(d)}, {d.day} {_month(d)} {d.year}",
    lambda d: f"{_weekday(d)}, {_month(d)} {d.day}, {d.year}",
    lambda d: f"{_nth(d.day)} of {_month(d)} {d.year}",
    lambda d: f"{_weekday(d)}, {_nth(d.day)} of {_month(d)} {d.year}",
    lambda d: f"{_month(d)} {_nth(d.day)}, {d.year}",
    lambda d: f"{d.day} {_month(d)[:3]} {d.year}",
    lambda d: f"{_month(d)[:3]} {d.day}, {d.year}",
    lambda d: f"{_weekday(d)[:3]} {d.day} {_month(d)[:3]} {d.year}",
    lambda d: f"{d.day}-{_month(d)[:3]}-{d.year % 100:02d}",
    lambda d: f"{d.day}.{d.month}.{d.year}",
    lambda d: f"{d.day:02d}.{d.month:02d}.{d.year % 100:02d}",
    lambda d: f"{d.day}-{d.month}-{d.year}",
    lambda d: f"{d.month}/{d.day}/{d.year}",
    lambda d: f"{d.month:02d}/{d.day:02d}/{d.year % 100:02d}",
    lambda d: f"{d.year}/{d.month:02d}/{d.day:02d}",
    lambda d: f"{d.year} {_month(d)} {d.day}",
    lambda d: f"{d.year}{d.month:02d}{d.day:02d}",
)
