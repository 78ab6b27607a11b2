"""What the verbs for sequences read: a long table with an id column, or an .npz archive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from saiki.core.errors import DataError, UsageError

if TYPE_CHECKING:
    from saiki.models.base import Estimator

SOURCE_KEYS = ("label", "part")  # options that say where the answers are, not how to learn them


def read_sequences(
    path: Path,
    estimator: Estimator,
    *,
    label: str | list[str] | None = None,
    part: str | None = None,
    answers: bool = True,
) -> tuple[Any, Any]:
    """The sequences of a file and, where `answers` are wanted, what is to be predicted.

    Args:
        path: .npz, or a table with the estimator's `id` column.
        estimator: its `id` and `time` say how a table is cut.
        label: the column(s) of a table to predict.
        part: which part of an archive; "train" if not given.
        answers: False where only the sequences are wanted.
    """
    if path.suffix == ".npz":
        if label:
            raise UsageError(f"--label names a column, and {path} is an archive", hint="leave --label out")
        from saiki.data import load_npz

        archive = load_npz(path, part or "train")
        y = archive.targets
        if archive.classes and answers:
            y = [archive.classes[int(code)] for code in y]
        return archive.X, y
    if part is not None:
        raise UsageError(f"--part is of an .npz archive, and {path} is a table", hint="leave --part out")
    from saiki.data import read_table

    options = estimator.get_params(deep=False)
    if options["id"] is None:
        raise UsageError(
            f"{path} is a table, and no column was named that tells its sequences apart",
            hint="name it: --id COLUMN",
        )
    names = [label] if isinstance(label, str) else list(label or [])
    if answers and not names:
        raise UsageError(
            f"no column of {path} was named as the one to predict", hint="name it: --label COLUMN"
        )
    # A class is a class even where it is written as a number, and so is a category.
    learned = [category.column for category in getattr(estimator, "categories_", ())]
    categories = learned or list(options["categories"] or ())
    if answers and estimator.task == "classifier":
        categories += [name for name in names if name not in categories]
    table = read_table(
        path,
        id=options["id"],
        time=options["time"] or False,
        sort=True,
        gaps="keep",
        categories=categories,
    )
    for name in names:
        if answers and name not in table.names:
            raise DataError(f"{path} has no column {name!r}; it has {', '.join(table.names)}")
    return table, (names[0] if len(names) == 1 else names) if answers else None
