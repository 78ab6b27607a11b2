"""Greedy, beam and sampled decoding: against counting everything, alone and together, and the arithmetic."""

import functools
import itertools
import math
from collections import Counter

import pytest
import torch

from saiki.core.errors import DTypeError, NonFiniteError, ShapeError, ValueRangeError
from saiki.core.ragged import Ragged
from saiki.decoding.sequence import Rows, beam, draw, greedy, sample
from saiki.nn import LSTMConfig, Stack
from saiki.nn.encoder_decoder import EncoderDecoder, EncoderDecoderConfig

END = 1


class Told:
    """A state that remembers all symbols so far; the scores are a fixed random function of them."""

    def __init__(self, read, attention=None):
        self.read, self.attention = read, attention

    def select(self, rows):
        return Told([self.read[int(k)] for k in rows], self.attention)


def oracle(vocabulary: int, seed: int = 0, sharp: float = 1.5):
    """A step whose scores depend on everything that was read, and the same as a function of it."""

    def scores(read: tuple[int, ...]) -> torch.Tensor:
        mixed = hash((seed, *read)) % (2**31)  # of small integers, so the same in every process
        return sharp * torch.randn(
            vocabulary, generator=torch.Generator().manual_seed(mixed), dtype=torch.float64
        )

    def step(tokens, state):
        read = [(*before, int(token)) for before, token in zip(state.read, tokens)]
        weights = torch.tensor([[len(r), r[-1]] for r in read], dtype=torch.float64)
        return torch.stack([scores(r) for r in read]), Told(read, weights)

    return step, scores


