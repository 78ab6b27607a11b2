"""CTC against its definition (all paths, one by one), torch in float64, and limits in which it is known."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

from saiki import nn
from saiki.core.errors import DTypeError, LabelError, LengthError, OptionError, ShapeError, ValueRangeError
from saiki.core.ragged import Ragged
from saiki.engine.native import native
from saiki.learning import BPTT, Batch
from saiki.losses import CTC, SequenceLoss, ctc_align, ctc_loss, ctc_native, ctc_posteriors

INF, NAN = float("inf"), float("nan")


@pytest.fixture(autouse=True, params=["native", "plain"])
def way(request, monkeypatch):
    """Every test is of the kernels and of their plain twin."""
    if request.param == "plain":
        monkeypatch.setattr(ctc_native, "can_run", lambda case: False)
    elif isinstance(native(), str):
        pytest.skip("the extension was not built")
    return request.param


def collapsed(path, blank):
    return tuple(k for k, _ in itertools.groupby(path) if k != blank)


def paths(T, K):
    return itertools.product(range(K), repeat=T)


def states_of(path, target, blank):
    """The state of l' at each step of a path that collapses to the target."""
    states, said = [], 0
    for t, k in enumerate(path):
        said += k != blank and (t == 0 or path[t - 1] != k)
        states.append(2 * said - (k != blank))
    return states


def enumerated(logits, target, blank):
    """P, the shares of the states at each step, and the likeliest path, by going through all K^T paths."""
    T, K = logits.shape
    p = logits.double().softmax(dim=1).tolist()
    total, shares, best = 0.0, np.zeros((T, 2 * len(target) + 1)), (0.0, None)
    for path in paths(T, K):
        if collapsed(path, blank) != tuple(target):
            continue
        weight = math.prod(p[t][k] for t, k in enumerate(path))
        states = states_of(path, target, blank)
        shares[range(T), states] += weight
        total += weight
        best = max(best, (weight, states))
    return total, shares / total if total else shares, best


