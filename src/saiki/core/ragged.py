"""A batch of sequences of different lengths, zero included, without padding.

Inside, the rows of all sequences lie time-major and packed, as in `torch.nn.utils.rnn.PackedSequence`: first
the first step of every sequence, longest sequence first, then the second step of those that have one, and so
on. At each step the sequences still running are therefore a prefix of the batch:

    lengths    (3, 0, 1, 2)   as the user gave them, B = 4
    order      (0, 3, 2, 1)   longest first, equal lengths in the user's order
    batch_sizes (3, 2, 1)     sequences still running at steps 0, 1, 2
    data       x0₀ x3₀ x2₀ | x0₁ x3₁ | x0₂      N = 6 rows, nothing for the empty sequence 1

What a PackedSequence cannot hold, a `Ragged` keeps besides: B, the user's order, and the empty sequences.
A batch goes back out in the form in which it came.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast, final

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from saiki.core.checks import as_tensor, require_int, require_lengths, require_tensor
from saiki.core.errors import DataError, DTypeError, LengthError, OptionError, ShapeError, ValueRangeError
from saiki.core.names import unknown

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Form", "Ragged"]

Form = Literal["list", "dense", "padded", "packed", "nested", "frame"]


@dataclass(frozen=True)
class _Origin:
    """How a batch came, as far as its data and layout do not say it."""

    form: Form
    numpy: bool = False  # came as numpy arrays (or lists), goes back as numpy arrays
    batch_first: bool = False
    steps: int | None = None  # T of the padded array, which may exceed the longest sequence
    sorted_indices: bool = True  # a PackedSequence from enforce_sorted=True has none
    frame: _Frame | None = None


@dataclass(frozen=True)
class _Frame:
    """The parts of a long frame that are not data."""

    native: Any  # id and time columns, rows as they came, in the user's own kind of frame
    id: str
    time: str
    columns: tuple[str, ...]  # the features
    header: tuple[str, ...]  # all columns in use, as they stood
    position: Tensor  # (N,) packed row of each row of the frame


class _Layout:
    """Who stands where: shared by all batches whose sequences have the same lengths in the same order."""

    def __init__(self, lengths: Tensor, order: Tensor, batch_sizes: Tensor) -> None:
        self.lengths = lengths
        self.order = order
        self.batch_sizes = batch_sizes
        # all of one length, in the user's order: packed and padded are the same rows, and nothing is moved
        self.uniform = bool(
            lengths.numel() > 0
            and batch_sizes.numel() > 0
            and int(batch_sizes[-1]) == lengths.numel()
            and torch.equal(order, torch.arange(order.numel()))
        )
        self._cached: dict[tuple[str, torch.device], Tensor] = {}

    @classmethod
    def of(cls, lengths: Tensor) -> _Layout:
        """The layout with longest first and ties in the user's order; lengths (B,) are already checked."""
        order = torch.argsort(lengths, descending=True, stable=True)
        T = int(lengths.max()) if lengths.numel() else 0
        ended = torch.bincount(lengths, minlength=T + 1).cumsum(0)[:T]  # sequences of at most t steps
        return cls(lengths, order, lengths.numel() - ended)

    def on(self, device: torch.device, name: str) -> Tensor:
        """An index tensor on this device, computed once."""
        key = (name, device)
        if key not in self._cached:
            cpu = torch.device("cpu")
            if device == cpu:
                self._cached[key] = getattr(self, f"_{name}")()
            else:
                self._cached[key] = self.on(cpu, name).to(device)
        return self._cached[key]

    def _starts(self) -> Tensor:  # (T,) row of each step's first sequence
        return self.batch_sizes.cumsum(0) - self.batch_sizes

    def _row_step(self) -> Tensor:
        return torch.repeat_interleave(torch.arange(self.batch_sizes.numel()), self.batch_sizes)

    def _row_place(self) -> Tensor:  # (N,) place j in the packed batch
        cpu = self.batch_sizes.device
        return torch.arange(int(self.batch_sizes.sum())) - self.on(cpu, "starts")[self.on(cpu, "row_step")]

    def _row_sequence(self) -> Tensor:
        return self.order[self.on(self.order.device, "row_place")]

    def _inverse(self) -> Tensor:  # (B,) place j of the user's sequence b
        inverse = torch.empty_like(self.order)
        inverse[self.order] = torch.arange(self.order.numel())
        return inverse

    def _reversal(self) -> Tensor:
        cpu = self.order.device
        step, place = self.on(cpu, "row_step"), self.on(cpu, "row_place")
        mirrored = self.lengths[self.on(cpu, "row_sequence")] - 1 - step
        return self.on(cpu, "starts")[mirrored] + place

    def _last_rows(self) -> Tensor:
        cpu = self.order.device
        if self.batch_sizes.numel() == 0:
            return torch.full_like(self.lengths, -1)
        last = self.on(cpu, "starts")[(self.lengths - 1).clamp(min=0)] + self.on(cpu, "inverse")
        return torch.where(self.lengths > 0, last, -1)

    def _listed(
        self,
    ) -> Tensor:  # (N,) packed row of each row when sequences follow one another in user order
        cpu = self.order.device
        inverse, starts = self.on(cpu, "inverse"), self.on(cpu, "starts")
        first = self.lengths.cumsum(0) - self.lengths
        sequence = torch.repeat_interleave(torch.arange(self.lengths.numel()), self.lengths)
        step = torch.arange(sequence.numel()) - first[sequence]
        return starts[step] + inverse[sequence]

    def _packing(self) -> Tensor:  # (N,) row in that list of each packed row
        cpu = self.order.device
        first = self.lengths.cumsum(0) - self.lengths
        return first[self.on(cpu, "row_sequence")] + self.on(cpu, "row_step")


