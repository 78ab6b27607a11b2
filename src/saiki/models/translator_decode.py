"""From ids of sources to translations: batches of like length through the search, and attention beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from saiki.core.errors import OptionError
from saiki.core.ragged import Ragged
from saiki.data.tokens import TextCodec
from saiki.data.vocabulary import END, START
from saiki.decoding.sequence import Decoded, Step, beam, greedy, sample
from saiki.models.options import Array
from saiki.models.translator_data import encoded
from saiki.nn.decoder_steps import DecoderState
from saiki.nn.encoder_decoder import EncoderDecoder

ROWS = 512  # beginnings that run at once, over all sources of a batch; changes speed only
STEPS = 65_536  # steps of sources that attention keeps at once: 128 MB at 512 features in float32


@final
@dataclass(frozen=True, eq=False)
class Translation:
    """One translation of one text.

    Attributes:
        text: the translation.
        score: what it was chosen by, Σ ln p / T^α; of a drawn one Σ ln p.
        log_probability: Σ ln p over its tokens, the end among them, nats.
        tokens: of the translation; the last is </s> where it came to an end before `max_length`.
        source: tokens of the source.
        attention: (tokens, source tokens) weights, each row summing to 1; None where they were not asked for.
    """

    text: str
    score: float
    log_probability: float
    tokens: tuple[str, ...]
    source: tuple[str, ...]
    attention: Array | None = None

    def to_json(self) -> dict[str, Any]:
        """The translation as plain JSON values; weights with four digits."""
        return {
            "text": self.text,
            "score": round(self.score, 6),
            "log_probability": round(self.log_probability, 6),
            "tokens": list(self.tokens),
            "source": list(self.source),
            "attention": None if self.attention is None else np.round(self.attention, 4).tolist(),
        }

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any]) -> Translation:
        """The translation out of what `to_json` gave."""
        weights = mapping["attention"]
        return cls(
            text=str(mapping["text"]),
            score=float(mapping["score"]),
            log_probability=float(mapping["log_probability"]),
            tokens=tuple(mapping["tokens"]),
            source=tuple(mapping["source"]),
            attention=None if weights is None else np.array(weights, dtype=np.float64),
        )


@final
@dataclass(frozen=True)
class Search:
    """Look for the best translations.

    Args:
        beam: beginnings followed at once; 1 takes the likeliest token at each step.
        n_best: translations of each source.
        normalisation: α of Σ ln p / T^α.
        max_length: tokens at most, the end counted.
    """

    beam: int
    n_best: int
    normalisation: float
    max_length: int

    @property
    def rows(self) -> int:
        """Beginnings a source."""
        return self.beam

    def run(
        self, step: Step[DecoderState], state: DecoderState, start: Tensor, end: int
    ) -> list[list[Decoded]]:
        """The best of each source, the best first."""
        if self.beam == 1:
            one_each = greedy(step, state, start, end=end, max_steps=self.max_length)
            return [[replace(one, score=self._score(one))] for one in one_each]
        return beam(
            step,
            state,
            start,
            end=end,
            max_steps=self.max_length,
            width=self.beam,
            n_best=self.n_best,
            length_power=self.normalisation,
        )

    def _score(self, one: Decoded) -> float:
        power: float = float(len(one.tokens) + one.ended) ** self.normalisation
        return one.log_probability / power


@final
@dataclass(frozen=True)
class Draw:
    """Draw translations from the network's probabilities.

    Args:
        count: of each source.
        temperature: τ of softmax(a / τ); 0: the likeliest.
        top_k: among so many tokens only; None: all.
        generator: where the randomness comes from.
        max_length: tokens at most, the end counted.
    """

    count: int
    temperature: float
    top_k: int | None
    generator: torch.Generator
    max_length: int

    @property
    def rows(self) -> int:
        """Translations a source."""
        return self.count

    def run(
        self, step: Step[DecoderState], state: DecoderState, start: Tensor, end: int
    ) -> list[list[Decoded]]:
        """Those drawn of each source."""
        each = torch.arange(len(start), device=start.device).repeat_interleave(self.count)
        drawn = sample(
            step,
            state.select(each),
            start[each],
            end=end,
            max_steps=self.max_length,
            temperature=self.temperature,
            top_k=self.top_k,
            generator=self.generator,
        )
        return [drawn[k : k + self.count] for k in range(0, len(drawn), self.count)]


def decode(
    network: EncoderDecoder,
    codecs: tuple[TextCodec, TextCodec],
    texts: Sequence[str],
    how: Search | Draw,
    *,
    attention: bool,
) -> list[list[Translation]]:
    """Translate texts.

    Neither <s> nor <unk> is ever said: the first means nothing, the second helps nobody.

    Args:
        network: in evaluation mode.
        codecs: of sources and targets.
        texts: none empty.
        how: a search, or draws.
        attention: keep the weights.
    Raises:
        LengthError: a text without a token.
        OptionError: weights are asked of a network without attention.
    """
    if attention and network.attention is None:
        raise OptionError(
            f"there are no weights to show: this translator has context={network.config.context!r}.",
            "Fit one with context='attention'.",
        )
    source, target = codecs
    vocabulary = target.vocabulary
    first, end = vocabulary.id(START), vocabulary.id(END)
    never = [first] if vocabulary.unknown is None else [first, vocabulary.unknown]
    device = next(network.parameters()).device

    def step(tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        scores, after = network.step(tokens, state)
        scores[:, never] = -torch.inf
        return scores, after

    ids = encoded(source, texts, "X")
    found: dict[int, list[Translation]] = {}
    for chosen in _batches([len(one) for one in ids], how.rows):
        with torch.inference_mode():
            state = network.start(Ragged.from_list([ids[k] for k in chosen]).to(device))
            start = torch.full((len(chosen),), first, dtype=torch.int64, device=device)
            several = how.run(step, state, start, end)
        for k, best in zip(chosen, several):
            tokens = source.vocabulary.decode(ids[k].numpy())
            found[k] = [_translation(one, target, tokens, attention) for one in best]
    return [found[k] for k in range(len(texts))]


def _batches(lengths: Sequence[int], rows: int) -> Iterator[list[int]]:
    """Sources of like length together, as many as `ROWS` and `STEPS` allow, one at least."""
    order = np.argsort(np.array(lengths), kind="stable")[::-1].tolist()  # the longest of a batch comes first
    while order:
        taken = max(1, min(ROWS // rows, STEPS // max(1, lengths[order[0]])))
        yield order[:taken]
        order = order[taken:]


def _translation(one: Decoded, target: TextCodec, source: list[str], attention: bool) -> Translation:
    tokens = target.vocabulary.decode(one.tokens) + ([END] if one.ended else [])
    weights = None
    if attention and one.attention is not None:
        # a batch is as wide as its longest source
        weights = one.attention[:, : len(source)].cpu().numpy().astype(np.float64)
    return Translation(
        text=target.decode(one.tokens),
        score=one.score,
        log_probability=one.log_probability,
        tokens=tuple(tokens),
        source=tuple(source),
        attention=weights,
    )
