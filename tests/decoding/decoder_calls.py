"""Random calls straight into the decoders of `saiki._native`, most malformed; run by test_malformed.py.

    python decoder_calls.py COUNT SEED

A valid call is drawn, then one or two of its arguments are spoilt. Each call must return or raise
a documented error; a crash ends the process, and the number printed last tells which call it was.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from random import Random

import numpy as np

from saiki import _native

ERRORS = (TypeError, ValueError, RuntimeError, OverflowError, MemoryError)


def lexicon(draws):
    """Chains of states over labels 1 … 3."""
    S = draws.randint(1, 4)
    arcs = [sorted(draws.sample(range(1, 4), draws.randint(0, 3))) for _ in range(S)]
    return {
        "first": np.cumsum([0, *map(len, arcs)]),
        "label": np.array([label for row in arcs for label in row], dtype=np.int64),
        "target": np.array([draws.randrange(S) for row in arcs for _ in row], dtype=np.int64),
        "accepting": np.array([draws.randint(0, 1) for _ in range(S)]),
    }


def ngram(draws):
    """Words 0 … V - 1, some with a few bigrams."""
    V = draws.randint(1, 4)
    follow = [sorted(draws.sample(range(V), draws.randint(0, V))) for _ in range(V)]
    word = [-1, *range(V), *(w for row in follow for w in row)]
    first = [1, *np.cumsum([1 + V, *map(len, follow)])]
    first += [len(word)] * (len(word) + 1 - len(first))
    suffix = [0] * (1 + V) + [1 + w for row in follow for w in row]
    return {
        "words": V,
        "first": np.array(first),
        "word": np.array(word),
        "log_probability": np.array([-draws.random() for _ in word]),
        "backoff": np.array([-draws.random() for _ in word]),
        "suffix": np.array(suffix),
        "state": np.array([m if m <= V else suffix[m] for m in range(len(word))]),
    }


def beam(draws):
    K = draws.randint(4, 6)
    kind = draws.choice(["none", "outside", "labels", "words"])
    language = None
    if kind == "outside":
        language = ()
    elif kind != "none":
        model = ngram(draws)
        language = (_native.NGram(**model), None, draws.randrange(len(model["word"])), draws.randint(-1, 0))
        count = K
        if kind == "words":
            parts = lexicon(draws)
            count = len(parts["accepting"])
            language += (_native.Automaton(**parts), 1, draws.randint(-1, 0))
        numbers = np.array([draws.randrange(-1, model["words"]) for _ in range(count)])
        language = (language[0], numbers, *language[2:])
    return {
        "B": draws.randint(0, 3),
        "K": K,
        "width": draws.choice([1, 2, 5, 40]),
        "blank": draws.choice([0, K - 1]),
        "log_skip": draws.choice([np.inf, -0.4]),
        "floor": draws.choice([-np.inf, -3.0]),
        "margin": draws.choice([np.inf, 4.0]),
        "lexicon": _native.Automaton(**lexicon(draws)) if draws.random() < 0.3 else None,
        "language": language,
        "weight": draws.choice([0.0, 0.7]),
        "bonus": draws.choice([0.0, 0.5, -0.5]),
    }


def batch(draws, B, K):
    lengths = sorted((draws.randint(0, 5) for _ in range(B)), reverse=True)
    T = lengths[0] if lengths else 0
    sizes = np.array([sum(n > t for n in lengths) for t in range(T)], dtype=np.int64)
    order = np.array(draws.sample(range(B), B), dtype=np.int64)
    dtype = draws.choice([np.float32, np.float64])
    data = np.array([[-5 * draws.random() for _ in range(K)] for _ in range(sum(lengths))], dtype=dtype)
    return {"data": data.reshape(-1, K), "batch_sizes": sizes, "order": order}


def ask(draws, K):
    bad = draws.random() < 0.2

    def answer(prefixes):
        values = np.array([[-draws.random() for _ in range(K)] for _ in prefixes]).reshape(-1, K)
        return spoil(values, draws) if bad else values

    return answer


def spoil(value, draws):
    """Something else in its place."""
    odd = [None, "text", (), [], 0, -1, 3.5, 10**30, True, object(), np.zeros(0), np.zeros((2, 3, 4))]
    if isinstance(value, np.ndarray) and draws.random() < 0.8:
        changed = value.copy()
        ways = ["dtype", "short", "long", "strided", "readonly", "axes"]
        if changed.size:
            ways += ["entry"] * 5
        way = draws.choice(ways)
        if way == "dtype":
            return changed.astype(draws.choice([np.int32, np.float32, np.float16, bool, np.complex64]))
        if way == "short":
            return changed[:-1]
        if way == "long":
            return np.concatenate([changed, changed[:1], changed[:1]])
        if way == "strided":
            return np.repeat(changed, 2, axis=0)[::2]
        if way == "readonly":
            changed.flags.writeable = False
            return changed
        if way == "axes":
            return changed[None]
        extremes = [-2, -1, 0, 1, 7, 2**31, 2**62, -(2**62)]
        if changed.dtype.kind == "f":
            extremes = [np.nan, np.inf, -np.inf, 1e300, -1e300, 0]
        with np.errstate(over="ignore"):
            changed.flat[draws.randrange(changed.size)] = draws.choice(extremes)
        return changed
    if isinstance(value, tuple) and value and draws.random() < 0.8:
        k = draws.randrange(len(value))
        return (*value[:k], spoil(value[k], draws), *value[k + 1 :])
    if isinstance(value, int | float):
        odd += [value + 1, -value, 2**31, 2**40, float("nan"), float("inf"), -float("inf")]
    return draws.choice(odd)


def spoilt(arguments, draws, chance=0.6):
    arguments = dict(arguments)
    if draws.random() < chance:
        for name in draws.sample(list(arguments), min(len(arguments), draws.randint(1, 2))):
            arguments[name] = spoil(arguments[name], draws)
    return arguments


def attempt(draws):
    """Whether the call came through."""
    which = draws.choice(["ngram", "automaton", "greedy", "beam", "beam", "beam"])
    if which == "ngram":
        _native.NGram(**spoilt(ngram(draws), draws))
    elif which == "automaton":
        _native.Automaton(**spoilt(lexicon(draws), draws))
    elif which == "greedy":
        _native.ctc_greedy(**spoilt(batch(draws, 3, 4) | {"blank": 0, "threads": 2}, draws))
    else:
        options = beam(draws)
        made = _native.Beam(**spoilt(options, draws, 0.3))
        for _ in range(draws.randint(1, 3)):
            call = batch(draws, options["B"], options["K"])
            call |= {"ask": ask(draws, options["K"]) if options["language"] == () else None, "threads": 2}
            made.advance(**spoilt(call, draws))
            made.hypotheses(draws.choice([1, 3, 40]), draws.random() < 0.5)
    return True


def main(count, seed):
    came_through = 0
    for number in range(count):
        print(number, file=sys.stderr)
        with suppress(*ERRORS):
            came_through += attempt(Random(seed * 1_000_003 + number))
    print(came_through)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
