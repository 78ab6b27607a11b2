"""Tables of measurements: read from a file or a frame, checked, and held as plain columns in time order.

A table comes from CSV (.gz too), Parquet, pandas, polars, pyarrow, a mapping of columns or a numpy array.
Inside it is a set of numpy columns, rows grouped by series and in time order; `Table.like_input` gives new
columns back as the kind of thing that came in. CSV is read with the standard library alone, so that an
error can name the line and the column.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from saiki.core.errors import DataError, OptionError
from saiki.core.names import nearest
from saiki.data.times import TIME_DTYPE, Array, Frequency, TimeStyle, infer_frequency, parse_times

__all__ = ["Gap", "InputForm", "Series", "Table", "read_table", "write_csv"]

Kind = Literal["number", "category", "time", "id"]
MISSING = frozenset({"", "na", "nan", "null", "n/a"})  # compared in lower case, blanks taken off
_SURE_TIME_NAMES = ("time", "datetime", "timestamp", "date", "ds", "t", "step")
_LIKELY_TIME_NAMES = ("month", "year", "week", "day", "hour")
_ONE_ROW_A_TIME = "Keep one row a time, or name the series' column with id=."
_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class InputForm:
    """What kind of thing a table came from, so that results can go back as the same kind.

    Attributes:
        kind: `csv`, `mapping`, `array`, or the name of the frame's library (`pandas`, `polars`,
            `pyarrow`, ...).
        source: how messages call it: the file's name, or `the pandas frame`.
        index: name the time column got where it came as a pandas index.
    """

    kind: str
    source: str
    index: str | None = None


@dataclass(frozen=True)
class Series:
    """One series of a table: rows `start` to `stop` (exclusive) in time order."""

    name: str
    value: object  # as the id column had it; None where there is no id column
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def rows(self) -> slice:
        """The rows as a slice, so that indexing with it gives a view."""
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class Gap:
    """Rows absent from a regular grid: `missing` of them between the times `after` and `before` of one
    series.
    """

    series: str
    after: object
    before: object
    missing: int


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of equal length, grouped by series and sorted by time; made by `read_table`.

    Attributes:
        columns: name to (N,) values: numbers as float64 with NaN for a missing cell; categories as text
            with None for a missing cell; times as datetime64[us] or float64; ids as they came.
        kinds: name to `number`, `category`, `time` or `id`.
        time: name of the time column, or None.
        id: name of the column that tells the series apart, or None.
        targets: names of the columns to be predicted, as given.
        series: the series in order of first appearance; one, named "", where there is no id column.
        frequency: the step between rows, or None where there is no time column or no series has two rows.
        time_style: how the times were written.
        form: what the table came from.
        lines: (N,) line of the file, or row of the frame counted from 0; -1 for a row that `complete` added.
    """

    columns: Mapping[str, Array]
    kinds: Mapping[str, Kind]
    time: str | None
    id: str | None
    targets: tuple[str, ...]
    series: tuple[Series, ...]
    frequency: Frequency | None
    time_style: TimeStyle | None
    form: InputForm
    lines: Array = field(repr=False)

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, name: str) -> Array:
        self.require(name)
        return self.columns[name]

    @property
    def names(self) -> tuple[str, ...]:
        """All columns in the order they came."""
        return tuple(self.columns)

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of the number columns."""
        return tuple(name for name, kind in self.kinds.items() if kind == "number")

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the category columns."""
        return tuple(name for name, kind in self.kinds.items() if kind == "category")

    @property
    def times(self) -> Array | None:
        """(N,) times, or None where there is no time column."""
        return None if self.time is None else self.columns[self.time]

    @property
    def lengths(self) -> tuple[int, ...]:
        """Rows of each series."""
        return tuple(len(series) for series in self.series)

    def require(self, *names: str, what: str = "column") -> None:
        """Check that the columns exist.

        Raises:
            DataError: one does not; the nearest name is offered.
        """
        for name in names:
            if name not in self.columns:
                raise _unknown_column(name, self.columns, self.form.source, what)

    def values(self, names: str | Sequence[str]) -> Array:
        """(N, F) float64 values of number columns, NaN for a missing cell; a series' rows are a view of it.

        Raises:
            DataError: a column is unknown, or holds text; its first row is named.
        """
        names = [names] if isinstance(names, str) else list(names)
        self.require(*names)
        for name in names:
            if self.columns[name].dtype.kind not in "iuf":
                values = self.columns[name]
                row = next((row for row, value in enumerate(values) if value is not None), 0)
                shown = self._show(values[row]) if self.kinds[name] == "time" else str(values[row])
                raise DataError(
                    f"column {name!r} must hold numbers, but {self.place(row)} holds {shown!r}.",
                    hint=(
                        "Correct the cell, leave it empty if the value is missing, or use the column as "
                        "a category."
                    ),
                )
        stacked = np.empty((len(self), len(names)))
        for column, name in enumerate(names):
            stacked[:, column] = self.columns[name]
        return stacked

    def place(self, row: int) -> str:
        """Where a row came from, in words: `line 17 of co2.csv`, or `row 15 (counted from 0) of the pandas
        frame`.
        """
        return _place(self.form, int(self.lines[row]))

    def constant(self, name: str) -> list[object]:
        """The value of a column that never changes within a series, one value a series (a static feature or
        a label).

        Raises:
            DataError: it does change; the first such row is named.
        """
        self.require(name)
        values = self.columns[name]
        found: list[object] = []
        for series in self.series:
            part = values[series.rows].tolist()
            first: object = None
            for row, value in enumerate(part, series.start):
                if value is None or value != value:
                    continue
                if first is None:
                    first = value
                elif value != first:
                    raise DataError(
                        f"column {name!r} must be constant within a series, but {self.place(row)} "
                        f"holds {value!r} "
                        f"where series {series.name!r} began with {first!r}.",
                        hint="Use a column with one value a series, or declare this one as a covariate.",
                    )
            found.append(first)
        return found

    @cached_property
    def gaps(self) -> tuple[Gap, ...]:
        """Places where rows of a regular grid are absent; empty where there is no time column."""
        if self.times is None or self.frequency is None:
            return ()
        found: list[Gap] = []
        for series in self.series:
            times = self.times[series.rows]
            steps = np.rint(self.frequency.steps(times)).astype(np.int64)
            found += [
                Gap(series.name, times[at], times[at + 1], int(steps[at]) - 1)
                for at in np.flatnonzero(steps > 1).tolist()
            ]
        return tuple(found)

    @property
    def irregular(self) -> int | None:
        """First row whose distance from the row before is no whole number of steps; None where all are."""
        if self.times is None or self.frequency is None:
            return None
        for series in self.series:
            steps = self.frequency.steps(self.times[series.rows])
            whole = np.rint(steps)
            bad = np.flatnonzero((np.abs(steps - whole) > 0.01) | (whole < 1))
            if len(bad):
                return series.start + int(bad[0]) + 1
        return None

    def check_regular(self) -> None:
        """Check that every series has one row a step.

        Raises:
            DataError: the times are irregular, or rows are absent; the first place is named.
        """
        self._check_irregular()
        if self.gaps:
            first = self.gaps[0]
            missing = sum(gap.missing for gap in self.gaps)
            verb = "is" if missing == 1 else "are"
            assert self.frequency is not None
            raise DataError(
                f"{self._series_words(first.series)} of {self.form.source} has gaps: at a step of "
                f"{self.frequency.name}, {_count(missing, 'row')} {verb} absent in "
                f"{_count(len(self.gaps), 'place')}, the first between {self._show(first.after)} and "
                f"{self._show(first.before)}.",
                hint=(
                    "Use gaps='complete' to add the absent rows with missing cells, or gaps='keep' "
                    "to take the "
                    "rows as they are."
                ),
            )

    def _check_irregular(self) -> None:
        row = self.irregular
        if row is not None:
            assert self.times is not None and self.frequency is not None
            raise DataError(
                f"the times in column {self.time!r} are irregular: the usual step is "
                f"{self.frequency.name}, but "
                f"{self.place(row)} ({self._show(self.times[row])}) follows "
                f"{self._show(self.times[row - 1])}.",
                hint=(
                    "Bring the rows to one step (resample them), or use gaps='keep' to take them as "
                    "equally spaced."
                ),
            )

    def complete(self) -> Table:
        """The table with every absent row of the regular grid added, its cells missing.

        Raises:
            DataError: the times are irregular.
        """
        self._check_irregular()
        if not self.gaps:
            return self
        assert self.times is not None and self.time is not None and self.frequency is not None
        grids, sources, series_out, start = [], [], [], 0
        for series in self.series:
            times = self.times[series.rows]
            at = np.concatenate([[0], np.cumsum(np.rint(self.frequency.steps(times)).astype(np.int64))])
            grid = self.frequency.grid(times[0], times[-1]) if len(times) > 1 else times.copy()
            grid[at] = times  # the observed times themselves, not their recomputation
            source = np.full(len(grid), -1, dtype=np.int64)
            source[at] = np.arange(series.start, series.stop)
            grids.append(grid)
            sources.append(source)
            series_out.append(replace(series, start=start, stop=start + len(grid)))
            start += len(grid)
        source = np.concatenate(sources)
        added = source < 0
        columns: dict[str, Array] = {}
        for name, values in self.columns.items():
            kind = self.kinds[name]
            if kind == "time":
                columns[name] = np.concatenate(grids)
                continue
            taken = values[np.maximum(source, 0)]
            if kind == "number":
                taken[added] = np.nan
            elif kind == "category":
                taken[added] = None
            else:
                for series in series_out:
                    taken[series.rows] = values[source[series.start]]
            columns[name] = taken
        lines = np.where(added, -1, self.lines[np.maximum(source, 0)])
        return replace(self, columns=columns, series=tuple(series_out), lines=lines)

    def like_input(self, columns: Mapping[str, Any]) -> Any:  # noqa: ANN401 (whatever kind of frame came in)
        """New columns as the kind of thing this table came from.

        A pandas frame for pandas, polars for polars, pyarrow for pyarrow; a mapping of columns for CSV or a
        mapping; an (N, F) array for an array. A column with the time column's name is written as the times
        were.
        """
        return like_form(columns, self.form, time=self.time, style=self.time_style)

    def fingerprint(self) -> str:
        """SHA-256 over the names, kinds and cells: two tables with the same one hold the same data."""
        digest = hashlib.sha256()
        for name, values in self.columns.items():
            digest.update(f"{name}\0{self.kinds[name]}\0{len(values)}\0".encode())
            if values.dtype == object:
                digest.update("\0".join("\1" if value is None else str(value) for value in values).encode())
            else:
                digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()

    def _series_words(self, name: str) -> str:
        return f"series {name!r}" if self.id is not None else "the series"

    def _show(self, time: Any) -> str:  # noqa: ANN401
        return show_time(time, self.time_style)


