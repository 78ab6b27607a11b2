"""Networks, batches and comparisons that the tests of real-time recurrent learning share."""

from __future__ import annotations

import torch

from saiki import nn
from saiki.core.ragged import Ragged
from saiki.core.random import generator
from saiki.learning import BPTT, RTRL, Batch
from saiki.losses import get_loss

F64 = torch.float64
SQUARED = get_loss("squared")
RAGGED = (5, 0, 7, 7, 1)


def batch_of(lengths=RAGGED, *, per_step=True, features=3, targets=2, seed=0):
    """Random sequences, a third of the targets missing, and weights."""
    source = generator(seed)
    x = Ragged.from_list([torch.randn(T, features, generator=source, dtype=F64) for T in lengths])
    shape = (x.N if per_step else x.B, targets)
    return Batch(
        x,
        torch.randn(shape, generator=source, dtype=F64),
        torch.rand(shape, generator=source) > 0.3,
        torch.rand(len(lengths), generator=source, dtype=F64) + 0.1,
        per_step,
    )


def network_of(*layers, input_size=None, seed=1):
    """A stack with random weights, biases too."""
    network = nn.Stack(list(layers), input_size=input_size)
    source = generator(seed)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(0.6 * torch.randn(p.shape, generator=source, dtype=F64))
    return network


def of_cell(cell, *, layers=1, last=False, learn=False):
    pool = [nn.Last()] if last else []
    run = nn.Recurrent(cell, num_layers=layers, dtype=F64, learn_initial_state=learn)
    return network_of(run, *pool, nn.Dense(cell.output_size, 2, dtype=F64))


def run(rule, network, batch, state=None):
    state = rule.start(network, batch.inputs.B) if state is None else state
    return rule.gradient(network, SQUARED, batch, state)


def difference(ours, theirs):
    """The largest difference in units of the largest entry; a parameter that is absent has gradient 0."""
    scale = max(float(g.abs().max()) for g in theirs.values())
    assert ours.keys() >= theirs.keys()
    zero = {name: torch.zeros_like(g) for name, g in ours.items()}
    return max(float((g - theirs.get(name, zero[name])).abs().max()) for name, g in ours.items()) / scale


def against_bptt(network, batch, rule=None):
    """The difference between a rule's gradient and BPTT's under the same masks."""
    states = {name: g.get_state() for name, g in nn.generators(network).items()}
    losses, theirs, _ = run(BPTT(), network, batch)
    for name, g in nn.generators(network).items():
        g.set_state(states[name])
    values, ours, _ = run(rule or RTRL(), network, batch)
    torch.testing.assert_close(values, losses, rtol=1e-12, atol=1e-12)
    return difference(ours, theirs)
