"""Losses of whole sequences: targets of lengths of their own, through the rules and the trainer."""

from typing import ClassVar

import pytest
import torch

from saiki.core.errors import DTypeError, ShapeError
from saiki.core.ragged import Ragged
from saiki.learning import BPTT, RTRL, Batch, Trainer, Training, TruncatedBPTT, evaluate
from saiki.learning.rules import objective, sequence_weights
from saiki.losses import SequenceLoss
from saiki.nn import LastConfig, LSTMConfig, Stack


class MeanMatches:
    """(mean of the outputs - mean of the targets)² of each sequence; an empty one counts 0."""

    whole_sequence: ClassVar[bool] = True

    def __call__(self, outputs, targets):
        said = outputs.sequence_sum(outputs.data[:, 0]) / outputs.lengths.clamp(min=1)
        true = targets.sequence_sum(targets.data) / targets.lengths.clamp(min=1)
        return (said - true) ** 2


LENGTHS, LABELS = (5, 0, 2, 4), (2, 1, 7, 3)


class Sequences:
    """A source whose targets are sequences of other lengths than the inputs."""

    def __init__(self):
        g = torch.Generator().manual_seed(3)
        self.inputs = Ragged.from_list([torch.randn(n, 2, generator=g) for n in LENGTHS])
        self.targets = Ragged.from_list([torch.randn(n, generator=g) for n in LABELS])

    def __len__(self):
        return len(LENGTHS)

    @property
    def lengths(self):
        return self.inputs.lengths

    def batch(self, indices, weights=None):
        return Batch(self.inputs.select(indices), self.targets.select(indices), weights=weights)

    def fingerprint(self):
        return "the same numbers"


def network(*after):
    g = torch.Generator().manual_seed(5)
    return Stack.build([LSTMConfig(hidden_size=3), *after], 2, 1, generator=g, dtype=torch.float32)


def test_the_objective_is_the_weighted_mean_over_sequences():
    weights = torch.tensor([1.0, 2.0, 0.0, 3.0])
    batch = Sequences().batch(torch.arange(4), weights)
    net = network()
    parts = objective(MeanMatches(), net(batch.inputs), batch)
    each = MeanMatches()(net(batch.inputs), batch.targets).detach()
    assert batch.B == 4
    torch.testing.assert_close(parts.value.detach(), (weights * each).sum() / 6)
    torch.testing.assert_close(parts.losses, each * (weights > 0))
    assert sequence_weights(batch).tolist() == [1, 2, 0, 3]


def test_bptt_gives_the_gradient_of_the_mean():
    batch = Sequences().batch(torch.arange(4))
    net = network()
    losses, gradients, _ = BPTT().gradient(net, MeanMatches(), batch, BPTT().start(net, 4))
    value = MeanMatches()(net(batch.inputs), batch.targets).mean()
    wanted = torch.autograd.grad(value, list(net.parameters()))
    for gradient, other in zip(gradients.values(), wanted):
        torch.testing.assert_close(gradient, other)
    torch.testing.assert_close(losses.mean(), value.detach())


def test_the_trainer_lowers_it_and_keeps_the_best():
    source, net = Sequences(), network()
    assert isinstance(MeanMatches(), SequenceLoss)
    before = evaluate(net, MeanMatches(), source)
    trainer = Trainer(training=Training(), lr=0.05, max_epochs=30, batch_size=2, patience=None, seed=1)
    trainer.fit(net, MeanMatches(), source, source)
    assert evaluate(net, MeanMatches(), source) < before / 3  # the empty sequence has no say


def test_what_does_not_go_together_is_told():
    batch = Sequences().batch(torch.arange(4))
    pooled = network(LastConfig())
    with pytest.raises(ShapeError, match="needs an answer at every step"):
        objective(MeanMatches(), pooled(batch.inputs), batch)
    rows = Batch(batch.inputs, torch.zeros(batch.inputs.N), per_step=True)
    with pytest.raises(DTypeError, match="needs target sequences"):
        objective(MeanMatches(), network()(batch.inputs), rows)
    with pytest.raises(DTypeError, match="which a loss of single rows cannot take"):
        _ = batch.rows


@pytest.mark.parametrize("rule", [TruncatedBPTT(window=2), RTRL()])
def test_a_rule_that_reads_in_pieces_refuses(rule):
    batch, net = Sequences().batch(torch.arange(4)), network()
    with pytest.raises(DTypeError, match="belong to the whole of it"):
        rule.gradient(net, MeanMatches(), batch, rule.start(net, 4))
