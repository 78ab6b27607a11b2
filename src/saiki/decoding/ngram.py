"""n-gram language models with back-off, read from ARPA files.

    p(w | w_1 … w_m) = p*(w | w_1 … w_m)                    where that n-gram is listed
                       b(w_1 … w_m) · p(w | w_2 … w_m)      where it is not; b = 1 where no back-off is listed

The n-grams are the nodes of one tree: the children of w_1 … w_m are the words listed after it. Nodes are
numbered level by level and, within a level, by their parent, so the children of a node are a run of numbers
in the order of their words, and node 1 + w is the unigram of word w.

Sources: Katz 1987, eq. 16; the ARPA format as SRILM's manual page ngram-format(5) describes it.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from saiki.core.checks import require_int
from saiki.core.errors import DataError, LabelError, ValueRangeError

__all__ = ["NGram"]

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
_LN10 = math.log(10.0)
_BLANKS = re.compile(r"[ \t]+")
_MOST_ORDER = 64  # deeper trees come from broken headers alone

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NGram:
    """A back-off model over words (or over characters: whatever the file calls its words).

    Make one with `NGram.read`. A state is a node: the longest part of the history that can still matter.

    Args:
        words: V words; word w has node 1 + w.
        order: n of the longest n-grams.
        first: (M + 1,) first child of each of M nodes; those of node m are first[m] ≤ k < first[m + 1].
        word: (M,) last word of each node's n-gram; -1 at the root.
        log_probability: (M,) ln p* of each node's n-gram, nats; 0 at the root.
        backoff: (M,) ln b, nats.
        suffix: (M,) the node of the longest listed end of the n-gram without its first word.
        state: (M,) what is kept of a history that ends in this node.
    """

    words: tuple[str, ...]
    order: int
    first: Ints
    word: Ints
    log_probability: Floats
    backoff: Floats
    suffix: Ints
    state: Ints

    @classmethod
    def read(cls, path: str | Path) -> NGram:
        """Read an ARPA file, plain or gzipped (.gz), in UTF-8.

        Raises:
            DataError: the file is no ARPA file, is cut short, or an n-gram has no context; the line is named.
            OSError: it cannot be opened.
        """
        path = Path(path)
        try:
            with _opened(path) as file:
                return _build(_Lines(file, path))
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not UTF-8 text: {error}.", "Convert it first.") from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path} is cut short or no gzip file: {error}.") from error

    def __len__(self) -> int:
        """How many n-grams there are, of all orders."""
        return len(self.word) - 1

    def __repr__(self) -> str:
        return f"NGram(order={self.order}, {len(self.words)} words, {len(self)} n-grams)"

    # ---------------------------------------------------------------- asking

    def index(self, word: str) -> int:
        """The number of a word; that of <unk> for an unknown one, -1 where there is no <unk>."""
        found = self._index.get(word)
        return self._index.get(UNKNOWN, -1) if found is None else found

    @property
    def start(self) -> int:
        """The state at the beginning of a sentence: after <s>, where the model knows it."""
        begin = self._index.get(START)
        return 0 if begin is None else int(self.state[1 + begin])

    @property
    def end(self) -> int:
        """The number of </s>; -1 where the model does not know it."""
        return self._index.get(END, -1)

    def step(self, state: int, word: int) -> tuple[float, int]:
        """ln p(word | state) and the state after it.

        Args:
            state: from `start` or another step.
            word: its number; -1, an unknown word without <unk>, has probability 0.
        Returns:
            nats, and the next state.
        """
        require_int(state, "state", 0, len(self.word) - 1)
        require_int(word, "word", -1, len(self.words) - 1)
        if word < 0:
            return -math.inf, 0
        total = 0.0
        while True:
            child = self._child(state, word)
            if child >= 0:
                return total + float(self.log_probability[child]), int(self.state[child])
            total += float(self.backoff[state])
            state = int(self.suffix[state])

    def scores(self, state: int) -> Floats:
        """(V,) ln p(w | state) of every word, nats."""
        require_int(state, "state", 0, len(self.word) - 1)
        chain = [state]
        while chain[-1] != 0:
            chain.append(int(self.suffix[chain[-1]]))
        values = self.log_probability[1 : 1 + len(self.words)].copy()
        for node in reversed(chain[:-1]):  # the longest context is listed last and overrules the shorter
            values += self.backoff[node]
            low, high = int(self.first[node]), int(self.first[node + 1])
            values[self.word[low:high]] = self.log_probability[low:high]
        return values

    def score(self, prefix: Sequence[str]) -> Floats:
        """(V,) ln p(w | <s> prefix) of every word to come, nats, in the order of `words`."""
        state = self.start
        for text in prefix:
            state = self.step(state, self.index(text))[1]
        return self.scores(state)

    def log_probability_of(self, sentence: Sequence[str], *, end: bool = True) -> float:
        """ln p(sentence | <s>), nats.

        Args:
            sentence: words, without <s> and </s>.
            end: count </s> behind it.
        Raises:
            LabelError: `end`, and the model has no </s>.
        """
        if end and self.end < 0:
            raise LabelError("the model has no </s>, so a sentence cannot end.", "Use end=False.")
        state, total = self.start, 0.0
        for number in [*map(self.index, sentence), *([self.end] if end else [])]:
            value, state = self.step(state, number)
            total += value
        return total

    def _child(self, node: int, word: int) -> int:
        if node == 0:
            return 1 + word
        low, high = int(self.first[node]), int(self.first[node + 1])
        k = low + int(np.searchsorted(self.word[low:high], word))
        return k if k < high and int(self.word[k]) == word else -1

    @property
    def _index(self) -> dict[str, int]:
        found: dict[str, int] | None = self.__dict__.get("_numbers")
        if found is None:
            found = {text: number for number, text in enumerate(self.words)}
            self.__dict__["_numbers"] = found  # computed once; the fields never change
        return found


# -------------------------------------------------------------------- reading


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="\n")  # type: ignore[return-value]
    return path.open("rt", encoding="utf-8", newline="\n")


class _Lines:
    """Lines that are not empty, stripped, with their numbers for messages."""

    def __init__(self, file: IO[str], path: Path) -> None:
        self.path = path
        self.number = 0
        self._file = file

    def __iter__(self) -> Iterator[str]:
        for text in self._file:
            self.number += 1
            text = text.strip(" \t\r\n")
            if text:
                yield text

    def error(self, message: str, hint: str | None = None) -> DataError:
        return DataError(f"{self.path}, line {self.number}: {message}", hint)


def _build(lines: _Lines) -> NGram:
    rows = iter(lines)
    counts = _header(lines, rows)
    index: dict[str, int] = {}
    levels: list[tuple[Ints, Floats, Floats, Ints]] = []  # words (M_n, n), ln p, ln b, line numbers
    for n, count in enumerate(counts, start=1):
        levels.append(_level(lines, rows, n, count, index))
        following = f"\\{n + 1}-grams:" if n < len(counts) else "\\end\\"
        came = next(rows, "the end of the file")
        if came != following:
            raise lines.error(
                f"{came[:60]!r} stands where {following!r} must: the header promises {count} {n}-grams."
            )
    return _tree(lines.path, tuple(index), levels)


def _header(lines: _Lines, rows: Iterator[str]) -> list[int]:
    for text in rows:
        if text == "\\data\\":
            break
    else:
        raise lines.error("the file has no line \\data\\, so it is no ARPA file.")
    counts: list[int] = []
    for text in rows:
        if text == "\\1-grams:":
            break
        found = re.fullmatch(r"ngram\s+(\d+)\s*=\s*(\d+)", text)
        if found is None or int(found[1]) != len(counts) + 1 or len(counts) == _MOST_ORDER:
            raise lines.error(
                f"{text[:60]!r} stands where 'ngram {len(counts) + 1}=COUNT' or '\\1-grams:' must."
            )
        counts.append(int(found[2]))
    if not counts or counts[0] == 0:
        raise lines.error("the header names no unigrams.")
    return counts


def _level(
    lines: _Lines, rows: Iterator[str], n: int, count: int, index: dict[str, int]
) -> tuple[Ints, Floats, Floats, Ints]:
    words, values, backoffs, where = [], [], [], []
    for _ in range(count):
        text = next(rows, None)
        if text is None:
            raise lines.error(f"the file ends before {count} {n}-grams were listed.", "Is it cut short?")
        fields = _BLANKS.split(text)
        if len(fields) not in (n + 1, n + 2):
            raise lines.error(f"{text[:60]!r} must be a log10 probability, {n} words and a back-off or none.")
        values.append(_log10(lines, fields[0], "log10 probability"))
        backoffs.append(_log10(lines, fields[n + 1], "back-off") if len(fields) == n + 2 else 0.0)
        where.append(lines.number)
        if n == 1:
            if fields[1] in index:
                raise lines.error(f"the word {fields[1]!r} is listed twice.")
            index[fields[1]] = len(index)
        try:
            words.append([index[text] for text in fields[1 : n + 1]])
        except KeyError as error:
            raise lines.error(f"the word {error.args[0]!r} is not among the unigrams.") from None
    return (
        np.array(words, dtype=np.int64).reshape(count, n),
        np.array(values, dtype=np.float64) * _LN10,
        np.array(backoffs, dtype=np.float64) * _LN10,
        np.array(where, dtype=np.int64),
    )


def _log10(lines: _Lines, text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value) or value == math.inf:
        raise lines.error(f"the {what} is {text[:40]!r} but must be a number.")
    return value


def _tree(path: Path, words: tuple[str, ...], levels: list[tuple[Ints, Floats, Floats, Ints]]) -> NGram:
    V = len(words)
    total = 1 + sum(len(level[0]) for level in levels)
    if total * V >= 2**62:
        raise ValueRangeError(f"{path} has {total - 1} n-grams over {V} words, more than can be numbered.")
    # parent · V + word of nodes 1, 2, …: it rises within a level, and from level to level as parents do
    keys = np.zeros(total - 1, dtype=np.int64)
    parent, word = np.zeros(total, dtype=np.int64), np.full(total, -1, dtype=np.int64)
    log_probability, backoff = np.zeros(total), np.zeros(total)
    suffix = np.zeros(total, dtype=np.int64)
    begins = [1]  # each level's first node, and one more

    def child(node: Ints, last: Ints) -> Ints:
        """The nodes reached so; -1 where there is none, and from -1."""
        known = keys[: begins[-1] - 1]
        if len(known) == 0:
            return np.full(len(node), -1, dtype=np.int64)
        wanted = node * V + last
        k = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        return np.where((node >= 0) & (known[k] == wanted), k + 1, -1)

    for n, (grams, values, backoffs, where) in enumerate(levels, start=1):
        node = np.zeros(len(grams), dtype=np.int64)
        for k in range(n - 1):
            node = child(node, grams[:, k])
        if (node < 0).any():
            row = int((node < 0).argmax())
            text = " ".join(words[w] for w in grams[row, :-1])
            raise DataError(f"{path}, line {where[row]}: {text!r} is not listed as a {n - 1}-gram.")
        order = np.argsort(node * V + grams[:, -1], kind="stable")
        here = slice(begins[-1], begins[-1] + len(order))
        parent[here], word[here] = node[order], grams[order, -1]
        key = parent[here] * V + word[here]
        twice = np.flatnonzero(key[1:] == key[:-1])
        if len(twice):
            raise DataError(f"{path}, line {where[order[twice[0] + 1]]}: the n-gram is listed twice.")
        log_probability[here], backoff[here] = values[order], backoffs[order]
        if n > 1:  # the longest listed end: that of the context, shortened until the last word follows it
            at = suffix[parent[here]]
            found = child(at, word[here])
            while (found < 0).any():
                at = np.where(found < 0, suffix[at], at)
                found = np.where(found < 0, child(at, word[here]), found)
            suffix[here] = found
        keys[here.start - 1 : here.stop - 1] = key
        begins.append(here.stop)
    first = 1 + np.searchsorted(keys, np.arange(total + 1) * V)
    stays = (first[1:] > first[:-1]) | (backoff != 0)
    stays[begins[-2] :] = False  # the whole of a longest n-gram is no history of another
    stays[0] = True
    state = np.arange(total)
    for low, high in pairwise(begins):  # shorter ends first: longer ones fall back to them
        here = slice(low, high)
        state[here] = np.where(stays[here], state[here], state[suffix[here]])
    return NGram(words, len(levels), first, word, log_probability, backoff, suffix, state)
