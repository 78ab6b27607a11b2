"""Texts as the sequences of a classifier: tokens become ids, ids become vectors.

    text --tokenizer--> tokens --vocabulary--> (T,) ids --Embedding--> (T, D) → recurrent layers → …

Tokenizer and vocabulary are learned on the training part alone, which is known only after the split; until
then a text travels as the numbers of its characters, which lose nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from saiki.core.checks import require_bool, require_int
from saiki.core.errors import DataError, DTypeError, LengthError, OptionError, SchemaError
from saiki.core.names import unknown
from saiki.core.schema import strict
from saiki.data.tokens import TextCodec, Tokenizer, get_tokenizer, require_texts
from saiki.data.vocabulary import UNKNOWN, Vocabulary
from saiki.data.word_vectors import WordVectors, read_word_vectors
from saiki.models.options import Array
from saiki.models.sequence_input import Sequences, _open_frame, is_frame
from saiki.nn import Embedding, EmbeddingConfig

if TYPE_CHECKING:
    from saiki.insight import Fact, Picture

WRONG_SHOWN, RIGHT_SHOWN = 8, 4  # texts in the report
TOKENS_SHOWN = 40  # of each
SPREAD = 0.1  # standard deviation of vectors that start at random
SIZE = 64  # numbers of a token's vector where no file of vectors says otherwise


@dataclass(frozen=True, kw_only=True)
class Text:
    """How the texts of a classifier are read.

    Args:
        tokenizer: "words", "characters", "whitespace", "sentencepiece", or a `saiki.data.Tokenizer`.
        max_size: tokens of the vocabulary at most, the most frequent; None keeps all.
        min_count: tokens that the training texts have less often become `<unk>`.
        size: D, numbers of a token's vector; None takes 64, or what the file of vectors has.
        vectors: a text file of GloVe or word2vec to start from; its words are looked up as they stand, then
            in lower case. Tokens it lacks start at zero.
        more: so many words from the beginning of that file are taken up though no training text has them, so
            that the model knows them later.
        tune: train the vectors; False leaves those of the file as they are.
        column: the column of a table that holds the texts.
    """

    tokenizer: str | Tokenizer = "words"
    max_size: int | None = None
    min_count: int = 1
    size: int | None = None
    vectors: str | Path | None = None
    more: int = 0
    tune: bool = True
    column: str | None = None

    def __post_init__(self) -> None:
        get_tokenizer(self.tokenizer)
        if self.max_size is not None:
            require_int(self.max_size, "text: max_size", 2)
        require_int(self.min_count, "text: min_count", 1)
        require_int(self.more, "text: more", 0)
        require_bool(self.tune, "text: tune")
        if self.size is not None:
            require_int(self.size, "text: size", 1)
        for name in ("vectors", "column"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str | Path):
                raise DTypeError(f"text: {name} is {value!r} but must be a text.")
        if self.vectors is None and (self.more or not self.tune):
            raise OptionError(
                f"text: {'more' if self.more else 'tune=False'} needs vectors=, a file of word vectors.",
                "Vectors that start at random have to be trained.",
            )

    def to_mapping(self) -> dict[str, Any]:
        """As JSON keeps it."""
        tokenizer: Any = self.tokenizer
        if isinstance(tokenizer, Tokenizer):
            tokenizer = {"name": tokenizer.name, **tokenizer.to_json()}
        return {
            "tokenizer": tokenizer,
            "max_size": self.max_size,
            "min_count": self.min_count,
            "size": self.size,
            "vectors": None if self.vectors is None else str(self.vectors),
            "more": self.more,
            "tune": self.tune,
            "column": self.column,
        }


@dataclass(frozen=True, kw_only=True)
class _TextFile:
    """A `Text` out of JSON or TOML."""

    tokenizer: str | dict[str, Any] = "words"
    max_size: int | None = None
    min_count: int = 1
    size: int | None = None
    vectors: str | None = None
    more: int = 0
    tune: bool = True
    column: str | None = None


@dataclass(frozen=True, kw_only=True)
class TextFitted:
    """What was learned of texts beside the vocabulary, as config.json keeps it."""

    found: int | None  # tokens that the file of vectors had; None without one
    unseen: float | None  # share of the validation part's tokens that the vocabulary lacks


def as_text(given: object) -> Text | None:
    """The option `text` in any of its forms: None, a tokenizer's name, a mapping, or a `Text`.

    Raises:
        DTypeError: it is none of these.
        SchemaError, OptionError: an entry of the mapping is wrong.
    """
    if given is None or isinstance(given, Text):
        return given
    if isinstance(given, str | Tokenizer):
        return Text(tokenizer=given)
    if isinstance(given, Mapping):
        read = strict(_TextFile, given, "text")
        tokenizer: str | Tokenizer
        if isinstance(read.tokenizer, dict):
            tokenizer = _tokenizer(read.tokenizer)
        else:
            tokenizer = read.tokenizer
        return Text(**{**vars(read), "tokenizer": tokenizer})
    raise DTypeError(
        f"text is {type(given).__name__} but must be a tokenizer's name, a saiki.models.Text, a mapping or "
        "None.",
        'For instance text="words".',
    )


def _tokenizer(mapping: Mapping[str, Any]) -> Tokenizer:
    """A tokenizer with its options, as `Text.to_mapping` writes it; sentencepiece has not learned then."""
    rest = dict(mapping)
    name = rest.pop("name", None)
    if not isinstance(name, str):
        raise SchemaError("text: tokenizer is a table without a name.")
    kind = type(get_tokenizer(name))
    return strict(kind, rest, f"text: tokenizer {name}")


# ---- reading -----------------------------------------------------------------------------------------------


def read_texts(
    X: object, text: Text, codec: TextCodec | None, *, y: object = None, name: str = "X"
) -> Sequences:
    """Texts, from a list, an array, a column, or the frame that has the column.

    Args:
        X: n texts.
        text: how they are read.
        codec: of a fitted model; None while it is not learned, and the arrays hold characters.
        y: the name of a frame's column of labels, or whatever is no name.
        name: the argument's name, for messages.
    Returns:
        One (T, 1) array of ids a text.
    Raises:
        DTypeError, DataError, LengthError: no texts, an empty one, or no such column.
    """
    target = None
    if is_frame(X):
        texts, target = _of_frame(X, text, y, name)
    else:
        texts = require_texts(X, name)
    if not texts:
        raise LengthError(f"Found array with 0 sample(s): {name} holds no text.", "Give at least one.")
    arrays = []
    for number, one in enumerate(texts):
        ids = characters(one) if codec is None else codec.encode(one)
        if not len(ids) or not one.strip():
            raise DataError(
                f"text {number} of {name} is empty: {one[:40]!r} holds no token.", "Leave such texts out."
            )
        arrays.append(ids.astype(np.float64)[:, None])
    return Sequences(arrays=arrays, form="list", target=target)


def _of_frame(X: object, text: Text, y: object, name: str) -> tuple[list[str], Array | None]:
    names, column, _ = _open_frame(X)
    wanted = text.column
    if wanted is None:
        raise DataError(
            f"{name} is a table and no column was named that holds the texts.",
            f"Give text=Text(column=...), one of: {', '.join(names[:8])}.",
        )
    if wanted not in names:
        raise DataError(f"text names a column that {name} does not have: {unknown(wanted, names, 'column')}")
    target = None
    if isinstance(y, str):
        if y not in names:
            raise DataError(f"y names a column that is not there: {unknown(y, names, 'column')}")
        target = column(y)
    return require_texts(column(wanted).tolist(), f"column {wanted!r} of {name}"), target


def characters(text: str) -> Array:
    """A text as the numbers of its characters."""
    return np.array([ord(character) for character in text], dtype=np.int64)


def text_of(array: Array) -> str:
    """The text that gave these numbers."""
    return "".join(map(chr, array[:, 0].astype(np.int64).tolist()))


def refuse_others(estimator: Any) -> None:  # noqa: ANN401  a classifier
    """Refuse the options that only numbers have.

    Raises:
        OptionError: one of them was set.
    """
    for name, plain in (("id", None), ("time", None), ("columns", None), ("categories", None)):
        if getattr(estimator, name) is not plain:
            raise OptionError(
                f"{name}={getattr(estimator, name)!r} is for sequences of numbers, but text= says that X "
                "holds texts.",
                "The column of texts is named by text=Text(column=...)."
                if name == "columns"
                else "Leave it out.",
            )
    if estimator.missing != "error":
        raise OptionError(f"missing={estimator.missing!r} makes no sense for texts.", "Leave it out.")
    if estimator.per_step:
        raise OptionError(
            "per_step=True makes no sense for texts, which have one label each.", "Leave it out."
        )


# ---- learning ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Learned:
    """What was learned of the training texts.

    Attributes:
        codec: tokenizer and vocabulary.
        matrix: (V, D) vectors to start from, and (V,) whether the file had the token; None without a file.
    """

    codec: TextCodec
    matrix: tuple[Array, Array] | None

    @property
    def size(self) -> int | None:
        """D of the vectors, or None."""
        return None if self.matrix is None else int(self.matrix[0].shape[1])


def learn(texts: Sequence[str], text: Text) -> Learned:
    """Learn tokenizer and vocabulary from the training texts, and look their tokens up in the vectors.

    Raises:
        DataError: the texts have no token, or the file has none of them or is broken.
        OptionError: `size` is not that of the vectors.
    """
    codec = TextCodec.fit(texts, text.tokenizer, max_size=text.max_size, min_count=text.min_count)
    if text.vectors is None:
        return Learned(codec, None)
    vectors = read_word_vectors(text.vectors, only=codec.vocabulary.tokens, most=text.more)
    if text.size is not None and text.size != vectors.size:
        raise OptionError(
            f"text: size is {text.size} but the vectors of {text.vectors} have {vectors.size} numbers.",
            "Leave size out.",
        )
    codec = replace(codec, vocabulary=_with_more(codec.vocabulary, vectors, text.more))
    matrix, found = vectors.matrix(codec.vocabulary)
    if not found.any():
        raise DataError(
            f"none of the {len(codec.vocabulary)} tokens of the texts is in {text.vectors}.",
            "Is it a file of words, in the language of the texts?",
        )
    return Learned(codec, (matrix, found))


def _with_more(vocabulary: Vocabulary, vectors: WordVectors, more: int) -> Vocabulary:
    extra = [word for word in vectors.words[:more] if word not in vocabulary]
    return Vocabulary((*vocabulary.tokens, *extra), vocabulary.specials)


def encode(arrays: Sequence[Array], codec: TextCodec, what: str) -> list[Array]:
    """Arrays of characters as (T, 1) arrays of ids.

    Raises:
        DataError: a text has no token.
    """
    made = []
    for array in arrays:
        text = text_of(array)
        ids = codec.encode(text)
        if not len(ids):
            raise DataError(
                f"a text of the {what} part has no token: {text[:40]!r}.",
                "Leave it out, or use another tokenizer.",
            )
        made.append(ids.astype(np.float64)[:, None])
    return made


def embedding(codec: TextCodec, text: Text, size: int | None) -> EmbeddingConfig:
    """The layer at the front of the network."""
    width = size or text.size or SIZE
    return EmbeddingConfig(num_embeddings=len(codec), size=width, frozen=not text.tune)


def start(layer: Embedding, learned: Learned) -> None:
    """Put the vectors into the embedding; `<unk>`, which training may never meet, starts at the mean of all.

    Without a file the vectors are drawn from N(0, 0.1²): most words of a small corpus come once or twice, and
    what chance gave them at first is noise for ever.
    """
    with torch.no_grad():
        if learned.matrix is not None:
            layer.weight.copy_(torch.from_numpy(learned.matrix[0]))
            return
        layer.weight.mul_(SPREAD)
        if (other := learned.codec.vocabulary.unknown) is not None:
            layer.weight[other] = 0.0


def unseen_share(arrays: Sequence[Array], codec: TextCodec) -> float:
    """Share of the tokens that are `<unk>`."""
    ids = np.concatenate([array[:, 0] for array in arrays])
    return float((ids == codec.vocabulary.id(UNKNOWN)).mean())


# ---- the report --------------------------------------------------------------------------------------------


def facts(codec: TextCodec, text: Text, fitted: TextFitted) -> list[Fact]:
    """What the texts were to the model, for the report."""
    from saiki.insight import Fact

    made = [
        Fact(name="tokenizer", value=codec.tokenizer.name),
        Fact(name="vocabulary", value=float(len(codec)), unit="tokens", note="of the training part"),
    ]
    if fitted.unseen is not None:
        share = f"{100 * fitted.unseen:.1f} %"
        made.append(Fact(name="tokens of the validation part that it lacks", value=share))
    if fitted.found is not None:
        note = "trained further" if text.tune else "left as they are"
        made.append(Fact(name="tokens with a vector of the file", value=float(fitted.found), note=note))
    return made


def shown(
    codec: TextCodec, arrays: Sequence[Array], truth: Array, shares: Array, labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Texts for the report: those it got wrong with the greatest confidence, then some it got right."""
    said = shares.argmax(axis=1)
    sure = shares.max(axis=1)
    wrong, right = np.flatnonzero(said != truth), np.flatnonzero(said == truth)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")][:WRONG_SHOWN]
    return [
        {
            "text": codec.decode(arrays[i][:TOKENS_SHOWN, 0].astype(np.int64))
            + (" …" if len(arrays[i]) > TOKENS_SHOWN else ""),
            "wanted": labels[truth[i]],
            "said": labels[said[i]],
            "share": float(sure[i]),
        }
        for i in (*wrong.tolist(), *right[:RIGHT_SHOWN].tolist())
    ]


