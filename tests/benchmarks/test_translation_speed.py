"""The peer of the translation benchmark computes what we compute: loss, gradients, symbols."""

import pytest

from benchmarks.translation_plain import Plain
from benchmarks.translation_speed import Case, check, make, rows_of

SIZES = {"hidden_size": 12, "embedding_size": 6, "source_size": 20, "target_size": 24}
CASES = [
    Case("gru", SIZES | {"cell": "gru", "score": "additive"}, 5, 2, 6),
    Case("lstm", SIZES | {"num_layers": 2}, 4, 3, 3),
    Case("feeding", SIZES | {"input_feeding": True}, 3, 1, 5),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_peer_gives_the_same(case):
    network, inputs, wanted = make(case)
    check(case, network, Plain(network), inputs, wanted)


def test_a_row_says_what_was_measured():
    train, greedy = rows_of(CASES[0], 0.0, iter(range(1_000)).__next__)  # a clock that ticks at each look
    assert (train["mode"], greedy["mode"], train["peer"]) == ("train", "greedy", "torch")
    assert train["saiki_ms"] == train["peer_ms"] == 1000 and train["ratio"] == 1
    assert train["saiki_tokens_a_second"] == train["tokens"] > 0 and greedy["tokens"] > 0
