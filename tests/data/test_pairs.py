"""Pairs of texts from files and from Python; what is wrong with them is said with its place."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from saiki.core.errors import DataError, DTypeError, LengthError
from saiki.data.pairs import gathered, read_lines, read_pairs, require_pairs


def test_a_tsv_file_and_two_files_give_the_same_pairs(tmp_path):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_bytes("\ufeffein Haus\ta house\r\nzwei\ttwo \n".encode())
    left, right = tmp_path / "train.de", tmp_path / "train.en.gz"
    left.write_text("ein Haus\nzwei", encoding="utf-8")  # no end of line at the end
    right.write_bytes(gzip.compress(b"a house\ntwo \n", mtime=0))
    expected = (["ein Haus", "zwei"], ["a house", "two "])  # blanks are the text's own
    assert read_pairs(pairs) == expected
    assert read_pairs(left, right) == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"pairs.tsv is empty"),
        (b"a\tb\nc\n", r"line 2 has 1 column but must have two.*name the second one as the target"),
        (b"a\tb\tc\n", r"line 1 has 3 columns"),
        (b"a\tb\n \tc\n", r"line 2: the source is empty"),
        (b"a\t\n", r"line 1: the target is empty"),
        (b"a\tb\nc\t\xff\n", r"line 2 is not UTF-8 \(byte 0xff\)"),
        (gzip.compress(b"a\tb\n" * 99, mtime=0)[:20], r"damaged gzip file"),
    ],
)
def test_a_broken_file_is_one_sentence_with_its_line(tmp_path, content, said):
    path = tmp_path / "pairs.tsv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_pairs(path)


def test_files_that_do_not_belong_together(tmp_path):
    for name, text in (("a", "1\n2\n"), ("b", "1\n")):
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=r"a has 2 lines but .*b has 1; line n of one"):
        read_pairs(tmp_path / "a", tmp_path / "b")
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_lines(tmp_path / "c")


def test_pairs_in_python():
    X, y = require_pairs(np.array(["a", "b"]), ["1", ["2", "3"]])
    assert (X, y) == (["a", "b"], [["1"], ["2", "3"]])
    assert gathered(["a", "b", "a", "a"], [["1"], ["2"], ["3"], ["1"]]) == (["a", "b"], [["1", "3"], ["2"]])


@pytest.mark.parametrize(
    ("X", "y", "error", "said"),
    [
        ("abc", ["1"], DTypeError, r"X is one text"),
        (["a"], "1", DTypeError, r"y is str but must be a list of texts"),
        (["a"], None, DTypeError, r"y is NoneType"),
        ([], [], LengthError, r"X holds no text"),
        (["a", " "], ["1", "2"], LengthError, r"X\[1\] is an empty text"),
        (["a"], [""], LengthError, r"y\[0\] is an empty text"),
        (["a"], [[]], LengthError, r"y\[0\] holds no text"),
        (["a"], [["1", ""]], LengthError, r"y\[0\]\[1\] is an empty text"),
        (["a", 3], ["1", "2"], DTypeError, r"X\[1\] is 3 \(int\)"),
        (["a"], ["1", "2"], LengthError, r"X has 1 texts but y has 2"),
        (5, ["1"], DTypeError, r"X is 5"),
    ],
)
def test_what_is_no_pair_of_texts_is_named(X, y, error, said):
    with pytest.raises(error, match=said):
        require_pairs(X, y)
