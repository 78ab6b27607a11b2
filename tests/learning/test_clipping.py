"""The gradient as an update takes it."""

import pytest
import torch

from saiki.learning.clipping import clipped


@pytest.mark.parametrize(
    ("value", "norm", "wanted", "shortened"),
    [
        (None, None, (3.0, 4.0), False),
        (None, 10.0, (3.0, 4.0), False),
        (None, 1.0, (0.6, 0.8), True),
        (3.0, None, (3.0, 3.0), False),
        (3.0, 4.5, (3.0, 3.0), False),  # 3 √2 < 4.5 < 5: it is the length after the first that counts
        (3.0, 1.0, (0.5**0.5, 0.5**0.5), True),
    ],
)
def test_entries_first_then_the_whole(value, norm, wanted, shortened):
    g = {"a": torch.tensor([3.0], dtype=torch.float64), "b": torch.tensor([4.0], dtype=torch.float64)}
    taken, told = clipped(g, value, norm, 5.0)
    assert [taken["a"].item(), taken["b"].item()] == pytest.approx(list(wanted), abs=1e-15)
    assert told is shortened
    assert g["b"].item() == 4.0
