"""Other projects' own expectations of CTC decoders, read from their golden vectors."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from saiki.decoding import Fusion, Lexicon, NGram, PrefixBeam, WordNGram, ctc_collapse, ctc_greedy

pytestmark = pytest.mark.peer


def read(golden, name):
    return {case["id"]: case for case in json.loads((golden / "decoders" / f"{name}.json").read_text())}


def logs(probabilities):
    with np.errstate(divide="ignore"):
        return torch.from_numpy(np.log(np.asarray(probabilities, dtype=np.float64)))


def test_tensorflow_greedy(golden):
    case = read(golden, "decoders")["tf.ctc_decoder_ops_test.testCTCGreedyDecoder"]
    rows = [logs(p)[:n] for p, n in zip(case["probs_btc"], case["lengths"])]
    found = ctc_greedy(rows, blank=case["blank"], normalized=True)
    assert [list(h.labels) for h in found] == case["decoded"]
    assert [-h.score for h in found] == pytest.approx(case["neg_sum_log_max"], abs=case["atol"])


def keras(golden):
    cases = {case["id"]: case for case in json.loads((golden / "keras3" / "ctc.json").read_text())}
    greedy = cases["ops.nn_test.test_ctc_decode.greedy_merge"]
    rows = [
        torch.tensor(logits, dtype=torch.float64)[:n]
        for logits, n in zip(greedy["inputs"], greedy["lengths"])
    ]
    return greedy, cases["ops.nn_test.test_ctc_decode.beam"], rows


def test_keras(search, golden):
    """Their greedy decoder takes the inputs as they stand; with a tie in the first frame."""
    greedy, case, rows = keras(golden)
    found = ctc_greedy(rows, blank=greedy["blank"], normalized=True)
    assert [list(h.labels) for h in found] == greedy["expected"]
    assert [-h.score for h in found] == pytest.approx(greedy["scores"], abs=1e-6)
    beam = PrefixBeam(width=case["beam_width"], best=case["top_paths"], blank=case["blank"])
    for found_beam, labels, scores in zip(beam.decode(rows), case["expected"], case["log_probs"]):
        check(found_beam, labels, scores, 1e-5)


def test_width_two_of_tensorflow(search, golden):
    case = read(golden, "decoders")["tf.ctc_decoder_ops_test.testCTCDecoderBeamSearch"]
    rows = [torch.tensor(case["table_tc"], dtype=torch.float64) + 2.0]
    beam = PrefixBeam(width=case["beam_width"], best=case["top_paths"], blank=case["blank"])
    check(beam.decode(rows)[0], case["decoded"], case["log_probs"], case["atol"])
    wide = PrefixBeam(width=4000, best=2, blank=case["blank"])
    check(wide.decode(rows)[0], *zip(*case["exact_top2"]), 1e-5)


@pytest.mark.parametrize("name", ["SimpleTest", "MultiBatchTest", "MultiPathsTest", "NonEqualSequencesTest"])
def test_tflite(search, golden, name):
    case = read(golden, "decoders")[f"tflite.ctc_beam_search_decoder_test.{name}"]
    logits = torch.tensor(case["logits_tbc"], dtype=torch.float64)
    beam = PrefixBeam(width=case["beam_width"], best=case["top_paths"], blank=case["blank"])
    for found, labels, scores in zip(
        beam.decode(logits, case["lengths"]), case["decoded"], case["log_probs"]
    ):
        check(found, labels, scores, case["atol"])
    wide = PrefixBeam(width=4000, best=2, blank=case["blank"]).decode(logits, case["lengths"])
    for found, exact in zip(wide, case["exact_top2"]):
        check(found, *zip(*exact), 1e-5)


def check(found, labels, scores, tolerance):
    assert [list(h.labels) for h in found] == [list(path) for path in labels]
    assert [h.score for h in found] == pytest.approx(list(scores), abs=tolerance)


def test_deepspeech(search, golden):
    case = read(golden, "decoders")["parlance_ctcdecode"]
    rows = [logs(p) for p in case["probs_btc"]]
    text = lambda h: h.text(case["vocab"])
    assert [text(h) for h in ctc_greedy(rows, blank=case["blank"])] == case["greedy"]
    beam = PrefixBeam(width=case["beam_width"], blank=case["blank"])
    assert [text(found[0]) for found in beam.decode(rows)] == case["decoded"]
    session = beam.start(2)
    for begin, end in ((0, 2), (2, 6)):
        session.advance([r[begin:end] for r in rows])
    assert [text(found[0]) for found in session.hypotheses()] == case["decoded"]


def test_githubharald(search, golden):
    case = read(golden, "decoders")["githubharald.mini"]
    rows = [logs(case["probs_tc"])]
    assert ctc_greedy(rows, blank=2)[0].text("ab") == case["greedy"]
    best = PrefixBeam(blank=2).decode(rows)[0][0]
    assert best.text("ab") == case["beam"]
    assert math.exp(best.score) == pytest.approx(case["probability_of_a"])
    assert -best.score == pytest.approx(case["loss_of_a"])


def test_real_handwriting(golden):
    cases = read(golden, "githubharald_real")
    stored = np.load(golden / "decoders" / "githubharald_real.npz")
    line, word = cases["githubharald.line"], cases["githubharald.word"]
    rows = [torch.from_numpy(stored["line_logits"])]
    assert ctc_greedy(rows, blank=line["blank"])[0].text(line["chars"]) == line["greedy"]
    best = PrefixBeam(width=line["beam_width"], blank=line["blank"]).decode(rows)[0][0]
    assert best.text(line["chars"]) == line["beam"]
    rows = [torch.from_numpy(stored["word_logits"])]
    assert ctc_greedy(rows, blank=word["blank"])[0].text(word["chars"]) == word["greedy"]


def test_a_word_list_mends_real_handwriting(search, golden):
    """Their search is another, but the words are few and the answer is theirs."""
    case = read(golden, "githubharald_real")["githubharald.word"]
    rows = [torch.from_numpy(np.load(golden / "decoders" / "githubharald_real.npz")["word_logits"])]
    words = ["airport", "aircraft", "craft", "air", "aircrew"]
    tokens = [*case["chars"], ""]
    lexicon = Lexicon.of(words, tokens, separator=None, repeat=False)
    found = PrefixBeam(blank=case["blank"], lexicon=lexicon).decode(rows)[0][0]
    assert found.text(case["chars"]) == case["lexicon_search"]["expected"]


BUNNY = {"label_floor": math.exp(-5), "margin": 10.0, "width": 100}  # their defaults


def bunny(golden):
    case = read(golden, "pyctcdecode")["pyctcdecode.bugs_bunny"]
    probabilities = np.clip(np.array(case["probs_tc"]), 1e-15, 1)
    return case, logs(probabilities)


def test_pyctcdecode_beams(search, golden):
    case, rows = bunny(golden)
    expected = case["no_lm"]
    found = PrefixBeam(blank=case["blank"], best=100, **BUNNY).decode([rows])[0]
    assert len(found) == expected["n_beams"]
    for hypothesis, told in ((found[0], expected), (found[-1], expected["worst_beam"])):
        assert hypothesis.text(case["labels"]) == told["text"]
        words = hypothesis.words(case["labels"])
        assert [[w.text, [w.start, w.end]] for w in words] == told["word_frames"]
    assert found[0].score == pytest.approx(expected["logit_score"], abs=1e-9)
    session = PrefixBeam(blank=case["blank"], best=100, **BUNNY).start()
    for begin, end in ((0, 3), (3, 8), (8, 13)):
        session.advance([rows[begin:end]])
    assert session.hypotheses()[0] == found


def test_pyctcdecode_with_a_language_model(search, golden, tmp_path):
    case, rows = bunny(golden)
    expected = case["with_bigram_lm"]
    unigrams, bigrams = expected["lm_log10"]["unigram"], expected["lm_log10"]["bigram"]
    lines = ["\\data\\", f"ngram 1={len(unigrams)}", f"ngram 2={len(bigrams)}"]
    lines += ["\\1-grams:", *(f"{value} {word}" for word, value in unigrams.items())]
    lines += ["\\2-grams:", *(f"{value} {gram}" for gram, value in bigrams.items()), "\\end\\"]
    path = tmp_path / "bunny.arpa"
    path.write_text("\n".join(lines))
    model = WordNGram.of(NGram.read(path), case["labels"])
    fusion = Fusion(model, expected["alpha_default"], expected["beta_default"])
    best = PrefixBeam(blank=case["blank"], language=fusion, **BUNNY).decode([rows])[0][0]
    assert best.text(case["labels"]) == expected["text"]
    assert best.log_probability == pytest.approx(expected["logit_score"], abs=1e-9)
    assert best.score == pytest.approx(expected["lm_score"], abs=1e-9)


def test_pyctcdecode_frames_of_a_stretched_word(search, golden):
    case = read(golden, "pyctcdecode")["pyctcdecode.stretched"]
    labels = case["labels"]
    path = torch.tensor([labels.index(token) for token in case["path"]])
    rows = [50.0 * torch.nn.functional.one_hot(path, len(labels)).double()]
    for hypothesis in (ctc_greedy(rows, blank=7)[0], PrefixBeam(blank=7).decode(rows)[0][0]):
        words = hypothesis.words(labels)
        assert [[w.text, [w.start, w.end]] for w in words] == case["word_frames"]
        assert hypothesis.text(labels).strip() == case["text"]


def test_an_utterance_of_librispeech(search, golden):
    case = read(golden, "pyctcdecode")["pyctcdecode.libri"]
    logits = torch.from_numpy(np.load(golden / "decoders" / "pyctcdecode_libri.npz")["logits"]).double()
    rows, labels = [logits], case["labels"]
    assert ctc_greedy(rows, blank=28)[0].text(labels).strip() == case["text"]
    width = 25 if search == "native" else 4
    beam = PrefixBeam(width=width, blank=28, blank_skip=0.9999, margin=10.0)
    assert beam.decode(rows)[0][0].text(labels).strip() == case["text"]


def test_torchaudio_time_steps(golden):
    (case,) = read(golden, "torchaudio").values()
    labels, starts, _ = ctc_collapse(case["path"], case["blank"])
    assert list(labels) == case["tokens"]
    assert list(starts) == case["timesteps"]
    assert [case["token_names"][k] for k in labels] == case["names"]
