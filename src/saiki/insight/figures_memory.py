"""What a memory network looked at, hop by hop: the story's sentences with a shaded cell a hop."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import ArrayLike

from saiki.core.errors import ShapeError
from saiki.insight.report import Picture

_SHADE = "37, 99, 235"  # of a weight of 1; text stays readable on it in light and dark


def hops(
    title: str,
    caption: str,
    sentences: Sequence[str],
    weights: ArrayLike,
    *,
    question: str,
    said: str,
    wanted: str = "",
    support: Sequence[int] = (),
) -> Picture:
    """A table of a story with the attention over it, for `ReportData.pictures`.

    Args:
        title: what it shows.
        caption: one plain sentence.
        sentences: (S,) of the story; texts from data, which are escaped.
        weights: (hops, S) in [0, 1], each hop summing to 1.
        question: asked about it.
        said: the answer given.
        wanted: the right one, where it is known.
        support: the sentences that the answer follows from, marked with a point.
    Raises:
        ShapeError: weights are not one row a hop and one number a sentence.
    """
    shares = np.asarray(weights, dtype=np.float64)
    if shares.ndim != 2 or shares.shape[1] != len(sentences):
        raise ShapeError(
            f"weights are {shares.shape} but must be (hops, {len(sentences)}), a number a sentence."
        )
    head = "<th></th><th>sentence</th>" + "".join(f"<th>hop {k}</th>" for k in range(1, len(shares) + 1))
    lines = []
    for number, text in enumerate(sentences):
        mark = '<td title="a supporting fact">•</td>' if number in support else "<td></td>"
        cells = "".join(_cell(float(share)) for share in shares[:, number])
        lines.append(f"<tr>{mark}<td>{escape(text)}</td>{cells}</tr>")
    right = f" (right: {escape(wanted)})" if wanted and wanted != said else ""
    lines.append(
        f'<tr><td></td><td><strong>{escape(question)}</strong></td><td colspan="{len(shares)}">'
        f"<strong>{escape(said)}</strong>{right}</td></tr>"
    )
    body = "\n".join(lines)
    table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    return Picture(title=title, caption=caption, svg=f'<div class="scroll">{table}</div>')


def _cell(share: float) -> str:
    shown = f"{100 * share:.0f}&nbsp;%" if share >= 0.005 else ""
    shade = f"background: rgba({_SHADE}, {0.55 * share:.3f}); text-align: right; min-width: 3.5em"
    return f'<td style="{shade}">{shown}</td>'
