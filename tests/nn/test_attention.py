"""Attention: the formula by hand, the mask, one at a time, gradients, and memories that a beam shares."""

import pytest
import torch
from torch.autograd import gradcheck
from torch.func import functional_call

from saiki.core.errors import LengthError, OptionError, ShapeError
from saiki.core.ragged import Ragged
from saiki.nn import attention as module
from saiki.nn.attention import SCORES, Attention, masked_softmax

F64 = torch.float64
SOURCES = (3, 0, 5, 1)  # an empty one among them
QUERIES = (2, 3, 0, 4)


def made(score, rng, query=3, memory=4, **options) -> Attention:
    built = Attention(
        query, query if score == "dot" else memory, score=score, generator=rng, dtype=F64, **options
    )
    for parameter in built.parameters():  # a zero bias would hide where it is added
        parameter.data = torch.randn(parameter.shape, generator=rng, dtype=F64)
    return built


def batch(lengths, size, rng) -> Ragged:
    return Ragged.from_list([torch.randn(n, size, generator=rng, dtype=F64) for n in lengths])


def by_hand(attention, query, steps):
    """One query, one source, as the paper writes it."""
    if len(steps) == 0:
        return torch.zeros(attention.memory_size, dtype=F64), torch.zeros(0, dtype=F64)
    scores = []
    for m in steps:
        if attention.score == "dot":
            scores.append(query @ m)
        elif attention.score == "general":
            scores.append(query @ attention.weight @ m)
        else:
            inner = attention.weight_query @ query + attention.weight_memory @ m + attention.bias
            scores.append(attention.vector @ torch.tanh(inner))
    alpha = torch.stack(scores).exp() / torch.stack(scores).exp().sum()
    return sum(a * m for a, m in zip(alpha, steps)), alpha


