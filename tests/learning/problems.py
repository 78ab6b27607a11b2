"""A small network and small data that the tests of the trainer share."""

import hashlib

import torch

from saiki import learning as L
from saiki.core.ragged import Ragged

OPTIMISERS = [
    L.SGD(),
    L.Momentum(),
    L.Momentum(textbook=True),
    L.Nesterov(),
    L.Nesterov(textbook=True),
    L.AdaGrad(),
    L.RMSprop(),
    L.RMSprop(eps_inside=True),
    L.Adam(),
    L.AdamW(),
]
SCHEDULES = [
    L.Constant(),
    L.Linear(),
    L.Inverse(tau=5.0),
    L.Exponential(rate=0.1),
    L.Cosine(),
    L.Plateau(drop=0.5, patience=0, threshold=0.99),
    L.WarmUp(3, L.Plateau(drop=0.5, patience=0, threshold=0.99)),
]


class Net(torch.nn.Module):
    """Dense, dropout from a generator of its own and from torch's, mean over time, dense."""

    def __init__(self, seed=1, dropout=0.3, per_step=False):
        super().__init__()
        source = torch.Generator().manual_seed(seed)
        self.first = torch.nn.Linear(3, 4)
        self.second = torch.nn.Linear(4, 2)
        self.generator = torch.Generator().manual_seed(seed + 1)
        self.dropout, self.per_step = dropout, per_step
        self.torchs = torch.nn.Dropout(dropout)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(0.5 * torch.randn(p.shape, generator=source))

    def forward(self, x):
        h = torch.tanh(self.first(x.data))
        if self.training and self.dropout:
            h = h * (torch.rand(h.shape, generator=self.generator) >= self.dropout) / (1 - self.dropout)
        if self.per_step:
            return x.with_data(self.second(self.torchs(h)))
        mean = x.sequence_sum(h) / x.lengths.clamp(min=1).unsqueeze(1)
        return self.second(self.torchs(mean))


def sequences(n, seed=0, per_step=False, shortest=0):
    """n sequences of 3 features and their targets of 2."""
    source = torch.Generator().manual_seed(seed)
    lengths = torch.randint(shortest, 9, (n,), generator=source)
    X = [torch.randn(int(T), 3, generator=source) for T in lengths]
    if per_step:
        return X, [torch.tanh(x.cumsum(0)[:, :2]) for x in X]
    return X, torch.stack([torch.tanh(x.sum(0)[:2]) for x in X])


def sources(n=22, held_out=8, per_step=False):
    """Training, validation, and both together."""
    X, y = sequences(n + held_out, per_step=per_step)
    return L.RaggedSource(X[:n], y[:n]), L.RaggedSource(X[n:], y[n:]), L.RaggedSource(X, y)


def ragged(n, seed=0):
    return Ragged.from_list(sequences(n, seed)[0])


def digest(network):
    """SHA-256 of the weights."""
    result = hashlib.sha256()
    for name, w in sorted(network.state_dict().items()):
        result.update(name.encode() + w.detach().contiguous().numpy().tobytes())
    return result.hexdigest()


def timeless(record):
    """The record without what a clock says."""
    plain = record.to_json()
    plain.pop("seconds")
    for epoch in plain["epochs"]:
        epoch.pop("seconds")
    return plain
