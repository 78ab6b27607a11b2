"""The kernels of CTC: numbers of threads, instruction sets, torch's transforms, and arguments gone wrong."""

from itertools import product

import numpy as np
import pytest
import torch

from saiki.core.ragged import Ragged
from saiki.engine.native import native
from saiki.losses import CTC, ctc_loss, ctc_native, ctc_posteriors, ctc_reference
from saiki.losses.ctc_case import read_case

pytestmark = pytest.mark.skipif(isinstance(native(), str), reason="the extension was not built")


def draw(rng, B, T, K, L, dtype=torch.float32):
    lengths = [T, *torch.randint(0, T + 1, (B - 1,), generator=rng).tolist()]
    x = Ragged.from_list([torch.randn(n, K, dtype=dtype, generator=rng) for n in lengths])
    labels = torch.randint(1, K, (B, L), generator=rng)
    return x, [labels[b, : min(L, n // 2)] for b, n in enumerate(lengths)]


def run(x, targets):
    rows = x.data.clone().requires_grad_()
    loss = ctc_loss(x.with_data(rows), targets)
    return loss.detach(), *torch.autograd.grad(loss.sum(), rows)


@pytest.fixture
def threads():
    """Sets the number of threads, until the test is over."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(("B", "T", "K", "L"), [(9, 60, 28, 20), (1, 200, 300, 7), (3, 40, 3000, 40)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_threads_do_not_show_in_the_numbers(B, T, K, L, dtype, threads, rng):
    x, targets = draw(rng, B, T, K, L, dtype)
    threads(1)
    one, shares = run(x, targets), ctc_posteriors(x, targets)
    for count in (2, 3, 7):
        threads(count)
        assert all(torch.equal(a, b) for a, b in zip(one, run(x, targets)))
        assert all(torch.equal(a, b) for a, b in zip(shares, ctc_posteriors(x, targets)))


@pytest.mark.parametrize("target", [] if isinstance(native(), str) else native().targets())
@pytest.mark.parametrize("K", [1, 2, 15, 16, 17, 64, 100])
def test_every_instruction_set_agrees_with_the_plain_twin(target, K, monkeypatch, rng):
    """In float64, and lengths on both sides of every vector's."""
    monkeypatch.setenv("SAIKI_ISA", target)
    for T, L in product((1, 7, 33), (0, 1, 8, 16, 17)):
        x, targets = draw(rng, 3, T, max(K, 2), min(L, T) if K > 1 else 0, torch.float64)
        x = x.with_data(x.data[:, :K].clone().requires_grad_())
        case = read_case(x, targets, None, None, 0)
        loss = ctc_native.loss(case)
        expected = ctc_reference.loss(case)
        torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
        reachable = torch.isfinite(expected)
        (gradient,) = torch.autograd.grad(loss.where(reachable, 0.0).sum(), x.data)
        (wanted,) = torch.autograd.grad(expected.where(reachable, 0.0).sum(), x.data)
        torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-11)


def test_strided_logits_are_read_where_they_lie_or_copied(rng):
    wide = torch.randn(20, 8, 12, generator=rng)
    view = wide[::2, 1:6, 3:10].requires_grad_()
    targets = torch.randint(1, 7, (5, 3), generator=rng)
    expected = ctc_loss(view.detach().clone(), targets)
    loss = ctc_loss(view, targets)
    assert torch.equal(loss, expected)
    assert torch.autograd.grad(loss.sum(), view)[0].shape == view.shape


def test_an_operator_is_what_torch_sees(rng):
    """Shapes without numbers, gradients beneath a tracer, and one graph of it."""
    x, targets = draw(rng, 3, 12, 5, 4)
    args = ctc_native.batch_of(read_case(x, targets, None, None, 0))
    rows = args[0].clone().requires_grad_()
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")  # `saved` has gaps nobody reads
    torch.library.opcheck(torch.ops.saiki.ctc.default, (rows, *args[1:], True), test_utils=checks)

    def total(rows):
        return torch.ops.saiki.ctc(rows, *args[1:])[0].sum()

    plain = torch.autograd.grad(total(rows), rows)[0]
    compiled = torch.compile(total, backend="aot_eager", fullgraph=True)
    assert torch.equal(torch.autograd.grad(compiled(rows), rows)[0], plain)
    assert torch.equal(run(x, targets)[1], plain)


def test_the_value_of_the_loss_is_that_of_the_function(rng):
    x, targets = draw(rng, 4, 9, 6, 3)
    assert torch.equal(CTC()(x, Ragged.from_list(targets)), ctc_loss(x, targets))


# --- arguments gone wrong -----------------------------------------------------------------------------------

GOOD = {
    "logits": np.zeros((6, 4), np.float32),
    "lengths": np.array([3, 2]),
    "batch_sizes": None,
    "order": None,
    "targets": np.array([[1, 2], [3, 9]]),
    "target_lengths": np.array([2, 1]),
    "blank": 0,
}
PACKED = {
    "logits": np.zeros((5, 4), np.float32),
    "batch_sizes": np.array([2, 2, 1]),
    "order": np.array([0, 1]),
}


def call(**changes):
    """All three functions; where the first refuses the others must."""
    module = native()
    given = GOOD | changes
    N = len(given["logits"]) if isinstance(given["logits"], np.ndarray) else 6
    rows = given["logits"]
    loss = np.zeros(2, np.float32)
    saved = np.zeros((N, module.ctc_columns("float32", 2)), np.float32)
    states, log_p = np.zeros(5, np.int64), np.zeros(5)
    errors = []
    for function, out in (
        (module.ctc_forward, (loss, saved, None)),
        (module.ctc_backward, (loss, saved, loss.copy(), np.zeros_like(rows))),
        (module.ctc_paths, (states, log_p)),
    ):
        try:
            function(*given.values(), *out)
        except (TypeError, ValueError) as error:
            errors.append(str(error))
    assert len(errors) in (0, 3)
    return errors[0] if errors else ""


def test_good_arguments_are_taken():
    assert call() == "" == call(**PACKED)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"logits": np.zeros((7, 4), np.float32)}, "no multiple of the 2 lengths"),
        ({"logits": np.zeros((6, 0), np.float32)}, "K at least 1"),
        ({"logits": np.zeros(6, np.float32)}, "logits is"),
        ({"logits": np.zeros((6, 4), np.int64)}, "float32 or float64"),
        ({"logits": np.zeros((6, 8), np.float32)[:, ::2]}, "contiguous"),
        ({"lengths": np.array([4, 2])}, r"lengths[0] is 4"),
        ({"lengths": np.array([3, -1])}, r"lengths[1] is -1"),
        ({"lengths": np.array([3.0, 2.0])}, "int64"),
        ({"lengths": None}, "lengths must be an array"),
        ({"targets": np.array([[1, 2], [4, 9]])}, "label 0 of utterance 1 is 4"),
        ({"targets": np.array([[1, -1], [3, 9]])}, "label 1 of utterance 0 is -1"),
        ({"targets": np.array([[1, 2], [0, 9]])}, "label 0 of utterance 1 is 0"),
        ({"targets": np.array([[1, 2**31], [3, 9]])}, "label 1 of utterance 0 is 2147483648"),
        ({"targets": np.array([1, 2])}, "targets is"),
        ({"targets": np.array([[1, 2]])}, "targets is"),
        ({"target_lengths": np.array([3, 1])}, "target_lengths[0] is 3"),
        ({"target_lengths": np.array([2, -1])}, "target_lengths[1] is -1"),
        ({"target_lengths": np.array([2])}, "target_lengths"),
        ({"blank": 4}, "blank must be a column"),
        ({"blank": -1}, "blank must be a column"),
        (PACKED | {"batch_sizes": np.array([2, 2, 2])}, "batch_sizes must be"),
        (PACKED | {"batch_sizes": np.array([1, 2, 2])}, "batch_sizes must be"),
        (PACKED | {"batch_sizes": np.array([3, 2])}, "order and lengths"),
        (PACKED | {"order": np.array([1, 0])}, "order and lengths"),
        (PACKED | {"order": np.array([0, 0])}, "order and lengths"),
        (PACKED | {"order": np.array([0, 2])}, "order and lengths"),
        (PACKED | {"order": np.array([0, -1])}, "order and lengths"),
        (PACKED | {"order": np.array([0])}, "order and lengths"),
        (PACKED | {"order": None}, "order must be an array"),
    ],
)
def test_bad_arguments_are_refused(changes, words):
    assert words in call(**changes)


def test_what_is_written_has_its_size_and_its_own_memory():
    module, given = native(), list(GOOD.values())
    columns = module.ctc_columns("float32", 2)
    loss = np.zeros(2, np.float32)
    with pytest.raises(ValueError, match="loss is"):
        module.ctc_forward(*given, np.zeros(3, np.float32), None, None)
    with pytest.raises(ValueError, match="saved is"):
        module.ctc_forward(*given, loss, np.zeros((6, columns + 1), np.float32), None)
    with pytest.raises(ValueError, match="posteriors is"):
        module.ctc_forward(*given, loss, None, np.zeros((6, 4), np.float32))
    with pytest.raises(ValueError, match="overlaps"):
        module.ctc_backward(*given, loss, np.zeros((6, columns), np.float32), loss.copy(), given[0])
    with pytest.raises(ValueError, match="threads"):
        module.ctc_forward(*given, loss, None, None, 0)
    with pytest.raises(ValueError, match="target is 'mmx'"):
        module.ctc_forward(*given, loss, None, None, 1, "mmx")