def draw(rng, T, B, K, L, blank, dtype=torch.float64, scale=2.0):
    """Logits, labels and lengths of B utterances, the first as long as can be; NaN in the padding."""
    logits = scale * torch.randn(T, B, K, dtype=dtype, generator=rng)
    labels = torch.randint(0, K - 1, (B, L), generator=rng)
    labels += labels >= blank
    lengths = torch.randint(T // 2, T + 1, (B,), generator=rng)
    counts = torch.minimum(torch.randint(0, L + 1, (B,), generator=rng), lengths // 2)
    lengths[0], counts[0] = T, min(L, T // 2)
    logits[torch.arange(T)[:, None] >= lengths] = NAN
    labels[torch.arange(L) >= counts[:, None]] = -7
    return logits.requires_grad_(), labels, lengths, counts


def torch_loss(logits, labels, lengths, counts, blank):
    """torch's own, which must not see what stands in the padding."""
    there = (torch.arange(len(logits))[:, None] < lengths)[..., None]
    clean = torch.where(there, logits, 0.0)
    labels = labels.where(torch.arange(labels.shape[1]) < counts[:, None], 1 - min(blank, 1))
    return F.ctc_loss(clean.log_softmax(-1), labels, lengths, counts, blank=blank, reduction="none")


def test_a_hand_worked_case():
    """T = 3, a blank and one label, one half each: 6 of the 8 paths say the label once."""
    loss = ctc_loss(torch.zeros(3, 1, 2), [[1]])
    torch.testing.assert_close(loss, torch.tensor([-math.log(6 / 8)]))


@pytest.mark.parametrize("blank", [0, 1, 3])
@pytest.mark.parametrize("target", [(), (0,), (0, 1), (0, 0), (0, 1, 0), (1, 1, 1), (0, 1, 2, 0)], ids=str)
@pytest.mark.parametrize("T", [1, 2, 5, 6])
def test_equals_the_sum_over_all_paths(blank, target, T, rng):
    target = [k + (k >= blank) for k in target]
    logits = 2 * torch.randn(T, 1, 4, dtype=torch.float64, generator=rng)
    total, shares, (weight, states) = enumerated(logits[:, 0], target, blank)
    loss = ctc_loss(logits, [target], blank=blank)
    assert float(loss) == pytest.approx(-math.log(total) if total else INF, rel=1e-12)
    (share,) = ctc_posteriors(logits, [target], blank=blank)
    np.testing.assert_allclose(share.numpy(), shares, atol=1e-12)
    if states is None:
        with pytest.raises(LengthError, match=f"utterance 0 has {T} steps but its {len(target)} labels need"):
            ctc_align(logits, [target], blank=blank)
        return
    (path,) = ctc_align(logits, [target], blank=blank)
    assert path.states.tolist() == states
    assert path.score == pytest.approx(math.log(weight), rel=1e-12)


@pytest.mark.parametrize("blank", [0, 2, 4])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_equals_torch(blank, dtype, rng):
    logits, labels, lengths, counts = draw(rng, 37, 9, 5, 12, blank, dtype)
    loss = ctc_loss(logits, labels, lengths, counts, blank=blank)
    expected = torch_loss(logits.double(), labels, lengths, counts, blank)
    assert loss.dtype == dtype
    rtol = 1e-11 if dtype == torch.float64 else 2e-6  # a few roundings a step of 37
    torch.testing.assert_close(loss.double(), expected, rtol=rtol, atol=0)
    weights = torch.rand(9, dtype=dtype, generator=rng)
    (gradient,) = torch.autograd.grad(loss, logits, weights)
    (wanted,) = torch.autograd.grad(expected, logits, weights.double())
    torch.testing.assert_close(
        gradient.double(), wanted.double(), rtol=0, atol=1e-9 if dtype == torch.float64 else 2e-6
    )
    assert (gradient[torch.arange(37)[:, None] >= lengths] == 0).all()


def test_the_gradient_is_the_derivative(rng):
    logits, labels, lengths, counts = draw(rng, 6, 3, 4, 3, 1)
    clean = torch.where(logits.isnan(), 0.0, logits).detach().requires_grad_()
    assert gradcheck(lambda a: ctc_loss(a, labels, lengths, counts, blank=1), (clean,))


def test_a_step_a_label_is_cross_entropy(rng):
    """T = L and no repetitions leave one path."""
    logits = torch.randn(5, 2, 6, dtype=torch.float64, generator=rng)
    labels = torch.tensor([[1, 2, 3, 4, 5], [5, 1, 2, 1, 3]])
    expected = -logits.log_softmax(-1).gather(2, labels.T[..., None]).sum(dim=(0, 2))
    torch.testing.assert_close(ctc_loss(logits, labels), expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("zero_infinity", [False, True])
def test_what_no_path_reaches_is_infinite_and_teaches_nothing(zero_infinity, rng):
    logits = torch.randn(3, 4, 4, generator=rng)
    logits[:, 3, 2] = -1e30  # of probability 0
    logits.requires_grad_()
    targets = [[1, 1, 2], [1, 2, 3], [1], [2]]
    loss = ctc_loss(logits, targets, torch.tensor([3, 3, 0, 3]), zero_infinity=zero_infinity)
    none = 0.0 if zero_infinity else INF
    assert loss[[0, 2, 3]].tolist() == [none] * 3 and torch.isfinite(loss[1])
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert (gradient[:, [0, 2, 3]] == 0).all()
    assert torch.isfinite(gradient).all() and (gradient[:, 1] != 0).all()
    shares = ctc_posteriors(logits, targets, torch.tensor([3, 3, 0, 3]))
    assert [float(share.sum()) for share in shares] == pytest.approx([0, 3, 0, 0])


def test_nan_outputs_give_nan_and_nothing_else(rng):
    """An utterance with a NaN has no loss; its neighbours do not notice."""
    logits, labels, lengths, counts = draw(rng, 9, 3, 4, 3, 0)
    broken = torch.where(logits.isnan(), 0.0, logits).detach()
    whole = ctc_loss(broken, labels, lengths, counts)
    broken[0, 0, 3] = NAN
    broken.requires_grad_()
    loss = ctc_loss(broken, labels, lengths, counts)
    assert loss.isnan().tolist() == [True, False, False]
    assert torch.equal(loss[1:], whole[1:])
    (gradient,) = torch.autograd.grad(loss.sum(), broken)
    assert torch.isfinite(gradient[:, 1:]).all() and gradient[:, 0].isnan().any()


def test_two_thousand_steps_are_exact(way, rng):
    T, L, K = (2000, 180, 30) if way == "native" else (300, 40, 30)
    logits = (3 * torch.randn(T, 2, K, dtype=torch.float64, generator=rng)).requires_grad_()
    labels = torch.randint(1, K, (2, L), generator=rng)
    loss = ctc_loss(logits, labels)
    expected = torch_loss(logits, labels, torch.full((2,), T), torch.full((2,), L), 0)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    (wanted,) = torch.autograd.grad(expected.sum(), logits)
    torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-9)
    single = logits.detach().float().requires_grad_()
    (gradient,) = torch.autograd.grad(ctc_loss(single, labels).sum(), single)
    (wanted,) = torch.autograd.grad(ctc_loss(single.double(), labels).sum(), single)
    # logarithms in float32 lose digits with every step; the kernels' numbers do not
    torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-5 if way == "native" else 1e-3)


@pytest.mark.parametrize("scale", [100.0, 3000.0])
def test_sharp_outputs_lose_no_path(scale, way, rng):
    """The only paths are far below each step's best class, by far more than an exponent of float32 holds."""
    logits = scale * torch.rand(40, 2, 6, generator=rng)
    labels = torch.randint(1, 6, (2, 15), generator=rng)
    logits.requires_grad_()
    loss = ctc_loss(logits, labels)
    exact = logits.detach().double().requires_grad_()
    expected = torch_loss(exact, labels, torch.full((2,), 40), torch.full((2,), 15), 0)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    (wanted,) = torch.autograd.grad(expected.sum(), exact)
    atol = (2e-5 if way == "native" else 1e-4) * scale / 100  # the logits' own last place, times 40 steps
    torch.testing.assert_close(gradient.double(), wanted, rtol=0, atol=atol)


def test_the_posteriors_are_what_the_gradient_takes_away(rng):
    logits, labels, lengths, counts = draw(rng, 11, 3, 5, 4, 2)
    logits = torch.where(logits.isnan(), 0.0, logits).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(ctc_loss(logits, labels, lengths, counts, blank=2).sum(), logits)
    p = logits.detach().softmax(-1)
    for b, share in enumerate(ctc_posteriors(logits, labels, lengths, counts, blank=2)):
        T, L = int(lengths[b]), int(counts[b])
        assert share.shape == (T, 2 * L + 1)
        torch.testing.assert_close(share.sum(1), torch.ones(T, dtype=torch.float64), rtol=1e-12, atol=0)
        classes = torch.full((2 * L + 1,), 2)
        classes[1::2] = labels[b, :L]
        occupancy = torch.zeros(T, 5, dtype=torch.float64).index_add_(1, classes, share)
        torch.testing.assert_close(gradient[:T, b], p[:T, b] - occupancy, rtol=0, atol=1e-12)


def test_an_alignment_tells_starts_ends_and_scores():
    """b a a: the labels' steps are where their logits are, and the equal ones stand apart."""
    said = [0, 2, 2, 0, 1, 1, 0, 1, 0]
    logits = 4.0 * F.one_hot(torch.tensor(said), 3)[:, None].double()
    (found,) = ctc_align(logits, [[2, 1, 1]])
    assert found.states.tolist() == [0, 1, 1, 2, 3, 3, 4, 5, 6]
    assert (found.starts.tolist(), found.ends.tolist()) == ([1, 4, 7], [3, 6, 8])
    each = 4 - math.log(math.e**4 + 2)
    torch.testing.assert_close(found.scores, torch.full((3,), each, dtype=torch.float64))
    assert found.score == pytest.approx(9 * each)
    (nothing,) = ctc_align(logits, [[]])
    assert nothing.starts.shape == nothing.scores.shape == (0,)
    assert nothing.states.tolist() == [0] * 9


def test_there_is_no_likeliest_path_of_nan_and_of_probability_0(rng):
    logits = torch.randn(4, 2, 3, generator=rng)
    logits[:, 1, 2] = -INF
    for target in ([2], [1, 2], [2, 1]):
        with pytest.raises(ValueRangeError, match="labels of utterance 1 has probability 0"):
            ctc_align(logits, [[1], target])
    logits[2, 0, 0] = NAN
    with pytest.raises(ValueRangeError, match="logits of utterance 0 hold NaN"):
        ctc_align(logits, [[1], [1]])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_all_forms_of_a_batch_are_one(dtype, rng):
    logits, labels, lengths, counts = draw(rng, 13, 5, 6, 4, 3, dtype)
    expected = ctc_loss(logits, labels, lengths, counts, blank=3)
    (wanted,) = torch.autograd.grad(expected.sum(), logits)
    rows = [labels[b, : counts[b]] for b in range(5)]
    for targets, given in (
        (Ragged.from_list(rows), None),
        (rows, None),
        ([row.tolist() for row in rows], None),
        (torch.cat(rows), counts),
        (labels.numpy(), counts.tolist()),
        (labels.to(torch.int32).T.contiguous().T, counts),
    ):
        assert torch.equal(ctc_loss(logits, targets, lengths, given, blank=3), expected)
        ragged = Ragged.from_padded(logits, lengths)
        loss = ctc_loss(ragged, targets, None, given, blank=3)
        assert torch.equal(loss, expected)
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        assert torch.equal(gradient, wanted)
    value = CTC(blank=3)
    assert isinstance(value, SequenceLoss) and value.whole_sequence and value == CTC(3, False)
    assert torch.equal(value(ragged, Ragged.from_list(rows)), expected)
    for padded, packed in zip(
        ctc_posteriors(logits, labels, lengths, counts, blank=3), ctc_posteriors(ragged, rows, blank=3)
    ):
        assert torch.equal(padded, packed)


def test_an_utterance_does_not_depend_on_its_batch(rng):
    logits, labels, lengths, counts = draw(rng, 30, 7, 5, 6, 0, torch.float32)
    together = ctc_loss(logits, labels, lengths, counts)
    for b in range(7):
        T, L = int(lengths[b]), int(counts[b])
        alone = ctc_loss(logits[:T, b : b + 1].detach(), labels[b : b + 1, :L])
        assert torch.equal(alone, together[b : b + 1].detach())


def test_half_precision_is_computed_in_single(rng):
    logits = torch.randn(8, 2, 5, generator=rng).bfloat16().requires_grad_()
    loss = ctc_loss(logits, [[1, 2], [3]])
    assert loss.dtype == torch.float32
    assert torch.equal(loss, ctc_loss(logits.float(), [[1, 2], [3]]))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert gradient.dtype == torch.bfloat16


def test_empty_batches_and_utterances():
    assert ctc_loss(torch.zeros(5, 0, 3), []).shape == (0,)
    assert ctc_loss(torch.zeros(5, 0, 3), torch.zeros(0, dtype=torch.int64), None, []).shape == (0,)
    assert ctc_posteriors(torch.zeros(5, 0, 3), []) == [] == ctc_align(torch.zeros(5, 0, 3), [])
    nothing = torch.zeros(0, 2, 3, requires_grad=True)
    assert ctc_loss(nothing, [[], [1]]).tolist() == [0, INF]
    only_blank = ctc_loss(torch.zeros(4, 1, 1), [[]])
    assert float(only_blank) == 0
    (path,) = ctc_align(torch.zeros(0, 1, 3), [[]])
    assert path.states.shape == (0,) and path.score == 0


def test_a_second_derivative_is_there(rng):
    logits = torch.randn(4, 1, 3, dtype=torch.float64, generator=rng, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda a: ctc_loss(a, [[1, 2]]), (logits,))
    two = Ragged.from_list([logits.detach()[:3, 0], logits.detach()[:, 0]])
    rows = two.data.clone().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda a: ctc_loss(two.with_data(a), [[2], [1, 1]]), (rows,))


LOGITS = torch.zeros(6, 3, 5)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        (
            (LOGITS, [[1], [2, 5], [3]]),
            {},
            LabelError,
            "label 1 of utterance 1 is 5 but must be one of the K = 5",
        ),
        ((LOGITS, [[1], [2], [3, -2]]), {}, LabelError, "label 1 of utterance 2 is -2 but must be one of"),
        ((LOGITS, [[1], [0], [3]]), {}, LabelError, "label 0 of utterance 1 is 0, which is the blank"),
        (
            (LOGITS, [[1], [0], [4]]),
            {"blank": 4},
            LabelError,
            "label 0 of utterance 2 is 4, which is the blank",
        ),
        ((LOGITS, [[2**31 - 1], [1], [1]]), {}, LabelError, "utterance 0 is 2147483647"),
        ((LOGITS, [[1], [2]]), {}, ShapeError, "2 targets but 3 utterances"),
        ((LOGITS, torch.ones(2, 4, dtype=torch.int64)), {}, ShapeError, r"\(2, 4\) but must be \(B, L\)"),
        ((LOGITS, torch.ones(3, 4)), {}, DTypeError, "float32 but a label is a whole number"),
        ((LOGITS, [[1.0], [2], [3]]), {}, DTypeError, r"targets\[0\] holds"),
        ((LOGITS, [[True], [2], [3]]), {}, DTypeError, "bool but a label"),
        ((LOGITS, [[1], [2], [3]], [6, 7, 6]), {}, LengthError, r"input_lengths\[1\] is 7"),
        ((LOGITS, [[1], [2], [3]], [6, -1, 6]), {}, LengthError, r"input_lengths\[1\] is -1"),
        ((LOGITS, [[1], [2], [3]], torch.tensor([6, 7, 6])), {}, LengthError, r"input_lengths\[1\] is 7"),
        (
            (LOGITS, [[1], [2], [3]], torch.tensor([6, 6, -(2**40)])),
            {},
            LengthError,
            r"input_lengths\[2\] is -1",
        ),
        (
            (LOGITS, torch.ones(3, 4, dtype=torch.int64), None, torch.tensor([4, 5, 1])),
            {},
            LengthError,
            r"target_lengths\[1\] is 5",
        ),
        ((LOGITS, [[1], [2], [3]], [6, 6]), {}, ShapeError, "input_lengths"),
        ((LOGITS, [[1], [2], [3]], [6.0, 6.0, 6.0]), {}, DTypeError, "input_lengths"),
        (
            (LOGITS, torch.ones(3, 4, dtype=torch.int64), None, [4, 5, 1]),
            {},
            LengthError,
            r"target_lengths\[1\] is 5",
        ),
        (
            (LOGITS, torch.ones(9, dtype=torch.int64), None, [4, 2, 1]),
            {},
            LengthError,
            "add up to 7 but targets",
        ),
        ((LOGITS, [[1], [2], [3]], None, [1, 1, 1]), {}, OptionError, "lengths of their own"),
        ((LOGITS, [[1], [2], [3]]), {"blank": 5}, ValueRangeError, "blank is 5"),
        ((LOGITS, [[1], [2], [3]]), {"blank": -1}, ValueRangeError, "blank is -1"),
        ((LOGITS, [[1], [2], [3]]), {"blank": True}, DTypeError, "blank"),
        ((LOGITS[0], [[1], [2], [3]]), {}, ShapeError, "logits"),
        ((LOGITS.long(), [[1], [2], [3]]), {}, DTypeError, "logits"),
        ((torch.zeros(6, 3, 0), [[], [], []]), {}, ShapeError, "K classes"),
        ((LOGITS.numpy(), [[1], [2], [3]]), {}, DTypeError, "torch.Tensor"),
    ],
)
@pytest.mark.parametrize("function", [ctc_loss, ctc_posteriors, ctc_align])
def test_bad_input_is_named(function, arguments, options, error, words):
    with pytest.raises(error, match=words):
        function(*arguments, **options)


