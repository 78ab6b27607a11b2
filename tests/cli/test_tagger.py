"""`saiki fit tagger` and `saiki tag`: from a file of sentences to tags; bad input in one sentence."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from saiki import load
from saiki.data import read_tagged

Run = Callable[..., "object"]
QUICK = ("--max-epochs", 2, "--hidden-size", 4, "--word-size", 4, "--character-size", 4, "--random-state", 0)


def columns(n: int, labels: bool = False) -> str:
    blocks = []
    for k in range(n):
        head = f"# label = {'Loud' if k % 3 else 'Quiet'}\n" if labels else ""
        blocks.append(
            head + "\n".join([f"the\tDET\ndog{k % 4}\tNOUN", "barks\tVERB" if k % 2 else ".\tPUNCT"])
        )
    return "\n\n".join(blocks) + "\n"


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tagged") / "dogs.txt"
    path.write_text(columns(30, labels=True))
    return path


@pytest.fixture
def model(saiki: Run, sentences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from saiki.models import SequenceTagger

    monkeypatch.setattr(SequenceTagger, "report", lambda self: None)  # its pictures take seconds
    ran = saiki("fit", "tagger", sentences, "-o", tmp_path / "m", *QUICK, "--quiet")
    assert ran.code == 0, ran.err
    for said in ("this model", "most frequent tag of the word", "label_accuracy", "sentence_accuracy"):
        assert said in ran.out
    return tmp_path / "m"


def test_fit_and_tag(
    saiki: Run, model: Path, sentences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {"vocabulary.json", "config.json", "checkpoints"} <= {p.name for p in model.iterdir()}
    ran = saiki("tag", model, "--text", "the dog1 barks", "--text", "the dog9", "--proba")
    assert ran.code == 0, ran.err
    first, second = ran.out.strip().split("\n\n")
    label, *words = first.split("\n")
    assert label.startswith("# label = ") and [line.split("\t")[0] for line in words] == [
        "the",
        "dog1",
        "barks",
    ]
    assert all(0 < float(line.split("\t")[2]) <= 1 for line in words)
    estimator = load(model)
    assert [line.split("\t")[1] for line in words] == estimator.predict(["the dog1 barks"])[0]
    assert second.count("\n") == 2
    monkeypatch.setattr("sys.stdin", io.StringIO("the dog2.\n\nthe dog3\n"))
    ran = saiki("tag", model, "--split", "words", "--json")
    found = json.loads(ran.out)["sentences"]
    assert [one["words"] for one in found] == [["the", "dog2", "."], ["the", "dog3"]]
    assert [len(one["tags"]) for one in found] == [3, 2] and found[0]["label"] in ("Loud", "Quiet")
    # what tag writes is what fit and evaluate read
    plain = tmp_path / "in.txt"
    plain.write_text("\n".join(" ".join(words) for words in read_tagged(sentences).words))
    assert saiki("tag", model, plain, "-o", tmp_path / "out.txt").code == 0
    ran = saiki("evaluate", model, tmp_path / "out.txt", "--json")
    assert json.loads(ran.out)["metrics"]["sentence_accuracy"] == 1.0
    assert saiki("tag", model, plain, "-o", tmp_path / "out.txt").code == 2


def test_conllu_held_out_and_options(
    saiki: Run, tmp_path: Path, sentences: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from saiki.models import SequenceTagger

    monkeypatch.setattr(SequenceTagger, "report", lambda self: None)

    def conllu(words: list[str]) -> str:
        rows = [f"{k}\t{w}\t{w}\tX{k % 2}\tY{k % 3}\t_\t0\tdep\t_\t_" for k, w in enumerate(words, start=1)]
        return "\n".join(rows) + "\n\n"

    file = tmp_path / "a.conllu"
    file.write_text("".join(conllu(f"w{k} v{k} u".split()) for k in range(12)))
    ran = saiki(
        "fit", "tagger", file, "-o", tmp_path / "m", *QUICK, "--quiet", "--label", "xpos", "--held-out", file,
        "--characters", "convolution", "--softmax", "--as-written", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    model = load(tmp_path / "m")
    assert set(model.tags_) == {"Y0", "Y1", "Y2"} and not model.shape_.chain and model.lower is False
    assert model.details_["splits"][1]["sentences"] == 12
    assert json.loads(ran.out)["task"] == "tagger"
    ran = saiki("tag", tmp_path / "m", file)
    assert ran.code == 0 and ran.out.count("\n\n") == 12 and "label" not in ran.out
    ran = saiki("evaluate", tmp_path / "m", file, "--label", "xpos", "--json")
    assert json.loads(ran.out)["metrics"]["accuracy"] == pytest.approx(model.metrics_["accuracy"])
    ran = saiki("lr-range", "tagger", file, "--steps", 12, "--hidden-size", 4, "--label", "xpos", "--json")
    assert ran.code == 0, ran.err


def test_what_is_wrong_gets_one_sentence(
    saiki: Run, model: Path, sentences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def says(code: int, text: str, *arguments: object) -> None:
        ran = saiki(*arguments)
        assert ran.code == code and ran.err.startswith("error: ") and text in ran.err, ran.err
        assert "Traceback" not in ran.err

    empty = tmp_path / "empty.txt"
    empty.write_text("")
    blank = tmp_path / "blank.txt"
    blank.write_text("\n\n")
    cut = tmp_path / "cut.conllu.gz"
    cut.write_bytes(b"\x1f\x8b\x08\x00")
    says(1, "is empty", "tag", model, empty)
    says(1, "holds no sentence", "tag", model, blank)
    says(1, "damaged gzip file", "tag", model, cut)
    says(1, "cannot be read", "tag", model, tmp_path / "none.txt")
    says(2, "both a file and --text", "tag", model, sentences, "--text", "a")
    says(2, "unknown tokenizer", "tag", model, "--text", "a", "--split", "wrds")
    says(2, f"use: saiki tag {model}", "predict", model, sentences)
    says(1, "holds no sentence", "fit", "tagger", blank, "-o", tmp_path / "x")
    says(2, "did you mean 'upos'", "fit", "tagger", cut, "-o", tmp_path / "x", "--label", "uopos")
    new = tmp_path / "new.txt"
    new.write_text("# label = Loud\na\tNEW\nb\tDET\n")
    says(1, "not among", "fit", "tagger", sentences, "-o", tmp_path / "x", "--held-out", new, *QUICK)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    says(1, "stdin holds no sentence", "tag", model, "-")
