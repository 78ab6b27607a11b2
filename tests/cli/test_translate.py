"""`saiki fit translator` and `saiki translate`: files in, lines out, one sentence for what is wrong."""

from __future__ import annotations

import gzip
import io
import json

import pytest

QUICK = ("--max-epochs", 2, "--hidden-size", 8, "--embedding-size", 4, "--random-state", 0, "--quiet")
WORDS = [("ab", "B A"), ("ba", "A B"), ("abc", "C B A"), ("cab", "B A C"), ("bb", "B B"), ("ca", "A C")] * 3


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same pairs as one .tsv file and as two files, one of them gzipped."""
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "pairs.tsv").write_text("".join(f"{x}\t{y}\n" for x, y in WORDS))
    (folder / "words.x").write_text("".join(f"{x}\n" for x, _ in WORDS))
    (folder / "words.y.gz").write_bytes(gzip.compress("".join(f"{y}\n" for _, y in WORDS).encode()))
    return folder


@pytest.fixture(scope="module")
def model(files):
    """A translator of two epochs."""
    from saiki.models.translator import Translator

    made = Translator(
        hidden_size=8,
        embedding_size=4,
        max_epochs=2,
        target_tokens="whitespace",
        validation=None,
        random_state=0,
        verbose=False,
    ).fit(*zip(*WORDS))
    made.report = lambda: None
    return made.save(files / "model")


def test_fit_from_pairs_and_from_two_files_is_the_same(saiki, files, monkeypatch):
    monkeypatch.setattr("saiki.models.translator.Translator.report", lambda self: None)  # drawn elsewhere
    options = ("--target-tokens", "whitespace", "--validation", 0.5, "--json", *QUICK)
    one = saiki("fit", "translator", files / "pairs.tsv", "-o", files / "a", *options)
    two = saiki(
        "fit", "translator", files / "words.x", "--target", files / "words.y.gz", "-o", files / "b", *options
    )
    assert one.code == two.code == 0, one.err + two.err
    figures = [json.loads(ran.out) for ran in (one, two)]
    assert figures[0]["metrics"] == figures[1]["metrics"] and set(figures[0]["metrics"]) >= {"exact"}
    assert len(figures[0]["baselines"]) == 4
    assert (files / "a" / "target_vocabulary.json").read_bytes() == (
        files / "b" / "target_vocabulary.json"
    ).read_bytes()


def test_held_out_pairs_and_pieces_by_flag(saiki, files, monkeypatch):
    from saiki.models.translator import Translator

    seen = {}

    def fit(self, X, y, **options):
        seen.update(self.get_params(deep=False))
        raise SystemExit(0)

    monkeypatch.setattr(Translator, "fit", fit)
    ran = saiki(
        "fit", "translator", files / "pairs.tsv", "--held-out", files / "pairs.tsv", "-o", files / "c",
        "--source-tokens", "sentencepiece size=40 kind=bpe", "--target-tokens", "words lower=false",
        "--embedding-size", "none",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert seen["source_tokens"] == {"type": "sentencepiece", "size": 40, "kind": "bpe"}
    assert seen["target_tokens"] == {"type": "words", "lower": False}
    assert seen["validation"][0][:2] == ["ab", "ba"] and seen["embedding_size"] is None


def test_lines_in_lines_out(saiki, files, model, monkeypatch):
    from_file = saiki("translate", model, files / "words.x")
    assert from_file.code == 0 and len(from_file.out.splitlines()) == len(WORDS)
    monkeypatch.setattr("sys.stdin", io.StringIO("ab\nca\n"))
    assert (
        saiki("translate", model).out.splitlines()
        == saiki("translate", model, "--text", "ab", "--text", "ca").out.splitlines()
    )
    ranked = saiki("translate", model, "--text", "abc", "--n-best", 2).out.splitlines()
    scores = [float(line.split("\t")[0]) for line in ranked]
    assert len(scores) == 2 and scores[0] >= scores[1]
    drawn = [
        saiki("translate", model, "--text", "abc", "--n-best", 3, "--temperature", 2, "--random-state", 4).out
        for _ in range(2)
    ]
    assert drawn[0] == drawn[1] and len(drawn[0].splitlines()) == 3


def test_weights_as_json_and_as_a_picture(saiki, files, model, tmp_path):
    ran = saiki("translate", model, "--text", "ab", "--picture", tmp_path / "a.svg", "--json")
    best = json.loads(ran.out)["translations"][0]["best"][0]
    assert best["source"] == ["a", "b"] and len(best["attention"]) == len(best["tokens"])
    assert (tmp_path / "a.svg").read_text().startswith("<?xml") or "<svg" in (tmp_path / "a.svg").read_text()
    ran = saiki("translate", model, files / "words.x", "-o", tmp_path / "out.txt")
    assert ran.out == "" and len((tmp_path / "out.txt").read_text().splitlines()) == len(WORDS)
    assert saiki("translate", model, "--text", "a", "-o", tmp_path / "out.txt").code == 2


def test_evaluate_reads_two_files(saiki, files, model):
    ran = saiki("evaluate", model, files / "words.x", "--target", files / "words.y.gz", "--json")
    pairs = saiki("evaluate", model, files / "pairs.tsv", "--json")
    assert json.loads(ran.out)["metrics"] == json.loads(pairs.out)["metrics"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("translate", "MODEL", "nothing.txt"), 1, "nothing.txt cannot be read: No such file or directory"),
        (("translate", "MODEL", "HOLE"), 1, "hole.txt, line 2 is empty"),
        (("translate", "MODEL", "--text", "a", "--beam", "2", "--temperature", "1"), 2, "have no meaning"),
        (("translate", "MODEL", "HOLE", "--text", "a"), 2, "both a file and --text were given"),
        (("translate", "MODEL", "--text", "a", "--n-best", "3", "--beam", "2"), 2, "n_best is 3"),
        (("fit", "translator", "WORDS", "-o", "x"), 1, "words.x, line 1 has 1 column but must have two"),
        (("fit", "translator", "PAIRS", "-o", "x", "--held-out-target", "WORDS"), 2, "needs --held-out"),
        (("fit", "translator", "PAIRS", "-o", "x", "--source-tokens", "word"), 2, "did you mean 'words'"),
        (("evaluate", "MODEL", "PAIRS", "--label", "y"), 2, "--label is not for a translator"),
        (("predict", "MODEL", "PAIRS"), 2, "use: saiki translate"),
    ],
)
def test_what_is_wrong_is_said_in_two_lines(
    saiki, files, model, tmp_path, monkeypatch, arguments, code, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hole.txt").write_text("a\n\nb\n")
    names = {
        "MODEL": model,
        "HOLE": tmp_path / "hole.txt",
        "WORDS": files / "words.x",
        "PAIRS": files / "pairs.tsv",
    }
    ran = saiki(*(names.get(one, one) for one in arguments))
    assert (ran.code, ran.out) == (code, ""), ran.err
    assert said in ran.err and "Traceback" not in ran.err and len(ran.err.strip().splitlines()) <= 2