def test_bad_options_are_named():
    with pytest.raises(DTypeError, match="zero_infinity is 1"):
        ctc_loss(LOGITS, [[1], [2], [3]], zero_infinity=1)
    with pytest.raises(ValueRangeError, match="blank is -1"):
        CTC(blank=-1)
    with pytest.raises(OptionError, match="input_lengths were given"):
        ctc_loss(Ragged.from_padded(LOGITS), [[1], [2], [3]], [6, 6, 6])


def test_a_learning_rule_takes_it(rng):
    """Targets of lengths of their own; the gradient is that of the sum of the losses."""
    network = nn.Stack.build(
        [nn.LSTMConfig(hidden_size=4, bidirectional=True)], 3, 5, generator=rng, dtype=torch.float64
    )
    x = Ragged.from_list([torch.randn(T, 3, dtype=torch.float64, generator=rng) for T in (9, 6, 12)])
    targets = Ragged.from_list([torch.tensor(t) for t in ([1, 2, 2], [4], [3, 1, 4, 4])])
    rule = BPTT()
    batch = Batch(x, targets=targets, per_step=False)
    losses, gradients, _ = rule.gradient(network, CTC(), batch, rule.start(network, 3))
    expected = ctc_loss(network(x), targets)
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-12, atol=0)
    names, parameters = zip(*network.named_parameters())
    wanted = torch.autograd.grad(expected.mean(), parameters)
    for name, gradient in zip(names, wanted):
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-9, atol=1e-12)