@final
class Ragged:
    """A ragged batch. Make one with `Ragged.of` or a `from_…` class method; it never changes afterwards.

    The index tensors below are on the batch's device and shared: do not write into them. Every operation is
    differentiable with respect to `data`.
    """

    __slots__ = ("_data", "_layout", "_origin")

    def __init__(self, data: Tensor, layout: _Layout, origin: _Origin) -> None:
        # Private by convention: the layout is trusted, so only the checked class methods come here.
        self._data = data
        self._layout = layout
        self._origin = origin

    # ---------------------------------------------------------------- what it is

    @property
    def data(self) -> Tensor:
        """(N, *F) rows of all sequences, packed time-major."""
        return self._data

    @property
    def batch_sizes(self) -> Tensor:
        """(T,) int64 on the CPU, never increasing, all ≥ 1: sequences still running at each step."""
        return self._layout.batch_sizes

    @property
    def lengths(self) -> Tensor:
        """(B,) int64 on the CPU, in the user's order; zeros allowed."""
        return self._layout.lengths

    @property
    def order(self) -> Tensor:
        """(B,) int64 on the CPU: `order[j]` is the user's index of the j-th longest sequence."""
        return self._layout.order

    @property
    def form(self) -> Form:
        """How the batch came: list, dense (no lengths), padded, packed, nested or frame."""
        return self._origin.form

    @property
    def B(self) -> int:
        """Sequences, the empty ones included."""
        return self._layout.lengths.numel()

    @property
    def T(self) -> int:
        """Steps of the longest sequence."""
        return self._layout.batch_sizes.numel()

    @property
    def N(self) -> int:
        """Rows: the sum of the lengths."""
        return self._data.shape[0]

    @property
    def live(self) -> int:
        """Sequences that are not empty; in packed order they come first."""
        return int(self._layout.batch_sizes[0]) if self.T else 0

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one row; () for tokens."""
        return tuple(self._data.shape[1:])

    @property
    def device(self) -> torch.device:
        """Where `data` lives."""
        return self._data.device

    @property
    def dtype(self) -> torch.dtype:
        """Element type of `data`."""
        return self._data.dtype

    @property
    def row_sequence(self) -> Tensor:
        """(N,) int64: the user's index of the sequence each row belongs to."""
        return self._layout.on(self.device, "row_sequence")

    @property
    def row_step(self) -> Tensor:
        """(N,) int64: the time step of each row, from 0."""
        return self._layout.on(self.device, "row_step")

    @property
    def reversal(self) -> Tensor:
        """(N,) int64: `data[reversal]` has each sequence reversed in time. It is its own inverse."""
        return self._layout.on(self.device, "reversal")

    @property
    def last_rows(self) -> Tensor:
        """(B,) int64: the row of the last step of each of the user's sequences; -1 for an empty one."""
        return self._layout.on(self.device, "last_rows")

    def __len__(self) -> int:
        return self.B

    def __repr__(self) -> str:
        return (
            f"Ragged(B={self.B}, T={self.T}, N={self.N}, feature_shape={self.feature_shape}, "
            f"{self.dtype}, {self.device}, form={self.form!r})"
        )

    # ---------------------------------------------------------------- in

    @classmethod
    def of(cls, x: Any, lengths: Any = None, *, batch_first: bool = False, name: str = "x") -> Ragged:  # noqa: ANN401
        """Read a batch in whatever form it comes, long frames apart (they need column names: `from_frame`).

        Args:
            x: a Ragged, PackedSequence, jagged nested tensor, list of (T_i, *F) arrays, or one padded array.
            lengths: (B,) for a padded array; None means that every step counts.
            batch_first: whether a padded array is (B, T, *F) rather than (T, B, *F).
            name: the argument's name, for messages.
        Raises:
            ShapeError, LengthError, DTypeError: as the `from_…` method of the form does.
            OptionError: lengths with a form that has its own.
        """
        own_lengths = isinstance(x, Ragged | PackedSequence | list | tuple)
        if isinstance(x, Tensor):
            own_lengths = x.is_nested
        elif not own_lengths and not hasattr(x, "__array_interface__"):
            if hasattr(x, "__dataframe__") or hasattr(x, "columns") or hasattr(x, "schema"):
                raise DTypeError(
                    f"{name} is a table ({type(x).__name__}), which does not say where sequences begin.",
                    "Use Ragged.from_frame(frame, id=…, time=…).",
                )
            raise DTypeError(
                f"{name} is {type(x).__name__} but must hold sequences.",
                "Give a list of (T_i, F) arrays, a padded array with lengths, a PackedSequence or a Ragged.",
            )
        elif not own_lengths and x.dtype.kind == "O" and x.ndim == 1:
            x, own_lengths = list(x), True  # numpy's way to hold arrays of different lengths
        if not own_lengths:
            return cls.from_padded(x, lengths, batch_first=batch_first, name=name)
        if lengths is not None:
            raise OptionError(
                f"lengths were given, but {name} is a {type(x).__name__}, which has its own.",
                "Leave them out.",
            )
        if isinstance(x, Ragged):
            return x
        if isinstance(x, PackedSequence):
            return cls.from_packed(x, name=name)
        if isinstance(x, Tensor):
            return cls.from_nested(x, name=name)
        return cls.from_list(x, name=name)

    @classmethod
    def from_list(
        cls, sequences: Sequence[Any], dtype: torch.dtype | None = None, *, name: str = "x"
    ) -> Ragged:
        """A list of B arrays or tensors, each (T_i, *F); T_i may be 0.

        Args:
            sequences: arrays, tensors or nested lists. An empty sequence may leave out its features: [].
            dtype: element type of the batch; None takes the common one.
            name: the argument's name, for messages.
        Raises:
            ShapeError: no sequence at all, a bare number among them, or features that differ.
            DTypeError: text, dates, objects; the sequence is named.
            ValueRangeError: tensors on different devices.
        """
        if not isinstance(sequences, list | tuple) or isinstance(sequences, PackedSequence):
            raise DTypeError(f"{name} is {type(sequences).__name__} but must be a list of (T_i, F) arrays.")
        if len(sequences) == 0:
            raise ShapeError(f"{name} is an empty list, so nothing says how many features a step has.")
        numpy = not any(isinstance(sequence, Tensor) for sequence in sequences)
        tensors = [as_tensor(sequence, f"{name}[{i}]") for i, sequence in enumerate(sequences)]
        for i, tensor in enumerate(tensors):
            if tensor.ndim == 0:
                raise ShapeError(
                    f"{name}[{i}] is a single number but must be a sequence, (T_i, F) or (T_i,).",
                    f"One sequence is given as [{name}].",
                )
        # `[]` says nothing of its features or type, so the others speak for it
        telling = [i for i, tensor in enumerate(tensors) if tensor.ndim > 1 or tensor.shape[0] > 0] or [0]
        first = telling[0]
        features, device = tensors[first].shape[1:], tensors[first].device
        common = tensors[first].dtype
        for i in telling:
            tensor = tensors[i]
            if tensor.shape[1:] != features:
                raise ShapeError(
                    f"{name}[{i}] is {tuple(tensor.shape)}, each step {_features(tensor.shape[1:])}, but "
                    f"{name}[{first}] is {tuple(tensors[first].shape)}, each step {_features(features)}.",
                    "All sequences of a batch must have the same features; only their lengths may differ.",
                )
            if tensor.device != device:
                raise ValueRangeError(
                    f"{name}[{i}] is on {tensor.device} but {name}[{first}] on {device}.",
                    "Move them together.",
                )
            common = torch.promote_types(common, tensor.dtype)
        common = dtype or common
        empty = torch.empty((0, *features), dtype=common, device=device)
        known = set(telling)
        parts = [tensor.to(common) if i in known else empty for i, tensor in enumerate(tensors)]
        layout = _Layout.of(torch.tensor([part.shape[0] for part in parts], dtype=torch.int64))
        data = torch.cat(parts).index_select(0, layout.on(device, "packing"))
        return cls(data, layout, _Origin("list", numpy=numpy))

    @classmethod
    def from_padded(
        cls,
        x: Any,  # noqa: ANN401
        lengths: Any = None,  # noqa: ANN401
        batch_first: bool = False,
        *,
        name: str = "x",
    ) -> Ragged:
        """One padded array; what stands in the padding is never looked at.

        Args:
            x: (T, B, *F), or (B, T, *F) with `batch_first`.
            lengths: (B,) whole numbers in [0, T]; None means T for all.
            batch_first: which axis is the batch.
            name: the argument's name, for messages.
        Raises:
            ShapeError: fewer than two axes, or not B lengths.
            LengthError: a length is negative or above T.
            DTypeError: not numbers.
        """
        numpy = not isinstance(x, Tensor)
        tensor = as_tensor(x, name)
        if tensor.ndim < 2:
            wanted = "(B, T, F)" if batch_first else "(T, B, F)"
            raise ShapeError(
                f"{name} is {tuple(tensor.shape)} but a padded batch is {wanted}.",
                f"For a single sequence give the list [{name}].",
            )
        if batch_first:
            tensor = tensor.transpose(0, 1)
        T, B = tensor.shape[:2]
        if lengths is None:
            checked = torch.full((B,), T, dtype=torch.int64)
        else:
            checked = require_lengths(lengths, T, B)
        form: Form = "dense" if lengths is None else "padded"
        layout = _Layout.of(checked)
        data = tensor[: layout.batch_sizes.numel()].flatten(0, 1)
        if not layout.uniform:
            rows = layout.on(tensor.device, "row_step") * B + layout.on(tensor.device, "row_sequence")
            data = data.index_select(0, rows)
        return cls(data, layout, _Origin(form, numpy=numpy, batch_first=batch_first, steps=T))

    @classmethod
    def from_packed(cls, packed: PackedSequence, *, name: str = "x") -> Ragged:
        """A PackedSequence. Everything in it is checked, because one made by hand can be anything.

        Args:
            packed: data (N, *F), batch_sizes (T,), and perhaps sorted_indices and unsorted_indices (B,).
            name: the argument's name, for messages.
        Raises:
            DTypeError: a part has the wrong type.
            ShapeError: a part has the wrong rank or size.
            LengthError: batch_sizes are empty, zero, negative, increasing, or do not add up to the rows.
            ValueRangeError: indices are no permutation, not inverse to each other, or on another device.
        """
        if not isinstance(packed, PackedSequence):
            raise DTypeError(f"{name} is {type(packed).__name__} but must be a PackedSequence.")
        data = require_tensor(packed.data, f"{name}.data", floating=False)
        if data.ndim == 0:
            raise ShapeError(f"{name}.data is a single number but must be (N, *F).")
        sizes = _int64_vector(packed.batch_sizes, f"{name}.batch_sizes", torch.device("cpu"))
        N, T = data.shape[0], sizes.numel()
        if T == 0:
            raise LengthError(f"{name}.batch_sizes is empty but a PackedSequence has at least one step.")
        made = "Make it with torch.nn.utils.rnn.pack_padded_sequence or pack_sequence."
        outside = (sizes < 1) | (sizes > N)
        if bool(outside.any()):
            t = int(outside.nonzero()[0])
            raise LengthError(
                f"{name}.batch_sizes[{t}] is {int(sizes[t])} but must be between 1 and the {N} rows of data.",
                made,
            )
        rising = sizes[1:] > sizes[:-1]
        if bool(rising.any()):
            t = int(rising.nonzero()[0]) + 1
            raise LengthError(
                f"{name}.batch_sizes[{t}] is {int(sizes[t])}, more than {int(sizes[t - 1])} a step "
                "before, but sequences only end, they do not begin later.",
                made,
            )
        if int(sizes.sum()) != N:
            raise LengthError(
                f"{name}.batch_sizes adds up to {int(sizes.sum())} but {name}.data has {N} rows.", made
            )
        B = int(sizes[0])
        has_order = packed.sorted_indices is not None
        if has_order:
            order = _permutation(packed.sorted_indices, f"{name}.sorted_indices", B, data.device)
        else:
            order = torch.arange(B)
        if packed.unsorted_indices is not None:
            inverse = _permutation(packed.unsorted_indices, f"{name}.unsorted_indices", B, data.device)
            if not torch.equal(order[inverse], torch.arange(B)):
                raise ValueRangeError(
                    f"{name}.unsorted_indices is not the inverse of {name}.sorted_indices.", made
                )
        sizes = sizes.clone()  # the caller's tensor may change after the check; ours may not
        ends = sizes - torch.cat((sizes[1:], sizes.new_zeros(1)))  # sequences whose last step is t
        lengths = torch.empty(B, dtype=torch.int64)
        lengths[order] = torch.repeat_interleave(torch.arange(T, 0, -1), ends.flip(0))
        return cls(data, _Layout(lengths, order, sizes), _Origin("packed", sorted_indices=has_order))

    @classmethod
    def from_nested(cls, nested: Tensor, *, name: str = "x") -> Ragged:
        """A nested tensor of layout `torch.jagged`, (B, ragged T, *F).

        Raises:
            DTypeError: not a nested tensor of that layout.
            ShapeError: the ragged axis is not the second.
            LengthError: its offsets do not fit its values.
        """
        if not isinstance(nested, Tensor) or not nested.is_nested or nested.layout is not torch.jagged:
            raise DTypeError(
                f"{name} is {type(nested).__name__} but must be a nested tensor of layout torch.jagged.",
                "Make it with torch.nested.nested_tensor(list, layout=torch.jagged).",
            )
        jagged: Any = nested
        if getattr(jagged, "_ragged_idx", 1) != 1:
            raise ShapeError(f"{name} is ragged in axis {jagged._ragged_idx} but must be (B, ragged T, *F).")
        values = require_tensor(jagged.values(), f"{name}.values()", floating=False)
        offsets = jagged.offsets().detach().cpu().to(torch.int64)
        counts = jagged.lengths()
        lengths = offsets.diff() if counts is None else counts.detach().cpu().to(torch.int64)
        starts = offsets[: lengths.numel()]
        if bool(((lengths < 0) | (starts < 0) | (starts + lengths > values.shape[0])).any()):
            raise LengthError(f"{name} has offsets that leave its {values.shape[0]} rows of values.")
        layout = _Layout.of(lengths.clone())
        cpu = torch.device("cpu")
        rows = starts[layout.on(cpu, "row_sequence")] + layout.on(cpu, "row_step")
        return cls(values.index_select(0, rows.to(values.device)), layout, _Origin("nested"))

    @classmethod
    def from_frame(
        cls,
        frame: Any,  # noqa: ANN401
        *,
        id: str,
        time: str,
        columns: Sequence[str] | None = None,
        dtype: torch.dtype | None = None,
    ) -> Ragged:
        """A long table: one row a step, an id column that says whose, a time column that says when.

        Sequences come in the order in which their ids first appear, their rows in order of time; the table
        need not be sorted. A missing number becomes NaN, as pandas has it.

        Args:
            frame: a pandas, polars or pyarrow table, or any other that narwhals reads.
            id: name of the id column.
            time: name of the time column; within an id no time may come twice.
            columns: names of the feature columns, numbers all; None takes every other column.
            dtype: element type of the batch; None takes the common one.
        Raises:
            DTypeError: not a table, or a feature column without numbers.
            DataError: a column is missing, an id or a time is missing or repeated, or there is no row.
        """
        import narwhals.stable.v2 as nw
        import numpy as np

        try:
            table = nw.from_native(frame, eager_only=True)
        except TypeError as error:
            raise DTypeError(
                f"frame is {type(frame).__name__} but must be a table in memory.",
                "Give a pandas or polars DataFrame.",
            ) from error
        have = [str(column) for column in table.columns]
        wanted = [column for column in have if column not in (id, time)] if columns is None else list(columns)
        for column in (id, time, *wanted):
            if column not in have:
                raise DataError(unknown(column, have, "column"))
        if not wanted:
            raise DataError(
                f"the table has no column besides {id!r} and {time!r}, so its steps hold nothing."
            )
        if id == time or len({id, time, *wanted}) != len(wanted) + 2:
            raise DataError(f"a column is named twice among {[id, time, *wanted]}.")
        if len(table) == 0:
            raise DataError("the table has a header but no rows.")
        for column in (id, time):
            missing = _missing(table[column].to_numpy())
            if missing.any():
                raise DataError(
                    f"column {column!r} has no value in row {int(missing.argmax())}.", "Drop such rows."
                )

        codes: dict[object, int] = {}
        code = np.fromiter((codes.setdefault(key, len(codes)) for key in table[id].to_list()), dtype=np.int64)
        lengths = torch.from_numpy(np.bincount(code, minlength=len(codes)))
        when = table[time].to_numpy()
        try:
            by_time = np.argsort(when, kind="stable")
        except TypeError as error:
            raise DataError(f"column {time!r} mixes values that have no common order: {error}.") from error
        rows = by_time[np.argsort(code[by_time], kind="stable")]  # table row of each listed row
        same = (code[rows][1:] == code[rows][:-1]) & np.asarray(when[rows][1:] == when[rows][:-1], dtype=bool)
        if same.any():
            first, second = (int(rows[same.argmax() + i]) for i in (0, 1))
            raise DataError(
                f"rows {first} and {second} both have {id} {table[id][second]!r} and {time} {when[second]}.",
                "Keep one row a time, or average them.",
            )
        arrays = []
        for column in wanted:
            series = table[column]
            if not (series.dtype.is_numeric() or series.dtype == nw.Boolean):
                raise DTypeError(
                    f"column {column!r} holds {series.dtype} but a feature must be numbers.",
                    "Encode or leave out such columns (columns=[…]).",
                )
            if series.is_null().any():
                series = series.cast(nw.Float64)
            arrays.append(as_tensor(np.asarray(series.to_numpy()), f"column {column!r}"))
        common = arrays[0].dtype
        for array in arrays:
            common = torch.promote_types(common, array.dtype)
        stacked = torch.stack([array.to(dtype or common) for array in arrays], dim=1)  # (rows, F)
        layout = _Layout.of(lengths)
        listed = torch.from_numpy(rows)[
            layout.on(torch.device("cpu"), "packing")
        ]  # table row of each packed row
        position = torch.empty_like(listed)
        position[listed] = torch.arange(listed.numel())
        header = tuple(column for column in have if column in {id, time, *wanted})
        kept = _Frame(table.select(id, time).to_native(), id, time, tuple(wanted), header, position)
        return cls(stacked.index_select(0, listed), layout, _Origin("frame", frame=kept))

    # ---------------------------------------------------------------- out

    def to_list(self) -> list[Tensor]:
        """B tensors (T_i, *F) in the user's order."""
        rows = self._data.index_select(0, self._layout.on(self.device, "listed"))
        return list(rows.split(self.lengths.tolist()))

    def to_padded(self, batch_first: bool = False, padding: float = 0.0, steps: int | None = None) -> Tensor:
        """One array with `padding` where a sequence has ended; `lengths` says where that is.

        Args:
            batch_first: (B, T, *F) rather than (T, B, *F).
            padding: the number to fill with.
            steps: T of the result, at least that of the longest sequence; None is just that.
        Raises:
            LengthError: `steps` is too small.
        """
        T = self.T if steps is None else require_int(steps, "steps", low=0)
        if self.T > T:
            raise LengthError(f"steps is {T} but the longest sequence has {self.T}.")
        data = self._data
        if not (self._layout.uniform and self.T == T):
            full = torch.full(
                (T * self.B, *self.feature_shape), padding, dtype=self.dtype, device=self.device
            )
            data = full.index_copy(0, self.row_step * self.B + self.row_sequence, data)
        padded: Tensor = data.unflatten(0, (T, self.B))
        return padded.transpose(0, 1) if batch_first else padded

    def to_packed(self) -> PackedSequence:
        """A PackedSequence with the user's order in `sorted_indices`.

        Raises:
            LengthError: a sequence is empty, which a PackedSequence cannot hold; the first is named.
        """
        if self.live < self.B or self.B == 0:
            if self.B == 0:
                raise LengthError("the batch has no sequence, and a PackedSequence must have one.")
            b = int((self.lengths == 0).nonzero()[0])
            raise LengthError(
                f"sequence {b} is empty, and a PackedSequence cannot hold an empty sequence.",
                "Use to_padded(), to_list() or to_nested(), or select() the sequences that are not empty.",
            )
        if not self._origin.sorted_indices:
            return PackedSequence(self._data, self.batch_sizes.clone(), None, None)
        return PackedSequence(
            self._data,
            self.batch_sizes.clone(),
            self.order.to(self.device, copy=True),
            self._layout.on(self.device, "inverse").clone(),
        )

    def to_nested(self) -> Tensor:
        """A nested tensor of layout `torch.jagged`, (B, ragged T, *F)."""
        rows = self._data.index_select(0, self._layout.on(self.device, "listed"))
        offsets = torch.cat((self.lengths.new_zeros(1), self.lengths.cumsum(0))).to(self.device)
        nested: Tensor = torch.nested.nested_tensor_from_jagged(rows, offsets)
        return nested

    def to_frame(self) -> Any:  # noqa: ANN401
        """The table as it came: same kind, same rows in the same order, with `data` in the feature columns.

        If the number of features has changed, the columns are called output_0, output_1, …

        Raises:
            OptionError: the batch did not come as a table.
            ShapeError: rows that are neither numbers nor vectors of numbers.
        """
        came = self._origin.frame
        if came is None:
            raise OptionError(
                f"the batch came as {self.form!r}, not as a table, so it has no ids and times.",
                "Use restore(), to_list() or to_padded().",
            )
        if len(self.feature_shape) > 1:
            raise ShapeError(
                f"each step is {_features(self.feature_shape)}, which does not fit table columns."
            )
        import narwhals.stable.v2 as nw

        table = nw.from_native(came.native, eager_only=True)
        values = _numpy(self._data)[came.position.numpy()].reshape(self.N, -1)
        names = came.columns
        if len(names) != values.shape[1]:
            names = tuple(f"output_{k}" for k in range(values.shape[1]))
        backend = table.implementation
        added = [nw.new_series(name, values[:, k].copy(), backend=backend) for k, name in enumerate(names)]
        if backend is nw.Implementation.PANDAS:  # pandas matches rows by index, and the user's may be any
            index = nw.maybe_get_index(table)
            added = [nw.maybe_set_index(series, index=index) for series in added]
        header = came.header if names == came.columns else (came.id, came.time, *names)
        return table.with_columns(*added).select(*header).to_native()

    def restore(self) -> Any:  # noqa: ANN401
        """The batch in the form in which it came.

            list     a list of B arrays, numpy ones if none was a tensor
            dense    one array
            padded   (array, lengths), the array as long as it came
            packed   a PackedSequence
            nested   a nested tensor
            frame    the table

        numpy arrays and tables carry no gradient.
        """
        origin = self._origin
        if origin.form == "list":
            sequences = self.to_list()
            return [_numpy(sequence) for sequence in sequences] if origin.numpy else sequences
        if origin.form in ("dense", "padded"):
            padded = self.to_padded(origin.batch_first, steps=origin.steps)
            lengths = self.lengths.clone()
            if origin.form == "dense":
                return _numpy(padded) if origin.numpy else padded
            return (_numpy(padded), lengths.numpy()) if origin.numpy else (padded, lengths)
        if origin.form == "packed":
            return self.to_packed()
        return self.to_nested() if origin.form == "nested" else self.to_frame()

    # ---------------------------------------------------------------- work with it

    def with_data(self, data: Tensor) -> Ragged:
        """The same sequences with other rows: (N, *any).

        Raises:
            ShapeError: not N rows.
        """
        data = require_tensor(data, "data", floating=False)
        if data.ndim == 0 or data.shape[0] != self.N:
            raise ShapeError(f"data is {tuple(data.shape)} but must have the N = {self.N} rows of the batch.")
        return Ragged(data, self._layout, self._origin)

    def map(self, function: Callable[[Tensor], Tensor]) -> Ragged:
        """`with_data(function(data))`: a function that works row by row."""
        return self.with_data(function(self._data))

    def select(self, indices: Any) -> Ragged:  # noqa: ANN401
        """The batch of these sequences, in this order; an index may come twice.

        The form is kept, except that a table becomes a list.

        Args:
            indices: whole numbers in [0, B).
        Raises:
            ShapeError, DTypeError: not a vector of whole numbers.
            LengthError: an index is outside.
        """
        chosen = as_tensor(indices, "indices").detach()
        if chosen.is_meta:
            raise ValueRangeError("indices is on the meta device, where a tensor has no values.")
        chosen = chosen.cpu()
        if chosen.ndim != 1:
            raise ShapeError(f"indices is {tuple(chosen.shape)} but must be a vector.")
        if chosen.numel() and (chosen.dtype == torch.bool or chosen.is_floating_point()):
            raise DTypeError(f"indices holds {chosen.dtype} but must hold whole numbers.")
        chosen = chosen.to(torch.int64)
        outside = (chosen < 0) | (chosen >= self.B)
        if bool(outside.any()):
            k = int(outside.nonzero()[0])
            raise LengthError(
                f"indices[{k}] is {int(chosen[k])} but the batch has sequences 0 to {self.B - 1}."
            )
        layout = _Layout.of(self.lengths[chosen])
        cpu = torch.device("cpu")
        place = self._layout.on(cpu, "inverse")[chosen[layout.on(cpu, "row_sequence")]]
        rows = self._layout.on(cpu, "starts")[layout.on(cpu, "row_step")] + place
        return Ragged(self._data.index_select(0, rows.to(self.device)), layout, _plainer(self._origin))

    def between(self, start: int | Tensor, stop: int | Tensor | None = None) -> Ragged:
        """The steps from `start` up to, not including, `stop` of each sequence.

        Args:
            start: first step, at least 0; one for all, or (B,) one for each sequence in the user's order.
            stop: likewise; None: to the end. A sequence that ends earlier gives what it has, perhaps nothing.
        """
        B, lengths = self.B, self.lengths
        first = torch.minimum(torch.as_tensor(start).to("cpu", torch.int64).expand(B), lengths)
        end = (
            lengths
            if stop is None
            else torch.minimum(torch.as_tensor(stop).to("cpu", torch.int64).expand(B), lengths)
        )
        wanted = (end - first).clamp(min=0)
        if torch.equal(wanted, lengths):
            return self
        layout = _Layout.of(wanted)
        cpu = torch.device("cpu")
        sequence = layout.on(cpu, "row_sequence")
        step = layout.on(cpu, "row_step") + first[sequence]
        rows = self._layout.on(cpu, "starts")[step] + self._layout.on(cpu, "inverse")[sequence]
        return Ragged(self._data.index_select(0, rows.to(self.device)), layout, _cut(self._origin))

    def followed_by(self, other: Ragged) -> Ragged:
        """Each sequence with the steps of the same sequence of `other` behind its own.

        Args:
            other: B sequences of the same features.
        Raises:
            LengthError: not the same number of sequences.
            ShapeError: other features a step.
        """
        if other.B != self.B:
            raise LengthError(f"other has {other.B} sequences but must have {self.B}.")
        if other.feature_shape != self.feature_shape:
            raise ShapeError(
                f"each step of other is {_features(other.feature_shape)} but must be "
                f"{_features(self.feature_shape)}."
            )
        if other.N == 0 or self.N == 0:
            return self if other.N == 0 else other
        layout = _Layout.of(self.lengths + other.lengths)
        cpu = torch.device("cpu")
        sequence, step = layout.on(cpu, "row_sequence"), layout.on(cpu, "row_step")
        later = step - self.lengths[sequence]  # step in `other`, negative where it is ours
        ours, theirs = self._layout, other._layout
        rows = torch.where(
            later < 0,
            ours.on(cpu, "starts")[step.clamp(max=self.T - 1)] + ours.on(cpu, "inverse")[sequence],
            self.N
            + theirs.on(cpu, "starts")[later.clamp(0, other.T - 1)]
            + theirs.on(cpu, "inverse")[sequence],
        )
        both = torch.cat((self._data, other._data))
        return Ragged(both.index_select(0, rows.to(self.device)), layout, _cut(self._origin))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Ragged:
        """The batch on another device or in another element type."""
        data = self._data.to(device=device or self.device, dtype=dtype or self.dtype)
        return self if data is self._data else Ragged(data, self._layout, self._origin)

    def detach(self) -> Ragged:
        """The batch without its gradient history."""
        return Ragged(self._data.detach(), self._layout, self._origin)

    def reversed(self) -> Ragged:
        """Each sequence reversed in time, in its own place."""
        return Ragged(self._data.index_select(0, self.reversal), self._layout, self._origin)

    def sequence_sum(self, per_row: Tensor) -> Tensor:
        """Add up a value a row over each sequence.

        Args:
            per_row: (N,) or (N, *any).
        Returns:
            (B, *any) in the user's order; 0 for an empty sequence.
        Raises:
            ShapeError: not N rows.
        """
        per_row = require_tensor(per_row, "per_row", floating=False)
        if per_row.ndim == 0 or per_row.shape[0] != self.N:
            raise ShapeError(
                f"per_row is {tuple(per_row.shape)} but must have the N = {self.N} rows of the batch."
            )
        if per_row.dtype == torch.bool:
            per_row = per_row.to(torch.int64)
        total = per_row.new_zeros((self.B, *per_row.shape[1:]))
        return total.index_add(0, self._layout.on(per_row.device, "row_sequence"), per_row)

    def last(self, padding: float = 0.0) -> Tensor:
        """(B, *F) the last step of each of the user's sequences; `padding` for an empty one."""
        full = torch.full((self.B, *self.feature_shape), padding, dtype=self.dtype, device=self.device)
        alive = self.order[: self.live].to(self.device)
        return full.index_copy(0, alive, self._data.index_select(0, self.last_rows[alive]))


