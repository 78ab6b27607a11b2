"""An encoder-decoder under the trainer: it learns, by a composite batch, and goes on where it was stopped."""

import pytest
import torch

from saiki import learning as L
from saiki.core.ragged import Ragged
from saiki.decoding.sequence import greedy
from saiki.learning.sources import digest
from saiki.losses import CrossEntropy
from saiki.nn import EncoderDecoder, EncoderDecoderConfig, EncoderDecoderInput


class Backwards:
    """Letters, to be written backwards."""

    def __init__(self, count, seed):
        draw = torch.Generator().manual_seed(seed)
        lengths = torch.randint(1, 5, (count,), generator=draw).tolist()
        self.words = [torch.randint(2, 6, (n,), generator=draw) for n in lengths]
        turned = [word.flip(0) for word in self.words]
        self.inputs, self.wanted = EncoderDecoderInput.of(self.words, turned, start=0, end=1)

    def __len__(self):
        return len(self.words)

    @property
    def lengths(self):
        return self.wanted.lengths

    def batch(self, indices):
        targets = self.wanted.select(indices).data
        return L.Batch(self.inputs.select(indices), targets, per_step=True)

    def fingerprint(self):
        return digest([self.inputs.source.data, self.wanted.data, self.wanted.lengths])


def network(**options):
    config = EncoderDecoderConfig(source_size=6, target_size=6, hidden_size=24, embedding_size=8, **options)
    return EncoderDecoder(config, generator=torch.Generator().manual_seed(3))


def test_it_learns_to_write_backwards():
    train, unseen = Backwards(400, 0), Backwards(60, 1)
    net = network()
    record = L.Trainer(max_epochs=8, lr=0.02, batch_size=32).fit(net, CrossEntropy(), train, unseen)
    assert record.epochs[-1].loss < 0.2 * record.epochs[0].loss
    state = net.start(Ragged.from_list(unseen.words))
    found = greedy(net.step, state, torch.zeros(60, dtype=torch.int64), end=1, max_steps=8)
    right = sum(one.tokens == tuple(word.flip(0).tolist()) for one, word in zip(found, unseen.words))
    assert right >= 54  # nine in ten


class Stop(L.Observer):
    def on_epoch(self, event):
        if event.epoch == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("options", [{}, {"input_feeding": True}], ids=["at once", "feeding"])
def test_a_stopped_run_goes_on_as_if_it_had_not(options, tmp_path):
    """Masks, the coins of scheduled sampling and how far its probability has risen are in the checkpoint."""
    train = Backwards(40, 0)
    options = options | {"dropout": 0.2, "scheduled_sampling": 0.5, "sampling_updates": 12}
    trainer = L.Trainer(max_epochs=4, lr=0.01, batch_size=8)
    loss = CrossEntropy(smoothing=0.1)
    whole, stopped, again = (network(**options) for _ in range(3))
    trainer.fit(whole, loss, train)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(stopped, loss, train, checkpoint=tmp_path, observers=[Stop()])
    trainer.fit(again, loss, train, checkpoint=tmp_path, resume=True)
    assert int(whole.batches) == 20 and whole.sampling == 0.5
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
