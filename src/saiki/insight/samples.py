"""Samples of text for the report: what was asked, what was wanted and what the model said, line by line."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from saiki.core.errors import ShapeError
from saiki.insight.report import Picture

RIGHT, WRONG = "✓", "✗"


def samples(
    title: str,
    caption: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[bool] | None = None,
) -> Picture:
    """A table of texts for `ReportData.pictures`, one sample a line.

        samples("Samples", "From the validation part.", ("source", "wanted", "said"), rows, right=marks)

    Args:
        title: what they show.
        caption: one plain sentence.
        head: names of the columns.
        rows: texts, one a column; they come from data and are escaped.
        right: whether each sample is right, shown as a sign before it; None where there is no right and
            wrong.
    Raises:
        ShapeError: a row has not one text a column, or there is not one mark a row.
    """
    for number, row in enumerate(rows):
        if len(row) != len(head):
            raise ShapeError(f"sample {number} has {len(row)} texts but there are {len(head)} columns.")
    if right is not None and len(right) != len(rows):
        raise ShapeError(f"there are {len(rows)} samples but {len(right)} marks.")
    first = "" if right is None else "<th></th>"
    top = first + "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = []
    for number, row in enumerate(rows):
        mark = ""
        if right is not None:
            sign, word = (RIGHT, "right") if right[number] else (WRONG, "wrong")
            mark = f'<td style="width:1.5em" aria-label="{word}" title="{word}">{sign}</td>'
        cells = "".join(f'<td style="overflow-wrap:anywhere">{_shown(text)}</td>' for text in row)
        lines.append(f"<tr>{mark}{cells}</tr>")
    body = "\n".join(lines)
    table = f"<table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    return Picture(title=title, caption=caption, svg=f'<div class="scroll">{table}</div>')


def _shown(text: str) -> str:
    """A text as it stands, with its line ends; one that is empty is said to be."""
    return escape(text).replace("\n", "<br>") if text else "<small>(nothing)</small>"
