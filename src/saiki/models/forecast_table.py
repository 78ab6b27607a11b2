"""From a table to a panel of series, and what has to be remembered of it.

    targets   the columns to be forecast          past    covariates known only up to now
    future    covariates known ahead, too         static  one value a series

Series are shared (one network is run on every target column of every id) or joint (the target columns of
an id go through the network together). Categories become one 0/1 column a level; the levels are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from saiki.core.errors import DataError, DTypeError, OptionError
from saiki.core.names import nearest, unknown
from saiki.data import (
    Categories,
    Frequency,
    InputForm,
    Scaler,
    Table,
    TimeStyle,
    check_complete,
    require_few_levels,
    show_time,
)
from saiki.models.forecast_windows import Array, Panel

Kind: TypeAlias = Literal["number", "category", "time", "id"]
SeriesMode: TypeAlias = Literal["shared", "joint"]
IdMode: TypeAlias = Literal["one_hot", "embed"]


@dataclass(frozen=True, kw_only=True)
class Covariates:
    """Columns that help, by what is known of them when a forecast is made.

    Args:
        past: known only up to the origin, such as another measurement.
        future: known ahead, such as a price list or the calendar.
        static: one value a series, such as its region.
    """

    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    static: tuple[str, ...] = ()

    @classmethod
    def of(cls, given: Covariates | Mapping[str, Sequence[str]] | Sequence[str] | str | None) -> Covariates:
        """Covariates out of what a user or a file gives; a plain list of names is taken as past.

        Raises:
            OptionError: a key other than past, future and static, or a column named twice.
            DTypeError: names that are no text.
        """
        if given is None:
            return cls()
        if isinstance(given, str):
            return cls(past=(given,))
        parts: Mapping[str, object]
        if isinstance(given, Covariates):
            parts = {"past": given.past, "future": given.future, "static": given.static}
        elif isinstance(given, Mapping):
            parts = given
        else:
            parts = {"past": given}
        for key in parts:
            if key not in ("past", "future", "static"):
                raise OptionError(unknown(str(key), ["past", "future", "static"], "kind of covariate"))
        read = {key: column_names(value, f"covariates: {key}") for key, value in parts.items()}
        every = [name for names in read.values() for name in names]
        for name in every:
            if every.count(name) > 1:
                raise OptionError(
                    f"column {name!r} is named twice among the covariates.", "Keep one role for it."
                )
        return cls(**read)

    @property
    def all(self) -> tuple[str, ...]:
        """Every column."""
        return (*self.past, *self.future, *self.static)


def column_names(value: object, what: str) -> tuple[str, ...]:
    """One or several names of columns.

    Raises:
        DTypeError: it is something else.
    """
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Sequence) and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise DTypeError(f"{what} is {value!r} but must be a list of column names.")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What every table of this model must look like; JSON as it stands.

    Attributes:
        time: name of the time column, or None.
        id: name of the column that tells series apart, or None.
        targets: the columns to be forecast.
        past: past covariates, future covariates, static ones.
        future: see past.
        static: see past.
        levels: of each categorical covariate.
        ids: the ids that training saw, as text.
        mode: shared or joint.
        id_mode: how the network is told which series it sees, or None.
        frequency: step between rows, or None.
        style: how times were written, or None.
        form: what kind of thing the table came from.
    """

    time: str | None
    id: str | None
    targets: list[str]
    past: list[str]
    future: list[str]
    static: list[str]
    levels: dict[str, list[str]]
    ids: list[str]
    mode: SeriesMode
    id_mode: IdMode | None
    frequency: Frequency | None
    style: TimeStyle | None
    form: InputForm

    @property
    def numbers(self) -> list[str]:
        """Scaled columns: targets, then past and future covariates that are numbers."""
        return [*self.targets, *self.plain(self.past), *self.plain(self.future)]

    def plain(self, names: Sequence[str]) -> list[str]:
        """Those of these columns that are numbers."""
        return [name for name in names if name not in self.levels]

    def categories(self, name: str) -> Categories:
        """The mapping of a categorical covariate to 0/1 columns; a missing cell is all zeros."""
        return Categories(name, tuple(self.levels[name]), "one_hot", True)

    @property
    def past_size(self) -> int:
        """P, past covariates after one-hot."""
        return self._size(self.past)

    @property
    def future_size(self) -> int:
        """F, future covariates after one-hot."""
        return self._size(self.future)

    @property
    def static_size(self) -> int:
        """Static covariates after one-hot, ids aside."""
        return self._size(self.static)

    def _size(self, names: Sequence[str]) -> int:
        return sum(len(self.levels[name]) if name in self.levels else 1 for name in names)

    @property
    def panel_targets(self) -> int:
        """K, target columns of a panel's series."""
        return len(self.targets) if self.mode == "joint" else 1

    def series_names(self, ids: Sequence[str]) -> list[str]:
        """Names of the panel's series, in order."""
        if self.mode == "joint":
            return [str(name) for name in ids]
        if len(self.targets) == 1:
            return [str(name) or self.targets[0] for name in ids]
        return [f"{name}/{target}" if name else target for name in ids for target in self.targets]

    @property
    def known_series(self) -> list[str]:
        """Names of the series that training saw."""
        return self.series_names(self.ids)


