"""What the verbs say and where: tables and JSON to stdout, complaints and progress to stderr."""

from __future__ import annotations

import json
import logging
import math
import sys
import warnings
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saiki.core.errors import SaikiError, UsageError

if TYPE_CHECKING:
    from saiki.models.base import Estimator


def complain(error: SaikiError) -> None:
    """Print `error: what came, what was expected` and, on a line of its own, `hint: what to do`."""
    print(f"error: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)


def say(text: str) -> None:
    """Talk to the person, on stderr."""
    print(text, file=sys.stderr)


def silence_warnings() -> None:
    """Other libraries' warnings are for programmers; ours arrive through the logger."""
    warnings.filterwarnings("ignore", module=r"(torch|sklearn|narwhals)(\.|$)")
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("saiki").setLevel(logging.INFO)


def emit_json(value: object) -> None:
    """Print one JSON document on stdout; a number that JSON cannot hold (NaN, infinity) becomes null."""
    print(json.dumps(_finite(value), indent=2, ensure_ascii=False))


def _finite(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if hasattr(value, "tolist"):
        return _finite(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    return str(value)


def format_table(rows: Sequence[Mapping[str, object]], columns: Sequence[str] | None = None) -> str:
    """Plain columns, numbers to the right, a rule under the head; reads the same without colour.

    The numbers of a column share their decimals: as many as give its largest four digits.
    """
    if not rows:
        return ""
    names = list(columns) if columns is not None else list(rows[0])
    cells = [_column([row.get(name) for row in rows]) for name in names]
    widths = [max(len(name), *(len(text) for text in texts)) for name, (texts, _) in zip(names, cells)]

    def line(texts: Sequence[str]) -> str:
        parts = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, (_, right) in zip(texts, widths, cells)
        ]
        return "  ".join(parts).rstrip()

    body = [line([texts[k] for texts, _ in cells]) for k in range(len(rows))]
    return "\n".join([line(names), line(["─" * width for width in widths]), *body])


def _column(values: Sequence[Any]) -> tuple[list[str], bool]:
    """The texts of one column, and whether it holds numbers."""
    plain = [value.item() if hasattr(value, "item") else value for value in values]
    if not all(value is None or (isinstance(value, Real) and not isinstance(value, bool)) for value in plain):
        return ["-" if value is None else str(value) for value in plain], False
    largest = max((abs(v) for v in plain if isinstance(v, float) and math.isfinite(v)), default=0.0)
    decimals = min(6, max(0, 3 - math.floor(math.log10(largest)))) if largest > 0 else 0
    return [_number(value, decimals) for value in plain], True


def _number(value: float | None, decimals: int) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    return f"{value:.{decimals}f}" if isinstance(value, float) else str(value)


# The figures a person wants first, in this order; --json has them all.
_SHOWN = (
    "mae",
    "rmse",
    "mase",
    "smape",
    "crps",
    "coverage",
    "r2",
    "perplexity",
    "bits_per_character",
    "span_f1",
    "accuracy",
    "unknown_accuracy",
    "label_accuracy",
    "sentence_accuracy",
    "f1",
    "log_loss",
    "label_error_rate",
    "wer",
    "cer",
    "bleu",
    "exact",
    "token_error_rate",
)


def ranked(metrics: Mapping[str, Any], baselines: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """The model beside the simple models, as rows of a table; columns that nobody has are left out."""
    rows: list[Mapping[str, Any]] = [{"name": "this model", **metrics}, *baselines]
    columns = [name for name in _SHOWN if any(_known(row.get(name)) for row in rows)]
    return [{"": row["name"], **{name: row.get(name) for name in columns}} for row in rows]


def comparison(estimator: Estimator) -> list[dict[str, object]]:
    """`ranked` for what a fit measured."""
    return ranked(estimator.metrics_, estimator.baselines_)


def _known(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def free_path(path: Path, force: bool) -> Path:
    """Refuse a file that is already there, unless it may be replaced."""
    if path.exists() and not force:
        raise UsageError(f"{path} is already there", hint="give another name, or --force to replace it")
    return path


def write_columns(columns: Mapping[str, Any], output: Path | None, force: bool) -> None:
    """Columns as CSV, to stdout or to a new file."""
    from saiki.core.files import atomic_write
    from saiki.data import write_csv

    text = write_csv({name: _short(values) for name, values in columns.items()})
    if output is None:
        sys.stdout.write(text)
    else:
        atomic_write(free_path(output, force), text.encode())
        say(f"wrote {output}")


def _short(values: Any) -> Any:  # noqa: ANN401
    """Floats with the seven digits that float32 holds; everything else as it is."""
    if getattr(getattr(values, "dtype", None), "kind", "") == "f":
        return [None if math.isnan(v) else float(f"{v:.7g}") for v in values]
    return values
