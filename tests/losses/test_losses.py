"""The losses against their formulas, derivatives, torch's own, and the statistics they are known to learn."""

import math

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

from saiki import losses
from saiki.core.errors import DTypeError, LabelError, OptionError, ShapeError

NAN = float("nan")
REAL = [
    losses.Squared(),
    losses.Absolute(),
    losses.Huber(0.7),
    losses.Quantile((0.1, 0.5, 0.9)),
    losses.Gaussian(),
]


def ids(loss):
    return loss.name


def problem(loss, rng, shape=(5, 3), dtype=torch.float64):
    trailing = {"quantile": (3,), "gaussian": (2,)}.get(loss.name, ())
    outputs = torch.randn(*shape, *trailing, dtype=dtype, generator=rng)
    targets = torch.randn(*shape, dtype=dtype, generator=rng)
    return outputs.requires_grad_(), targets


@pytest.mark.parametrize("loss", REAL, ids=ids)
@pytest.mark.parametrize("shape", [(5, 3), (4,), (1, 1), (2, 3, 2)], ids=str)
def test_derivatives_are_right(loss, shape, rng):
    outputs, targets = problem(loss, rng, shape)
    assert gradcheck(lambda o: loss(o, targets), (outputs,))
    mask = torch.rand(shape, generator=rng) < 0.6
    assert gradcheck(lambda o: loss(o, targets, mask), (outputs,))


@pytest.mark.parametrize("loss", REAL, ids=ids)
def test_one_value_a_row_is_the_mean_over_its_columns(loss, rng):
    outputs, targets = problem(loss, rng)
    value = loss(outputs, targets)
    assert value.shape == (5,)
    by_column = torch.stack([loss(outputs[:, j], targets[:, j]) for j in range(3)], dim=1)
    torch.testing.assert_close(
        value, by_column.mean(dim=1), rtol=1e-14, atol=1e-15
    )  # same sums in another order


@pytest.mark.parametrize("loss", REAL, ids=ids)
def test_what_is_masked_is_neither_seen_nor_taught(loss, rng):
    outputs, targets = problem(loss, rng)
    mask = torch.ones(5, 3, dtype=torch.bool)
    mask[0, 1] = mask[2, 0] = False
    mask[3] = False
    broken_targets, broken_outputs = targets.clone(), outputs.detach().clone()
    broken_targets[~mask] = NAN
    broken_outputs[~mask] = NAN
    broken_outputs.requires_grad_()
    value = loss(broken_outputs, broken_targets, mask)
    (gradient,) = torch.autograd.grad(value.sum(), broken_outputs)
    assert torch.isfinite(value).all() and torch.isfinite(gradient).all()
    assert value[3] == 0 and (gradient[~mask] == 0).all()
    assert torch.equal(value[1], loss(outputs, targets)[1])
    kept = [0, 2]
    torch.testing.assert_close(value[0], loss(outputs[:1, kept], targets[:1, kept])[0], rtol=1e-14, atol=0)


@pytest.mark.parametrize("loss", [*REAL, losses.CrossEntropy()], ids=ids)
def test_no_rows_give_no_values(loss):
    trailing = {"quantile": (3,), "gaussian": (2,), "cross_entropy": (4,)}.get(loss.name, ())
    targets = torch.zeros(0, 2, dtype=torch.long if loss.name == "cross_entropy" else torch.float32)
    assert loss(torch.zeros(0, 2, *trailing), targets).shape == (0,)
    assert loss(torch.zeros(0, 2, *trailing), targets, torch.zeros(0, 2, dtype=torch.bool)).shape == (0,)


