"""Word vectors out of the text files of GloVe and word2vec."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from saiki.core.errors import DataError
from saiki.data.vocabulary import Vocabulary
from saiki.data.word_vectors import read_word_vectors

GLOVE = "the 0.1 0.2 0.3\n, -1 0 1\n. . 4 5 6\ncat 1e-1 2 3.5\n"


def written(tmp_path, text, name="vectors.txt"):
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["vectors.txt", "vectors.txt.gz"])
def test_both_forms_say_the_same(tmp_path, name):
    glove = read_word_vectors(written(tmp_path, GLOVE, name))
    word2vec = read_word_vectors(written(tmp_path, "4 3\n" + GLOVE.replace("\n", " \n") + "\n", "w2v.txt"))
    assert glove.words == word2vec.words == ("the", ",", ". .", "cat")  # a word may hold a blank
    assert glove.vectors.dtype == np.float32 and glove.size == 3
    np.testing.assert_array_equal(glove.vectors, word2vec.vectors)
    np.testing.assert_allclose(glove.vectors[3], [0.1, 2, 3.5], rtol=1e-7)


def test_what_is_kept(tmp_path):
    path = written(tmp_path, "a 1 1\nb 2 2\nA 3 3\nb 9 9\nc 4 4\n")
    assert read_word_vectors(path).words == ("a", "b", "A", "c")  # the first of a word counts
    assert read_word_vectors(path, most=2).words == ("a", "b")
    assert read_word_vectors(path, only=["C", "zz"]).words == ("c",)
    assert read_word_vectors(path, only=["c"], most=1).words == ("a", "c")
    assert read_word_vectors(path, only=[]).vectors.shape == (0, 2)


def test_matrix_of_a_vocabulary(tmp_path):
    vectors = read_word_vectors(written(tmp_path, "the 2 4\ncat 4 8\n"))
    vocabulary = Vocabulary(("<unk>", "The", "cat", "zebra"), ("<unk>",))
    matrix, found = vectors.matrix(vocabulary)
    assert found.tolist() == [False, True, True, False]  # The is found in lower case
    np.testing.assert_array_equal(matrix, [[3, 6], [2, 4], [4, 8], [0, 0]])
    assert "cat" in vectors and "Cat" not in vectors and vectors.row("Cat") == 1


def test_what_is_wrong_is_named(tmp_path):
    for text, message in (
        ("", "is empty"),
        ("hello\n", r"line 1 of .* is 'hello' but must be a word and its numbers"),
        ("a 1 2\nb 1\n", r"line 2 of .* has 1 numbers after its word but a vector has 2.*cut short"),
        ("a 1 2\nb 1 x\n", r"line 2 of .* holds 'x' where a number must be"),
        ("a 1 nan\n", r"line 1 of .* not finite"),
        ("3 2\na 1 2\nb 1 2\n", r"announces 3 words but has 2"),
    ):
        with pytest.raises(DataError, match=message):
            read_word_vectors(written(tmp_path, text))
    with pytest.raises(DataError, match="there is no file"):
        read_word_vectors(tmp_path / "absent.txt")
    binary = tmp_path / "vectors.bin"
    binary.write_bytes(b"3 2\nword \x80\x3f\xff\xfe\n")
    with pytest.raises(DataError, match=r"not UTF-8 text\. Only the text form is read"):
        read_word_vectors(binary)
    cut = tmp_path / "cut.txt.gz"
    cut.write_bytes(gzip.compress(GLOVE.encode() * 50)[:60])
    with pytest.raises(DataError, match="no whole gzip file"):
        read_word_vectors(cut)
    with pytest.raises(DataError, match="cannot be read"):
        read_word_vectors(tmp_path)