def show_time(time: Any, style: TimeStyle | None = None) -> str:  # noqa: ANN401
    """One time as text, written as its column was."""
    if isinstance(time, np.datetime64):
        if style is None or style.kind == "datetime":
            style = TimeStyle("iso")
        return str(style.write(np.array([time], dtype=TIME_DTYPE))[0])
    return f"{float(time):.15g}"


def read_table(
    source: object,
    *,
    time: str | Literal[False] | None = None,
    id: str | None = None,
    targets: str | Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    categories: Sequence[str] = (),
    numbers: Sequence[str] = (),
    sort: bool = False,
    gaps: Literal["error", "complete", "keep"] = "error",
    delimiter: str | None = None,
    decimal: Literal[".", ","] = ".",
    header: bool | None = None,
) -> Table:
    """Read and check a table.

    A column is a number column where at least half of its present cells are numbers, else a category;
    `numbers` and `categories` say otherwise. A cell is missing where it is empty, NA, NaN, N/A or null. The
    time column is found by its name (time, datetime, timestamp, date, ds, t, step; month, year, week, day,
    hour where it comes first or increases) or, failing that, as the first column of dates.

    Args:
        source: path of a .csv, .csv.gz, .txt, .tsv or .parquet file; an open text file; a pandas,
            polars or pyarrow frame; a mapping of columns; a numpy array (T,) or (T, F).
        time: name of the time column; None to find it; False where there is none.
        id: name of the column that tells several series apart.
        targets: names of the columns to be predicted.
        columns: names of the columns to keep besides time, id and targets; all by default.
        categories: columns to be read as categories even where they hold numbers.
        numbers: columns that must hold numbers.
        sort: put the rows in time order where they are not.
        gaps: `error` where rows of a regular grid are absent or the times irregular, `complete` to add
            the absent rows with missing cells, `keep` to take the rows as they are.
        delimiter: between the cells of a text file; None to find it among comma, semicolon, tab and bar.
        decimal: decimal mark of a text file.
        header: whether the first line of a text file holds names; None to look.

    Raises:
        DataError: the table is empty, a column is unknown, a cell of a number column holds text or an
            infinite value, the times are unreadable, duplicate, unsorted or have gaps; each says where and
            what to do.
        OptionError: an option has a value it does not know.
    """
    if gaps not in ("error", "complete", "keep"):
        raise OptionError(f"gaps={gaps!r} is unknown.", hint="Use 'error', 'complete' or 'keep'.")
    if decimal not in (".", ","):
        raise OptionError(f"decimal={decimal!r} is unknown.", hint="Use '.' or ','.")
    form, raw, lines = _read(source, delimiter=delimiter, decimal=decimal, header=header)
    wanted = (targets,) if isinstance(targets, str) else tuple(targets or ())
    _require_names([time] if time else [], raw, form, "time column")
    _require_names([] if id is None else [id], raw, form, "id column")
    _require_names(wanted, raw, form, "target column")
    _require_names((*(columns or ()), *categories, *numbers), raw, form, "column")
    both = sorted(set(categories) & set(numbers))
    if both:
        raise OptionError(
            f"column {both[0]!r} is declared both in categories and in numbers.", hint="Keep one of them."
        )
    if not len(lines):
        raise DataError(
            f"{form.source} holds a header ({', '.join(raw)}) and no rows; expected at least one row.",
            hint="Check that the rows were written.",
        )
    if time is None:
        time = _find_time(raw, id, categories, numbers)
    if columns is not None:
        keep = {time, id, *wanted, *columns, *categories, *numbers}
        raw = {name: cells for name, cells in raw.items() if name in keep}
    reader = _ColumnReader(form, lines, decimal)
    out: dict[str, Array] = {}
    kinds: dict[str, Kind] = {}
    style: TimeStyle | None = None
    for name, cells in raw.items():
        if name == time:
            out[name], style = reader.times(name, cells)
            kinds[name] = "time"
        elif name == id:
            out[name], kinds[name] = reader.ids(name, cells), "id"
        elif name in categories:
            out[name], kinds[name] = reader.category(cells), "category"
        else:
            out[name], kinds[name] = reader.number_or_category(name, cells, must=name in numbers)
    order, series = _group(out[id] if id is not None else None, len(lines))
    time_name = time or None
    if time_name is not None:
        order = _in_time_order(out[time_name], order, series, sort, form, lines, time_name, id, style)
    if not np.array_equal(order, np.arange(len(lines))):
        out = {name: values[order] for name, values in out.items()}
        lines = lines[order]
    frequency = (
        infer_frequency([out[time_name][one.rows] for one in series]) if time_name is not None else None
    )
    table = Table(out, kinds, time_name, id, wanted, series, frequency, style, form, lines)
    if gaps == "error":
        table.check_regular()
    return table.complete() if gaps == "complete" else table