def samples_shown(found: Sequence[Mapping[str, Any]]) -> Picture:
    """The table of `shown`."""
    from saiki.insight.samples import samples

    return samples(
        "Texts and answers",
        "From the validation part, as the model reads them: first those it got wrong and was surest of.",
        ("text", "true class", "answer", "its probability"),
        [(one["text"], one["wanted"], one["said"], f"{100 * one['share']:.0f} %") for one in found],
        right=[one["wanted"] == one["said"] for one in found],
    )


# ---- the simple model --------------------------------------------------------------------------------------


def bag_of_tokens(
    train: Sequence[Array],
    labels: Array,
    test: Sequence[Array],
    *,
    size: int,
    classes: int,
    sample_weight: Array | None = None,
) -> dict[str, Array]:
    """The majority class, and logistic regression on tf-idf weights of tokens, whose order does not count.

    Args:
        train: n arrays (T, 1) of ids.
        labels: (n,) class numbers in [0, K).
        test: m arrays.
        size: V.
        classes: K.
        sample_weight: (n,) or None.
    Returns:
        (m, K) probabilities by the model's name.
    """
    import warnings

    from scipy.sparse import csr_matrix
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.linear_model import LogisticRegression

    from saiki.models.baselines import majority

    def counts(arrays: Sequence[Array]) -> Any:  # noqa: ANN401  a sparse matrix
        ids = np.concatenate([array[:, 0] for array in arrays]).astype(np.int64)
        ends = np.concatenate([[0], np.cumsum([len(array) for array in arrays])])
        return csr_matrix((np.ones(len(ids)), ids, ends), shape=(len(arrays), size))

    weights = TfidfTransformer(sublinear_tf=True)
    x, new = weights.fit_transform(counts(train)), weights.transform(counts(test))
    share = majority(labels, np.arange(classes), sample_weight)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=10.0, max_iter=500).fit(x, labels, sample_weight=sample_weight)
    found = np.zeros((len(test), classes))
    found[:, model.classes_] = model.predict_proba(new)
    name = f"{'logistic' if classes == 2 else 'softmax'} regression on tf-idf of tokens"
    return {"majority class": np.tile(share, (len(test), 1)), name: found}
