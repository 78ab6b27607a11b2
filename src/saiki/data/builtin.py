"""Built-in data: one real record, one real set of images, three generators; all through `load`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import resources

import numpy as np

from saiki.core.checks import require_int, require_number, require_positive
from saiki.core.errors import OptionError
from saiki.core.names import choose, unknown
from saiki.data.datasets import Dataset
from saiki.data.table import read_table
from saiki.data.times import Array

__all__ = ["DATASETS", "adding", "co2", "copy_memory", "digits", "load", "sine"]


def load(name: str, **options: object) -> Dataset:
    """A built-in set by name: `co2`, `digits`, `sine`, `adding`, `copy_memory`.

    Args:
        name: which.
        options: of the function with this name in `saiki.data.builtin`.
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


def sine(
    *, length: int = 1000, period: float = 25.0, noise: float = 0.1, series: int = 1, seed: int | None = 0
) -> Dataset:
    """A sine wave with Gaussian noise, as a table.

        y_t = sin(2π t / period + φ) + noise · ε_t      φ = 0 for the first series, uniform in [0, 2π) for
        the others

    Args:
        length: rows a series.
        period: rows a cycle.
        noise: standard deviation of the noise.
        series: how many; more than one adds a column `series`.
        seed: of the noise and the phases.
    """
    length = require_int(length, "length", 1)
    series = require_int(series, "series", 1)
    period = require_positive(period, "period")
    noise = require_number(noise, "noise", 0)
    rng = _rng(seed)
    t = np.arange(length)
    phases = np.concatenate([[0.0], rng.uniform(0, 2 * np.pi, series - 1)])
    waves = [np.sin(2 * np.pi * t / period + phase) + noise * rng.standard_normal(length) for phase in phases]
    columns: dict[str, Array] = {"t": np.tile(t, series), "y": np.concatenate(waves)}
    if series > 1:
        columns = {"series": np.repeat(np.arange(series), length), **columns}
    return Dataset(
        name="sine",
        description=f"sine waves ({series}) of period {period:g} with noise {noise:g}",
        source=f"generated, seed {seed}",
        licence="none needed",
        task="forecast",
        table=read_table(columns, time="t", id="series" if series > 1 else None, targets="y"),
    )


def adding(*, n: int = 1000, T: int = 100, form: str = "unit", seed: int | None = 0) -> Dataset:
    """The adding problem: add up the two marked numbers of a long sequence. Each step is (value, marker).

        unit: values uniform in [0, 1], length T, one marker 1 in each half, else 0; target X1 + X2.
              Always answering 1 has the squared error 1/6.
        1997: values uniform in [-1, 1], length uniform in T ... T + T/10, marker 1 on one of the first
            ten pairs (X1)
              and on one of the first T/2 - 1 pairs still unmarked (X2), -1 on the first and the last pair,
              else 0; target 0.5 + (X1 + X2)/4. A first pair that is chosen keeps its -1 and counts as 0.
              Always answering 0.5 has the squared error 1/24 (a little less for that rare case).

    Args:
        n: sequences.
        T: their (shortest) length; at least 2, for the form of 1997 at least 22.
        form: `unit` or `1997`.
        seed: of the draw.
    Sources: Hochreiter & Schmidhuber 1997, experiment 4 (1997); Le, Jaitly & Hinton 2015, section 4.1 (unit).
    """
    n = require_int(n, "n", 1)
    rng = _rng(seed)
    if form == "unit":
        T = require_int(T, "T", 2)
        values = rng.uniform(0, 1, (n, T))
        rows = np.arange(n)
        first, second = rng.integers(0, T // 2, n), rng.integers(T // 2, T, n)
        markers = np.zeros((n, T))
        markers[rows, first] = markers[rows, second] = 1
        sequences = tuple(np.stack([values, markers], axis=-1))
        targets = values[rows, first] + values[rows, second]
    elif form == "1997":
        T = require_int(T, "T", 22)  # below, the first T/2 - 1 pairs would not reach past the first ten
        found = [_adding_1997(rng, T) for _ in range(n)]
        sequences = tuple(sequence for sequence, _ in found)
        targets = np.array([target for _, target in found])
    else:
        raise OptionError(f"form={form!r} is unknown.", hint="Use 'unit' or '1997'.")
    return Dataset(
        name="adding",
        description=f"{n} sequences of the adding problem, T = {T}, form {form}",
        source=f"generated, seed {seed}",
        licence="none needed",
        task="regress",
        sequences=sequences,
        targets=targets,
    )


def _adding_1997(rng: np.random.Generator, T: int) -> tuple[Array, float]:
    length = int(rng.integers(T, T + T // 10 + 1))
    pairs = np.zeros((length, 2))
    pairs[:, 0] = rng.uniform(-1, 1, length)
    first = int(rng.integers(10))
    second = int(rng.integers(T // 2 - 2))
    second += second >= first  # of the pairs still unmarked
    total = 0.0
    for chosen in (first, second):
        if chosen > 0:
            pairs[chosen, 1] = 1
            total += float(pairs[chosen, 0])
    pairs[0, 1] = pairs[-1, 1] = -1
    return pairs, 0.5 + total / 4


def copy_memory(
    *, n: int = 1000, T: int = 100, symbols: int = 8, length: int = 10, seed: int | None = 0
) -> Dataset:
    """Copy memory: repeat what was shown at the beginning, after T blank steps.

    Of the length + T + length steps, the first `length` show symbols from 1 to `symbols`, the last `length`
    + 1 show the mark symbols + 1, all others the blank 0. To be said: blank everywhere, but the symbols in
    their order on the last `length` steps. Without memory the best mean loss is length · ln(symbols) / (T +
    2 length) nats a step.

    Inputs are one-hot, (T + 2 length, symbols + 2); targets are integers, one a step.

    Args:
        n: sequences.
        T: blank steps between, the mark's first step among them; at least 1.
        symbols: different symbols to be remembered.
        length: how many are shown.
        seed: of the draw.
    Sources: Hochreiter & Schmidhuber 1997; Arjovsky, Shah & Bengio 2016; Bai, Kolter & Koltun 2018, section
    4 (this form).
    """
    n = require_int(n, "n", 1)
    T = require_int(T, "T", 1)
    symbols = require_int(symbols, "symbols", 1)
    length = require_int(length, "length", 1)
    shown = _rng(seed).integers(1, symbols + 1, (n, length))
    steps = np.zeros((n, T + 2 * length), dtype=np.int64)
    steps[:, :length] = shown
    steps[:, -length - 1 :] = symbols + 1
    targets = np.zeros_like(steps)
    targets[:, -length:] = shown
    return Dataset(
        name="copy_memory",
        description=f"{n} sequences of {length} of {symbols} symbols to be repeated after {T} steps",
        source=f"generated, seed {seed}",
        licence="none needed",
        task="label steps",
        sequences=tuple(np.eye(symbols + 2)[steps]),
        targets=list(targets),
        classes=("blank", *(str(symbol) for symbol in range(1, symbols + 1))),
    )


def _rng(seed: int | None) -> np.random.Generator:
    from saiki.core.random import seed_from  # brings torch, which the other sets do not need

    return np.random.default_rng(seed_from(seed))


DATASETS: dict[str, Callable[..., Dataset]] = {
    "co2": co2,
    "digits": digits,
    "sine": sine,
    "adding": adding,
    "copy_memory": copy_memory,
}