# ----------------------------------------------------------------------------------------------------------
# what came in -> raw columns


_Raw = dict[str, Any]  # name -> list of text cells, or a numpy array of numbers, times or objects


def _read(
    source: object, *, delimiter: str | None, decimal: str, header: bool | None
) -> tuple[InputForm, _Raw, Array]:
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if not path.is_file():
            what = "a folder" if path.is_dir() else "no file"
            raise DataError(
                f"there is {what} at {str(path)!r}; expected a CSV or Parquet file.", hint="Check the path."
            )
        if path.suffix.lower() in (".parquet", ".pq"):
            return _read_parquet(path)
        return _read_text(_file_text(path), path.name, delimiter, decimal, header)
    if isinstance(source, np.ndarray):
        return _read_array(source)
    if isinstance(source, Mapping):
        return _read_mapping(source)
    if hasattr(source, "read"):
        text = source.read()
        if isinstance(text, bytes):
            text = _decode(text, "the open file")
        name = getattr(source, "name", "the open file")
        return _read_text(
            text, Path(name).name if isinstance(name, str) else "the open file", delimiter, decimal, header
        )
    return _read_frame(source)


def _file_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path.name} cannot be read: {error.strerror or error}.", hint="Check the file's rights."
        ) from error
    return _decode(content, path.name)


