"""`saiki fit language-model`, `generate` and `evaluate`, end to end on a small text."""

from __future__ import annotations

import gzip
import json

import pytest

from saiki.models import LanguageModel

LINES = "the cat sat on the mat.\nthe dog sat on the log.\n" * 20
QUICK = (
    *("--hidden-size", 12, "--num-layers", 1, "--max-epochs", 3, "--window", 16, "--batch-size", 4),
    *("--lr", 0.03, "--random-state", 0, "-q"),
)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(LINES, encoding="utf-8")
    return path


@pytest.fixture
def fitted(saiki, text, tmp_path):
    done = saiki("fit", "language-model", text, "-o", tmp_path / "model", *QUICK)
    assert done.code == 0, done.err
    assert "perplexity" in done.out and "unigrams" in done.out
    return tmp_path / "model"


def test_it_writes_on_and_is_measured_and_looked_into(saiki, fitted, text, tmp_path):
    greedy = [saiki("generate", fitted, "--prompt", "the ", "--length", 20, "--temperature", 0) for _ in "ab"]
    assert greedy[0].code == 0 and greedy[0].out == greedy[1].out
    assert greedy[0].out.startswith("the ") and len(greedy[0].out) == len("the ") + 20 + 1
    drawn = saiki("generate", fitted, "--prompt", "a", "--prompt", "b", "--random-state", 1, "--json")
    assert [row["prompt"] for row in json.loads(drawn.out)["texts"]] == ["a", "b"]
    assert saiki("generate", fitted, "-o", tmp_path / "out.txt").code == 0
    again = saiki("generate", fitted, "-o", tmp_path / "out.txt")
    assert again.code == 2 and "is already there" in again.err
    wrong = saiki("generate", fitted, "--temperature", -1)
    assert wrong.code == 2
    page = (fitted / "report.html").read_text(encoding="utf-8")
    for said in ("Samples", "0 (greedy)", "Entropy against temperature", "Kneser-Ney 7-grams", "as learned"):
        assert said in page
    packed = tmp_path / "text.gz"
    packed.write_bytes(gzip.compress(LINES.encode()))
    plain, other = (saiki("evaluate", fitted, path, "--json") for path in (text, packed))
    assert plain.out == other.out
    metrics = json.loads(plain.out)["metrics"]
    assert set(metrics) == {"loss", "perplexity", "bits_per_character", "unknown"}
    assert metrics["perplexity"] < 12
    seen = saiki("inspect", fitted, text, "--json")
    assert seen.code == 0, seen.err
    said = saiki("predict", fitted, text)
    assert said.code == 2 and "saiki generate" in said.err


def test_words_with_a_text_held_out(saiki, text, tmp_path, monkeypatch):
    monkeypatch.setattr(LanguageModel, "report", lambda self: None)  # drawing takes longer than all the rest
    held = tmp_path / "held.txt"
    held.write_text("the cat sat on the log.\n" * 4, encoding="utf-8")
    options = ("--tokenizer", "words lower=false", "--held-out", held, "--softmax", "sampled")
    done = saiki("fit", "language-model", text, "-o", tmp_path / "w", *options, *QUICK, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["metrics"]["perplexity"] < 20
    config = json.loads((tmp_path / "w" / "config.json").read_text())
    assert config["options"]["tokenizer"]["type"] == "words" and config["options"]["validation"] == "given"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n \n\n", "X is empty: there is no text to read"),
        (b"a", "too few to keep a share"),
        (b"abc\xff\xfe\n", "line 1 is not UTF-8"),
        (gzip.compress(LINES.encode(), mtime=0)[:40], "damaged gzip file"),
    ],
    ids=["nothing", "blanks", "one letter", "not UTF-8", "cut short"],
)
def test_a_bad_file_gets_one_clear_sentence(saiki, tmp_path, content, said):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    done = saiki("fit", "language-model", path, "-o", tmp_path / "model", *QUICK)
    assert done.code == 1 and said in done.err
    assert len(done.err.strip().splitlines()) <= 2
