"""The rule of thumb both ways: sums by hand, limits, and the sentence after fit."""

from __future__ import annotations

import pytest

from saiki import suggest_size
from saiki.core.errors import OptionError
from saiki.models.sizing import parameter_note


def lstm(H: int, I: int) -> int:
    return 4 * H * I + 4 * H * H + 4 * H


def test_lstm_by_hand():
    found = suggest_size("lstm", 50_000, 3, 1)
    H = found.hidden_size
    assert found.parameters == lstm(H, 3) + (H + 1)
    assert found.parameters <= 5000 < lstm(H + 1, 3) + (H + 2)
    assert int(found) == H == 33 and found.fits


def test_two_layers_both_directions_by_hand():
    found = suggest_size("gru", 100_000, 5, 4, num_layers=2, bidirectional=True)
    H = found.hidden_size

    def total(H: int) -> int:
        first = 2 * (3 * H * 5 + 3 * H * H + 3 * H + H)
        second = 2 * (3 * H * 2 * H + 3 * H * H + 3 * H + H)
        return first + second + 4 * (2 * H + 1)

    assert found.parameters == total(H) <= 10_000 < total(H + 1)


def test_the_arithmetic_is_shown():
    text = str(suggest_size("elman", 1000, 2, 1))
    assert "1,000 training values at 10 a parameter pay for 100 parameters" in text
    assert "elman 1: " in text and "head: 1 (" in text and "one unit more needs" in text


def test_too_little_data_says_so():
    found = suggest_size("lstm", 10, 5, 2)
    assert found.hidden_size == 1 and not found.fits
    assert "already more than the data pays for" in str(found)


@pytest.mark.parametrize("cell", ["elman", "jordan", "lstm", "gru"])
def test_the_suggestion_is_what_the_network_has(cell):
    import torch

    from saiki.models.options import recurrent_layer
    from saiki.nn import LastConfig, Stack

    found = suggest_size(cell, 20_000, 4, 3, num_layers=2)
    layers = [recurrent_layer(cell, found.hidden_size, False)] * 2
    network = Stack.build([*layers, LastConfig()], 4, 3, generator=torch.Generator())
    assert sum(p.numel() for p in network.parameters()) == found.parameters


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("lstn", 10, 1, 1), "unknown cell 'lstn'; did you mean 'lstm'"),
        (("lstm", 10, 0, 1), "input_size is 0"),
        (("lstm", 10, 1, 1.5), "output_size is 1.5"),
        (("lstm", -1, 1, 1), "n_values is -1"),
        (("lstm", True, 1, 1), "n_values is True"),
    ],
)
def test_bad_sizes_are_named(arguments, said):
    with pytest.raises(OptionError, match=said):
        suggest_size(*arguments)


def test_the_note():
    assert parameter_note(100, 5000, 20) == (
        "100 parameters for 5,000 training values in 20 sequences (50 values a parameter)."
    )
    assert "The rule of thumb, not a verdict, is ten values a parameter" in parameter_note(100, 500, 20)
    assert "More parameters than values" in parameter_note(100, 99, 20)