def test_values_worked_by_hand():
    y, t = torch.tensor([[1.0, 4.0]]), torch.tensor([[3.0, 3.0]])
    assert losses.squared(y, t).item() == 2.5
    assert losses.absolute(y, t).item() == 1.5
    assert losses.huber(y, t, delta=1.0).item() == 1.0  # (1·(2 - ½) + ½)/2
    assert losses.quantile(
        torch.tensor([[1.0, 5.0]]), torch.tensor([3.0]), (0.1, 0.75)
    ).item() == pytest.approx((0.1 * 2 + 0.25 * 2) / 2)
    value = losses.gaussian(torch.tensor([[1.0, math.log(2)]]), torch.tensor([3.0])).item()
    assert value == pytest.approx(math.log(2) + 0.5 + 0.5 * math.log(2 * math.pi))
    logits = torch.tensor([[0.0, math.log(3.0)]])
    assert losses.cross_entropy(logits, torch.tensor([1])).item() == pytest.approx(-math.log(0.75))


def test_agreement_with_torch(rng):
    outputs, targets = problem(losses.Squared(), rng)
    exact = {"rtol": 1e-13, "atol": 1e-14}  # float64, the same few operations in another order
    torch.testing.assert_close(losses.squared(outputs, targets).mean(), F.mse_loss(outputs, targets), **exact)
    torch.testing.assert_close(losses.absolute(outputs, targets).mean(), F.l1_loss(outputs, targets), **exact)
    torch.testing.assert_close(
        losses.huber(outputs, targets, delta=0.7).mean(), F.huber_loss(outputs, targets, delta=0.7), **exact
    )
    both, truth = problem(losses.Gaussian(), rng)
    mean, scale = losses.gaussian_parameters(both)
    torch.testing.assert_close(
        losses.gaussian(both, truth).mean(),
        -torch.distributions.Normal(mean, scale).log_prob(truth).mean(),
        **exact,
    )
    logits = torch.randn(7, 4, dtype=torch.float64, generator=rng)
    labels = torch.randint(4, (7,), generator=rng)
    torch.testing.assert_close(
        losses.cross_entropy(logits, labels), F.cross_entropy(logits, labels, reduction="none"), **exact
    )
    weight = (0.5, 2.0, 0.0, 1.0)
    torch.testing.assert_close(
        losses.cross_entropy(logits, labels, class_weight=weight),
        F.cross_entropy(logits, labels, reduction="none", weight=torch.tensor(weight, dtype=torch.float64)),
        **exact,
    )


def test_derivative_of_the_cross_entropy(rng):
    logits = torch.randn(6, 4, dtype=torch.float64, generator=rng, requires_grad=True)
    labels = torch.tensor([0, 3, 1, 99, 2, 2])
    mask = labels < 4
    assert gradcheck(lambda a: losses.cross_entropy(a, labels, mask, class_weight=(1, 2, 3, 4)), (logits,))
    steps = torch.randn(2, 3, 4, dtype=torch.float64, generator=rng, requires_grad=True)
    several = torch.tensor([[0, 1, 2], [3, 3, 0]])
    assert gradcheck(lambda a: losses.cross_entropy(a, several), (steps,))


def test_half_the_absolute_error_is_the_median_pinball(rng):
    y, t = torch.randn(9, 2, generator=rng), torch.randn(9, 2, generator=rng)
    torch.testing.assert_close(losses.quantile(y.unsqueeze(-1), t, (0.5,)), 0.5 * losses.absolute(y, t))


def best_constant(loss, sample, size=(), rate=0.4):
    """The constant answer that the loss settles on, by plain descent with a shrinking rate."""
    answer = torch.zeros(size, dtype=torch.float64, requires_grad=True)
    for update in range(4000):
        value = loss(answer.expand(len(sample), *size), sample).mean()
        (gradient,) = torch.autograd.grad(value, answer)
        with torch.no_grad():
            answer -= rate / (1 + update / 20) * gradient
    return answer.detach()


def level(sample, answer):
    """Share of the sample below the answer: ½ at a median. Between two neighbours every answer is as good."""
    return (sample < answer).double().mean().item()