@dataclass(frozen=True, eq=False)
class Raw:
    """One id's rows, in the table's units, categories as one-hot.

    Attributes:
        id: as text; "" where there is no id column.
        value: as the id column had it.
        times: (T,) or None.
        numbers: (T, K + numeric past + numeric future), NaN where missing.
        past_levels: (T, ·) one-hot past covariates.
        future_levels: (T, ·) one-hot future covariates.
        static: (D,) static covariates, not scaled.
    """

    id: str
    value: object
    times: Array | None
    numbers: Array
    past_levels: Array
    future_levels: Array
    static: Array

    def __len__(self) -> int:
        return len(self.numbers)

    def rows(self, rows: slice) -> Raw:
        """Some of the rows."""
        times = None if self.times is None else self.times[rows]
        return Raw(
            self.id,
            self.value,
            times,
            self.numbers[rows],
            self.past_levels[rows],
            self.future_levels[rows],
            self.static,
        )


def choose_columns(
    table: Table,
    *,
    targets: Sequence[str] | str | None,
    covariates: Covariates,
    mode: SeriesMode,
    id_mode: IdMode | None,
) -> Columns:
    """Give every column its role, and remember the levels of the categorical ones.

    Args:
        table: the training table.
        targets: columns to forecast; None takes the table's own, or every number column without another role.
        covariates: the other roles.
        mode: shared or joint.
        id_mode: how the network is told which series it sees.

    Raises:
        DataError: an unknown column, or no column to forecast.
        OptionError: a target that is a covariate, too.
    """
    table.require(*covariates.all, what="covariate column")
    wanted = (targets,) if isinstance(targets, str) else tuple(targets or table.targets)
    if not wanted:
        taken = {*covariates.all, table.time, table.id}
        wanted = tuple(name for name in table.numbers if name not in taken)
    if not wanted:
        raise DataError(
            f"{table.form.source} has no number column to forecast, only {', '.join(table.names)}.",
            "Name one with targets=.",
        )
    table.require(*wanted, what="target column")
    for name in wanted:
        if name in covariates.all or name in (table.time, table.id):
            raise OptionError(
                f"column {name!r} is a target and has another role, too.", "Keep one role for each column."
            )
    levels: dict[str, list[str]] = {}
    for name in covariates.all:
        if table.kinds[name] == "category":
            seen = sorted({str(value) for value in table[name] if value is not None})
            require_few_levels(name, seen)
            levels[name] = seen
    return Columns(
        time=table.time,
        id=table.id,
        targets=list(wanted),
        past=list(covariates.past),
        future=list(covariates.future),
        static=list(covariates.static),
        levels=levels,
        ids=[series.name for series in table.series],
        mode=mode,
        id_mode=id_mode,
        frequency=table.frequency,
        style=table.time_style,
        form=table.form,
    )