def everything(scores, first: tuple[int, ...], vocabulary: int, most: int, alpha: float):
    """Every sequence of at most `most` symbols, best first, those that ended before those cut off."""
    others = [v for v in range(vocabulary) if v != END]
    found = []
    for n in range(most + 1):
        for body in itertools.product(others, repeat=n):
            read, total = first, 0.0
            for symbol in body:
                total += float(torch.log_softmax(scores(read), 0)[symbol])
                read = (*read, symbol)
            if n == most:
                found.append((False, total / n**alpha, total, body))
            else:
                total += float(torch.log_softmax(scores(read), 0)[END])
                found.append((True, total / (n + 1) ** alpha, total, body))
    return sorted(found, key=lambda one: (not one[0], -one[1]))


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("most", [1, 2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_a_wide_beam_is_exhaustive(alpha, most, seed):
    V = 3
    step, scores = oracle(V, seed)
    start = torch.tensor([0, 2])
    found = beam(
        step, Told([(), ()]), start, end=END, max_steps=most, width=V**most, n_best=6, length_power=alpha
    )
    for b, first in enumerate(start.tolist()):
        wanted = everything(scores, (first,), V, most, alpha)[:6]
        assert [one.tokens for one in found[b]] == [body for *_, body in wanted]
        for one, (ended, score, total, _) in zip(found[b], wanted):
            assert one.ended == ended
            assert (one.score, one.log_probability) == pytest.approx((score, total), rel=1e-12)


def test_a_narrow_beam_follows_the_likeliest_and_stops_rightly():
    """Against a search that never stops early and keeps lists, as a textbook would write it."""
    V, most, width, alpha = 6, 7, 3, 0.8
    for seed in range(8):
        step, scores = oracle(V, seed)
        alive, ended = [((0,), 0.0)], []
        for n in range(1, most + 1):
            grown = []
            for read, total in alive:
                log_p = torch.log_softmax(scores(read), 0)
                ended.append((float(total + log_p[END]) / n**alpha, read[1:]))
                grown += [((*read, v), total + float(log_p[v])) for v in range(V) if v != END]
            alive = sorted(grown, key=lambda one: -one[1])[:width]
        best = sorted(ended, key=lambda one: -one[0])[:2]
        found = beam(
            step,
            Told([()]),
            torch.tensor([0]),
            end=END,
            max_steps=most,
            width=width,
            n_best=2,
            length_power=alpha,
        )[0]
        assert [one.tokens for one in found] == [body for _, body in best]
        assert [one.score for one in found] == pytest.approx([score for score, _ in best], rel=1e-12)


def test_greedy_is_the_likeliest_symbol_again_and_again():
    step, scores = oracle(5)
    found = greedy(step, Told([(), (), ()]), torch.tensor([0, 2, 3]), end=END, max_steps=[6, 6, 2])
    for first, most, one in zip((0, 2, 3), (6, 6, 2), found):
        read, total, ended = (first,), 0.0, False
        while len(read) <= most and not ended:
            log_p = torch.log_softmax(scores(read), 0)
            token = int(log_p.argmax())
            total, ended = total + float(log_p[token]), token == END
            read = read if ended else (*read, token)
        assert (one.tokens, one.ended) == (read[1:], ended)
        assert one.log_probability == pytest.approx(total, rel=1e-12) == one.score


def test_a_beam_of_one_is_greedy_where_probability_ranks():
    step, _ = oracle(4, sharp=6.0)
    start = torch.tensor([0, 2, 3])
    one = greedy(step, Told([()] * 3), start, end=END, max_steps=9)
    narrow = beam(step, Told([()] * 3), start, end=END, max_steps=9, width=1, length_power=0.0)
    for g, (b,) in zip(one, narrow):  # a beam also weighs ending earlier
        assert b.score >= g.score - 1e-12 or not b.ended


@pytest.mark.parametrize("how", ["greedy", "beam", "sample"])
def test_a_sequence_gives_what_it_gives_alone(how):
    step, _ = oracle(5, seed=3)
    start = torch.tensor([0, 2, 3, 4])

    def run(rows, read):
        given = {"end": END, "max_steps": 8}
        if how == "beam":
            return [found[0] for found in beam(step, read, rows, **given, width=3)]
        if how == "sample":  # the first of a batch draws first, so compare where the generator starts alike
            return sample(step, read, rows, **given, generator=7)
        return greedy(step, read, rows, **given)

    together = run(start, Told([()] * 4))
    for b in range(1 if how == "sample" else 4):
        alone = run(start[b : b + 1], Told([()]))[0]
        assert (alone.tokens, alone.ended) == (together[b].tokens, together[b].ended)
        assert alone.score == pytest.approx(together[b].score, rel=1e-12)


@pytest.mark.parametrize("how", [greedy, beam, sample], ids=lambda f: f.__name__)
def test_what_was_looked_at_stays_with_its_symbol(how):
    """The state's weights are the length of what was read and its last symbol."""
    step, _ = oracle(5, seed=4)
    found = how(step, Told([(), ()]), torch.tensor([0, 3]), end=END, max_steps=6)
    for first, one in zip((0, 3), found):
        one = one[0] if how is beam else one
        read = (first, *one.tokens)
        n = len(one.tokens) + one.ended
        assert one.attention.tolist() == [[k + 1, read[k]] for k in range(n)]


def test_sampling_follows_the_probabilities():
    """5 σ of a binomial around each of V symbols' probabilities, for three temperatures."""
    scores = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64).log()
    n = 4000
    for tau, wanted in (
        (0.5, (0.90741, 0.07407, 0.01852)),
        (1, (0.7, 0.2, 0.1)),
        (2, (0.52288, 0.27949, 0.19763)),
    ):
        found = sample(
            lambda tokens, state: (scores.expand(len(tokens), -1), state),
            Rows(torch.zeros(n)),
            torch.zeros(n, dtype=torch.int64),
            end=None,
            max_steps=1,
            temperature=tau,
            generator=torch.Generator().manual_seed(1),
        )
        counts = Counter(one.tokens[0] for one in found)
        for v, p in enumerate(wanted):
            assert abs(counts[v] / n - p) < 5 * math.sqrt(p * (1 - p) / n)
        assert found[0].log_probability == pytest.approx(float(scores[found[0].tokens[0]]))


def test_drawing_inverts_the_distribution():
    scores = torch.tensor([[0.2, 0.5, 0.3]]).log()
    grid = torch.linspace(0, 1, 1001, dtype=torch.float64)[:-1]
    drawn = draw(scores.expand(1000, -1), grid)
    for got, wanted in zip(torch.bincount(drawn, minlength=3).tolist(), (200, 500, 300)):
        assert abs(got - wanted) <= 1  # a grid point may lie on the edge, which float32 moves
    assert set(draw(scores.expand(1000, -1), grid, top_k=2).tolist()) == {1, 2}
    assert set(draw(scores.expand(1000, -1), grid, top_k=1).tolist()) == {1}
    cold = draw(scores.expand(1000, -1), grid, temperature=1e-3)
    assert set(cold.tolist()) == {1}
    impossible = torch.tensor([[-torch.inf, 0.0, -torch.inf]])
    assert draw(impossible.expand(3, -1), torch.tensor([0.0, 0.5, 1 - 1e-16])).tolist() == [1, 1, 1]


def test_temperature_zero_is_greedy():
    step, _ = oracle(6, seed=2)
    args = (step, Told([(), ()]), torch.tensor([0, 2]))
    cold = sample(*args, end=END, max_steps=7, temperature=0.0)
    assert [one.tokens for one in cold] == [one.tokens for one in greedy(*args, end=END, max_steps=7)]
    assert [one.tokens for one in sample(*args, end=END, max_steps=7, top_k=1)] == [
        one.tokens for one in cold
    ]


def test_a_network_decodes_alike_in_a_beam_and_alone(rng):
    """Rows of a beam share their source; sentences leave one by one."""
    config = EncoderDecoderConfig(
        source_size=6, target_size=4, hidden_size=7, embedding_size=4, input_feeding=True
    )
    network = EncoderDecoder(config, generator=rng, dtype=torch.float64)
    for parameter in network.parameters():
        parameter.data += 0.5 * torch.randn(parameter.shape, generator=rng, dtype=torch.float64)
    source = Ragged.from_list([torch.randint(6, (n,), generator=rng) for n in (3, 1, 5, 2)])

    def scores(b):
        @functools.cache
        def after(read):
            state = after(read[:-1])[1] if len(read) > 1 else network.start(source.select([b]))
            return network.step(torch.tensor(read[-1:]), state)

        return lambda read: after(read)[0][0]

    start = torch.zeros(4, dtype=torch.int64)
    wide = beam(network.step, network.start(source), start, end=END, max_steps=3, width=64, n_best=3)
    for b in range(4):
        wanted = everything(scores(b), (0,), 4, 3, 1.0)[:3]
        assert [one.tokens for one in wide[b]] == [body for *_, body in wanted]
        assert [one.score for one in wide[b]] == pytest.approx([score for _, score, *_ in wanted], rel=1e-9)
        S = int(source.lengths[b])
        for one in wide[b]:
            assert one.attention.shape[0] == len(one.tokens) + one.ended
            torch.testing.assert_close(
                one.attention[:, :S].sum(-1), torch.ones(len(one.attention), dtype=torch.float64)
            )
            assert not one.attention[:, S:].any()
    together = greedy(network.step, network.start(source), start, end=END, max_steps=6)
    for b, one in enumerate(together):
        alone = greedy(network.step, network.start(source.select([b])), start[:1], end=END, max_steps=6)[0]
        assert one.tokens == alone.tokens


def test_a_language_model_is_carried_as_rows(rng):
    """Plain tensors with the batch on axis 1, as a Stack carries them."""
    network = Stack.build([LSTMConfig(hidden_size=6, num_layers=2)], 4, 4, generator=rng, dtype=torch.float64)

    def step(tokens, state):
        x = torch.nn.functional.one_hot(tokens, 4).double()
        logits, after = network.run(Ragged.from_padded(x[None]), state.value)
        return logits.data, Rows(after, axis=1)

    with torch.no_grad():
        found = beam(
            step, Rows(network.initial_state(2), axis=1), torch.tensor([0, 2]), end=END, max_steps=4, width=64
        )
        for first, (one, *_) in zip((0, 2), found):
            read = Ragged.from_list(
                [torch.nn.functional.one_hot(torch.tensor([first, *one.tokens]), 4).double()]
            )
            log_p = torch.log_softmax(network(read).data, -1)
            symbols = [*one.tokens, END] if one.ended else list(one.tokens)
            total = sum(float(log_p[k, v]) for k, v in enumerate(symbols))
            assert one.log_probability == pytest.approx(total, rel=1e-10)


def test_no_symbols_and_no_sequences():
    step, _ = oracle(3)
    none = torch.zeros(0, dtype=torch.int64)
    assert greedy(step, Told([]), none, end=END, max_steps=3) == []
    assert beam(step, Told([]), none, end=END, max_steps=3) == []
    assert [
        one.tokens for one in greedy(step, Told([(), ()]), torch.tensor([0, 0]), end=END, max_steps=0)
    ] == [(), ()]
    assert beam(step, Told([()]), torch.tensor([0]), end=END, max_steps=0) == [[]]
    some = beam(step, Told([(), ()]), torch.tensor([0, 0]), end=END, max_steps=[0, 3], width=2)
    assert some[0] == [] and len(some[1]) == 1


def test_what_does_not_fit_is_said():
    step, _ = oracle(3)
    state, start = Told([()]), torch.tensor([0])
    with pytest.raises(ShapeError, match=r"max_steps has 2 numbers for 1 sequences"):
        greedy(step, state, start, end=END, max_steps=[1, 2])
    with pytest.raises(DTypeError, match=r"start holds torch.float32"):
        beam(step, state, torch.zeros(1), end=END, max_steps=2)
    with pytest.raises(ValueRangeError, match=r"end is 3 but the symbols run from 0 to 2"):
        beam(step, state, start, end=3, max_steps=2)
    with pytest.raises(ValueRangeError, match=r"temperature is -1"):
        sample(step, state, start, end=END, max_steps=2, temperature=-1)
    with pytest.raises(ValueRangeError, match=r"width is 0"):
        beam(step, state, start, end=END, max_steps=2, width=0)
    with pytest.raises(NonFiniteError, match=r"the scores of row 0 are not numbers"):
        greedy(lambda t, s: (torch.full((1, 3), torch.nan), s), state, start, end=END, max_steps=2)