def _decode(content: bytes, name: str) -> str:
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"{name} is a damaged gzip file: {error}.", hint="Fetch or write the file again."
            ) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{name} is not UTF-8 text: line {line} holds the byte 0x{content[error.start]:02x}.",
            hint="Save the file as UTF-8 CSV (a spreadsheet's own format is not read).",
        ) from error


def _read_text(
    text: str, name: str, delimiter: str | None, decimal: str, header: bool | None
) -> tuple[InputForm, _Raw, Array]:
    if not text.strip():
        raise _empty(name)
    if "\0" in text:
        raise DataError(f"{name} holds NUL bytes and is no CSV text.", hint="Save the file as UTF-8 CSV.")
    if delimiter is None:
        delimiter = _find_delimiter(text)
    elif len(delimiter) != 1:
        raise OptionError(f"delimiter={delimiter!r} must be one character.", hint="Use ',' or ';'.")
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if len(row) > 1 or (row and row[0].strip()):
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(
            f"line {reader.line_num} of {name} is no CSV: {error}.", hint="Check the quotes."
        ) from error
    if not rows:
        raise _empty(name)
    first = [cell.strip() for cell in rows[0]]
    if header is None:
        if all(_is_number(cell, decimal) for cell in first):
            raise DataError(
                f"the first line of {name} holds numbers only "
                f"({', '.join(first[:4])}{', ...' if len(first) > 4 else ''}); "
                "expected the names of the columns.",
                hint=(
                    "Add a header line, or use header=False (the columns are then called column 1, "
                    "column 2, ...)."
                ),
            )
        header = True
    if header:
        names = [cell or f"column {index}" for index, cell in enumerate(first, 1)]
        rows, lines = rows[1:], lines[1:]
    else:
        names = [f"column {index}" for index in range(1, len(first) + 1)]
    _check_names(names, name)
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(names):
            raise DataError(
                f"line {line} of {name} has {_count(len(row), 'cell')}, but the header names "
                f"{_count(len(names), 'column')}.",
                hint="Quote a cell that holds the delimiter, or name the delimiter with delimiter=.",
            )
    cells = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    return InputForm("csv", name), dict(zip(names, cells, strict=True)), np.array(lines, dtype=np.int64)


def _empty(name: str) -> DataError:
    return DataError(
        f"{name} is empty; expected a header line and one row a time step.",
        hint="Check that the right file was written.",
    )


def _find_delimiter(text: str) -> str:
    """The delimiter that cuts the first line into most cells, a comma where none does."""
    line = next(line for line in text.splitlines() if line.strip())
    counts = {mark: len(next(csv.reader([line], delimiter=mark))) for mark in _DELIMITERS}
    return max(_DELIMITERS, key=lambda mark: counts[mark])


