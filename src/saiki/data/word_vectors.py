"""Pretrained word vectors: the text files of GloVe and of word2vec.

    GloVe       one line a word: the word, then its D numbers, blanks between
    word2vec    the same after a first line with two numbers: how many words, and D

A file may be gzipped. Files are written with the most frequent words first, which `most` relies on.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np

from saiki.core.checks import require_int
from saiki.core.errors import DataError, ShapeError
from saiki.data.times import Array
from saiki.data.vocabulary import Vocabulary

__all__ = ["WordVectors", "read_word_vectors"]

MOST_NUMBERS = 10_000  # D of a file; a longer line is no vector
LONGEST_LINE = 1 << 20  # bytes


@dataclass(frozen=True, eq=False)
class WordVectors:
    """Words with a vector each.

    Attributes:
        words: in the order of the file, each once.
        vectors: (N, D) float32.
        source: the file they came from.
    """

    words: tuple[str, ...]
    vectors: Array = field(repr=False)
    source: str = ""

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.words):
            raise ShapeError(
                f"vectors is {self.vectors.shape} but must be (N, D), one row for each of "
                f"{len(self.words)} words."
            )

    @property
    def size(self) -> int:
        """D, the numbers of a vector."""
        return int(self.vectors.shape[1])

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._rows

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {word: row for row, word in enumerate(self.words)}

    def row(self, word: str) -> int | None:
        """Where a word stands, itself or in lower case; None where neither is there."""
        found = self._rows.get(word)
        return found if found is not None else self._rows.get(word.lower())

    def matrix(self, vocabulary: Vocabulary) -> tuple[Array, Array]:
        """The vectors of a vocabulary's tokens, for an embedding.

        `<unk>` gets the mean of the vectors that were found, any other token without a vector zeros.

        Returns:
            (V, D) float32, and (V,) True where a vector was found.
        """
        rows = [
            None if token in vocabulary.specials and token not in self._rows else self.row(token)
            for token in vocabulary.tokens
        ]
        found = np.array([row is not None for row in rows], dtype=bool)
        made = np.zeros((len(vocabulary), self.size), dtype=np.float32)
        made[found] = self.vectors[[row for row in rows if row is not None]]
        other = vocabulary.unknown
        if other is not None and not found[other] and found.any():
            made[other] = made[found].mean(axis=0)
        return made, found


def read_word_vectors(
    path: str | os.PathLike[str], only: Collection[str] | None = None, most: int | None = None
) -> WordVectors:
    """Read a GloVe or word2vec text file, plain or gzipped (`.gz`).

    Args:
        path: the file.
        only: keep these words alone (and what they are in lower case); None keeps all.
        most: read no further than so many words; with `only`, the first `most` are kept besides.
    Raises:
        DataError: no such file, not text, empty, or a line that is no vector; the line is named.
    """
    if most is not None:
        require_int(most, "most", 0)
    wanted = None if only is None else {form for word in only for form in (word, word.lower())}
    words: dict[str, int] = {}
    rows: list[Array] = []
    size = announced = None
    last = 0
    with _open(path) as lines:
        for number, line in enumerate(lines, start=1):
            last = number
            if line.isspace():
                continue
            fields = line.rstrip("\n\r ").split(" ")
            if number == 1 and len(fields) == 2 and all(part.isdigit() for part in fields):
                announced, size = int(fields[0]), int(fields[1])
                if not 1 <= size <= MOST_NUMBERS:
                    raise DataError(f"line 1 of {path} announces vectors of {size} numbers.")
                continue
            if size is None:
                size = _size(fields, path)
            if len(fields) <= size:
                raise DataError(
                    f"line {number} of {path} has {len(fields) - 1} numbers after its word but a vector "
                    f"has {size}.",
                    "The file may be cut short; fetch it again.",
                )
            word = " ".join(fields[:-size])  # a few GloVe words hold blanks
            taken = most is not None and len(words) < most if wanted is not None else True
            if word in words or not (taken or (wanted is not None and word in wanted)):
                continue
            words[word] = len(rows)
            rows.append(_numbers(fields[-size:], number, path))
            if wanted is None and most is not None and len(words) >= most:
                break
        else:
            count = last - (announced is not None)
            if announced is not None and count < announced:
                raise DataError(
                    f"{path} announces {announced} words but has {count}.",
                    "The file is cut short; fetch it again.",
                )
    if size is None:
        raise DataError(f"{path} is empty: it has no word vector.")
    vectors = np.stack(rows) if rows else np.zeros((0, size), dtype=np.float32)
    return WordVectors(tuple(words), vectors, str(path))


@contextmanager
def _open(path: str | os.PathLike[str]) -> Iterator[Iterable[str]]:
    """The lines of the file; what the disk or the encoding refuses is a DataError."""
    name = Path(path)
    try:
        raw: IO[bytes]
        with gzip.open(name, "rb") if name.suffix == ".gz" else name.open("rb") as raw:  # type: ignore[assignment]
            yield _lines(io.BufferedReader(raw), name)  # type: ignore[arg-type]
    except FileNotFoundError:
        raise DataError(f"there is no file {name}.", "Check the path of the word vectors.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{name} is no whole gzip file: {error}.", "Fetch it again.") from error
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror or error}.") from error


def _lines(raw: io.BufferedReader, path: Path) -> Iterator[str]:
    number = 0
    while line := raw.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE:
            raise DataError(
                f"line {number} of {path} is longer than {LONGEST_LINE:,} bytes; it is no vector."
            )
        try:
            yield line.decode()
        except UnicodeDecodeError:
            raise DataError(
                f"line {number} of {path} is not UTF-8 text.",
                "Only the text form is read; a binary word2vec file must be written out as text first.",
            ) from None


def _size(fields: list[str], path: str | os.PathLike[str]) -> int:
    """D, told by the first line of a file without a header."""
    size = len(fields) - 1
    if not 1 <= size <= MOST_NUMBERS:
        raise DataError(
            f"line 1 of {path} is {' '.join(fields)[:60]!r} but must be a word and its numbers, or how many "
            "words there are and how many numbers each has.",
            "Give a text file of GloVe or word2vec.",
        )
    return size


def _numbers(fields: list[str], number: int, path: str | os.PathLike[str]) -> Array:
    try:
        row = np.array(fields, dtype=np.float32)
    except ValueError:
        bad = next((part for part in fields if not _is_number(part)), fields[0])
        raise DataError(
            f"line {number} of {path} holds {bad[:40]!r} where a number must be.",
            "Give a text file of GloVe or word2vec.",
        ) from None
    if not np.isfinite(row).all():
        raise DataError(f"line {number} of {path} holds a number that is not finite.")
    return row


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