@pytest.mark.parametrize("score", SCORES)
def test_it_is_the_formula_for_sources_of_any_length(score, rng):
    attention = made(score, rng)
    source = batch(SOURCES, attention.memory_size, rng)
    queries = batch(QUERIES, 3, rng)
    contexts, weights = attention.attend(queries, source)
    for b, (asked, steps, got) in enumerate(zip(queries.to_list(), source.to_list(), contexts.to_list())):
        assert weights[b].shape == (QUERIES[b], SOURCES[b])
        for t, query in enumerate(asked):
            context, alpha = by_hand(attention, query, steps)
            torch.testing.assert_close(got[t], context, rtol=1e-12, atol=1e-13)  # rounding of sums alone
            torch.testing.assert_close(weights[b][t], alpha, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("score", SCORES)
def test_weights_sum_to_one_over_the_live_steps_only(score, rng):
    attention = made(score, rng)
    source = batch(SOURCES, attention.memory_size, rng)
    memory = attention.memory(source)
    _, weights = attention(torch.randn(4, 3, 3, generator=rng, dtype=F64), memory)
    for b, S in enumerate(SOURCES):
        assert bool((weights[b, :, S:] == 0).all())
        assert float((weights[b, :, :S].detach().sum(dim=-1) - float(S > 0)).abs().max()) < 1e-12


@pytest.mark.parametrize("score", SCORES)
def test_a_sequence_does_not_depend_on_its_mates(score, rng):
    attention = made(score, rng)
    source, queries = batch(SOURCES, attention.memory_size, rng), batch(QUERIES, 3, rng)
    together = attention.attend(queries, source)[0].to_list()
    for b in range(4):
        alone = attention.attend(queries.select([b]), source.select([b]))[0].to_list()[0]
        torch.testing.assert_close(alone, together[b], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("score", SCORES)
def test_one_step_is_its_own_context(score, rng):
    attention = made(score, rng)
    source = batch((1,), attention.memory_size, rng)
    contexts, weights = attention.attend(batch((3,), 3, rng), source)
    torch.testing.assert_close(contexts.data, source.data.expand(3, -1))
    assert bool((weights[0] == 1).all())


@pytest.mark.parametrize("score", SCORES)
def test_derivatives_are_right(score, rng):
    attention = made(score, rng)
    source, queries = batch((2, 0, 3), attention.memory_size, rng), batch((1, 2, 2), 3, rng)
    names = [name for name, _ in attention.named_parameters()]

    def run(query_rows, source_rows, *values):
        given = (queries.with_data(query_rows), source.with_data(source_rows))

        class Door(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = attention

            def forward(self):
                return self.inner.attend(*given)[0].data

        return functional_call(Door(), {f"inner.{n}": v for n, v in zip(names, values)}, ())

    leaves = [queries.data, source.data, *(p.detach() for p in attention.parameters())]
    assert gradcheck(run, tuple(leaf.clone().requires_grad_() for leaf in leaves), fast_mode=True)


def test_a_source_without_steps_gives_no_gradient_that_is_not_a_number(rng):
    scores = torch.randn(2, 1, 3, generator=rng, requires_grad=True)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    weights = masked_softmax(scores, mask)
    weights.square().sum().backward()
    assert bool((weights[1] == 0).all()) and bool((scores.grad[1] == 0).all())
    assert bool(torch.isfinite(scores.grad).all()) and bool((scores.grad[0, 0, :2] != 0).all())


def test_pieces_give_the_same_as_the_whole(rng, monkeypatch):
    """The additive score of a long batch is computed in pieces, twice where gradients are wanted."""
    attention = made("additive", rng)
    source, queries = batch((5, 4), 4, rng), batch((6, 3), 3, rng)

    def run():
        attention.zero_grad()
        contexts = attention.attend(queries, source)[0].data
        contexts.square().sum().backward()
        return [contexts.detach(), *(p.grad.clone() for p in attention.parameters())]

    whole = run()
    monkeypatch.setattr(module, "_KEEP", 2 * 2 * 5 * 3)  # two of the six steps at a time
    for one, other in zip(whole, run()):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(
    "rows", [[0, 0, 1, 1, 2, 2, 3, 3], [0, 0, 2, 2], [3, 1], [2, 0, 0], [1, 1, 1]], ids=str
)
def test_rows_of_a_memory_share_it_where_they_can(score, rows, rng):
    attention = made(score, rng)
    source = batch(SOURCES, attention.memory_size, rng)
    query = torch.randn(len(rows), 1, 3, generator=rng, dtype=F64)
    memory = attention.memory(source).select(torch.tensor(rows))
    assert memory.rows == len(rows)
    got = attention(query, memory)
    copied = attention.memory(source.select(rows))
    S = copied.steps
    wanted = attention(query, copied)
    torch.testing.assert_close(got[0], wanted[0], rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(got[1][..., :S], wanted[1], rtol=1e-12, atol=1e-13)
    assert bool((got[1][..., S:] == 0).all())


def test_a_beam_shares_and_its_rows_can_be_chosen_again(rng):
    attention = made("general", rng)
    memory = attention.memory(batch(SOURCES, 4, rng))
    beam = memory.select(torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]))
    assert beam.group == 3 and beam.keys is memory.keys  # nothing was copied
    again = beam.select(torch.tensor([2, 0, 0, 7, 7, 6]))  # rows of sources 0 and 2
    assert (again.group, again.keys.shape[0]) == (3, 2)
    torch.testing.assert_close(again.values, memory.values[[0, 2]])


def test_what_does_not_fit_is_said():
    with pytest.raises(ShapeError, match=r"the query has 4 features and a step 6.*take 'general'"):
        Attention(4, 6, score="dot")
    with pytest.raises(OptionError, match=r"did you mean 'general'"):
        Attention(4, 4, score="generl")
    with pytest.raises(OptionError, match=r"size is 3 but score='dot' has no units"):
        Attention(4, 4, score="dot", size=3)
    attention = Attention(4, 4)
    one = Ragged.from_list([torch.zeros(2, 4)])
    with pytest.raises(LengthError, match=r"2 sequences of queries but 1 sources"):
        attention.attend(Ragged.from_list([torch.zeros(2, 4)] * 2), one)
    with pytest.raises(ShapeError, match=r"query is \(2, 1, 4\) but must be \(R, T, Q\) = \(1, T, 4\)"):
        attention(torch.zeros(2, 1, 4), attention.memory(one))
