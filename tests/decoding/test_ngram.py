"""n-gram models: the back-off rule by hand, the tree beside a plain table, broken files."""

from __future__ import annotations

import gzip
import math
import random

import numpy as np
import pytest

from saiki.core.errors import DataError, DTypeError, LabelError, ValueRangeError
from saiki.decoding import NGram

LN10 = math.log(10)
SMALL = """some words before the header are allowed

\\data\\
ngram 1=5
ngram 2=4
ngram 3=2

\\1-grams:
-99\t<s>\t-0.3
-1.0\t</s>
-0.5\ta\t-0.2
-0.7\tb\t-0.4
-2.0\t<unk>

\\2-grams:
-0.1\t<s> a\t-0.05
-0.6\ta b\t-0.25
-0.3\tb a
-0.2\tb </s>

\\3-grams:
-0.15\t<s> a b
-0.45\ta b a

\\end\\
"""


def arpa(tmp_path, text, name="lm.arpa"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def small(tmp_path):
    return NGram.read(arpa(tmp_path, SMALL))


def test_probabilities_by_hand(small):
    """Each line: what is listed, or back-off weights and then what is listed."""
    by_hand = {
        ("a",): -0.1,  # <s> a
        ("a", "b"): -0.1 - 0.15,
        ("a", "b", "a"): -0.1 - 0.15 - 0.45,
        ("b",): -0.3 - 0.7,  # back-off of <s>, then b
        ("a", "a"): -0.1 + (-0.05 - 0.2 - 0.5),  # back-off of "<s> a", of "a", then a
        ("a", "b", "b"): -0.1 - 0.15 + (-0.25 - 0.4 - 0.7),
        ("a", "x"): -0.1 + (-0.05 - 0.2 - 2.0),  # <unk>
        ("a", "x", "a"): -0.1 + (-0.05 - 0.2 - 2.0) - 0.5,  # nothing is known of what follows <unk>
    }
    for sentence, log10 in by_hand.items():
        assert small.log_probability_of(sentence, end=False) == pytest.approx(log10 * LN10), sentence
    assert small.log_probability_of(("a", "b")) == pytest.approx((-0.1 - 0.15 - 0.25 - 0.2) * LN10)


def test_scores_are_those_of_the_steps(small):
    for prefix in ([], ["a"], ["a", "b"], ["x", "b"], ["b", "a", "b"]):
        scores = small.score(prefix)
        assert scores.shape == (5,)
        for number, word in enumerate(small.words):
            whole = small.log_probability_of([*prefix, word], end=False)
            assert scores[number] == pytest.approx(whole - small.log_probability_of(prefix, end=False))


def random_model(tmp_path, seed, order=4, V=6):
    """An ARPA file of random n-grams, each with its context; and its table."""
    draw = random.Random(seed)
    words = ["<s>", "</s>", "<unk>", *"abcdef"[: V - 3]]
    table = {(word,): (-draw.random(), -draw.random()) for word in words}
    for n in range(2, order + 1):
        contexts = [gram for gram in table if len(gram) == n - 1]
        for gram in contexts:
            for word in words:
                if draw.random() < 0.35:
                    table[(*gram, word)] = (-draw.random(), 0.0 if n == order else -draw.random())
    lines = ["\\data\\"]
    for n in range(1, order + 1):
        lines.append(f"ngram {n}={sum(len(gram) == n for gram in table)}")
    for n in range(1, order + 1):
        lines += ["", f"\\{n}-grams:"]
        grams = [gram for gram in table if len(gram) == n]
        draw.shuffle(grams)
        if n == 1:
            words = [gram[0] for gram in grams]
        lines += [
            f"{table[gram][0]!r}\t{' '.join(gram)}" + (f"\t{table[gram][1]!r}" if table[gram][1] else "")
            for gram in grams
        ]
    return arpa(tmp_path, "\n".join([*lines, "", "\\end\\", ""])), table, words


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("order", [1, 2, 4])
def test_the_tree_gives_what_a_table_gives(tmp_path, seed, order):
    path, table, words = random_model(tmp_path, seed, order)
    model = NGram.read(path)
    assert len(model) == len(table) and model.order == order and model.words == tuple(words)

    def katz(history, word):
        history = tuple(history)[-(order - 1) :] if order > 1 else ()
        if (*history, word) in table:
            return table[(*history, word)][0]
        return table.get(history, (0, 0))[1] + katz(history[1:], word)

    draw = random.Random(seed + 100)
    for _ in range(20):
        sentence = [draw.choice(words) for _ in range(7)]
        expected, history = 0.0, ["<s>"]
        for word in sentence:
            expected += katz(history, word)
            history.append(word)
        assert model.log_probability_of(sentence, end=False) == pytest.approx(expected * LN10), sentence
        assert np.allclose(model.score(sentence), [katz(history, w) * LN10 for w in words])


def test_a_gzipped_file_is_read_as_well(tmp_path, small):
    path = tmp_path / "lm.arpa.gz"
    path.write_bytes(gzip.compress(SMALL.encode()))
    assert NGram.read(path).log_probability_of(["a", "b"]) == small.log_probability_of(["a", "b"])
    path.write_bytes(gzip.compress(SMALL.encode())[:-30])
    with pytest.raises(DataError, match="is cut short or no gzip file"):
        NGram.read(path)


def test_unknown_words_without_unk(tmp_path):
    text = SMALL.replace("-2.0\t<unk>\n", "").replace("ngram 1=5", "ngram 1=4")
    model = NGram.read(arpa(tmp_path, text))
    assert model.index("x") == -1
    assert model.log_probability_of(["a", "x"]) == -math.inf


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("\\data\\", "data", r"no line \\data\\, so it is no ARPA file"),
        ("ngram 2=4", "ngram 3=4", "line 5: 'ngram 3=4' stands where 'ngram 2=COUNT'"),
        ("ngram 2=4", "ngram 2=5", r"stands where|must be a log10 probability, 2 words"),
        ("ngram 2=4", "ngram 2=3", "the header promises 3 2-grams"),
        ("-0.6\ta b\t-0.25", "-0.6\ta b c\t-0.25", "must be a log10 probability, 2 words"),
        ("-0.6\ta b\t-0.25", "-0.6\ta c\t-0.25", "line 17: the word 'c' is not among the unigrams"),
        ("-0.6\ta b\t-0.25", "x\ta b\t-0.25", "line 17: the log10 probability is 'x'"),
        ("-0.6\ta b\t-0.25", "-0.6\ta b\tnan", "line 17: the back-off is 'nan'"),
        ("-0.6\ta b\t-0.25", "-0.6\tb b\t-0.25", "line 23: 'a b' is not listed as a 2-gram"),
        ("-0.3\tb a", "-0.3\ta b", "line 18: the n-gram is listed twice"),
        ("-0.7\tb\t-0.4", "-0.7\ta\t-0.4", "line 12: the word 'a' is listed twice"),
        ("-0.45\ta b a\n\n\\end\\\n", "", "the file ends before 2 3-grams were listed"),
        ("\\end\\\n", "", "the end of the file"),
    ],
)
def test_broken_files_are_told_by_line(tmp_path, old, new, said):
    assert SMALL.count(old) == 1
    with pytest.raises(DataError, match=said):
        NGram.read(arpa(tmp_path, SMALL.replace(old, new)))


def test_other_files(tmp_path):
    path = tmp_path / "lm.arpa"
    path.write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(DataError, match=r"not UTF-8 text|no ARPA file"):
        NGram.read(path)
    path.write_text("")
    with pytest.raises(DataError, match="no ARPA file"):
        NGram.read(path)
    with pytest.raises(FileNotFoundError):
        NGram.read(tmp_path / "nowhere")


def test_bad_questions(small):
    with pytest.raises(ValueRangeError, match="state is 99"):
        small.step(99, 0)
    with pytest.raises(ValueRangeError, match="word is 5"):
        small.step(0, 5)
    with pytest.raises(DTypeError, match=r"word is 1\.0"):
        small.step(0, 1.0)


def test_a_model_without_an_end(tmp_path):
    text = "\\data\\\nngram 1=1\n\\1-grams:\n-0.5 a\n\\end\\\n"
    model = NGram.read(arpa(tmp_path, text))
    assert model.log_probability_of(["a", "a"], end=False) == pytest.approx(-1.0 * LN10)
    with pytest.raises(LabelError, match="no </s>"):
        model.log_probability_of(["a"])
