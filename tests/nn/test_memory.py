"""Memory networks: against the equations written out story by story, and what must not matter."""

from __future__ import annotations

import pytest
import torch

from saiki.core.errors import DTypeError, OptionError, ShapeError, ValueRangeError
from saiki.core.ragged import Ragged
from saiki.nn.memory import MemoryNetwork

F64 = torch.float64
KINDS = [("sentences", "adjacent"), ("sentences", "layer"), ("key_value", "layer")]
# stories of words: sentences oldest first, then the question; one story without a sentence
STORIES = [
    ([[1, 2, 3], [4, 5], [1, 6, 2, 7]], [8, 1]),
    ([[3]], [8, 4, 5]),
    ([], [8, 2]),
    ([[2, 2], [9, 3, 1], [5], [6, 4]], [9]),
]


def coded(sentences, question):
    told = [(len(sentences) - k, sentence) for k, sentence in enumerate(sentences)]
    return torch.tensor(
        [
            (word, number, place, len(sentence))
            for number, sentence in [(0, question), *told]
            for place, word in enumerate(sentence, start=1)
        ]
    )


def network(memory="sentences", sharing="adjacent", **options):
    source = torch.Generator().manual_seed(1)
    return MemoryNetwork(
        10, 5, [3, 7, 1], memory=memory, sharing=sharing, **{"hops": 3, "ages": 3, **options},
        generator=source, dtype=F64,
    )  # fmt: skip


@torch.no_grad()
def written_out(net, sentences, question):
    """The equations of the file's head, one story and one sentence at a time."""
    d = net.size

    def place(j, J):
        k = torch.arange(1, d + 1, dtype=F64)
        return (1 - j / J) - (k / d) * (1 - 2 * j / J) if net.position else 1.0

    def bag(E, words):
        terms = [place(j, len(words)) * E[word] for j, word in enumerate(words, start=1)]
        return torch.stack(terms).sum(0)

    def age(T, i):
        back = len(sentences) - 1 - i
        return T[min(back, net.ages - 1)] if net.ages else 0.0

    weights = []
    if net.memory == "key_value":
        A, C, W = net.words[0], net.words[1], net.words[3]
        u = bag(A, question)
        for hop in range(net.hops):
            scores, values, of = [], [], []
            for i, sentence in enumerate(sentences):
                for j, word in enumerate(sentence, start=1):
                    own = place(j, len(sentence))
                    key = bag(A, sentence) - own * A[word] + age(net.times[0], i)
                    scores.append(key @ u)
                    values.append(C[word])
                    of.append(i)
            o = torch.zeros(d, dtype=F64)
            if scores:
                p = torch.softmax(torch.stack(scores), 0)
                o = sum(share * value for share, value in zip(p, values))
                weights.append(
                    [sum(p[n] for n in range(len(of)) if of[n] == i) for i in range(len(sentences))]
                )
            u = net.turns[hop] @ (u + o)
        return W[net.answers] @ u, weights
    if net.sharing == "adjacent":
        A, C, T, U = net.words[:-1], net.words[1:], net.times[:-1], net.times[1:]
        u, W = bag(net.words[0], question), net.words[-1]
    else:
        A, C = [net.words[0]] * net.hops, [net.words[1]] * net.hops
        T, U = [net.times[0]] * net.hops, [net.times[1]] * net.hops
        u, W = bag(net.words[2], question), net.words[3]
    for hop in range(net.hops):
        o = torch.zeros(d, dtype=F64)
        if sentences:
            m = torch.stack([bag(A[hop], s) + age(T[hop], i) for i, s in enumerate(sentences)])
            c = torch.stack([bag(C[hop], s) + age(U[hop], i) for i, s in enumerate(sentences)])
            p = torch.softmax(m @ u, 0)
            o = p @ c
            weights.append(p.tolist())
        u = (u if net.sharing == "adjacent" else net.turns[0] @ u) + o
    return W[net.answers] @ u, weights


