"""The tagger's network: vectors of words and of their characters, recurrent layers, scores of tags.

    w_t = [E_{x_t} ; c(x_t)]              the word's vector, and what its characters say
    h   = recurrent layers over w         usually both directions
    e_t = W h_t + b                       scores of the K tags
    p(y | x) = Π_t softmax(e_t)_{y_t}     each step by itself
    p(y | x) = exp(Σ_t ψ_t(y_{t-1}, y_t)) / Z          or a linear chain over them (`saiki.nn.CRF`)
    p(l | x) = softmax(V max_t h_t + d)_l              the label of the whole sentence, where there is one

    c(x) = [h_T^→ ; h_1^←] of a bidirectional LSTM over the characters                        "lstm"
    c(x) = max_t tanh(Σ_k F_k v_{t+k} + g), k = -1, 0, 1, of their vectors v                  "convolution"

A word seen n times in training is read as `<unk>` with probability α / (n + α) while the network learns, so
that the vector of the unknown word is learned from rare ones.

Sources: Lample et al. 2016 (characters and CRF); Ma & Hovy 2016 (convolution); Kiperwasser & Goldberg 2016,
section 4.3 (α); Plank, Søgaard & Goldberg 2016 (tagging with words and characters).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, final

import torch
from torch import Tensor

from saiki.core.initialisers import initialise
from saiki.core.ragged import Ragged
from saiki.core.random import generator as make_generator
from saiki.losses import crf, cross_entropy
from saiki.models.options import Layer
from saiki.models.tagger_input import Sentences
from saiki.nn import CRF, LSTM, Dense, Embedding, Last, Max, Stack, Summary, SummaryRow
from saiki.nn.flow import require_dtype

CharacterNetwork = Literal["lstm", "convolution"]
WIDTH = 3  # characters that the convolution sees at once
_SMALL = 0.1  # standard deviation of new vectors; unit ones swamp what the recurrent layer has to say


@dataclass(frozen=True, kw_only=True)
class TaggerShape:
    """The sizes of a tagger's network.

    Attributes:
        words: V, words known, `<unk>` among them.
        word_size: width of a word's vector.
        characters: characters known, `<unk>` among them; 0 reads words whole.
        character_network: what reads them.
        character_size: width of what they say (both directions of the LSTM together).
        tags: K.
        labels: of whole sentences; 0 where there are none.
        chain: whether tags are a linear chain.
    """

    words: int
    word_size: int
    characters: int
    character_network: CharacterNetwork
    character_size: int
    tags: int
    labels: int
    chain: bool

    @property
    def input_size(self) -> int:
        """Features a step that the recurrent layers get."""
        return self.word_size + (self.character_size if self.characters else 0)

    @property
    def row(self) -> int:
        """Numbers a step that come out: scores or potentials of tags, then scores of labels."""
        return (self.tags**2 if self.chain else self.tags) + self.labels


class Answer(NamedTuple):
    """What the network says of some sentences.

    Attributes:
        tags: scores (N, K) or, of a chain, potentials (N, K, K).
        labels: (B, C) scores of labels of whole sentences; None where there are none.
    """

    tags: Ragged
    labels: Tensor | None


def answer(outputs: Ragged, shape: TaggerShape) -> Answer:
    """The parts of the network's rows."""
    width = shape.row - shape.labels
    K = shape.tags
    tags = outputs.with_data(outputs.data[:, :width].unflatten(1, (K, K) if shape.chain else (K,)))
    if not shape.labels:
        return Answer(tags, None)
    B = outputs.B  # no sentence is empty: the first B rows are the first steps, longest sentence first
    labels = outputs.data.new_empty((B, shape.labels))
    return Answer(tags, labels.index_copy(0, outputs.order.to(labels.device), outputs.data[:B, width:]))