def _check_names(names: Sequence[str], source: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(
                f"{source} has two columns called {name!r}.", hint="Give every column a name of its own."
            )
        seen.add(name)


def _read_array(source: Array) -> tuple[InputForm, _Raw, Array]:
    if source.ndim not in (1, 2) or source.dtype.kind not in "iufb":
        raise DataError(
            f"an array used as a table must hold numbers, (T,) or (T, F); this one is {source.shape} "
            f"of {source.dtype}.",
            hint="Give one row a time step and one column a feature.",
        )
    wide = source[:, None] if source.ndim == 1 else source
    if not wide.size:
        raise DataError(
            f"the array is empty, {source.shape}; expected at least one row and one column.",
            hint="Check where the array comes from.",
        )
    raw = {
        f"y{index}" if wide.shape[1] > 1 else "y": wide[:, index].astype(np.float64)
        for index in range(wide.shape[1])
    }
    return InputForm("array", "the array"), raw, np.arange(len(wide))


def _read_mapping(source: Mapping[Any, Any]) -> tuple[InputForm, _Raw, Array]:
    if not source:
        raise DataError(
            "the mapping has no columns; expected names with one value a row.", hint="Add the columns."
        )
    raw: _Raw = {}
    sizes: dict[str, int] = {}
    for name, values in source.items():
        array = values if isinstance(values, np.ndarray) else np.asarray(values, dtype=_list_dtype(values))
        if array.ndim != 1:
            raise DataError(
                f"column {name!r} has shape {array.shape}; expected one value a row.", hint="Flatten it."
            )
        raw[str(name)], sizes[str(name)] = _plain_column(array), len(array)
    _check_names([str(name) for name in source], "the mapping")
    first, size = next(iter(sizes.items()))
    for name, other in sizes.items():
        if other != size:
            raise DataError(
                f"column {name!r} has {_count(other, 'row')}, but column {first!r} has {size}.",
                hint="Give every column one value a row.",
            )
    return InputForm("mapping", "the mapping"), raw, np.arange(size)


def _list_dtype(values: Iterable[object]) -> type | None:
    """Object for a list that mixes text or None with anything, so that numpy leaves the cells alone."""
    return object if any(value is None or isinstance(value, str) for value in values) else None


def _read_parquet(path: Path) -> tuple[InputForm, _Raw, Array]:
    import narwhals as nw

    from saiki.core.extras import require

    backend = next((name for name in ("polars", "pandas", "pyarrow") if _installed(name)), None)
    if backend in (None, "pandas"):
        require("pyarrow", "parquet", "reading a Parquet file")
    try:
        frame = nw.read_parquet(str(path), backend=backend or "pyarrow")  # type: ignore[arg-type]
    except Exception as error:  # each library raises its own types
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{path.name} cannot be read as Parquet: {first}.", hint="Write the file again."
        ) from error
    form, raw, lines = _read_frame(frame.to_native())
    return replace(form, source=path.name), raw, lines


