"""Time columns: recognising them, how they were written, and the step from one row to the next."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

TIME_DTYPE = np.dtype("datetime64[us]")
_MINUTE = 60_000_000
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR

# YYYY-MM, YYYY-MM-DD, YYYY-MM-DD HH:MM[:SS[.ffffff]]; T for the blank, slashes for the dashes, an offset last
_ISO = re.compile(
    r"(\d{4})([-/])(\d{2})"
    r"(?:\2(\d{2})(?:([ T])(\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?)?)?"
    r"(Z|[+-]\d{2}:?\d{2})?"
)
_DIGITS8 = re.compile(r"(1[5-9]|2[0-5])\d{6}")


@dataclass(frozen=True)
class TimeStyle:
    """How a time column was written, so that new times can be written the same way.

    Attributes:
        kind: `iso` (text), `yyyymmdd` (whole numbers such as 19580329), `number`, or `datetime` (a
            frame's own type).
        unit: finest unit seen, numpy's letter (`M`, `D`, `m`, `s`, `us`); for `number`, `whole` or `real`.
        separator: between date and time of day in text.
        dash: between the parts of a date in text.
        zone: time zone of a frame's column, or `Z` where text carried an offset; times are then held in UTC.
    """

    kind: Literal["iso", "yyyymmdd", "number", "datetime"]
    unit: str = "D"
    separator: str = " "
    dash: str = "-"
    zone: str | None = None

    def write(self, times: Array) -> Array:
        """Times as the column had them: an object array of text, whole numbers, numbers, or datetime64."""
        if self.kind == "number":
            return times.astype(np.int64) if self.unit == "whole" and _all_whole(times) else times
        if self.kind == "datetime":
            return times
        if self.kind == "yyyymmdd":
            days = np.datetime_as_string(times.astype("datetime64[D]"))
            return np.array([int(text.replace("-", "")) for text in days], dtype=np.int64)
        unit = _finer(self.unit, _unit_needed(times))
        texts = np.datetime_as_string(times.astype(f"datetime64[{unit}]"))
        tail = "+00:00" if self.zone else ""
        written = np.empty(len(texts), dtype=object)
        written[:] = [
            text.replace("-", self.dash).replace("T", self.separator) + tail for text in texts.tolist()
        ]
        return written


def parse_times(cells: Sequence[object] | Array) -> tuple[Array, TimeStyle] | int | None:
    """Read a column of text or numbers as times.

    Text is ISO 8601 (2001-12-29, 2001-12-29 13:00, 2001-12, 2001/12/29, with or without an offset); eight-
    digit whole numbers from 1500 to 2599 are dates (20011229); other numbers are taken as they are.

    Returns:
        (times, style); or the index of the first cell that is no time although the cell before it was; or
        None when the first cell is no time.
    """
    values = np.asarray(cells)
    if values.dtype.kind in "iuf":
        return _from_numbers(values)
    texts = [str(cell).strip() for cell in cells]
    if texts and _number(texts[0]) is not None:
        numbers = np.empty(len(texts))
        for index, text in enumerate(texts):
            number = _number(text)
            if number is None:
                return index
            numbers[index] = number
        return _from_numbers(numbers)
    return _from_texts(texts)


def _from_numbers(values: Array) -> tuple[Array, TimeStyle] | int:
    numbers = values.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        return int(bad[0])
    whole = _all_whole(numbers)
    if whole and len(numbers) and numbers.min() >= 15_000_101 and numbers.max() <= 25_991_231:
        try:
            return _from_digits([str(int(number)) for number in numbers]), TimeStyle("yyyymmdd")
        except ValueError:
            pass  # eight digits, but not all of them a date: plain numbers
    return numbers, TimeStyle("number", unit="whole" if whole else "real")


def _from_digits(texts: list[str]) -> Array:
    if not all(_DIGITS8.fullmatch(text) for text in texts):
        raise ValueError("not YYYYMMDD")
    return np.array([f"{text[:4]}-{text[4:6]}-{text[6:]}" for text in texts], dtype="datetime64[D]").astype(
        TIME_DTYPE
    )


def _from_texts(texts: list[str]) -> tuple[Array, TimeStyle] | int | None:
    unit, dash, separator, zoned = "M", "-", " ", False
    plain: list[str] = []
    for index, text in enumerate(texts):
        match = _ISO.fullmatch(text)
        if match is None:
            return index if index else None
        _, dash, _, day, blank, hour, _, second, fraction, zone = match.groups()
        separator = blank or separator
        if zone:
            if hour is None:
                return index if index else None
            try:
                moment = datetime.fromisoformat(text.replace("/", "-")).astimezone(UTC)
            except ValueError:
                return index if index else None
            plain.append(moment.replace(tzinfo=None).isoformat())
            zoned = True
        else:
            plain.append(text.replace("/", "-") if dash == "/" else text)
        seen = "us" if fraction else "s" if second else "m" if hour else "D" if day else "M"
        unit = _finer(unit, seen)
    try:
        times = np.array(plain, dtype=TIME_DTYPE)
    except ValueError:
        for index, text in enumerate(plain):
            try:
                np.datetime64(text, "us")
            except ValueError:
                return index if index else None
        raise
    return times, TimeStyle("iso", unit=unit, separator=separator, dash=dash, zone="Z" if zoned else None)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _all_whole(numbers: Array) -> bool:
    return bool(np.all(np.abs(numbers) < 2**53)) and bool(np.all(numbers == np.floor(numbers)))


_UNITS = ("M", "D", "m", "s", "us")


def _finer(a: str, b: str) -> str:
    return a if _UNITS.index(a) >= _UNITS.index(b) else b


def _unit_needed(times: Array) -> str:
    for unit in _UNITS[:-1]:
        if np.array_equal(times.astype(f"datetime64[{unit}]").astype(TIME_DTYPE), times):
            return unit
    return "us"


@dataclass(frozen=True)
class Frequency:
    """The step from one row to the next.

    Attributes:
        kind: `time` (a fixed span), `months` (calendar months), `business days`, or `number` (the
            column holds numbers).
        step: microseconds, months, business days, or the plain difference, by `kind`.
        month_end: the times stand on the last day of each month.
    """

    kind: Literal["time", "months", "business days", "number"]
    step: float
    month_end: bool = False

    @property
    def name(self) -> str:
        """The step in words, such as `1 week`, `15 minutes`, `3 months`."""
        if self.kind == "number":
            return f"{self.step:g}"
        if self.kind == "business days":
            return _plural(self.step, "business day")
        if self.kind == "months":
            return _plural(self.step / 12, "year") if self.step % 12 == 0 else _plural(self.step, "month")
        for span, word in (
            (7 * _DAY, "week"),
            (_DAY, "day"),
            (_HOUR, "hour"),
            (_MINUTE, "minute"),
            (1e6, "second"),
        ):
            if self.step % span == 0:
                return _plural(self.step / span, word)
        return f"{self.step / 1e6:g} seconds"

    @property
    def season(self) -> int:
        """Rows in the season one would try first: 52 for weeks, 12 for months, 7 for days, a day's rows
        below; else 1.
        """
        if self.kind == "business days":
            return 5 if self.step == 1 else 1
        if self.kind == "months":
            return int(12 // self.step) if 12 % self.step == 0 else 1
        if self.kind == "time":
            if self.step in (_DAY, 7 * _DAY):
                return 7 if self.step == _DAY else 52
            if _MINUTE <= self.step < _DAY and _DAY % self.step == 0:
                return int(_DAY // self.step)
        return 1

    def steps(self, times: Array) -> Array:
        """(n,) times to (n - 1,) differences counted in steps; 1.0 everywhere on a complete regular grid."""
        if len(times) < 2:
            return np.empty(0)
        if self.kind == "months":
            months = np.diff(times.astype("datetime64[M]").astype(np.int64)) / self.step
            return np.asarray(months, dtype=np.float64)
        if self.kind == "business days":
            days = times.astype("datetime64[D]")
            return np.asarray(np.busday_count(days[:-1], days[1:]) / self.step, dtype=np.float64)
        if self.kind == "time":
            return np.asarray(np.diff(times.astype(np.int64)) / self.step, dtype=np.float64)
        return np.asarray(np.diff(times) / self.step, dtype=np.float64)

    def following(self, last: Any, count: int) -> Array:  # noqa: ANN401 (datetime64 or a number)
        """The `count` times after `last`."""
        ahead = np.arange(1, count + 1)
        if self.kind == "number":
            return np.asarray(float(last) + self.step * ahead)
        last = np.datetime64(last).astype(TIME_DTYPE)
        if self.kind == "time":
            return np.asarray(last + (ahead * int(self.step)).astype("timedelta64[us]"))
        day = last.astype("datetime64[D]")
        clock = last - day.astype(TIME_DTYPE)
        if self.kind == "business days":
            days = np.busday_offset(day, ahead * int(self.step), roll="backward")
            return np.asarray(days.astype(TIME_DTYPE) + clock)
        month = last.astype("datetime64[M]")
        months = month + (ahead * int(self.step)).astype("timedelta64[M]")
        month_days = ((months + 1).astype("datetime64[D]") - months.astype("datetime64[D]")).astype(np.int64)
        offset = (
            month_days - 1
            if self.month_end
            else np.minimum(int((day - month.astype("datetime64[D]")).astype(int)), month_days - 1)
        )
        days = months.astype("datetime64[D]") + offset.astype("timedelta64[D]")
        return np.asarray(days.astype(TIME_DTYPE) + clock)

    def grid(self, first: Any, last: Any) -> Array:  # noqa: ANN401
        """Every time from `first` to `last`, both included."""
        ends = np.array([first, last])
        count = round(float(self.steps(ends)[0]))
        return np.concatenate([ends[:1], self.following(first, count)])


def _plural(count: float, word: str) -> str:
    return f"{count:g} {word}" if count == 1 else f"{count:g} {word}s"


def infer_frequency(series: Sequence[Array]) -> Frequency | None:
    """The step of increasing times, as the median difference over all series; None where no series has two
    rows.

    Calendar months are told by one day of the month (or always the last) and a step of at least 28 days;
    business days by a median step of one day, no weekend and at least one jump from Friday to Monday.
    """
    several = [times for times in series if len(times) > 1]
    if not several:
        return None
    if several[0].dtype.kind != "M":
        return Frequency("number", _median(np.concatenate([np.diff(times) for times in several])))
    spans = np.concatenate([np.diff(times).astype(np.int64) for times in several])
    everything = np.concatenate(several)
    days = everything.astype("datetime64[D]")
    one_clock = len(np.unique(everything - days.astype(TIME_DTYPE))) == 1
    if one_clock and spans.min() >= 28 * _DAY:
        months = everything.astype("datetime64[M]")
        of_month = (days - months.astype("datetime64[D]")).astype(np.int64)
        month_end = bool(np.all((days + 1).astype("datetime64[M]") > months))
        if month_end or len(np.unique(of_month)) == 1:
            differences = [np.diff(times.astype("datetime64[M]").astype(np.int64)) for times in several]
            return Frequency("months", _median(np.concatenate(differences)), month_end=month_end)
    step = _median(spans)
    if one_clock and step == _DAY and np.is_busday(days).all():
        jumps = np.concatenate([np.diff(times.astype("datetime64[D]").astype(np.int64)) for times in several])
        if np.any(jumps == 3):
            return Frequency("business days", 1.0)
    return Frequency("time", step)


def _median(values: Array) -> float:
    return float(np.sort(values)[len(values) // 2])  # an observed step, never the mean of two
