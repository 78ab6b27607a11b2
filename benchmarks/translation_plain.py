"""The encoder-decoder of `benchmarks.translation_speed` in plain torch, as its users write it: the peer.

Padded batches, torch.nn's layers with packed sequences in the encoder, masked attention, the loss with
padding ignored, and a greedy loop of one step at a time. The weights are ours, so the answers must be, too.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from saiki.nn import EncoderDecoder, EncoderDecoderInput, RecurrentLayer

IGNORED = -100


class Plain(torch.nn.Module):
    """What an `EncoderDecoder` computes, with torch.nn alone."""

    def __init__(self, ours: EncoderDecoder) -> None:
        super().__init__()
        self.config = ours.config
        encoder = ours.stack.layers["encoder"]
        assert isinstance(encoder, RecurrentLayer)
        self.encoder, self.decoder = encoder.to_torch(), ours.decoder.to_torch()
        self.read, self.write = ours.stack.layers["embedding"].weight, ours.embedding.weight  # type: ignore[union-attr]
        self.bridge, self.attention, self.combine, self.head = (
            ours.bridge,
            ours.attention,
            ours.combine,
            ours.head,
        )

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        """Annotations (B, S, M), the decoder's first state, and which steps there are (B, S)."""
        packed = pack_padded_sequence(self.read[source], lengths, batch_first=True, enforce_sorted=False)
        out, last = self.encoder(packed)
        out = pad_packed_sequence(out, batch_first=True)[0]
        h = last[0] if isinstance(last, tuple) else last
        whole = torch.cat((h[-2], h[-1]), dim=-1)  # the last layer's two directions
        states = 2 if isinstance(last, tuple) else 1
        start = torch.tanh(linear(whole, self.bridge.weight, self.bridge.bias))  # type: ignore[union-attr]
        parts = start.split(self.config.hidden_size, dim=-1)
        first = tuple(torch.stack(parts[k::states]) for k in range(states))
        mask = torch.arange(source.shape[1])[None] < lengths[:, None]
        return out, first, mask

    def keys(self, annotations: Tensor) -> Tensor:
        """What does not change from step to step."""
        attention = self.attention
        if attention.score == "additive":  # type: ignore[union-attr]
            return linear(annotations, attention.weight_memory, attention.bias)  # type: ignore[union-attr, arg-type]
        return linear(annotations, attention.weight)  # type: ignore[union-attr, arg-type]

    def attend(self, h: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """o (B, T, H) of h (B, T, H)."""
        if self.attention.score == "additive":  # type: ignore[union-attr]
            query = linear(h, self.attention.weight_query)  # type: ignore[union-attr, arg-type]
            scores = torch.tanh(query[:, :, None] + keys[:, None]) @ self.attention.vector  # type: ignore[union-attr, operator]
        else:
            scores = torch.bmm(h, keys.mT)
        alpha = torch.softmax(scores.masked_fill(~mask[:, None], -torch.inf), dim=-1)
        both = torch.cat((torch.bmm(alpha, values), h), dim=-1)
        return torch.tanh(linear(both, self.combine.weight, self.combine.bias))  # type: ignore[union-attr]

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The decoder over x (B, T, F)."""
        hx = state if len(state) > 1 else state[0]
        out, last = self.decoder(x.transpose(0, 1), hx)
        return out.transpose(0, 1), last if isinstance(last, tuple) else (last,)

    def loss(self, source: Tensor, lengths: Tensor, previous: Tensor, wanted: Tensor) -> Tensor:
        """The mean cross-entropy of a padded batch."""
        values, state, mask = self.encode(source, lengths)
        keys, x = self.keys(values), self.write[previous]
        if self.config.input_feeding:
            fed = x.new_zeros(x.shape[0], 1, self.config.hidden_size)
            outputs = []
            for t in range(x.shape[1]):
                h, state = self.step(torch.cat((x[:, t : t + 1], fed), dim=-1), state)
                fed = self.attend(h, keys, values, mask)
                outputs.append(fed)
            o = torch.cat(outputs, dim=1)
        else:
            o = self.attend(self.step(x, state)[0], keys, values, mask)
        logits = linear(o, self.head.weight, self.head.bias)
        return cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED)

    @torch.no_grad()
    def greedy(self, source: Tensor, lengths: Tensor, start: int, end: int, most: int) -> list[list[int]]:
        """The likeliest symbol at each step, until all sentences have ended."""
        values, state, mask = self.encode(source, lengths)
        keys = self.keys(values)
        token = torch.full((len(source), 1), start)
        fed = values.new_zeros(len(source), 1, self.config.hidden_size)
        ended = torch.zeros(len(source), dtype=torch.bool)
        said = []
        for _ in range(most):
            x = self.write[token]
            if self.config.input_feeding:
                x = torch.cat((x, fed), dim=-1)
            h, state = self.step(x, state)
            fed = self.attend(h, keys, values, mask)
            token = linear(fed[:, 0], self.head.weight, self.head.bias).argmax(dim=-1, keepdim=True)
            said.append(token[:, 0])
            ended |= token[:, 0] == end
            if bool(ended.all()):
                break
        rows = torch.stack(said, dim=1).tolist()
        return [row[: row.index(end)] if end in row else row for row in rows]


def padded(inputs: EncoderDecoderInput, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The batch as the peer takes it: source, lengths, previous, wanted."""
    answers = inputs.previous.with_data(wanted).to_padded(batch_first=True, padding=IGNORED)
    source, previous = (part.to_padded(batch_first=True) for part in (inputs.source, inputs.previous))
    return source, inputs.source.lengths, previous, answers