def _installed(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


def _read_frame(source: object) -> tuple[InputForm, _Raw, Array]:
    import narwhals as nw

    wrong = DataError(
        f"a {type(source).__name__} is no table; expected a path, a pandas, polars or pyarrow frame, "
        "a mapping of columns "
        "or an array.",
        hint="Turn it into one of these.",
    )
    try:
        native = nw.from_native(source, allow_series=True)  # type: ignore[call-overload]
    except TypeError as error:
        raise wrong from error
    if isinstance(native, nw.LazyFrame):
        native = native.collect()
    index = _pandas_time_index(source)
    if isinstance(native, nw.Series):
        native = native.alias(native.name or "y").to_frame()
    if not isinstance(native, nw.DataFrame):
        raise wrong
    kind = native.implementation.value
    form = InputForm(kind, f"the {kind} frame", index[0] if index else None)
    raw: _Raw = {}
    names = [str(name) for name in native.columns]
    _check_names(names, form.source)
    if index is not None:
        if index[0] in names:
            raise DataError(
                f"the pandas frame has an index and a column both called {index[0]!r}.", hint="Rename one."
            )
        raw[index[0]] = index[1]
    for name, original in zip(names, native.columns, strict=True):
        raw[name] = _frame_column(native[original], nw)
    if not raw:
        raise DataError(
            f"{form.source} has no columns; expected at least one.", hint="Check where the frame comes from."
        )
    return form, raw, np.arange(native.shape[0])


def _pandas_time_index(source: object) -> tuple[str, Any] | None:
    """Name and values of a pandas DatetimeIndex or PeriodIndex, else None."""
    if not type(source).__module__.startswith("pandas"):
        return None
    index = getattr(source, "index", None)
    if type(index).__name__ == "PeriodIndex":
        index = index.to_timestamp()  # type: ignore[union-attr]
    if type(index).__name__ != "DatetimeIndex":
        return None
    zone = getattr(index, "tz", None)
    if zone is not None:
        index = index.tz_convert("UTC").tz_localize(None)  # type: ignore[union-attr]
    name = str(index.name) if index.name is not None else "time"  # type: ignore[union-attr]
    return name, _Times(np.asarray(index).astype(TIME_DTYPE), None if zone is None else str(zone))


@dataclass(frozen=True)
class _Times:
    """Times of a frame, in UTC where the column has a zone; NaT for a missing one."""

    values: Array
    zone: str | None = None
    unit: str = "us"


def _frame_column(column: Any, nw: Any) -> Any:  # noqa: ANN401 (narwhals' generic types)
    dtype = column.dtype
    if dtype == nw.Datetime:
        zone = getattr(dtype, "time_zone", None)
        if zone is not None:
            column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return _Times(np.asarray(column.to_numpy()).astype(TIME_DTYPE), zone)
    if dtype == nw.Date:
        return _Times(np.array(column.to_list(), dtype="datetime64[D]").astype(TIME_DTYPE), unit="D")
    if dtype.is_numeric() or dtype == nw.Boolean:
        if column.is_null().any() or dtype.is_decimal():
            cells = column.to_list()
            return np.array([np.nan if _absent(cell) else float(cell) for cell in cells], dtype=np.float64)
        return np.asarray(column.to_numpy())
    return _plain_column(np.array([*column.to_list(), None], dtype=object)[:-1])


def _plain_column(array: Array) -> Any:  # noqa: ANN401
    """A numpy column as numbers, `_Times`, or a list of cells as text (None for a missing one)."""
    if array.dtype.kind in "iufb":
        return array
    if array.dtype.kind == "M":
        return _Times(array.astype(TIME_DTYPE))
    cells = array.tolist()
    present = [cell for cell in cells if not _absent(cell)]
    if present and all(
        hasattr(cell, "year") and hasattr(cell, "isoformat") for cell in present
    ):  # datetime or date
        plain = [None if _absent(cell) else cell.isoformat() for cell in cells]
        parsed = parse_times([cell for cell in plain if cell is not None])
        if isinstance(parsed, tuple):
            values = np.full(len(plain), np.datetime64("NaT"), dtype=TIME_DTYPE)
            values[[cell is not None for cell in plain]] = parsed[0]
            return _Times(values, parsed[1].zone and "UTC", "D" if parsed[1].unit == "D" else "us")
    return [None if _absent(cell) else str(cell) for cell in cells]


def _absent(cell: object) -> bool:
    return cell is None or type(cell).__name__ in ("NaTType", "NAType") or bool(cell != cell)


# ----------------------------------------------------------------------------------------------------------
# raw columns -> checked columns


@dataclass(frozen=True)
class _ColumnReader:
    form: InputForm
    lines: Array
    decimal: str

    def number_or_category(self, name: str, cells: Any, *, must: bool) -> tuple[Array, Kind]:  # noqa: ANN401
        if isinstance(cells, _Times):
            if must:
                raise DataError(
                    f"column {name!r} must hold numbers, but it holds times.",
                    hint="Use it as time=, or drop it.",
                )
            return _texts(np.datetime_as_string(cells.values).tolist(), cells.values), "category"
        if isinstance(cells, np.ndarray):
            numbers = cells.astype(np.float64)
            bad: list[int] = []
        else:
            numbers, bad = self._parse(cells)
            present = sum(1 for cell in cells if not _is_missing(cell))
            if bad and not must and 2 * len(bad) > present:
                return self.category(cells), "category"
            if bad:
                row = bad[0]
                comma = self.form.kind == "csv" and self.decimal == "." and _is_number(str(cells[row]), ",")
                raise DataError(
                    f"column {name!r} must hold numbers, but {self._place(row)} holds "
                    f"{str(cells[row]).strip()!r} "
                    f"({present - len(bad)} of its {_count(present, 'present cell')} are numbers).",
                    hint="Read the file with decimal=','."
                    if comma
                    else "Correct the cell, leave it empty if the value is missing, or declare the column in "
                    "categories.",
                )
        infinite = np.flatnonzero(np.isinf(numbers))
        if len(infinite):
            raise DataError(
                f"column {name!r} holds {_count(len(infinite), 'infinite value')}, the first in "
                f"{self._place(int(infinite[0]))}; "
                "expected finite numbers.",
                hint="Correct the cell, or leave it empty if the value is missing.",
            )
        return numbers, "number"

    def category(self, cells: Any) -> Array:  # noqa: ANN401
        if isinstance(cells, _Times):
            return _texts(np.datetime_as_string(cells.values).tolist(), cells.values)
        if isinstance(cells, np.ndarray):
            return _texts([_label(value) for value in cells.tolist()], cells)
        return _texts([None if _is_missing(cell) else cell.strip() for cell in cells])

    def ids(self, name: str, cells: Any) -> Array:  # noqa: ANN401
        if isinstance(cells, _Times):
            return self._without_missing(name, cells.values, np.isnat(cells.values), "id")
        if isinstance(cells, np.ndarray):
            missing = np.isnan(cells) if cells.dtype.kind == "f" else np.zeros(len(cells), dtype=bool)
            values = self._without_missing(name, cells, missing, "id")
            whole = (
                values.dtype.kind == "f"
                and np.all(values == np.floor(values))
                and np.all(np.abs(values) < 2**53)
            )
            return values.astype(np.int64) if whole else values
        texts = self.category(cells)
        return self._without_missing(name, texts, np.array([text is None for text in texts]), "id")

    def times(self, name: str, cells: Any) -> tuple[Array, TimeStyle]:  # noqa: ANN401
        if isinstance(cells, _Times):
            self._without_missing(name, cells.values, np.isnat(cells.values), "time")
            return cells.values, TimeStyle("datetime", unit=cells.unit, zone=cells.zone)
        if isinstance(cells, np.ndarray):
            missing = np.isnan(cells) if cells.dtype.kind == "f" else np.zeros(len(cells), dtype=bool)
        else:
            missing = np.array([_is_missing(cell) for cell in cells])
        self._without_missing(name, cells, missing, "time")
        parsed = parse_times(cells)
        if isinstance(parsed, tuple):
            return parsed
        row = parsed or 0
        raise DataError(
            f"column {name!r} must hold times, but {self._place(row)} holds {str(cells[row]).strip()!r}.",
            hint=(
                "Write times as 2001-12-29, 2001-12-29 13:00, 20011229 or numbers, or name another "
                "column with time=."
            ),
        )

    def _without_missing(self, name: str, values: Array, missing: Array, what: str) -> Array:
        if missing.any():
            raise DataError(
                f"the {what} column {name!r} has no value in {self._place(int(np.flatnonzero(missing)[0]))} "
                f"({_count(int(missing.sum()), 'missing cell')} in all); expected one in every row.",
                hint="Fill the cell, or remove the row.",
            )
        return values

    def _parse(self, cells: Sequence[Any]) -> tuple[Array, list[int]]:
        if self.decimal == ".":
            try:  # most columns are numbers throughout; float() also reads nan and inf
                if not any(cell is None or "_" in cell for cell in cells):
                    return np.array(list(map(float, cells))), []
            except ValueError:
                pass
        numbers = np.full(len(cells), np.nan)
        bad = []
        for row, cell in enumerate(cells):
            if _is_missing(cell):
                continue
            number = _to_number(cell, self.decimal)
            if number is None:
                bad.append(row)
            else:
                numbers[row] = number
        return numbers, bad

    def _place(self, row: int) -> str:
        return _place(self.form, int(self.lines[row]))


def _place(form: InputForm, line: int) -> str:
    if line < 0:
        return f"a row added to {form.source}"
    return (
        f"line {line} of {form.source}"
        if form.kind == "csv"
        else f"row {line} (counted from 0) of {form.source}"
    )


def _texts(cells: list[Any], source: Array | None = None) -> Array:
    texts = np.empty(len(cells), dtype=object)
    texts[:] = cells
    if source is not None and source.dtype.kind == "M":
        texts[np.isnat(source)] = None
    return texts


def _label(value: object) -> str | None:
    """A number used as a label: 3.0 and 3 are one level, called 3."""
    if isinstance(value, float):
        if value != value:
            return None
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def _is_missing(cell: Any) -> bool:  # noqa: ANN401
    return cell is None or str(cell).strip().lower() in MISSING


def _to_number(cell: str, decimal: str) -> float | None:
    text = cell.strip()
    if "_" in text:  # Python's digit groups are no number in a table
        return None
    if decimal == ",":
        text = text.replace(".", "").replace(",", ".")
    try:
        return float(text)
    except ValueError:
        return None


def _is_number(cell: str, decimal: str) -> bool:
    return _to_number(cell, decimal) is not None


def _find_time(raw: _Raw, id: str | None, categories: Sequence[str], numbers: Sequence[str]) -> str | None:
    free = [name for name in raw if name != id and name not in categories and name not in numbers]
    by_name = {name.strip().lower(): name for name in reversed(free)}
    for known in _SURE_TIME_NAMES:
        if known in by_name:
            return by_name[known]
    ids = _id_keys(raw[id]) if id is not None else None
    for known in _LIKELY_TIME_NAMES:
        name = by_name.get(known)
        if name is not None and (name == free[0] or _increases(raw[name], ids)):
            return name
    for name in free:
        cells = raw[name]
        if isinstance(cells, _Times):
            return name
        parsed = None if isinstance(cells, np.ndarray) and cells.dtype.kind == "b" else _try_times(cells)
        if parsed is not None and parsed[1].kind != "number":
            return name
    return None


def _try_times(cells: Any) -> tuple[Array, TimeStyle] | None:  # noqa: ANN401
    if not isinstance(cells, np.ndarray) and any(_is_missing(cell) for cell in cells):
        return None
    parsed = parse_times(cells)
    return parsed if isinstance(parsed, tuple) else None


def _increases(cells: Any, ids: list[str] | None) -> bool:  # noqa: ANN401
    if isinstance(cells, _Times):
        return True
    parsed = _try_times(cells)
    if parsed is None:
        return False
    if parsed[1].kind != "number":
        return True
    last: dict[str, float] = {}
    for key, value in zip(ids if ids is not None else [""] * len(parsed[0]), parsed[0].tolist(), strict=True):
        if key in last and value <= last[key]:
            return False
        last[key] = value
    return True


def _id_keys(cells: Any) -> list[str]:  # noqa: ANN401
    return [str(cell) for cell in (cells.values if isinstance(cells, _Times) else cells)]


def _group(ids: Array | None, count: int) -> tuple[Array, tuple[Series, ...]]:
    """Rows grouped by id in order of first appearance, their order within a series kept."""
    if ids is None:
        return np.arange(count), (Series("", None, 0, count),)
    first: dict[object, int] = {}
    codes = np.array([first.setdefault(value, len(first)) for value in ids.tolist()], dtype=np.int64)
    order = np.argsort(codes, kind="stable")
    stops = np.cumsum(np.bincount(codes, minlength=len(first))).tolist()
    starts = [0, *stops[:-1]]
    series = tuple(
        Series(str(value), value, start, stop)
        for value, start, stop in zip(first, starts, stops, strict=True)
    )
    return order, series


def _in_time_order(
    times: Array,
    order: Array,
    series: tuple[Series, ...],
    sort: bool,
    form: InputForm,
    lines: Array,
    name: str,
    id: str | None,
    style: TimeStyle | None,
) -> Array:
    order = order.copy()
    guessed = (
        f" If {name!r} is no time column, use time=False."
        if name.strip().lower() in _LIKELY_TIME_NAMES
        else ""
    )
    for one in series:
        rows = order[one.rows]
        words = f" of series {one.name!r}" if id is not None else ""
        values, counts = np.unique(times[rows], return_counts=True)
        if len(values) < len(rows):
            repeated = values[counts > 1]
            first = times[rows][np.flatnonzero(np.isin(times[rows], repeated))[0]]
            at = rows[times[rows] == first]
            several = "" if len(repeated) == 1 else f" ({len(repeated)} times occur more than once)"
            raise DataError(
                f"the time {show_time(first, style)} occurs {len(at)} times in column {name!r}{words}: "
                f"{_place(form, int(lines[at[0]]))} and {_place(form, int(lines[at[1]]))}{several}.",
                hint=("Keep one row a time." if id is not None else _ONE_ROW_A_TIME) + guessed,
            )
        back = np.flatnonzero(times[rows][1:] < times[rows][:-1])
        if len(back):
            if not sort:
                row, before = rows[back[0] + 1], rows[back[0]]
                raise DataError(
                    f"the times in column {name!r}{words} are not in order: {_place(form, int(lines[row]))} "
                    f"({show_time(times[row], style)}) comes after {show_time(times[before], style)}.",
                    hint="Sort the rows by time, or use sort=True." + guessed,
                )
            order[one.rows] = rows[np.argsort(times[rows], kind="stable")]
    return order


def _require_names(names: Iterable[str], raw: Mapping[str, object], form: InputForm, what: str) -> None:
    for name in names:
        if name not in raw:
            raise _unknown_column(name, raw, form.source, what)


def _unknown_column(name: str, known: Iterable[str], source: str, what: str) -> DataError:
    names = list(known)
    guess = nearest(str(name), names)
    return DataError(
        f"{source} has no {what} {name!r}; its columns are {', '.join(names)}.",
        hint=f"Did you mean {guess!r}?" if guess is not None else "Name one of these.",
    )


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number:,} {word}s"


