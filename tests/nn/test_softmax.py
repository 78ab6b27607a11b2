"""The output layers of language models against plain torch, torch's own adaptive softmax, and each other."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from saiki import Ragged
from saiki.core.errors import DTypeError, LabelError, OptionError, ShapeError
from saiki.nn import Embedding, Stack
from saiki.nn.softmax import AdaptiveSoftmax, FullSoftmax, SampledSoftmax

H, V = 6, 23


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def full(**options) -> FullSoftmax:
    layer = FullSoftmax(H, V, generator=source(), dtype=torch.float64, **options)
    with torch.no_grad():
        layer.bias.copy_(torch.randn(V, generator=source(1), dtype=torch.float64))
    return layer


def rows(n: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    h = torch.randn(n, H, generator=source(2), dtype=torch.float64)
    return h, torch.randint(V, (n,), generator=source(3))


def test_full_losses_and_gradients_are_torchs():
    layer = full()
    h, t = rows()
    h.requires_grad_()
    weight = torch.linspace(0.5, 2.0, len(t), dtype=torch.float64)  # no two rows weigh the same
    found = layer.losses(h, t)
    plain = torch.nn.functional.cross_entropy(h @ layer.weight.T + layer.bias, t, reduction="none")
    torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-12)
    wanted = torch.autograd.grad((plain * weight).sum(), [h, layer.weight, layer.bias])
    came = torch.autograd.grad((found * weight).sum(), [h, layer.weight, layer.bias], retain_graph=True)
    again = torch.autograd.grad((found * weight).sum(), [h, layer.weight, layer.bias])
    for mine, second, theirs in zip(came, again, wanted):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)
        assert torch.equal(mine, second), "differentiating twice through one graph gives the same"


def test_full_losses_without_gradient_come_in_blocks_and_agree(monkeypatch):
    layer = full()
    h, t = rows(50)
    whole = layer.losses(h, t).detach()
    monkeypatch.setattr("saiki.nn.softmax.BLOCK", 7 * V)
    with torch.no_grad():
        torch.testing.assert_close(layer.losses(h, t), whole, rtol=1e-12, atol=1e-12)
        assert layer.losses(h[:0], t[:0]).shape == (0,)


def test_losses_are_finite_for_scores_far_apart():
    layer = full()
    h, _ = rows(2)
    with torch.no_grad():
        layer.bias.zero_()
        layer.bias[0] = 2000.0
    loss = layer.losses(h, torch.tensor([0, 5]))
    scores = h @ layer.weight.T + layer.bias
    torch.testing.assert_close(loss[1], (scores[1, 0] - scores[1, 5]).reshape(()), rtol=1e-12, atol=0)
    assert loss[0] == 0


def test_log_probabilities_are_those_of_the_losses():
    h, t = rows()
    for layer in (full(), AdaptiveSoftmax(H, V, (5, 12), generator=source(), dtype=torch.float64)):
        log_p = layer.log_probabilities(h)
        torch.testing.assert_close(log_p.exp().sum(dim=1), torch.ones(len(h), dtype=torch.float64))
        torch.testing.assert_close(layer.losses(h, t), -log_p.gather(1, t[:, None])[:, 0])


def test_tied_weights_are_the_embeddings_and_share_its_gradient():
    embedding = Embedding(V, H, generator=source(), dtype=torch.float64)
    layer = full(tied=embedding)
    stack = Stack([embedding, ("softmax", layer)])
    assert [name for name, _ in stack.named_parameters()] == [
        "layers.embedding.weight",
        "layers.softmax.bias",
    ]
    assert set(stack.state_dict()) == {"layers.embedding.weight", "layers.softmax.bias"}
    ids = torch.tensor([3, 1, 4])
    h = stack(Ragged.from_list([ids])).data
    (grad,) = torch.autograd.grad(layer.losses(h, torch.tensor([1, 4, 0])).sum(), [embedding.weight])
    weight = embedding.weight.detach().clone().requires_grad_()
    plain = torch.nn.functional.cross_entropy(
        weight[ids] @ weight.T + layer.bias.detach(), torch.tensor([1, 4, 0]), reduction="sum"
    )
    torch.testing.assert_close(grad, torch.autograd.grad(plain, [weight])[0], rtol=1e-10, atol=1e-12)
    twin = copy.deepcopy(stack)
    assert twin.layers["softmax"].table is twin.layers["embedding"].weight
    with pytest.raises(ShapeError, match="has 23 vectors of 6, but to be tied it must have 23 of 7"):
        FullSoftmax(7, V, tied=embedding)


def test_adaptive_is_torchs():
    mine = AdaptiveSoftmax(16, 40, (10, 25), generator=source(), dtype=torch.float64)
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(16, 40, [10, 25], div_value=4.0, dtype=torch.float64)
    with torch.no_grad():
        theirs.head.weight.copy_(mine.head.weight)
        for j in range(2):
            theirs.tail[j][0].weight.copy_(mine.projections[j].weight)
            theirs.tail[j][1].weight.copy_(mine.tails[j].weight)
    h = torch.randn(30, 16, generator=source(5), dtype=torch.float64)
    t = torch.randint(40, (30,), generator=source(6))
    torch.testing.assert_close(mine.losses(h, t), -theirs(h, t).output)
    torch.testing.assert_close(mine.log_probabilities(h), theirs.log_prob(h))


@pytest.mark.parametrize("layer", ["full", "adaptive"])
def test_gradcheck(layer):
    made = (
        full() if layer == "full" else AdaptiveSoftmax(H, V, (4, 9), generator=source(), dtype=torch.float64)
    )
    h, t = rows(5)
    weights = [p.detach().clone().requires_grad_() for p in made.parameters()]

    def run(h, *values):
        names = [name for name, _ in made.named_parameters()]
        return torch.func.functional_call(
            _Losses(made, t), dict(zip([f"layer.{n}" for n in names], values)), (h,)
        )

    assert torch.autograd.gradcheck(run, (h.requires_grad_(), *weights))


class _Losses(torch.nn.Module):
    def __init__(self, layer, targets):
        super().__init__()
        self.layer, self.targets = layer, targets

    def forward(self, h):
        return self.layer.losses(h, self.targets)


def test_sampled_estimates_the_full_softmax_and_is_it_in_evaluation():
    base = full()
    layer = SampledSoftmax(base, 4000, generator=source(8))
    h, t = rows()
    exact = base.losses(h, t).detach()
    estimate = layer.losses(h, t)
    torch.testing.assert_close(estimate.detach(), exact, rtol=0.05, atol=0.05)
    assert not torch.equal(estimate, layer.losses(h, t)), "each call draws anew"
    wanted = torch.autograd.grad(base.losses(h, t).mean(), [base.weight])[0]
    came = torch.autograd.grad(estimate.mean(), [base.weight])[0]
    torch.testing.assert_close(came, wanted, rtol=0, atol=0.02)
    torch.testing.assert_close(layer.eval().losses(h, t).detach(), exact)


def test_sampled_draws_follow_their_distribution():
    layer = SampledSoftmax(full(), 200_000, generator=source(8))
    counts = torch.bincount(layer._draw(), minlength=V) / 200_000
    expected = layer._log_expected(torch.arange(V)).exp() / 200_000
    assert math.isclose(float(expected.sum()), 1.0, rel_tol=1e-9)
    torch.testing.assert_close(counts.double(), expected, rtol=0, atol=0.004)  # 4 sigma of the first class


def test_what_does_not_fit_is_named():
    layer = full()
    h, t = rows()
    with pytest.raises(LabelError, match="class 23 but the 23 classes are 0 to 22"):
        layer.losses(h, torch.full_like(t, 23))
    with pytest.raises(DTypeError, match=r"targets is torch.float64 but must be int64"):
        layer.losses(h, t.double())
    with pytest.raises(ShapeError, match=r"h is \(9, 6\) and targets \(8,\)"):
        layer.losses(h, t[:8])
    with pytest.raises(OptionError, match=r"cutoffs is \(9, 4\) but must be numbers that rise"):
        AdaptiveSoftmax(H, V, (9, 4))
