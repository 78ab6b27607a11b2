"""Generated sets: long memory, timing and forgetting, each as its paper has it.

| set | what it asks of a network |
|---|---|
| `sine` | to go on with a wave |
| `adding` | two numbers, over T steps |
| `copy_memory` | several symbols in their order, over T steps |
| `reber` | a word's second symbol at its last but one |
| `continual_reber` | the same, and to forget at the end of a word without being told |
| `timing` | to tell a gap of 49 steps from one of 50, or to beat time |
| `waves` | to leave an old pattern behind |
| `marked` | to let in what is marked and nothing else |

All are pure functions of their options, `seed` among them.
"""

from __future__ import annotations

import numpy as np

from saiki.core.checks import require_bool, require_int, require_number, require_positive
from saiki.core.errors import LabelError, OptionError, ShapeError
from saiki.data.datasets import Dataset
from saiki.data.table import read_table
from saiki.data.times import Array

__all__ = [
    "REBER_SYMBOLS",
    "adding",
    "continual_reber",
    "copy_memory",
    "marked",
    "reber",
    "reber_successors",
    "sine",
    "timing",
    "waves",
]

REBER_SYMBOLS = ("B", "T", "P", "S", "X", "V", "E")

# State -> its (symbol, next state); the last state is left with E.
_REBER: tuple[tuple[tuple[str, int], ...], ...] = (
    (("B", 1),),
    (("T", 2), ("P", 3)),
    (("S", 2), ("X", 4)),
    (("T", 3), ("V", 5)),
    (("X", 3), ("S", 6)),
    (("P", 4), ("V", 6)),
    (("E", 7),),
)
_REBER_END = len(_REBER)


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


def reber(*, n: int = 1000, embedded: bool = True, seed: int | None = 0) -> Dataset:
    """Words of the Reber grammar; to be said: the next symbol.

    A word walks this graph from B to E, each branch with probability 1/2:

        0 -B→ 1;  1 -T→ 2, -P→ 3;  2 -S→ 2, -X→ 4;  3 -T→ 3, -V→ 5;  4 -X→ 3, -S→ 6;  5 -P→ 4, -V→ 6;  6 -E→

    An embedded word is B T word T E or B P word P E: its last but one symbol is its second, which must be
    remembered over the whole inner word. Inputs are one-hot in the order of `REBER_SYMBOLS`, (L - 1, 7) of a
    word of L symbols; targets are the symbols one step on. Which others the grammar would have allowed there
    says `reber_successors`.

    Args:
        n: words.
        embedded: whether a word stands between two symbols that agree.
        seed: of the draw.
    Sources: Reber 1967 (the grammar); Cleeremans, Servan-Schreiber & McClelland 1989 and Fahlman 1991
    (embedded).
    """
    n = require_int(n, "n", 1)
    embedded = require_bool(embedded, "embedded")
    rng = _rng(seed)
    words = [_codes(_embedded_word(rng) if embedded else _word(rng)) for _ in range(n)]
    return Dataset(
        name="reber",
        description=f"{n} words of the {'embedded ' if embedded else ''}Reber grammar",
        source=f"generated, seed {seed}",
        licence="none needed",
        task="label steps",
        sequences=tuple(np.eye(len(REBER_SYMBOLS))[word[:-1]] for word in words),
        targets=[word[1:] for word in words],
        classes=REBER_SYMBOLS,
    )


def continual_reber(*, n: int = 1, length: int = 1000, seed: int | None = 0) -> Dataset:
    """Embedded Reber words one after another, without a sign where one ends; to be said: the next symbol.

    A network must forget by itself: nobody resets its state at the end of a word. Inputs are one-hot (length,
    7), targets integers, as in `reber`.

    Args:
        n: streams.
        length: steps of each.
        seed: of the draw.
    Source: Gers, Schmidhuber & Cummins 2000.
    """
    n = require_int(n, "n", 1)
    length = require_int(length, "length", 1)
    rng = _rng(seed)
    streams = []
    for _ in range(n):
        stream: list[str] = []
        while len(stream) < length + 1:
            stream += _embedded_word(rng)
        streams.append(_codes(stream)[: length + 1])
    return Dataset(
        name="continual_reber",
        description=f"{n} streams of {length} symbols of embedded Reber words one after another",
        source=f"generated, seed {seed}",
        licence="none needed",
        task="label steps",
        sequences=tuple(np.eye(len(REBER_SYMBOLS))[stream[:-1]] for stream in streams),
        targets=[stream[1:] for stream in streams],
        classes=REBER_SYMBOLS,
    )