# ----------------------------------------------------------------------------------------------------------
# columns -> what came in


def like_form(
    columns: Mapping[str, Any],
    form: InputForm,
    *,
    time: str | None = None,
    style: TimeStyle | None = None,
) -> Any:  # noqa: ANN401
    """Columns as the kind of thing `form` says; see `Table.like_input`."""
    plain: dict[str, Array] = {name: np.asarray(values) for name, values in columns.items()}
    if time is not None and time in plain and style is not None:
        plain[time] = style.write(plain[time])
    if form.kind in ("csv", "mapping"):
        return plain
    if form.kind == "array":
        return np.column_stack(list(plain.values()))
    import narwhals as nw

    data = {name: values.tolist() if values.dtype == object else values for name, values in plain.items()}
    try:
        frame = nw.from_dict(data, backend=form.kind)  # type: ignore[arg-type]
    except ImportError as error:
        from saiki.core.errors import ExtraError

        raise ExtraError(
            f"the table came as {form.kind}, which is not installed here.",
            hint=f"Install it with: pip install {form.kind}",
        ) from error
    if time is not None and time in plain and style is not None and style.kind == "datetime":
        if style.zone is not None:
            frame = frame.with_columns(
                nw.col(time).dt.replace_time_zone("UTC").dt.convert_time_zone(style.zone)
            )
        elif style.unit == "D" and form.kind != "pandas":
            frame = frame.with_columns(nw.col(time).cast(nw.Date))
    native = frame.to_native()
    if form.index is not None and form.index in plain:
        native = native.set_index(form.index)  # type: ignore[union-attr]
    return native


def write_csv(columns: Any, file: Callable[[str], object] | None = None) -> str:  # noqa: ANN401
    """Columns (a mapping or any frame) as CSV text: a header, then one line a row; a missing cell is empty.

    Args:
        columns: mapping of columns, or a pandas, polars or pyarrow frame.
        file: called with the text, such as `sys.stdout.write`; None only returns it.
    """
    if not isinstance(columns, Mapping):
        import narwhals as nw

        frame = nw.from_native(columns, eager_only=True)
        columns = {name: frame[name].to_numpy() for name in frame.columns}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(
        zip(
            *[[_cell(value) for value in _written(np.asarray(values))] for values in columns.values()],
            strict=True,
        )
    )
    text = out.getvalue()
    if file is not None:
        file(text)
    return text


def _written(values: Array) -> list[Any]:
    if values.dtype.kind == "M":
        values = TimeStyle("iso").write(values.astype(TIME_DTYPE))
    plain: list[Any] = values.tolist()
    return plain


def _cell(value: object) -> object:
    if value is None or value != value:
        return ""
    return repr(value) if isinstance(value, float) else value
