"""Text for a language model: read, parted, turned into numbers, and cut into streams.

A text is read in one of three forms:

    text        one text of characters: every character is a token, line ends among them
    lines       one text of words or pieces: </s> stands at the end of each line
    documents   several texts: </s> stands at the end of each

The network reads the token before and says the next one, so the first one of all is said after a start token:
a line end where the text has them, else </s>.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from saiki.core.errors import DataError, DTypeError, LengthError, OptionError
from saiki.data.tokens import Characters, TextCodec, Tokenizer, get_tokenizer, require_texts
from saiki.data.vocabulary import END, UNKNOWN
from saiki.models.options import Array

Form = Literal["text", "lines", "documents"]
FORMS: tuple[str, ...] = get_args(Form)
SPECIALS = (UNKNOWN, END)
LEAST_WINDOWS = 16  # windows a stream has at least: a short text is read in fewer streams, with more updates
STREAM = (
    8192  # tokens a validation stream has at least: its first words, said without a past, then count little
)
AT_ONCE = 1 << 18  # tokens a validation reads at once; beyond, in many short streams


@dataclass(frozen=True)
class Corpus:
    """A text as numbers.

    Attributes:
        ids: (n,) int64 tokens, with </s> where the form has it.
        characters: of the text, line ends among them.
        unknown: how many of the tokens are <unk> because the vocabulary lacks them.
    """

    ids: Array
    characters: int
    unknown: int

    def __len__(self) -> int:
        return len(self.ids)


def read_documents(X: object, tokenizer: Tokenizer, name: str = "X") -> tuple[Form, list[str]]:
    """What came as a text, or a list of texts, in its form.

    Args:
        X: a text, or a list of them.
        tokenizer: by which it will be split; one of words reads a single text line by line.
        name: of the argument, for messages.
    Raises:
        DTypeError: no text.
        DataError: nothing but blanks, or what no UTF-8 file can hold.
    """
    if isinstance(X, np.ndarray) and X.ndim == 0:
        X = X.item()
    if isinstance(X, bytes):
        raise DTypeError(f"{name} is bytes but must be text.", 'Decode it first: data.decode("utf-8").')
    form: Form = "documents"
    if isinstance(X, str):
        (text,) = require_texts([X], name)
        whole = isinstance(tokenizer, Characters)
        form, documents = ("text", [text]) if whole else ("lines", text.splitlines())
    else:
        documents = require_texts(X, name)
    if not any(document.strip() for document in documents):
        raise DataError(f"{name} is empty: there is no text to read.", "Check the file or the list.")
    return form, documents


def part(documents: Sequence[str], share: float) -> tuple[list[str], list[str]]:
    """The first and the last part of a text, the last with about `share` of its characters.

    Several documents (or lines) are parted between two of them; a single one at a blank, or where there is
    none between two characters.

    Raises:
        LengthError: too little text for two parts.
    """
    if len(documents) > 1:
        sizes = np.array([len(document) + 1 for document in documents])
        cut = int(np.searchsorted(np.cumsum(sizes), (1 - share) * sizes.sum(), side="right"))
        cut = min(max(cut, 1), len(documents) - 1)
        first, last = list(documents[:cut]), list(documents[cut:])
        if any(d.strip() for d in first) and any(d.strip() for d in last):
            return first, last
    else:
        (text,) = documents
        cut = min(max(int((1 - share) * len(text)), 1), len(text) - 1)
        blank = next((k for k in range(cut, min(cut + 40, len(text) - 1)) if text[k].isspace()), None)
        cut = cut if blank is None else blank + 1
        if text[:cut].strip() and text[cut:].strip():
            return [text[:cut]], [text[cut:]]
    raise LengthError(
        f"the text has {sum(map(len, documents))} characters, too few to keep a share of {share:g} for "
        "validation.",
        "Give more text, validation=TEXT, or validation=None.",
    )


def learn_codec(
    documents: Sequence[str], tokenizer: str | Tokenizer, vocabulary_size: int | None, min_count: int | str
) -> TextCodec:
    """Tokenizer and vocabulary of the training part.

    Args:
        documents: of the training part.
        tokenizer: by name, or a value.
        vocabulary_size: tokens at most; None: all.
        min_count: tokens seen less often become <unk>; "auto": 2 for words, so that the unknown word is
            learned from those that come once, and 1 for characters, pieces, and text that has <unk> itself.
    """
    chosen = get_tokenizer(tokenizer)
    if isinstance(min_count, str):
        if min_count != "auto":
            raise OptionError(f"min_count is {min_count!r} but must be a whole number from 1 on, or 'auto'.")
        words = chosen.name in ("words", "whitespace")
        once = words and not any(UNKNOWN in chosen.split(d) for d in documents if UNKNOWN in d)
        least = 2 if once and _repeats(documents, chosen) else 1
    else:
        least = min_count
    return TextCodec.fit(documents, chosen, max_size=vocabulary_size, min_count=least, specials=SPECIALS)


def _repeats(documents: Sequence[str], tokenizer: Tokenizer) -> bool:
    """Whether most of the tokens come more than once; a text of a few words is kept as it is."""
    counts = Counter(token for document in documents for token in tokenizer.split(document))
    return sum(n for n in counts.values() if n > 1) > 0.5 * sum(counts.values())


def encode(documents: Sequence[str], codec: TextCodec, form: Form) -> Corpus:
    """The tokens of a text as numbers, with </s> at the end of each line or document."""
    ends = form != "text"
    end = np.array([codec.vocabulary.id(END)], dtype=np.int64)
    parts, unknown = [], 0
    for document in documents:
        tokens = codec.tokenizer.split(document)
        ids = codec.vocabulary.encode(tokens)
        unknown += int((ids == codec.vocabulary.unknown).sum()) - tokens.count(UNKNOWN)
        parts += [ids, end] if ends else [ids]
    return Corpus(
        ids=np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64),
        characters=sum(len(document) + ends for document in documents),
        unknown=unknown,
    )


def decode(ids: Array, codec: TextCodec, form: Form) -> str:
    """Tokens to text; where </s> stands, a line ends."""
    end = codec.vocabulary.id(END)
    pieces, at = [], 0
    for place in [*np.flatnonzero(ids == end).tolist(), len(ids)]:
        pieces.append(codec.tokenizer.join(codec.vocabulary.decode(ids[at:place])))
        at = place + 1
    return ("\n" if form == "lines" else "\n\n").join(pieces)


def start_token(codec: TextCodec, form: Form) -> int:
    """The token before the first one."""
    newline = form == "text" and "\n" in codec.vocabulary
    return codec.vocabulary.id("\n" if newline else END)


def stream_count(tokens: int, batch_size: int, window: int) -> int:
    """How many streams a training text is read in: `batch_size`, fewer where it is short."""
    return int(min(max(tokens // (LEAST_WINDOWS * window), 1), batch_size))


def validation_count(tokens: int) -> int:
    """How many streams a validation text is read in."""
    return max(1, tokens // STREAM) if tokens <= AT_ONCE else -(-tokens // (AT_ONCE // 256))


def streams(ids: Array, start: int, count: int) -> tuple[list[Tensor], list[Tensor]]:
    """A text as `count` streams side by side: (what is read, what is to be said) of each.

        read  s x_1 … x_{n-1}        said  x_1 x_2 … x_n        both cut into `count` pieces

    Lengths differ by one at most, and each token is said once.

    Args:
        ids: (n,) tokens.
        start: s, read before the first.
        count: at most n.
    Source: Zaremba, Sutskever & Vinyals 2014, section 4.1 (parallel streams, the state carried along each).
    """
    read = torch.from_numpy(np.concatenate([np.array([start], dtype=np.int64), ids[:-1]]))
    said = torch.from_numpy(np.ascontiguousarray(ids))
    return list(torch.tensor_split(read, count)), list(torch.tensor_split(said, count))