def reber_successors(inputs: Array) -> Array:
    """Which symbols the grammar allows after each step, (T, 7) bool.

    Args:
        inputs: (T, 7) one-hot, from the beginning of an embedded word; word may follow word.
    Raises:
        ShapeError: not (T, 7).
        LabelError: a symbol that the grammar does not allow there; the message says which and where.
    """
    array = np.asarray(inputs)
    if array.ndim != 2 or array.shape[1] != len(REBER_SYMBOLS):
        raise ShapeError(
            f"inputs are {array.shape} but must be (T, {len(REBER_SYMBOLS)}), one-hot.",
            "They are a sequence of reber(embedded=True) or of continual_reber().",
        )
    allowed = np.zeros(array.shape, dtype=bool)
    place = 0
    for t, symbol in enumerate(array.argmax(axis=1).tolist()):
        if symbol not in _EMBEDDED[place]:
            legal = " or ".join(REBER_SYMBOLS[each] for each in _EMBEDDED[place])
            raise LabelError(
                f"step {t} is {REBER_SYMBOLS[symbol]}, but the embedded Reber grammar has {legal} there.",
                "Give the sequence from the beginning of a word.",
            )
        place = _EMBEDDED[place][symbol]
        allowed[t, list(_EMBEDDED[place])] = True
    return allowed


def _word(rng: np.random.Generator) -> list[str]:
    word, place = [], 0
    while place < _REBER_END:
        arcs = _REBER[place]
        symbol, place = arcs[int(rng.integers(2))] if len(arcs) > 1 else arcs[0]
        word.append(symbol)
    return word


def _embedded_word(rng: np.random.Generator) -> list[str]:
    outer = "TP"[int(rng.integers(2))]
    return ["B", outer, *_word(rng), outer, "E"]


def _codes(word: list[str]) -> Array:
    return np.array([REBER_SYMBOLS.index(symbol) for symbol in word], dtype=np.int64)


def _embedded_grammar() -> tuple[dict[int, int], ...]:
    """Place -> {symbol: next place} of embedded words one after another: two copies of the grammar, one for
    each outer symbol, so that the place knows which one is due.
    """
    code = {symbol: k for k, symbol in enumerate(REBER_SYMBOLS)}
    places: list[dict[int, int]] = [{code["B"]: 1}, {}]
    for outer in ("T", "P"):
        first = len(places)
        places[1][code[outer]] = first
        places += [{code[symbol]: first + to for symbol, to in arcs} for arcs in _REBER]
        places += [{code[outer]: len(places) + 1}, {code["E"]: 0}]
    return tuple(places)


_EMBEDDED = _embedded_grammar()


def timing(
    *,
    n: int = 1000,
    form: str = "measure",
    gap: int = 49,
    kinds: int = 2,
    length: int = 500,
    seed: int | None = 0,
) -> Dataset:
    """Spikes in time: to tell how far apart two are, or to beat time with nothing to go by.

        measure: up to nine silent steps, a spike, another after gap + k steps, with which the sequence ends;
                 to be said: k, in {0, ..., kinds - 1}. Without counting the best share of right answers is
                 1/kinds.
        generate: the input is 1 at every step; to be said: 1 on every `gap`-th step (the first at step gap),
                 else 0. All n sequences are the same, and what a network does after them tells whether it
                 has learned to beat or only a record of this length.

    One feature a step.

    Args:
        n: sequences.
        form: `measure` or `generate`.
        gap: steps from spike to spike, the shortest for `measure`; at least 2.
        kinds: gaps to be told apart, for `measure`.
        length: steps, for `generate`.
        seed: of the draw, for `measure`.
    Source: Gers, Schraudolph & Schmidhuber 2002 (measure: with one delay a sequence).
    """
    n = require_int(n, "n", 1)
    gap = require_int(gap, "gap", 2)
    if form == "measure":
        kinds = require_int(kinds, "kinds", 2)
        rng = _rng(seed)
        late, targets = rng.integers(10, size=n), rng.integers(kinds, size=n)
        parts = [np.zeros((int(wait + gap + kind) + 1, 1)) for wait, kind in zip(late, targets)]
        for part, wait in zip(parts, late):
            part[wait] = part[-1] = 1
        return Dataset(
            name="timing",
            description=f"{n} pairs of spikes, {gap} to {gap + kinds - 1} steps apart",
            source=f"generated, seed {seed}",
            licence="none needed",
            task="classify",
            sequences=tuple(parts),
            targets=targets.astype(np.int64),
            classes=tuple(str(gap + kind) for kind in range(kinds)),
        )
    if form == "generate":
        length = require_int(length, "length", 1)
        beats = (np.arange(1, length + 1) % gap == 0).astype(np.int64)
        return Dataset(
            name="timing",
            description=f"a beat on every step that {gap} divides, {length} steps",
            source="generated",
            licence="none needed",
            task="label steps",
            sequences=tuple(np.ones((length, 1)) for _ in range(n)),
            targets=[beats.copy() for _ in range(n)],
            classes=("silence", "beat"),
        )
    raise OptionError(f"form={form!r} is unknown.", hint="Use 'measure' or 'generate'.")


