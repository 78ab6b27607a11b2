"""What a fitted language model says: the figures of a text, what comes next, and text of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from saiki.core.errors import DTypeError, LengthError
from saiki.core.ragged import Ragged
from saiki.core.random import generator, seed_from
from saiki.data.tokens import TextCodec, require_texts
from saiki.data.vocabulary import END, UNKNOWN, Vocabulary
from saiki.metrics.language import bits_per_character, perplexity
from saiki.models.base import Estimator
from saiki.models.language_model_network import Reader, head_of, token_scores
from saiki.models.language_model_sampling import require_sampling, write
from saiki.models.language_model_text import (
    Corpus,
    Form,
    decode,
    encode,
    read_documents,
    start_token,
)
from saiki.models.options import Array, RandomState
from saiki.nn import Stack

if TYPE_CHECKING:
    from saiki.models.language_model_scorer import Scorer


_FORMS = {"text": "one text", "lines": "one text", "documents": "a list of texts"}


class LanguageSpeaker(Estimator):
    """Abstract: all of `LanguageModel` that needs it to be fitted and leaves it as it is."""

    codec_: TextCodec
    form_: Form
    network_: Stack

    # ---- figures of a text ---------------------------------------------------------------------------------

    def evaluate(self, X: str | Sequence[str]) -> dict[str, float]:
        """The figures of a text, read as one stream from its first token to its last.

        Args:
            X: a text in the form that `fit` had.

        Returns:
            loss (nats a token), perplexity, bits_per_character, and unknown: the share of the tokens that the
            vocabulary lacks. (`metrics_` reads the validation part in several streams, as training
            does; the difference is the first tokens of each.)
        """
        corpus = self._corpus(X)
        log_p = token_scores(self.network_, corpus.ids, start_token(self.codec_, self.form_))
        return {
            **figures(log_p, corpus.characters),
            "unknown": corpus.unknown / len(corpus),
        }

    def log_probabilities(self, X: str | Sequence[str]) -> Array:
        """(n,) ln p of each token of a text given all before it, nats; see `evaluate`."""
        corpus = self._corpus(X)
        return token_scores(self.network_, corpus.ids, start_token(self.codec_, self.form_))

    def _corpus(self, X: object) -> Corpus:
        self._require_fitted()
        form, documents = read_documents(X, self.codec_.tokenizer)
        if form != self.form_:
            raise DTypeError(
                f"X is {_FORMS[form]} but the model was fitted on {_FORMS[self.form_]}.",
                "Give it in the same form.",
            )
        corpus = encode(documents, self.codec_, self.form_)
        if len(corpus) == 0:
            raise LengthError("X holds no token.", "Give a text.")
        return corpus

    # ---- what comes next -----------------------------------------------------------------------------------

    @property
    def vocabulary_(self) -> Vocabulary:
        """The tokens; their places are the columns of `score`."""
        return self.codec_.vocabulary

    def score(self, prefix: str | Sequence[int] = "") -> Array:
        """What may come after a prefix.

        Args:
            prefix: a text, or ids of tokens; nothing stands before it.

        Returns:
            (V,) float64 ln p of each token of `vocabulary_`, nats.

        Raises:
            LabelError: an id outside the vocabulary.
        """
        self._require_fitted()
        log_p, _ = Reader(self.network_).read([self._begun(prefix)])
        return np.asarray(log_p[0])

    def predict(self, X: Sequence[str]) -> list[str]:
        """The most likely next token of each of several texts."""
        self._require_fitted()
        texts = require_texts(X, "X")
        if not texts:
            return []
        log_p, _ = Reader(self.network_).read([self._begun(text) for text in texts])
        return self.vocabulary_.decode(log_p.argmax(axis=1))

    def scorer(self, tokens: Sequence[str], *, renamed: Mapping[str, str] | None = None) -> Scorer:
        """The model as a beam search asks it: see `saiki.decoding.LanguageScorer`.

        Args:
            tokens: what each of the K labels of the search stands for, in this model's tokens; a label the
                model does not know (the blank) is never allowed by it.
            renamed: labels that the model calls otherwise, such as {"<space>": " "}.
        """
        from saiki.models.language_model_scorer import Scorer

        self._require_fitted()
        return Scorer(self, tokens, renamed)

    def generate(
        self,
        prompt: str | Sequence[str] = "",
        length: int = 200,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        random_state: RandomState = None,
    ) -> Any:  # noqa: ANN401  text for text, a list for a list
        """Write on from a prompt.

        Args:
            prompt: a text, perhaps empty; or a list of them, which are gone on with side by side.
            length: tokens to write. A document ends before where the model says so.
            temperature: below 1 the likely becomes likelier; 0 takes the most likely token each time; above 1
                the text becomes wilder.
            top_k: draw among the k most likely tokens only.
            random_state: seed.

        Returns:
            The text that was written, without the prompt; a list for a list. <unk> is never written.
        """
        self._require_fitted()
        length, temperature, top_k = require_sampling(length, temperature, top_k)
        prompts = require_texts([prompt] if isinstance(prompt, str) else prompt, "prompt")
        texts = self._write(prompts, length, [temperature] * len(prompts), top_k, random_state)
        return texts[0] if isinstance(prompt, str) else texts

    def _write(
        self,
        prompts: Sequence[str],
        length: int,
        temperatures: Sequence[float],
        top_k: int | None,
        random_state: RandomState,
    ) -> list[str]:
        end, unknown = self.vocabulary_.id(END), self.vocabulary_.id(UNKNOWN)
        written = write(
            Reader(self.network_),
            [self._begun(each) for each in prompts],
            length,
            temperatures=temperatures,
            top_k=top_k,
            generator=generator(None if random_state is None else seed_from(random_state), "text"),
            forbidden=(unknown, end) if self.form_ == "text" else (unknown,),
            end=end if self.form_ == "documents" else None,
        )
        return [self._written(each, ids) for each, ids in zip(prompts, written)]

    def _begun(self, prefix: object) -> Array:
        """The start token and the prefix, which may end inside a line."""
        before = np.array([start_token(self.codec_, self.form_)], dtype=np.int64)
        if isinstance(prefix, str):
            if self.form_ == "text":
                ids = self.codec_.encode(prefix)
            else:
                lines = prefix.split("\n") if self.form_ == "lines" else [prefix]
                ids = np.concatenate(
                    [self.codec_.encode(t, end=k + 1 < len(lines)) for k, t in enumerate(lines)]
                )
        else:
            ids = np.asarray(prefix)
            if ids.size == 0:
                return before
            self.vocabulary_.decode(ids)  # an id outside is named
        return np.concatenate([before, ids.astype(np.int64)])

    def _written(self, prompt: str, ids: list[int]) -> str:
        """The text of some tokens, with the blank between the prompt's last word and the first one."""
        text = decode(np.array(ids, dtype=np.int64), self.codec_, self.form_)
        name = self.codec_.tokenizer.name
        joins = name in ("words", "whitespace") and prompt and not prompt[-1].isspace() and text[:1].strip()
        if joins:
            word = prompt.split()[-1] if prompt.split() else ""
            both = self.codec_.tokenizer.join([word, self.vocabulary_.decode(ids[:1])[0]])
            text = (" " if " " in both else "") + text
        return text

    def _next(self, read: Array, places: Array) -> Array:
        """(m, V) ln p of what comes after some places of one text."""
        device = next(self.network_.parameters()).device
        with torch.inference_mode():
            h, _ = self.network_.run(Ragged.from_list([torch.from_numpy(read).to(device)]))
            assert isinstance(h, Ragged)
            rows = h.data[torch.from_numpy(places).to(device)]
            return np.asarray(head_of(self.network_).log_probabilities(rows).double().cpu().numpy())


def figures(log_p: Array, characters: int) -> dict[str, float]:
    """The figures of a text out of ln p of its tokens: nats a token, perplexity, bits a character."""
    return {
        "loss": -float(log_p.mean()),
        "perplexity": perplexity(log_p),
        "bits_per_character": bits_per_character(log_p, max(characters, 1)),
    }