def check_table(table: Table, columns: Columns, missing: str, *, future: bool = False) -> None:
    """Check that a table has what the model needs.

    Args:
        table: for fit, forecast or backtest.
        columns: what training saw.
        missing: "error" refuses gaps; covariates known ahead may never have any.
        future: the table holds rows to come, so only the covariates known ahead are needed.

    Raises:
        DataError: a column is absent, of another kind or has gaps, or the step between rows is another.
    """
    needed = [*columns.targets, *columns.past, *columns.future, *columns.static]
    needed = list(columns.future) if future else needed
    role = {
        **dict.fromkeys(columns.past, "past covariate"),
        **dict.fromkeys(columns.future, "future covariate"),
        **dict.fromkeys(columns.static, "static covariate"),
        **dict.fromkeys(columns.targets, "target"),
    }
    for name in needed:
        if name not in table.columns:
            near = nearest(name, table.names)
            raise DataError(
                f"{table.form.source} lacks the {role[name]} column {name!r} that the model was trained with"
                + (f"; did you mean its column {near!r}?" if near else f"; it has {', '.join(table.names)}."),
                "Add the column.",
            )
    for role_name, what in (columns.time, "time"), (columns.id, "id"):
        if role_name is not None and getattr(table, what) != role_name:
            raise DataError(
                f"{table.form.source} lacks the {what} column {role_name!r} that the model was trained with.",
                "Add the column.",
            )
    for name in needed:
        if name in columns.levels:
            columns.categories(name).codes(table[name], table.place)  # an unseen level is an error
    ours, theirs = columns.frequency, table.frequency
    if ours is not None and theirs is not None and ours != theirs:
        raise DataError(
            f"the rows of {table.form.source} are {theirs.name} apart, but the model was trained on rows "
            f"{ours.name} apart.",
            "Bring the rows to the same step (resample them).",
        )
    table.values(
        [name for name in needed if name not in columns.levels]
    )  # text in a number column is an error
    if missing == "error":
        check_complete(table, [name for name in needed if name not in columns.static])
    elif columns.future:
        check_complete(table, columns.future)
    if columns.static and not future:
        check_complete(table, columns.static)


def rows_to_come(table: Table, columns: Columns) -> Table:
    """A table of rows to come with the columns that are not known yet, or not needed, as missing."""
    added: dict[str, Array] = {}
    kinds: dict[str, Kind] = {}
    for name in (*columns.targets, *columns.past, *columns.static):
        if name not in table.columns or name in columns.static:
            category = name in columns.levels
            added[name] = np.full(
                len(table), None if category else np.nan, dtype=object if category else float
            )
            kinds[name] = "category" if category else "number"
    return replace(table, columns={**table.columns, **added}, kinds={**table.kinds, **kinds})


def read_raw(table: Table, columns: Columns) -> list[Raw]:
    """The table's rows as arrays, one `Raw` an id."""
    numbers = table.values(columns.numbers)
    past = _one_hot(table, columns, columns.past)
    future = _one_hot(table, columns, columns.future)
    static = _static(table, columns)
    found = []
    for index, series in enumerate(table.series):
        times = None if table.times is None else table.times[series.rows]
        rows = series.rows
        found.append(
            Raw(series.name, series.value, times, numbers[rows], past[rows], future[rows], static[index])
        )
    return found


def _one_hot(table: Table, columns: Columns, names: Sequence[str]) -> Array:
    parts = [np.zeros((len(table), 0))]
    for name in names:
        if name in columns.levels:
            parts.append(columns.categories(name).encode(table[name], table.place))
    return np.concatenate(parts, axis=1)


def _static(table: Table, columns: Columns) -> Array:
    """(ids, D) static covariates."""
    rows: list[list[float]] = [[] for _ in table.series]
    for name in columns.static:
        for row, value in zip(rows, table.constant(name)):
            if name in columns.levels:
                row += columns.categories(name).encode([value])[0].tolist()
            else:
                row.append(float(value))  # type: ignore[arg-type]
    return np.array(rows, dtype=np.float64).reshape(len(table.series), -1)