def waves(
    *,
    n: int = 100,
    length: int = 200,
    onset: int = 100,
    small: float = 0.2,
    fast: float = 8.0,
    large: float = 1.0,
    slow: float = 40.0,
    noise: float = 0.0,
    seed: int | None = 0,
) -> Dataset:
    """A small fast wave that gives way to a large slow one; to be said: the next value.

        x_t = small · sin(2π t / fast + φ)      for t < onset
        x_t = large · sin(2π t / slow + ψ)      from then on, plus noise · ε_t throughout

    φ and ψ are uniform in [0, 2π), other ones for each sequence. Inputs are x_0 ... x_{length-1}, (length,
    1), targets x_1 ... x_length, (length,): the first target of the slow wave is that of step onset - 1.

    Args:
        n: sequences.
        length: steps.
        onset: the first step of the slow wave, in 1 ... length.
        small: amplitude of the fast wave.
        fast: its period in steps.
        large: amplitude of the slow wave.
        slow: its period in steps.
        noise: standard deviation of the noise.
        seed: of the draw.
    """
    n = require_int(n, "n", 1)
    length = require_int(length, "length", 1)
    onset = require_int(onset, "onset", 1, length)
    small, large = require_positive(small, "small"), require_positive(large, "large")
    fast, slow = require_positive(fast, "fast"), require_positive(slow, "slow")
    noise = require_number(noise, "noise", 0)
    rng = _rng(seed)
    t = np.arange(length + 1)
    phases = rng.uniform(0, 2 * np.pi, (2, n, 1))
    first = small * np.sin(2 * np.pi * t / fast + phases[0])
    then = large * np.sin(2 * np.pi * t / slow + phases[1])
    x = np.where(t < onset, first, then) + noise * rng.standard_normal((n, length + 1))
    return Dataset(
        name="waves",
        description=f"{n} waves of amplitude {small:g} and period {fast:g}, from step {onset} on {large:g} "
        f"and {slow:g}, with noise {noise:g}",
        source=f"generated, seed {seed}",
        licence="none needed",
        task="regress",
        sequences=tuple(x[:, :-1, None]),
        targets=list(x[:, 1:]),
    )


def marked(*, n: int = 1000, T: int = 50, share: float = 0.1, seed: int | None = 0) -> Dataset:
    """Numbers of which some are marked; to be said at each step: the last marked one.

    Each step is (value, marker), values uniform in [-1, 1], marker 1 with probability `share`, else 0. The
    target is 0 before the first mark. What is not marked wants to be kept out by the same weights that let in
    what is: the input weight conflict, which the input gate resolves.

    Always answering 0 has the squared error (1/3) · (1 - mean over t of (1 - share)^t), t = 1 ... T.

    Args:
        n: sequences.
        T: their length.
        share: probability of a mark, in [0, 1].
        seed: of the draw.
    Source: Hochreiter & Schmidhuber 1997 (the conflict).
    """
    n = require_int(n, "n", 1)
    T = require_int(T, "T", 1)
    share = require_number(share, "share", 0, 1)
    rng = _rng(seed)
    values = rng.uniform(-1, 1, (n, T))
    markers = rng.uniform(0, 1, (n, T)) < share
    last = np.maximum.accumulate(np.where(markers, np.arange(T), -1), axis=1)  # -1: none yet
    targets = np.where(last < 0, 0.0, np.take_along_axis(values, np.maximum(last, 0), axis=1))
    return Dataset(
        name="marked",
        description=f"{n} sequences of {T} numbers, each marked with probability {share:g}",
        source=f"generated, seed {seed}",
        licence="none needed",
        task="regress",
        sequences=tuple(np.stack([values, markers.astype(float)], axis=-1)),
        targets=list(targets),
    )


def _rng(seed: int | None) -> np.random.Generator:
    from saiki.core.random import seed_from  # brings torch, which the other sets do not need

    return np.random.default_rng(seed_from(seed))