def _plainer(origin: _Origin) -> _Origin:
    """The form of a batch whose sequences were chosen or cut: not a table's, nor sorted as it came."""
    if origin.form == "frame":
        return _Origin("list", numpy=True)
    if origin.form == "packed":
        return replace(origin, sorted_indices=True)
    return origin


def _cut(origin: _Origin) -> _Origin:
    """The form of a batch whose sequences have become shorter or longer, each by its own number of steps."""
    dense = origin.form in ("dense", "padded")
    return replace(origin, form="padded", steps=None) if dense else _plainer(origin)


def _features(shape: Sequence[int]) -> str:
    if len(shape) == 0:
        return "a single number"
    return f"{shape[0]} features" if len(shape) == 1 else f"of shape {tuple(shape)}"


def _numpy(tensor: Tensor) -> np.ndarray[Any, Any]:
    tensor = tensor.detach().cpu()
    array: np.ndarray[Any, Any] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array


def _missing(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import numpy as np

    if values.dtype.kind in "fc":
        return cast("np.ndarray[Any, Any]", np.isnan(values))
    if values.dtype.kind in "mM":
        return cast("np.ndarray[Any, Any]", np.isnat(values))
    if values.dtype.kind == "O":  # None, NaN, NaT and pandas' NA are the values that do not equal themselves
        return np.fromiter((not _equals_itself(value) for value in values), dtype=bool, count=len(values))
    return np.zeros(len(values), dtype=bool)


def _equals_itself(value: object) -> bool:
    if value is None:
        return False
    try:
        return bool(value == value)
    except TypeError:  # pandas' NA refuses to be a bool
        return False


def _int64_vector(value: object, name: str, device: torch.device) -> Tensor:
    tensor = require_tensor(value, name, ndim=1, floating=False, device=device)
    if tensor.dtype != torch.int64:
        raise DTypeError(f"{name} holds {tensor.dtype} but must hold torch.int64.")
    return tensor.detach()


def _permutation(value: object, name: str, B: int, device: torch.device) -> Tensor:
    tensor = _int64_vector(value, name, device)
    if tensor.numel() != B:
        raise ShapeError(f"{name} is ({tensor.numel()},) but must be (B,) = ({B},), as batch_sizes[0] says.")
    tensor = tensor.cpu().clone()
    if not torch.equal(tensor.sort().values, torch.arange(B)):
        raise ValueRangeError(f"{name} is no permutation of 0 to {B - 1}.")
    return tensor