def test_squared_loss_learns_the_mean_absolute_the_median_quantile_the_quantiles(rng):
    sample = torch.empty(501, dtype=torch.float64).exponential_(generator=rng)
    assert level(sample, sample.mean()) > 0.6  # lopsided: mean and median differ
    mean = best_constant(losses.squared, sample)
    assert abs(mean - sample.mean()) < 1e-6  # quadratic: descent arrives
    median = best_constant(losses.absolute, sample)
    assert abs(level(sample, median) - 0.5) < 0.01  # the last steps are 0.4/(1 + 4000/20) = 0.002
    levels = (0.1, 0.5, 0.9)
    found = best_constant(losses.Quantile(levels), sample, (3,), rate=3.0)
    for q, answer in zip(levels, found):
        assert abs(level(sample, answer) - q) < 0.01


def test_squared_loss_learns_the_conditional_mean_absolute_the_conditional_median(rng):
    x = torch.randint(0, 2, (400,), generator=rng)
    targets = 3.0 * x + torch.empty(400, dtype=torch.float64).exponential_(generator=rng)
    features = F.one_hot(x, 2).double()
    fitted = {}
    for loss in (losses.squared, losses.absolute):
        w = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        for update in range(4000):
            (gradient,) = torch.autograd.grad(loss(features @ w, targets).mean(), w)
            with torch.no_grad():
                w -= 0.8 / (1 + update / 20) * gradient
        fitted[loss] = w.detach()
    for value in (0, 1):
        group = targets[x == value]
        assert abs(fitted[losses.squared][value] - group.mean()) < 1e-6
        assert abs(level(group, fitted[losses.absolute][value]) - 0.5) < 0.02  # 200 values: 4 of them


def test_the_gaussian_is_safe_at_its_ends():
    outputs = torch.tensor([[0.0, -1e30], [0.0, 1e30], [1e12, -20.0]], requires_grad=True)
    value = losses.gaussian(outputs, torch.tensor([1.0, 1.0, 0.0]))
    value.sum().backward()
    assert torch.isfinite(value).all() and torch.isfinite(outputs.grad).all()
    assert outputs.grad[0, 0] < 0 and outputs.grad[2, 0] > 0  # the mean is still pulled towards the target
    mean, scale = losses.gaussian_parameters(outputs.detach())
    assert (scale > 0).all() and torch.isfinite(scale).all()
    assert mean[2] == 1e12


def test_the_cross_entropy_of_sure_and_wrong_logits_is_finite():
    logits = torch.tensor([[1e30, -1e30], [-200.0, 200.0]], requires_grad=True)
    value = losses.cross_entropy(logits, torch.tensor([0, 0]))
    value.sum().backward()
    assert value.tolist() == [0.0, 400.0]
    assert torch.isfinite(logits.grad).all()


def test_observed_share_makes_the_objective_the_mean_over_what_was_seen(rng):
    y, t = torch.randn(6, 4, generator=rng), torch.randn(6, 4, generator=rng)
    mask = torch.rand(6, 4, generator=rng) < 0.5
    share = losses.observed_share(mask, 6, y)
    objective = (share * losses.squared(y, t, mask)).sum() / share.sum()
    torch.testing.assert_close(objective, (y - t).square()[mask].mean())
    assert losses.observed_share(None, 3, y).tolist() == [1, 1, 1]


@pytest.mark.parametrize("label", [-1, 3, 2147483647, -(2**40)])
def test_labels_are_checked_at_the_door(label):
    with pytest.raises(LabelError, match=f"holds class {label} but the 3 classes are 0 to 2"):
        losses.cross_entropy(torch.zeros(2, 3), torch.tensor([0, label]))