@dataclass(frozen=True, eq=False)
class Scaling:
    """The maps from the table's units to the network's, fitted on training rows alone.

    Attributes:
        numbers: of `Columns.numbers`.
        static: of the static covariates, over series.
    """

    numbers: Scaler
    static: Scaler = field(repr=False)

    @classmethod
    def fit(cls, train: Sequence[Raw], columns: Columns, kind: str | None, per_series: bool) -> Scaling:
        """Learn the maps.

        Args:
            train: training rows of each id.
            columns: the roles.
            kind: "standard", "minmax" or None.
            per_series: one map an id.
        """
        numbers = Scaler.fit(
            [raw.numbers for raw in train],
            kind,
            per_series=per_series,
            columns=columns.numbers,
            series=[raw.id for raw in train],
        )
        rows = np.stack([raw.static for raw in train])
        static = Scaler.fit(rows, "standard", columns=[f"static {i}" for i in range(rows.shape[1])])
        return cls(numbers, static)

    def maps(self, raws: Sequence[Raw], columns: Columns) -> tuple[Array, Array]:
        """(S, K) center and scale of the targets of each of the panel's series."""
        K = len(columns.targets)
        rows = [self.numbers.index(raw.id) for raw in raws]
        center, scale = self.numbers.center[rows, :K], self.numbers.scale[rows, :K]
        if columns.mode == "joint":
            return center, scale
        return center.reshape(-1, 1), scale.reshape(-1, 1)


def make_panel(raws: Sequence[Raw], columns: Columns, scaling: Scaling) -> Panel:
    """Scale, lay end to end, and add what tells the network which series it sees.

    Raises:
        DataError: a series that training did not see, where the network is told which one it is.
    """
    K, past = len(columns.targets), len(columns.plain(columns.past))
    values: list[Array] = []
    known: list[Array] = []
    static: list[Array] = []
    starts = [0]
    names = columns.series_names([raw.id for raw in raws])
    for raw in raws:
        z = scaling.numbers.transform(raw.numbers, scaling.numbers.index(raw.id))
        targets = z[:, :K]
        helping = np.concatenate([z[:, K : K + past], raw.past_levels], axis=1)
        ahead = np.concatenate([z[:, K + past :], raw.future_levels], axis=1)
        row = scaling.static.transform(raw.static[None])[0]
        for part in [targets] if columns.mode == "joint" else [targets[:, k : k + 1] for k in range(K)]:
            values.append(np.concatenate([part, helping], axis=1))
            known.append(ahead)
            static.append(np.concatenate([row, identity(names[len(values) - 1], columns)]))
            starts.append(starts[-1] + len(raw))
    return Panel(
        values=np.concatenate(values),
        known=np.concatenate(known),
        static=np.stack(static),
        starts=np.array(starts),
        targets=columns.panel_targets,
    )


def identity(name: str, columns: Columns) -> Array:
    """What tells the network which series it sees: nothing, its place, or a 1 at its place.

    Raises:
        DataError: a series that training did not see, where the network is told which one it is.
    """
    if columns.id_mode is None:
        return np.zeros(0)
    series = columns.known_series
    if name not in series:
        near = nearest(name, series)
        raise DataError(
            f"series {name!r} was not among the training series"
            + (f"; did you mean {near!r}?" if near else ".")
            + f" The network was told its series apart (ids={columns.id_mode!r}).",
            "Use ids=None for a model that takes new series, or train on data that has this one.",
        )
    place = series.index(name)
    if columns.id_mode == "embed":
        return np.array([float(place)])
    hot = np.zeros(len(series))
    hot[place] = 1.0
    return hot


def show(time: Any, columns: Columns) -> str:  # noqa: ANN401  a time as numpy has it
    """One time as the table wrote it."""
    return show_time(time, columns.style)
