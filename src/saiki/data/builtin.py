"""Built-in data by `load`: a real record, images, sentences, and the sets of `tasks` and `tasks_text`."""

from __future__ import annotations

import csv
import inspect
import io
from collections.abc import Callable
from importlib import resources

import numpy as np

from saiki.core.errors import OptionError
from saiki.core.names import choose, unknown
from saiki.data.datasets import Dataset
from saiki.data.table import read_table
from saiki.data.tasks import adding, continual_reber, copy_memory, marked, reber, sine, timing, waves
from saiki.data.tasks_text import addition, dates

__all__ = ["DATASETS", "EMOJI", "co2", "digits", "emoji", "load"]


def load(name: str, **options: object) -> Dataset:
    """A built-in set by name: `co2`, `digits`, `emoji`, or a generated one: `sine`, `adding`, `copy_memory`,
    `reber`, `continual_reber`, `timing`, `waves`, `marked`, `addition`, `dates`.

    Args:
        name: which.
        options: of the function with this name in `saiki.data.builtin`, `saiki.data.tasks` or
            `saiki.data.tasks_text`.
    Raises:
        OptionError: the name or an option is unknown; the nearest one is offered.
    """
    make = choose(name, DATASETS, "data set")
    known = list(inspect.signature(make).parameters)
    for option in options:
        if option not in known:
            raise OptionError(unknown(option, known, f"option of data set {name!r}"))
    return make(**options)


def co2() -> Dataset:
    """Carbon dioxide over Mauna Loa in ppm: 2,284 weeks from 1958 to 2001, of which 59 have no value."""
    with resources.as_file(resources.files("saiki.data") / "files" / "co2_weekly.csv") as path:
        table = read_table(path, time="date", targets="co2", numbers=["co2"])
    return Dataset(
        name="co2",
        description="Atmospheric CO2 at Mauna Loa, Hawaii, weekly averages in ppm, 29 March 1958 to "
        "29 December 2001; 59 of 2,284 weeks have no value",
        source="C. D. Keeling and T. P. Whorf, Scripps Institution of Oceanography, 2004; the figures are "
        "those of the statsmodels package (statsmodels.datasets.co2)",
        licence="public domain",
        task="forecast",
        table=table,
    )


def digits() -> Dataset:
    """Handwritten digits as sequences: 1,797 images of 8 rows of 8 pixels, read from the top, values 0 to
    1.
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    return Dataset(
        name="digits",
        description="1,797 handwritten digits, each a sequence of 8 rows of 8 pixels in [0, 1]",
        source="E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998; the copy of "
        "scikit-learn (sklearn.datasets.load_digits)",
        licence="CC BY 4.0",
        task="classify",
        sequences=tuple(np.asarray(found.images, dtype=np.float64) / 16.0),
        targets=np.asarray(found.target, dtype=np.int64),
        classes=tuple(str(digit) for digit in range(10)),
    )


EMOJI = {"love": "❤", "sport": "⚽", "joy": "😊", "sadness": "😞", "food": "🍴"}
"""The classes of the set `emoji` and their signs."""


def emoji() -> Dataset:
    """500 short English sentences, 100 for each of five signs: love, sport, joy, sadness, food. The classes
    stand in turn, so that any stretch of the set is balanced.
    """
    file = resources.files("saiki.data") / "files" / "emoji.csv"
    rows = list(csv.reader(io.StringIO(file.read_text(encoding="utf-8"))))[1:]
    return Dataset(
        name="emoji",
        description="500 short English sentences and which of five emoji belongs to each: "
        + ", ".join(f"{name} {sign}" for name, sign in EMOJI.items()),
        source="written for Saiki by its developers",
        licence="Apache-2.0",
        task="classify",
        sequences=tuple(text for text, _ in rows),
        targets=np.array([label for _, label in rows]),
        classes=tuple(EMOJI),
    )


DATASETS: dict[str, Callable[..., Dataset]] = {
    "co2": co2,
    "digits": digits,
    "emoji": emoji,
    "sine": sine,
    "adding": adding,
    "copy_memory": copy_memory,
    "reber": reber,
    "continual_reber": continual_reber,
    "timing": timing,
    "waves": waves,
    "marked": marked,
    "addition": addition,
    "dates": dates,
}
