"""End-to-end memory networks: sentences in memory, read in several hops from the question on.

    m_i = Σ_j l_j ∘ A x_ij + T^A_age(i)      what sentence i is found by
    c_i = Σ_j l_j ∘ C x_ij + T^C_age(i)      what it gives
    u   = Σ_j l_j ∘ B q_j                    the question
    p_i = softmax_i(u · m_i)                 over the story's own sentences
    o   = Σ_i p_i c_i
    u  ← u + o  (adjacent)    or    H u + o  (layer-wise), hop after hop
    a   = W u                                one score an answer

    l_kj = (1 - j/J) - (k/d) (1 - 2j/J)      position encoding: word j of J, number k of d; 1 without
    age(i) = 0 for the newest sentence, counted backwards

Sharing: adjacent A^{h+1} = C^h, B = A^1, W = C^H; layer-wise A^1 = … = A^H, C^1 = … = C^H.

Key-value memory: a slot for every word of every sentence, found by the rest of its sentence, giving the word:

    k_i = Σ_{j ≠ i} l_j ∘ A x_j + T_age(i)    v_i = C x_i     u ← R_h (u + Σ_i p_i v_i)

Sources: Sukhbaatar et al. 2015, sections 2 and 4.1; Miller et al. 2016, section 3 (its windows are sentences
here).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple, final

import torch
from torch import Tensor

from saiki.core.checks import require_bool, require_int
from saiki.core.errors import DTypeError, OptionError, ShapeError, ValueRangeError
from saiki.core.names import choose
from saiki.core.ragged import Ragged
from saiki.core.random import generator as make_generator
from saiki.nn.flow import require_dtype
from saiki.nn.summary import Summary, SummaryRow

__all__ = ["COLUMNS", "MEMORIES", "SHARINGS", "MemoryNetwork"]

Sharing = Literal["adjacent", "layer"]
Memory = Literal["sentences", "key_value"]
SHARINGS: tuple[Sharing, ...] = ("adjacent", "layer")
MEMORIES: tuple[Memory, ...] = ("sentences", "key_value")
COLUMNS = ("word", "sentence", "place", "words")  # of a row of the input
SPREAD = 0.1  # standard deviation of the weights at the start
MAX_HOPS = 64


class _Slots(NamedTuple):
    """The memory of a batch."""

    owner: Tensor  # (M,) the story of a slot
    age: Tensor  # (M,) 0 for its newest sentence
    sentence: Tensor  # (M,) the sentence among all sentences of the batch


@final
class MemoryNetwork(torch.nn.Module):
    """Read a story as a memory of sentences and answer a question about it; see the file's head.

    Args:
        vocabulary: V, words.
        size: d, numbers of a word's vector.
        answers: (K,) the words that may be answers.
        hops: how often the memory is read.
        sharing: "adjacent" or "layer"; key-value memory has A and C once, as layer-wise.
        position: weigh the words of a sentence by their place; False takes their sum.
        ages: rows of T; older sentences have the age of the last row. 0 leaves time out.
        memory: "sentences" or "key_value".
        generator: for the weights, N(0, 0.1²); H and R start near the identity.
        device: where the parameters live.
        dtype: of the parameters.
    Shapes:
        Ragged (N, 4) of whole numbers in, one row a word: its id, its sentence (0 the question, 1 the newest
        sentence, 2 the one before …), its place j in 1..J, and J. (B, K) out in the user's order.
    Raises:
        ValueRangeError: an id outside [0, V), a sentence below 0, or a place outside 1..J.
    """

    TASK: ClassVar[str] = "memory"

    def __init__(
        self,
        vocabulary: int,
        size: int,
        answers: Sequence[int],
        *,
        hops: int = 3,
        sharing: Sharing = "adjacent",
        position: bool = True,
        ages: int = 50,
        memory: Memory = "sentences",
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.vocabulary = require_int(vocabulary, "vocabulary", 1)
        self.size = require_int(size, "size", 1)
        self.hops = require_int(hops, "hops", 1, MAX_HOPS)
        self.sharing: Sharing = choose(sharing, {name: name for name in SHARINGS}, "sharing")
        self.memory: Memory = choose(memory, {name: name for name in MEMORIES}, "memory")
        self.position = require_bool(position, "position")
        self.ages = require_int(ages, "ages", 0)
        chosen = [require_int(each, "an answer's word", 0, vocabulary - 1) for each in answers]
        if not chosen:
            raise OptionError("answers is empty; a network needs at least one word to answer with.")
        self.answers: Tensor
        self.register_buffer("answers", torch.tensor(chosen, device=device), persistent=False)
        dtype = require_dtype(dtype)
        source = make_generator(generator)

        def weights(count: int, rows: int) -> torch.nn.ParameterList:
            return torch.nn.ParameterList(
                (SPREAD * torch.randn((rows, size), generator=source, dtype=dtype)).to(device)
                for _ in range(count)
            )

        adjacent = self.sharing == "adjacent" and self.memory == "sentences"
        # adjacent: A^1 = B, C^1 = A^2, …, C^H = W; layer-wise: A, C, B, W
        self.words = weights(hops + 1 if adjacent else 4, vocabulary)
        self.times = weights(hops + 1 if adjacent else 2, ages) if ages else torch.nn.ParameterList()
        turns = 0 if adjacent else 1 if self.memory == "sentences" else hops
        self.turns = torch.nn.ParameterList(  # H, or R of each hop
            (
                torch.eye(size, dtype=dtype)
                + SPREAD * torch.randn((size, size), generator=source, dtype=dtype)
            ).to(device)
            for _ in range(turns)
        )
        self.adjacent = adjacent

    @property
    def input_size(self) -> int:
        """Numbers of a row of the input."""
        return len(COLUMNS)

    @property
    def output_size(self) -> int:
        """K, answers."""
        return int(self.answers.numel())

    def forward(self, x: Ragged) -> Tensor:
        """(B, K) scores of the answers; see the class."""
        return self._read(x)[0]

    def attention(self, x: Ragged) -> list[Tensor]:
        """What each hop looked at: for each story (hops, S), its sentences in the order in which they came,
        each hop summing to 1.
        """
        hops = self._read(x)[1]
        _, _, _, _, sentences, _ = self._columns(x)
        per_hop = torch.stack(hops) if hops else torch.zeros(self.hops, 0)
        return [part.flip(-1) for part in per_hop.split(sentences.tolist(), dim=1)]  # newest first inside

    def summary(self, steps: int | None = None) -> Summary:
        """The table of parts and parameters; `print` it."""
        del steps
        parts = (("words", self.words), ("times", self.times), ("turns", self.turns))
        rows = [
            SummaryRow(name, f"{len(part)} x {tuple(part[0].shape)}", ("B", self.size), count)
            for name, part in parts
            if (count := sum(p.numel() for p in part))
        ]
        total = sum(p.numel() for p in self.parameters())
        return Summary((*rows, SummaryRow("answers", "", ("B", self.output_size), 0)), total, 0)

    # ---- inside --------------------------------------------------------------------------------------------

    def _columns(self, x: Ragged) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Story, word, sentence, weight l (N, d) of each row; number of sentences and first slot a story."""
        if not isinstance(x, Ragged) or x.data.ndim != 2 or x.data.shape[1] != len(COLUMNS):
            shape = tuple(x.data.shape) if isinstance(x, Ragged) else type(x).__name__
            raise ShapeError(f"x is {shape} but must be a Ragged (N, 4): {', '.join(COLUMNS)}.")
        if x.data.is_floating_point():
            raise DTypeError(f"x holds {x.data.dtype} but must hold whole numbers.")
        word, sentence, place, words = x.data.long().unbind(1)
        bad = (word < 0) | (word >= self.vocabulary) | (place < 1) | (place > words)
        bad |= (sentence < 0) | (sentence >= len(word))  # each sentence has a word: no number is beyond
        if bool(bad.any()):
            row = int(bad.nonzero()[0, 0])
            raise ValueRangeError(
                f"row {x.data[row].tolist()} of story {int(x.row_sequence[row])} is not a word in "
                f"[0, {self.vocabulary}), a sentence counted from 0, and a place j of J."
            )
        story = x.row_sequence
        count = torch.zeros(x.B, dtype=torch.long, device=word.device)
        count = count.scatter_reduce(0, story, sentence, "amax")
        first = count.cumsum(0) - count
        like = self.words[0]
        if self.position:
            share = (place.to(like) / words.to(like))[:, None]
            k = torch.arange(1, self.size + 1, device=like.device).to(like) / self.size
            weight = (1 - share) - k * (1 - 2 * share)
        else:
            weight = torch.ones(len(word), 1, device=like.device, dtype=like.dtype)
        return story, word, sentence, weight, count, first

    def _read(self, x: Ragged) -> tuple[Tensor, list[Tensor]]:
        """Scores, and of each hop (Σ S,) what it gave to the sentences, newest first in each story."""
        story, word, sentence, weight, count, first = self._columns(x)
        B, total = x.B, int(count.sum())
        asked = sentence == 0
        told = ~asked
        slot = first[story[told]] + sentence[told] - 1
        owner = torch.repeat_interleave(torch.arange(B, device=word.device), count)
        age = torch.arange(total, device=word.device) - first[owner]

        def bag(vectors: Tensor, which: Tensor, to: Tensor, rows: int) -> Tensor:
            gathered = weight[which] * torch.nn.functional.embedding(word[which], vectors)
            return vectors.new_zeros((rows, self.size)).index_add(0, to, gathered)

        if self.adjacent:
            question, answer = self.words[0], self.words[-1]
        else:
            question, answer = self.words[2], self.words[3]
        if self.memory == "key_value":
            return self._read_pairs(word, weight, told, slot, owner, age, story, total, B)
        u = bag(question, asked, story[asked], B)
        # what a hop gives is what the next one finds by (adjacent), and all hops find alike (layer-wise)
        stored = [
            self._timed(bag(self.words[k], told, slot, total), k, age)
            for k in range(self.hops + 1 if self.adjacent else 2)
        ]
        seen: list[Tensor] = []
        for hop in range(self.hops):
            m, c = stored[hop : hop + 2] if self.adjacent else stored
            p = _softmax((m * u[owner]).sum(1), owner, B)
            o = u.new_zeros((B, self.size)).index_add(0, owner, p[:, None] * c)
            u = (u if self.adjacent else u @ self.turns[0].T) + o
            seen.append(p)
        return u @ answer[self.answers].T, seen

    def _read_pairs(
        self,
        word: Tensor,
        weight: Tensor,
        told: Tensor,
        slot: Tensor,
        owner: Tensor,
        age: Tensor,
        story: Tensor,
        total: int,
        B: int,
    ) -> tuple[Tensor, list[Tensor]]:
        """The hops of key-value memory."""
        A, C = self.words[0], self.words[1]
        look_up = torch.nn.functional.embedding
        own = weight[told] * look_up(word[told], A)  # (n, d) what each word adds to its sentence
        sentence = A.new_zeros((total, self.size)).index_add(0, slot, own)
        keys = self._timed(sentence[slot] - own, 0, age[slot])
        values = look_up(word[told], C)
        asked = ~told
        u = A.new_zeros((B, self.size)).index_add(0, story[asked], weight[asked] * look_up(word[asked], A))
        seen = []
        for hop in range(self.hops):
            p = _softmax((keys * u[story[told]]).sum(1), story[told], B)
            o = u.new_zeros((B, self.size)).index_add(0, story[told], p[:, None] * values)
            u = (u + o) @ self.turns[hop].T
            seen.append(p.new_zeros(total).index_add(0, slot, p))
        return u @ self.words[3][self.answers].T, seen

    def _timed(self, rows: Tensor, which: int, age: Tensor) -> Tensor:
        if not self.ages:
            return rows
        return rows + torch.nn.functional.embedding(age.clamp(max=self.ages - 1), self.times[which])


def _softmax(scores: Tensor, owner: Tensor, B: int) -> Tensor:
    """Softmax over the slots of each story."""
    with torch.no_grad():  # a shift that the softmax does not see; keeps exp from overflowing
        largest = scores.new_zeros(B).scatter_reduce(0, owner, scores, "amax", include_self=False)
    exps = torch.exp(scores - largest[owner])
    return exps / exps.new_zeros(B).index_add(0, owner, exps)[owner]
