"""The benchmark's Python beam is another hand's search: it must agree with ours."""

from __future__ import annotations

import pytest
import torch

from benchmarks.ctc_decoders import Case, plain_beam, utterances, words, write_model
from saiki.decoding import Fusion, LabelNGram, NGram, PrefixBeam


@pytest.mark.parametrize("width", [1, 5, 20])
def test_the_usual_python_beam_agrees(search, width):
    _, logits = utterances(Case(30, 2, 9, width))
    for rows, found in zip(torch.log_softmax(logits, -1).unbind(1), PrefixBeam(width=width).decode(logits)):
        prefix, score = plain_beam(rows.numpy(), width, 0, None)
        assert found[0].labels == prefix
        assert found[0].score == pytest.approx(score, abs=1e-9)


def test_with_a_language_model_too(search, tmp_path):
    case = Case(30, 2, 9, 8, language="letters")
    tokens, logits = utterances(case)
    write_model(tmp_path / "letters.arpa", case, tokens)
    fusion = Fusion(LabelNGram(NGram.read(tmp_path / "letters.arpa"), tokens, {" ": "<space>"}), 0.5, 1.0)
    beam = PrefixBeam(width=8, language=fusion).start(2)
    beam.advance(logits)
    ask = lambda prefix: fusion.added([prefix], case.K)[0]
    found = beam.hypotheses(final=False)  # theirs knows nothing of an end
    for rows, ours in zip(torch.log_softmax(logits, -1).unbind(1), found):
        prefix, score = plain_beam(rows.numpy(), 8, 0, ask)
        assert ours[0].labels == prefix
        assert ours[0].score == pytest.approx(score, abs=1e-9)


def test_utterances_are_spelled_in_their_tokens():
    case = Case(50, 1, 400, 5)
    tokens, logits = utterances(case)
    assert len(tokens) == len(set(tokens)) == 400 and logits.shape == (50, 1, 400)
    assert all(set(word) <= set(tokens) for word in words(case, tokens))
