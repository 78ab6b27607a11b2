"""A linear chain against enumeration of all its paths, against autograd, and where it reduces to softmax."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from saiki import Ragged, losses, nn
from saiki.core.errors import DTypeError, LabelError, LengthError, ShapeError

EXACT = {"rtol": 1e-10, "atol": 1e-10}  # float64, a few hundred operations in another order
LENGTHS = (3, 1, 0, 4, 3)
K = 3


def chain(rng: torch.Generator, lengths=LENGTHS, classes=K) -> tuple[Ragged, Ragged]:
    """Potentials and a path, every entry random."""
    tables = [torch.randn(T, classes, classes, dtype=torch.float64, generator=rng) for T in lengths]
    paths = [torch.randint(classes, (T,), generator=rng) for T in lengths]
    return Ragged.from_list(tables), Ragged.from_list(paths)


def score(table: Tensor, path: tuple[int, ...]) -> Tensor:
    """Σ_t ψ_t(y_{t-1}, y_t) as it is written; row 0 at the first step."""
    before = (0, *path[:-1])
    return sum(
        (table[t, i, j] for t, (i, j) in enumerate(zip(before, path))), torch.zeros((), dtype=table.dtype)
    )


def all_paths(table: Tensor) -> tuple[list[tuple[int, ...]], Tensor]:
    """Every path with its score."""
    paths = list(itertools.product(range(table.shape[-1]), repeat=len(table)))
    return paths, torch.stack([score(table, path) for path in paths])


def test_partition_function_and_likelihood_are_sums_over_all_paths(rng):
    potentials, targets = chain(rng)
    log_z = losses.crf_log_partition(potentials)
    value = losses.crf(potentials, targets)
    for b, (table, path) in enumerate(zip(potentials.to_list(), targets.to_list())):
        _, scores = all_paths(table)
        torch.testing.assert_close(log_z[b], scores.logsumexp(0), **EXACT)
        mine = score(table, tuple(path.tolist()))
        torch.testing.assert_close(losses.crf_score(potentials, targets)[b], mine, **EXACT)
        torch.testing.assert_close(value[b], scores.logsumexp(0) - mine, **EXACT)
    assert value[2] == 0  # one path, the empty one
    assert losses.CRF()(potentials, targets).equal(value) and losses.CRF.whole_sequence


def test_marginals_are_sums_over_all_paths(rng):
    potentials, _ = chain(rng)
    for table, found in zip(potentials.to_list(), losses.crf_marginals(potentials).to_list()):
        paths, scores = all_paths(table)
        p = torch.softmax(scores, 0)
        wanted = torch.zeros(len(table), K, dtype=torch.float64)
        for path, share in zip(paths, p):
            for t, j in enumerate(path):
                wanted[t, j] += share
        torch.testing.assert_close(found, wanted, **EXACT)


def test_the_gradient_is_that_of_the_plain_recursion(rng):
    potentials, targets = chain(rng)

    def plain(table: Tensor) -> Tensor:
        alpha = table[0, 0]
        for psi in table[1:]:
            alpha = torch.logsumexp(alpha[:, None] + psi, dim=0)
        return alpha.logsumexp(0)

    weights = torch.tensor([0.5, 2.0, 1.0, -1.5, 0.3], dtype=torch.float64)
    tables = [table.clone().requires_grad_() for table in potentials.to_list()]
    (losses.crf_log_partition(Ragged.from_list(tables)) @ weights).backward()
    twins = [table.detach().clone().requires_grad_() for table in tables]
    sum(w * plain(table) for w, table in zip(weights, twins) if len(table)).backward()
    for mine, twin in zip(tables, twins):
        if len(mine):
            torch.testing.assert_close(mine.grad, twin.grad, **EXACT)
    assert torch.autograd.gradcheck(
        lambda data: losses.crf(potentials.with_data(data), targets), potentials.data.clone().requires_grad_()
    )


def test_without_transitions_it_is_a_softmax_a_step(rng):
    scores = Ragged.from_list([torch.randn(T, K, dtype=torch.float64, generator=rng) for T in LENGTHS])
    targets = Ragged.from_list([torch.randint(K, (T,), generator=rng) for T in LENGTHS])
    layer = nn.CRF(K, dtype=torch.float64)
    wanted = scores.sequence_sum(losses.cross_entropy(scores.data, targets.data))
    torch.testing.assert_close(losses.crf(layer(scores), targets), wanted, **EXACT)
    marginals = losses.crf_marginals(layer(scores))
    torch.testing.assert_close(marginals.data, torch.softmax(scores.data, 1), **EXACT)


def test_the_layer_writes_the_textbook_score(rng):
    """e + A + s + z, each parameter random: a wrong row or a wrong step shows."""
    layer = nn.CRF(K, dtype=torch.float64)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, generator=rng)
    scores = [torch.randn(T, K, dtype=torch.float64, generator=rng) for T in LENGTHS]
    paths = [torch.randint(K, (T,), generator=rng) for T in LENGTHS]
    found = losses.crf_score(layer(Ragged.from_list(scores)), Ragged.from_list(paths))
    for b, (e, path) in enumerate(zip(scores, paths)):
        y = path.tolist()
        wanted = sum(float(e[t, j]) for t, j in enumerate(y))
        wanted += sum(layer.transitions[i, j].item() for i, j in itertools.pairwise(y))
        wanted += (layer.start[y[0]] + layer.end[y[-1]]).item() if y else 0.0
        assert found[b].item() == pytest.approx(wanted, abs=1e-12)
    inputs = torch.randn(sum(LENGTHS), K, dtype=torch.float64, generator=rng).requires_grad_()
    names = [name for name, _ in layer.named_parameters()]

    def value(data: Tensor, *weights: Tensor) -> Tensor:
        made = torch.func.functional_call(
            layer, dict(zip(names, weights)), (Ragged.from_list(scores).with_data(data),)
        )
        return losses.crf(made, Ragged.from_list(paths))

    weights = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    assert torch.autograd.gradcheck(value, (inputs, *weights))


def test_forbidden_paths_are_infinite_and_move_nothing(rng):
    potentials, targets = chain(rng, (3, 2))
    table = potentials.data.clone()
    first, second = (path.tolist() for path in targets.to_list())
    tables = [t.clone() for t in potentials.to_list()]
    tables[0][1, first[0], first[1]] = float("-inf")  # this path only
    tables[1][:] = float("-inf")  # every path
    data = Ragged.from_list(tables).data.requires_grad_()
    value = losses.crf(potentials.with_data(data), targets)
    assert torch.isposinf(value).all()
    log_z = losses.crf_log_partition(potentials.with_data(data))
    assert torch.isfinite(log_z[0]) and torch.isneginf(log_z[1])
    (gradient,) = torch.autograd.grad(log_z[0], data, retain_graph=True)
    assert torch.isfinite(gradient).all()
    (gradient,) = torch.autograd.grad(log_z[1], data)
    assert (gradient == 0).all()
    (gradient,) = torch.autograd.grad(value.nan_to_num(posinf=0).sum(), data)
    assert torch.isfinite(gradient).all()
    assert torch.isfinite(losses.crf_marginals(potentials.with_data(data.detach())).data).all()
    assert len(second) == 2 and table.isfinite().all()


def test_long_chains_stay_finite_in_float32(rng):
    potentials = Ragged.from_list([50 * torch.randn(2000, 4, 4, generator=rng)])
    data = potentials.data.requires_grad_()
    value = losses.crf(potentials.with_data(data), Ragged.from_list([torch.zeros(2000, dtype=torch.int64)]))
    (gradient,) = torch.autograd.grad(value.sum(), data)
    assert torch.isfinite(value).all() and torch.isfinite(gradient).all()


def test_batch_mates_change_nothing(rng):
    potentials, targets = chain(rng)
    whole = losses.crf(potentials, targets)
    for b, (table, path) in enumerate(zip(potentials.to_list(), targets.to_list())):
        alone = losses.crf(Ragged.from_list([table]), Ragged.from_list([path]))
        torch.testing.assert_close(alone[0], whole[b], **EXACT)
    packed = torch.nn.utils.rnn.pack_sequence([targets.to_list()[b] for b in (4, 0)], enforce_sorted=False)
    other = Ragged.from_packed(packed)  # torch may pack equals in another order than ours
    mine = potentials.select(torch.tensor([4, 0]))
    torch.testing.assert_close(losses.crf(mine, other), whole[[4, 0]], **EXACT)


@pytest.mark.parametrize(
    ("potentials", "targets", "error", "said"),
    [
        ([[[[0.0, 0.0]]]], [[0]], ShapeError, r"must be a table \(K, K\)"),
        ([[[[0.0]]]], [[1]], LabelError, r"target 1 of sequence 0 at step 0 is not in \[0, 1\)"),
        ([[[[0.0]]]], [[-1]], LabelError, "target -1 of sequence 0"),
        ([[[[0.0]]]], [[0.0]], DTypeError, "targets hold torch.float32"),
        ([[[[0.0]]]], [[0, 0]], LengthError, "sequence 0 has 2 targets but 1 steps"),
        ([[[[0.0]]]], [[0], [0]], LengthError, "targets have 2 sequences but potentials 1"),
        ([[[[0]]]], [[0]], DTypeError, "potentials hold torch.int64"),
    ],
)
def test_what_does_not_fit_is_named(potentials, targets, error, said):
    given = Ragged.from_list([torch.tensor(p) for p in potentials])
    with pytest.raises(error, match=said):
        losses.crf(given, Ragged.from_list([torch.tensor(t) for t in targets]))


def test_a_table_is_asked_for():
    with pytest.raises(DTypeError, match="must be a Ragged with data"):
        losses.crf(torch.zeros(1, 2, 2), Ragged.from_list([torch.zeros(1, dtype=torch.int64)]))
    with pytest.raises(ShapeError, match="5"):
        nn.CRF(3)(Ragged.from_list([torch.zeros(2, 5)]))