@dataclass(frozen=True)
class TagLoss:
    """-ln p(tags, label | words) of each sentence, in nats a word.

        ℓ = -(ln p(y | x) + ln p(l | x)) / T

    Args:
        shape: of the network.
    """

    shape: TaggerShape
    whole_sequence: ClassVar[bool] = True

    def __call__(self, outputs: Ragged, targets: Ragged) -> Tensor:
        """The loss of each sentence; targets hold (tag, label) pairs, (N, 2)."""
        said = answer(outputs, self.shape)
        tags = targets.with_data(targets.data[:, 0])
        if self.shape.chain:
            value = crf(said.tags, tags)
        else:
            value = outputs.sequence_sum(cross_entropy(said.tags.data, tags.data))
        if said.labels is not None:
            first = targets.data[: targets.B, 1]  # packed: the first rows are the first steps
            labels = torch.empty_like(first).index_copy(0, targets.order.to(first.device), first)
            value = value + cross_entropy(said.labels, labels)
        return value / outputs.lengths.to(value.device)


@final
class CharacterLSTM(torch.nn.Module):
    """Words by their characters: both ends of a bidirectional LSTM.

    Args:
        characters: how many are known.
        size: width out, both directions together, at least 2; an odd one is rounded down inside.
        generator: of the weights.
        dtype, device: of the parameters.
    """

    def __init__(
        self,
        characters: int,
        size: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype | None,
        device: torch.device | str | None,
    ) -> None:
        super().__init__()
        made: dict[str, Any] = {"generator": generator, "dtype": dtype, "device": device}
        self.embedding = _embedding(characters, size, made)
        self.lstm = LSTM(size, size // 2, bidirectional=True, **made)
        self.ends = Last(both_ends=True)

    def forward(self, forms: Ragged) -> Tensor:
        """(U, size) vectors of U words; forms hold ids, data (n,)."""
        vectors = self.embedding(forms)
        assert isinstance(vectors, Ragged)
        out, *_ = self.lstm(vectors, return_states=False)
        found: Tensor = self.ends(out)
        return found


@final
class CharacterConvolution(torch.nn.Module):
    """Words by their characters: filters over three neighbours, each feature's largest answer.

    Args:
        characters: how many are known.
        size: filters.
        generator: of the weights.
        dtype, device: of the parameters.
    """

    def __init__(
        self,
        characters: int,
        size: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype | None,
        device: torch.device | str | None,
    ) -> None:
        super().__init__()
        self.embedding = _embedding(
            characters, size, {"generator": generator, "dtype": dtype, "device": device}
        )
        flat = initialise(
            "glorot_uniform", (size, size * WIDTH), generator, dtype=require_dtype(dtype), device=device
        )
        self.weight = torch.nn.Parameter(flat.unflatten(1, (size, WIDTH)).contiguous())
        self.bias = torch.nn.Parameter(torch.zeros(size, dtype=dtype, device=device))
        self.largest = Max()

    def forward(self, forms: Ragged) -> Tensor:
        """(U, size) vectors of U words; forms hold ids, data (n,)."""
        vectors = self.embedding(forms)
        assert isinstance(vectors, Ragged)
        padded = vectors.to_padded(batch_first=True).transpose(1, 2)  # (U, size, T), zeros after the end
        seen = torch.nn.functional.conv1d(padded, self.weight, self.bias, padding=WIDTH // 2)
        own = forms.row_sequence * forms.T + forms.row_step  # a word's own characters, no padding
        rows = torch.tanh(seen.transpose(1, 2).flatten(0, 1).index_select(0, own))
        found: Tensor = self.largest(forms.with_data(rows))
        return found


def _embedding(number: int, size: int, made: dict[str, Any]) -> Embedding:
    table = Embedding(number, size, **made)
    with torch.no_grad():
        table.weight.mul_(_SMALL)
    return table


@final
class TaggerNetwork(torch.nn.Module):
    """See the head of this file.

    Args:
        shape: the sizes.
        layers: configs of the layers between the vectors and the scores; one row a step comes out.
        generator: for the weights, dropout and unknown words.
        dtype, device: of the parameters.
    Shapes:
        Sentences in; Ragged (N, `shape.row`) out, whose parts `answer` takes apart.
    """

    def __init__(
        self,
        shape: TaggerShape,
        layers: Sequence[Layer],
        *,
        generator: torch.Generator,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.shape = shape
        made: dict[str, Any] = {"generator": generator, "dtype": dtype, "device": device}
        self.words = _embedding(shape.words, shape.word_size, made)
        self.characters: CharacterLSTM | CharacterConvolution | None = None
        if shape.characters:
            kind = CharacterLSTM if shape.character_network == "lstm" else CharacterConvolution
            self.characters = kind(shape.characters, shape.character_size, **made)
        self.stack = Stack.build(layers, shape.input_size, **made)
        self.head = Dense(self.stack.output_size, shape.tags, **made)
        self.crf = CRF(shape.tags, dtype=dtype, device=device) if shape.chain else None
        self.pool = Max() if shape.labels else None
        self.label_head = Dense(self.stack.output_size, shape.labels, **made) if shape.labels else None
        self.generator = make_generator(generator, "unknown words")
        # how often each word is read as <unk> while the network learns; no parameter, but part of the run
        self.register_buffer("unknown", torch.zeros(shape.words, dtype=dtype, device=device))

    @property
    def input_size(self) -> int:
        """Features a step that the recurrent layers get."""
        return self.shape.input_size

    @property
    def output_size(self) -> int:
        """Tags and labels."""
        return self.shape.tags + self.shape.labels

    def set_unknown(self, counts: Sequence[int], alpha: float) -> None:
        """Set how often each word is hidden: α / (n + α) for a word seen n times, never for `<unk>` itself.

        Args:
            counts: n of each word, in the order of ids.
            alpha: α ≥ 0; 0 hides none.
        """
        n = torch.tensor(counts, dtype=torch.float64)
        share = alpha / (n + alpha) if alpha > 0 else torch.zeros_like(n)
        share[0] = 0
        table = self.get_buffer("unknown")
        with torch.no_grad():
            table.copy_(share)

    def embedded(self, x: Sentences) -> Ragged:
        """The vector of each word, (N, I): what the recurrent layers are given."""
        ids = x.words.data
        if self.training:
            share = self.get_buffer("unknown")[ids]
            drawn = torch.rand(len(ids), generator=self.generator, dtype=share.dtype).to(ids.device)
            ids = torch.where(drawn < share, 0, ids)
        vectors = self.words(x.words.with_data(ids))
        assert isinstance(vectors, Ragged)
        if self.characters is None:
            return vectors
        assert x.forms is not None and x.place is not None
        spelled = self.characters(x.forms).index_select(0, x.place)
        return vectors.with_data(torch.cat([vectors.data, spelled], dim=1))

    def forward(self, x: Sentences) -> Ragged:
        """Scores or potentials of tags, and scores of labels; see the class."""
        hidden = self.stack(self.embedded(x))
        assert isinstance(hidden, Ragged)
        scores = self.head(hidden)
        assert isinstance(scores, Ragged)
        rows = scores.data if self.crf is None else self.crf(scores).data.flatten(1)
        if self.pool is not None and self.label_head is not None:
            labels = self.label_head(self.pool(hidden))
            assert isinstance(labels, Tensor)
            rows = torch.cat([rows, labels[hidden.row_sequence]], dim=1)
        return hidden.with_data(rows)

    def summary(self, steps: int | None = None) -> Summary:
        """The table of layers, output shapes and parameters; `print` it."""
        T: int | str = "T" if steps is None else steps
        inner = self.stack.summary(steps)

        def count(module: torch.nn.Module | None) -> int:
            return 0 if module is None else sum(p.numel() for p in module.parameters())

        shape = self.shape
        rows = [
            SummaryRow("input", "", ("B", T), 0),
            SummaryRow("words", "Embedding", ("B", T, shape.word_size), count(self.words)),
        ]
        if self.characters is not None:
            kind = type(self.characters).__name__
            rows.append(
                SummaryRow("characters", kind, ("B", T, shape.character_size), count(self.characters))
            )
        rows += inner.rows[1:]
        rows.append(SummaryRow("head", "Dense", ("B", T, shape.tags), count(self.head)))
        if self.crf is not None:
            rows.append(SummaryRow("crf", "CRF", ("B", T, shape.tags, shape.tags), count(self.crf)))
        if self.label_head is not None:
            rows.append(SummaryRow("label_head", "Max, Dense", ("B", shape.labels), count(self.label_head)))
        trainable = sum(p.numel() for p in self.parameters() if p.requires_grad)
        return Summary(tuple(rows), trainable, count(self) - trainable)
