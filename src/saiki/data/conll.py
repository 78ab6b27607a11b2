"""Tagged sentences from files: CoNLL-U, columns, and parallel files.

    sentences.conllu            ten columns with tabs; form and one of upos, xpos, feats, lemma, deprel
    sentences.txt               a word a line, columns apart by blanks or a tab, the word first, its tag last
    train.seq.in, train.seq.out   sentences and their tags line by line; `train.label` beside them, where it
                                is there, holds one label a sentence

Sentences of the first two are apart by empty lines. A line `# label = NAME` before a sentence is the label of
the whole of it; other comments are passed over. Any file may be gzipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from saiki.core.errors import DataError
from saiki.core.names import choose
from saiki.data.pairs import read_lines

__all__ = ["COLUMNS", "Tagged", "read_columns", "read_conllu", "read_parallel", "read_tagged"]

COLUMNS: Mapping[str, int] = {"lemma": 2, "upos": 3, "xpos": 4, "feats": 5, "deprel": 7}
"""Columns of CoNLL-U that hold a tag for each word."""

_COMMENT = re.compile(r"#\s*([\w.]+)\s*=\s?(.*)")
_LABEL = ("label", "intent")
_ID = re.compile(r"(\d+)(?:([-.])\d+)?")


@dataclass(frozen=True)
class Tagged:
    """Sentences with their tags.

    Attributes:
        words: the words of each sentence.
        tags: as many tags of each; None where the file has none.
        labels: one label a sentence; None where the file has none.
    """

    words: list[list[str]]
    tags: list[list[str]] | None
    labels: list[str] | None

    def __len__(self) -> int:
        return len(self.words)


class _Block(NamedTuple):
    """The lines of one sentence with the number of the first, and its comments."""

    first: int
    lines: list[str]
    comments: dict[str, str]


def read_tagged(path: str | Path, *, column: str = "upos", answers: bool = True) -> Tagged:
    """The sentences of a file, in the form that its name tells.

    Args:
        path: NAME.conllu, one with `seq.in` in its name, or a file of columns; `.gz` behind it or not.
        column: of CoNLL-U, see `COLUMNS`.
        answers: False reads the words alone.
    Raises:
        DataError: the file cannot be read or breaks its form; the line is named.
        OptionError: an unknown column; the nearest one is offered.
    """
    path = Path(path)
    name = path.name.removesuffix(".gz")
    if name.endswith(".conllu"):
        return read_conllu(path, column=column, answers=answers)
    if "seq.in" in name:
        tags = _sibling(path, "seq.out") if answers else None
        return read_parallel(path, tags, _sibling(path, "label", needed=False) if answers else None)
    return read_columns(path, answers=answers)


def read_conllu(path: str | Path, *, column: str = "upos", answers: bool = True) -> Tagged:
    """The words of a CoNLL-U file with one of their columns.

    Words with an id such as 3 are taken. 3-4 is a written token that stands over two words and 3.1 a word
    that is not written; neither is tagged.

    Args:
        path: the file.
        column: see `COLUMNS`.
        answers: False reads the words alone.
    Raises:
        DataError: the file cannot be read, a line has not ten columns or no id, or a word has no tag.
        OptionError: an unknown column.
    Source: https://universaldependencies.org/format.html
    """
    path, place = Path(path), choose(column, COLUMNS, "column")
    words: list[list[str]] = []
    tags: list[list[str]] = []
    blocks = list(_blocks(path, hash_is_comment=True))
    for block in blocks:
        forms, found = [], []
        for number, line in enumerate(block.lines, start=block.first):
            cells = line.split("\t")
            shape = _ID.fullmatch(cells[0])
            if len(cells) != 10 or shape is None:
                raise DataError(
                    f"{path}, line {number} has {len(cells)} columns, the first {cells[0]!r:.40}, but a line "
                    "of CoNLL-U has ten with tabs between, the first a number.",
                    "For columns apart by blanks, give the file another name than .conllu.",
                )
            if shape[2]:
                continue
            if answers and cells[place] == "_" and column in ("upos", "xpos"):
                raise DataError(f"{path}, line {number}: the word {cells[1]!r} has no {column}.")
            forms.append(cells[1])
            found.append(cells[place])
        if forms:
            words.append(forms)
            tags.append(found)
    return _tagged(path, words, tags if answers else None, blocks if answers else [])


def read_columns(path: str | Path, *, answers: bool = True) -> Tagged:
    """A word a line with its columns, the word first and its tag last; -DOCSTART- lines are passed over.

    Args:
        path: the file.
        answers: False reads the words alone; a single column will do.
    Raises:
        DataError: the file cannot be read, a word has no tag, or a line not as many columns as the first.
    """
    path = Path(path)
    words: list[list[str]] = []
    tags: list[list[str]] = []
    blocks = []
    width = 0
    for block in _blocks(path):
        rows = [_cells(line) for line in block.lines]
        if rows[0][0] == "-DOCSTART-":
            continue
        for number, row in enumerate(rows, start=block.first):
            width = width or len(row)
            if len(row) != width:
                raise DataError(
                    f"{path}, line {number} has {len(row)} columns but the first line of a sentence has "
                    f"{width}; each word needs as many."
                )
            if answers and len(row) < 2:
                raise DataError(
                    f"{path}, line {number} holds {row[0]!r:.60} alone but must hold a word and its tag, "
                    "with blanks or a tab between."
                )
        words.append([row[0] for row in rows])
        tags.append([row[-1] for row in rows])
        blocks.append(block)
    return _tagged(path, words, tags if answers else None, blocks if answers else [])


def read_parallel(
    words: str | Path, tags: str | Path | None = None, labels: str | Path | None = None
) -> Tagged:
    """Sentences line by line, words apart by blanks, their tags and labels in files of as many lines.

    Args:
        words: the sentences.
        tags: as many tags a line as the sentence has words.
        labels: one label a line.
    Raises:
        DataError: a file cannot be read, the files differ in lines, a line has not as many tags as words, or
            a sentence is empty.
    """
    words = Path(words)
    sentences = [line.split() for line in read_lines(words)]
    for number, sentence in enumerate(sentences, start=1):
        if not sentence:
            raise DataError(f"{words}, line {number} is empty; a sentence has at least one word.")
    found = None if tags is None else [line.split() for line in read_lines(tags)]
    named = None if labels is None else [line.strip() for line in read_lines(labels)]
    for name, others in ((tags, found), (labels, named)):
        if others is not None and len(others) != len(sentences):
            raise DataError(f"{name} has {len(others)} lines but {words} has {len(sentences)}.")
    for number, (sentence, line) in enumerate(zip(sentences, found or []), start=1):
        if len(sentence) != len(line):
            raise DataError(
                f"{tags}, line {number} has {len(line)} tags but line {number} of {words} has "
                f"{len(sentence)} words."
            )
    for number, label in enumerate(named or [], start=1):
        if not label:
            raise DataError(f"{labels}, line {number} is empty but must hold the label of the sentence.")
    return Tagged(sentences, found, named)


def _tagged(path: Path, words: list[list[str]], tags: list[list[str]] | None, blocks: list[_Block]) -> Tagged:
    if not words:
        raise DataError(f"{path} holds no sentence.", "Give a file with a word a line.")
    labels = [next((b.comments[key] for key in _LABEL if key in b.comments), None) for b in blocks]
    known = [label for label in labels if label]
    if not known:
        return Tagged(words, tags, None)
    if len(known) < len(words):
        missing = next(b.first for b, label in zip(blocks, labels) if not label)
        raise DataError(
            f"{path}: {len(known)} of {len(words)} sentences have a label; that of line {missing} has none.",
            "Write '# label = NAME' before each sentence, or before none.",
        )
    return Tagged(words, tags, known)


def _blocks(path: Path, hash_is_comment: bool = False) -> Iterator[_Block]:
    """The sentences of a file: lines between empty ones, the comments before them taken off.

    Args:
        path: the file.
        hash_is_comment: every line that begins with # is one; else only `# key = value` before the first
            word, for a word may be #.
    """
    lines: list[str] = []
    comments: dict[str, str] = {}
    first = 1
    for number, line in enumerate([*read_lines(path), ""], start=1):
        if not line.strip():
            if lines:
                yield _Block(first, lines, comments)
            lines, comments = [], {}
            continue
        comment = _COMMENT.fullmatch(line) if not lines else None
        if comment is not None:
            comments[comment[1]] = comment[2].strip()
        elif not (hash_is_comment and line.startswith("#")):
            if not lines:
                first = number
            lines.append(line)


def _cells(line: str) -> list[str]:
    return line.rstrip().split("\t") if "\t" in line else line.split()


def _sibling(path: Path, part: str, needed: bool = True) -> Path | None:
    """The file whose name has `part` where this one has seq.in, gzipped or not."""
    name = path.name.replace("seq.in", part)
    plain = name.removesuffix(".gz")
    for candidate in (path.with_name(name), path.with_name(plain), path.with_name(f"{plain}.gz")):
        if candidate.is_file():
            return candidate
    if not needed:
        return None
    raise DataError(
        f"{path} holds sentences, but {name} with their tags is not beside it.",
        "Put it there, or give one file with words and tags in columns.",
    )