@pytest.mark.parametrize(("memory", "sharing"), KINDS)
@pytest.mark.parametrize("position", [True, False])
def test_it_says_what_the_equations_say(memory, sharing, position):
    net = network(memory, sharing, position=position)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(5)  # so that the softmax is not flat
    batch = Ragged.from_list([coded(*story) for story in STORIES])
    found, looked = net(batch), net.attention(batch)
    for story, scores, seen in zip(STORIES, found, looked):
        wanted, weights = written_out(net, *story)
        torch.testing.assert_close(scores, wanted, rtol=1e-10, atol=1e-12)
        assert seen.shape == (3, len(story[0]))
        if story[0]:
            torch.testing.assert_close(seen, torch.tensor(weights, dtype=F64), rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(seen.sum(1), torch.ones(3, dtype=F64))


@pytest.mark.parametrize(("memory", "sharing"), KINDS)
def test_gradients(memory, sharing):
    net = network(memory, sharing, hops=2)
    batch = Ragged.from_list([coded(*story) for story in STORIES[1:3]])
    names = [name for name, _ in net.named_parameters()]

    def outputs(*values):
        return torch.func.functional_call(net, dict(zip(names, values)), (batch,))

    assert torch.autograd.gradcheck(outputs, tuple(p.detach().requires_grad_() for p in net.parameters()))


@pytest.mark.parametrize(("memory", "sharing"), KINDS)
def test_a_story_does_not_depend_on_the_others(memory, sharing):
    net = network(memory, sharing)
    together = net(Ragged.from_list([coded(*story) for story in STORIES]))
    for story, scores in zip(STORIES, together):
        torch.testing.assert_close(net(Ragged.from_list([coded(*story)]))[0], scores)


def test_what_reduces_to_what():
    """Without time the order of sentences does not matter, and one sentence gets all the weight."""
    net = network(ages=0)
    first = net(Ragged.from_list([coded([[1, 2], [3]], [8])]))
    torch.testing.assert_close(net(Ragged.from_list([coded([[3], [1, 2]], [8])])), first)
    assert not torch.allclose(net(Ragged.from_list([coded([[2, 1], [3]], [8])])), first)  # words' places do
    assert net.attention(Ragged.from_list([coded([[1, 2]], [8])]))[0].tolist() == [[1.0]] * 3


def test_parameters_and_summary():
    """Adjacent: H + 1 embeddings and times; layer-wise four and two, and H; key-value R for each hop."""
    assert sum(p.numel() for p in network().parameters()) == 4 * 10 * 5 + 4 * 3 * 5
    assert sum(p.numel() for p in network(sharing="layer").parameters()) == 4 * 50 + 2 * 15 + 25
    net = network("key_value", "layer")
    assert "4 x (10, 5)" in str(net.summary()) and net.input_size == 4 and net.output_size == 3


def test_bad_input_is_named():
    net = network()
    for rows, said in (
        ([[10, 0, 1, 1]], r"row \[10, 0, 1, 1\] of story 0 is not a word in \[0, 10\)"),
        ([[1, -1, 1, 1]], "a sentence counted from 0"),
        ([[1, 0, 1, 1], [1, 2**40, 1, 1]], "a sentence counted from 0"),
        ([[1, 0, 2, 1]], "a place j of J"),
    ):
        with pytest.raises(ValueRangeError, match=said):
            net(Ragged.from_list([torch.tensor(rows)]))
    with pytest.raises(ShapeError, match=r"x is \(1, 3\) but must be a Ragged \(N, 4\)"):
        net(Ragged.from_list([torch.ones(1, 3, dtype=torch.long)]))
    with pytest.raises(DTypeError, match="must hold whole numbers"):
        net(Ragged.from_list([torch.ones(1, 4)]))
    with pytest.raises(OptionError, match="unknown sharing 'both'"):
        network(sharing="both")
    with pytest.raises(OptionError, match="answers is empty"):
        MemoryNetwork(3, 2, [])