def test_shapes_and_types_are_checked_at_the_door():
    with pytest.raises(ShapeError, match=r"targets is \(4,\) but must be \(4, 1\).*nothing is broadcast"):
        losses.squared(torch.zeros(4, 1), torch.zeros(4))
    with pytest.raises(DTypeError, match=r"targets is torch.float64 but must be torch.float32"):
        losses.squared(torch.zeros(4), torch.zeros(4, dtype=torch.float64))
    with pytest.raises(DTypeError, match=r"outputs is torch\.int64"):
        losses.absolute(torch.zeros(4, dtype=torch.long), torch.zeros(4, dtype=torch.long))
    with pytest.raises(DTypeError, match=r"mask is torch\.float32 but must be a bool tensor"):
        losses.squared(torch.zeros(4), torch.zeros(4), torch.ones(4))
    with pytest.raises(ShapeError, match=r"mask is \(3,\) but must be \(4,\)"):
        losses.squared(torch.zeros(4), torch.zeros(4), torch.ones(3, dtype=torch.bool))
    with pytest.raises(ShapeError, match="at least one target"):
        losses.squared(torch.zeros(4, 0), torch.zeros(4, 0))
    with pytest.raises(ShapeError, match="last dimension must be 2"):
        losses.quantile(torch.zeros(4, 3), torch.zeros(4), (0.1, 0.9))
    with pytest.raises(ShapeError, match="last dimension must be 2"):
        losses.gaussian(torch.zeros(4), torch.zeros(4))
    with pytest.raises(ShapeError, match="not one-hot rows"):
        losses.cross_entropy(torch.zeros(4, 3), torch.zeros(4, 3, dtype=torch.long))
    with pytest.raises(DTypeError, match="must be integer classes"):
        losses.cross_entropy(torch.zeros(4, 3), torch.zeros(4))
    with pytest.raises(OptionError, match="3 finite numbers"):
        losses.cross_entropy(
            torch.zeros(4, 3), torch.zeros(4, dtype=torch.long), class_weight=(1.0, NAN, 2.0)
        )


@pytest.mark.parametrize("levels", [(), (0.9, 0.1), (0.0, 0.5), (0.5, 1.0), (0.5, 0.5)])
def test_quantile_levels_are_checked(levels):
    with pytest.raises(OptionError, match="ascending numbers between 0 and 1"):
        losses.Quantile(levels)


def test_losses_by_name():
    assert losses.get_loss("squared") == losses.Squared()
    assert losses.get_loss("quantile", quantiles=(0.25, 0.75)) == losses.Quantile((0.25, 0.75))
    assert losses.get_loss("huber", delta=2.0) == losses.Huber(2.0)
    assert losses.get_loss("cross_entropy", class_weight=[1, 2]) == losses.CrossEntropy((1.0, 2.0))
    assert losses.get_loss(losses.Gaussian()) == losses.Gaussian()
    with pytest.raises(OptionError, match="did you mean 'squared'"):
        losses.get_loss("sqared")
    with pytest.raises(OptionError, match="must be a name or a callable"):
        losses.get_loss(3)
    with pytest.raises(OptionError, match="delta is -1"):
        losses.get_loss("huber", delta=-1)
    for name in losses.LOSSES:
        assert isinstance(losses.get_loss(name), losses.RowLoss)


def test_a_users_own_loss(rng):
    def quartic(outputs, targets):
        return (outputs - targets).pow(4).mean(dim=1)

    own = losses.get_loss(quartic)
    y, t = torch.randn(4, 2, generator=rng), torch.randn(4, 2, generator=rng)
    assert torch.equal(own(y, t), quartic(y, t))
    mask = torch.tensor([[True, True], [False, False], [True, True], [False, False]])
    t[1] = NAN
    value = own(y, t, mask)
    assert value[1] == 0 and value[3] == 0
    assert torch.equal(value[[0, 2]], quartic(y, t)[[0, 2]])
    with pytest.raises(OptionError, match="of some rows only a part of the targets"):
        own(y, t, torch.tensor([[True, False]] * 4))
    with pytest.raises(ShapeError, match="must give one value a row"):
        losses.get_loss(lambda o, t: (o - t).mean())(y, t)
    taking = losses.get_loss(lambda o, t, mask: torch.where(mask, o - t, 0 * o).sum(dim=1))
    assert taking(y, t, mask)[1] == 0
    assert "quartic" in own.name
