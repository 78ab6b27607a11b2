"""Tagged sentences from CoNLL-U, columns and parallel files; what is wrong with a file is named by line."""

from __future__ import annotations

import gzip

import pytest

from saiki.core.errors import DataError, OptionError
from saiki.data.conll import read_tagged


def word(number: str, form: str, upos: str = "X", xpos: str = "_") -> str:
    return "\t".join([number, form, form.lower(), upos, xpos, "_", "0", "root", "_", "_"])


CONLLU = "\n".join(
    [
        "# sent_id = 1",
        "# text = Don't go",
        word("1-2", "Don't"),
        word("1", "Do", "AUX", "VB"),
        word("2", "n't", "PART", "RB"),
        word("2.1", "ghost", "NOUN"),
        word("3", "go", "VERB", "VB"),
        "",
        "",
        "# newpar",
        word("1", "#", "SYM", "#"),
        "",
    ]
)


def test_conllu_takes_words_and_leaves_tokens_and_empty_nodes(tmp_path):
    file = tmp_path / "a.conllu"
    file.write_text(CONLLU)
    found = read_tagged(file)
    assert found.words == [["Do", "n't", "go"], ["#"]]
    assert found.tags == [["AUX", "PART", "VERB"], ["SYM"]] and found.labels is None and len(found) == 2
    assert read_tagged(file, column="xpos").tags == [["VB", "RB", "VB"], ["#"]]
    assert read_tagged(file, answers=False).tags is None
    packed = tmp_path / "a.conllu.gz"
    packed.write_bytes(gzip.compress(CONLLU.encode()))
    assert read_tagged(packed) == found
    with pytest.raises(OptionError, match="did you mean 'upos'"):
        read_tagged(file, column="upo")


def test_columns_take_the_first_and_the_last(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n# NN O\n. . O")
    found = read_tagged(file)
    assert found.words == [["EU", "rejects"], ["#", "."]] and found.tags == [["B-ORG", "O"], ["O", "O"]]
    file.write_text("# label = Greeting\nhello there\tO\nyou\tO\n\n# intent = Bye\nciao\tO\n")
    found = read_tagged(file)
    assert found.words[0] == ["hello there", "you"] and found.labels == ["Greeting", "Bye"]
    file.write_text("a\nb\n\nc\n")
    assert read_tagged(file, answers=False).words == [["a", "b"], ["c"]]


def test_parallel_files_find_each_other(tmp_path):
    (tmp_path / "train.seq.in").write_text("play some jazz \nstop\n")
    (tmp_path / "train.seq.out.gz").write_bytes(gzip.compress(b"O O B-genre \nO\n"))
    found = read_tagged(tmp_path / "train.seq.in")
    assert found.words == [["play", "some", "jazz"], ["stop"]] and found.labels is None
    (tmp_path / "train.label").write_text("Play\nStop\n")
    assert read_tagged(tmp_path / "train.seq.in").labels == ["Play", "Stop"]
    assert read_tagged(tmp_path / "train.seq.in", answers=False).labels is None
    (tmp_path / "train.label").write_text("Play\n")
    with pytest.raises(DataError, match=r"label has 1 lines but .*seq.in has 2"):
        read_tagged(tmp_path / "train.seq.in")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.conllu", "1\tword\n", "line 1 has 2 columns, the first '1', but a line of CoNLL-U has ten"),
        ("a.conllu", word("x", "a") + "\n", "line 1 has 10 columns, the first 'x'"),
        ("a.conllu", word("1", "a") + "\n" + word("2", "b", "_"), "line 2: the word 'b' has no upos"),
        ("a.conllu", "# only\n", "holds no sentence"),
        ("a.txt", "word\n", "line 1 holds 'word' alone"),
        ("a.txt", "a N\nb N x\n", "line 2 has 3 columns but the first line of a sentence has 2"),
        ("a.txt", "# label = x\na N\n\nb N\n", "1 of 2 sentences have a label; that of line 4 has none"),
        ("a.seq.in", "a b\n", "a.seq.out with their tags is not beside it"),
    ],
)
def test_what_is_wrong_is_named_by_line(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=said):
        read_tagged(tmp_path / name)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_tagged(tmp_path / "none.conllu")
    whole = gzip.compress(CONLLU.encode())
    (tmp_path / "cut.conllu.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="damaged gzip file"):
        read_tagged(tmp_path / "cut.conllu.gz")
    (tmp_path / "t.seq.in").write_text("a b\n\n")
    (tmp_path / "t.seq.out").write_text("O O\nO\n")
    with pytest.raises(DataError, match=r"t.seq.in, line 2 is empty"):
        read_tagged(tmp_path / "t.seq.in")
    (tmp_path / "t.seq.in").write_text("a b\nc d\n")
    with pytest.raises(DataError, match=r"t.seq.out, line 2 has 1 tags but line 2 of .* has 2 words"):
        read_tagged(tmp_path / "t.seq.in")
