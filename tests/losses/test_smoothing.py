"""Label smoothing: torch's own, the formula, its floor, and what the trainer's value of it refuses."""

import math

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

from saiki import losses
from saiki.core.errors import OptionError


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_it_is_the_formula_and_torchs(smoothing, rng):
    logits = torch.randn(6, 5, dtype=torch.float64, generator=rng, requires_grad=True)
    targets = torch.randint(5, (6,), generator=rng)
    ours = losses.cross_entropy(logits, targets, smoothing=smoothing)
    theirs = F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)
    torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-14)  # the same sums in another order
    log_p = logits.detach() - logits.detach().exp().sum(-1, keepdim=True).log()
    formula = -(1 - smoothing) * log_p[torch.arange(6), targets] - smoothing * log_p.mean(-1)
    torch.testing.assert_close(ours.detach(), formula, rtol=1e-13, atol=1e-14)
    assert gradcheck(lambda a: losses.cross_entropy(a, targets, smoothing=smoothing), (logits,))


def test_the_best_answer_is_the_smoothed_target():
    """Minimised over the logits the loss is the entropy of the target distribution, and no less."""
    eps, K = 0.2, 4
    target = torch.full((1, K), eps / K, dtype=torch.float64)
    target[0, 1] += 1 - eps
    best = losses.cross_entropy(target.log(), torch.tensor([1]), smoothing=eps)
    assert float(best) == pytest.approx(-float((target * target.log()).sum()), rel=1e-12)
    surer = losses.cross_entropy(2 * target.log(), torch.tensor([1]), smoothing=eps)
    assert float(surer) > float(best)
    assert float(best) < math.log(K)


def test_weights_multiply_the_row_and_masked_rows_stay_zero(rng):
    logits = torch.randn(3, 2, 4, dtype=torch.float64, generator=rng)
    targets = torch.randint(4, (3, 2), generator=rng)
    mask = torch.tensor([[True, True], [True, False], [False, False]])
    plain = losses.CrossEntropy(smoothing=0.1)(logits, targets, mask)
    weighted = losses.CrossEntropy((2.0, 2.0, 2.0, 2.0), smoothing=0.1)(logits, targets, mask)
    torch.testing.assert_close(weighted, 2 * plain)
    assert float(plain[2]) == 0


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan"), True, "0.1"])
def test_what_is_no_share_is_refused(smoothing):
    with pytest.raises(OptionError, match=r"smoothing is .* but must be a number of at least 0 and under 1"):
        losses.CrossEntropy(smoothing=smoothing)
