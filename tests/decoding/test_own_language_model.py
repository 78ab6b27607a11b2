"""Our own character LanguageModel in the beam, against exhaustive search."""

from __future__ import annotations

import pytest
import torch
from all_paths import exhaustive, random_rows

from saiki.decoding import Fusion, PrefixBeam
from saiki.models.language_model import LanguageModel

TOKENS = ["<blank>", "a", "b", " "]


@pytest.fixture(scope="module")
def model():
    texts = ["ab ab", "ab", "ab ab ab", "ab abab"] * 20
    fitted = LanguageModel(
        hidden_size=8,
        num_layers=1,
        max_epochs=8,
        lr=0.05,
        window=12,
        batch_size=8,
        random_state=0,
        verbose=False,
        baselines=False,
    )
    return fitted.fit(texts)


def test_it_scores_what_it_says_it_scores(search, rng, model):
    rows = random_rows(rng, 5, 4)
    scorer = model.scorer(TOKENS)
    expected = {}
    for labels, exact in exhaustive(rows).items():
        told = sum(float(scorer.score(labels[:n])[label]) for n, label in enumerate(labels))
        expected[labels] = exact.total + 0.6 * (told + scorer.end(labels)) + 0.4 * len(labels)
    ranked = sorted(expected.items(), key=lambda item: -item[1])[:20]
    beam = PrefixBeam(width=2000, best=20, language=Fusion(model.scorer(TOKENS), 0.6, 0.4))
    found = beam.decode([rows])[0]
    assert [h.labels for h in found] == [labels for labels, _ in ranked]
    assert [h.score for h in found] == pytest.approx([score for _, score in ranked], abs=1e-4)  # float32


def test_it_mends_what_was_heard(search, model):
    """The second letter was heard as a or b alike, with a little more for a; in its texts b follows a."""
    heard = torch.tensor(
        [[0.04, 0.94, 0.01, 0.01], [0.94, 0.02, 0.02, 0.02], [0.02, 0.5, 0.46, 0.02]], dtype=torch.float64
    )
    rows = [heard.log()]
    assert PrefixBeam().decode(rows)[0][0].text(TOKENS) == "aa"
    assert PrefixBeam(language=Fusion(model.scorer(TOKENS), 0.5)).decode(rows)[0][0].text(TOKENS) == "ab"
