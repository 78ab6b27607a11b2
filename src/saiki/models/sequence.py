"""What the classifier and the regressor share: from X and y to a trained network, and back to predictions.

X, y → read → split by sequence → scale on training rows → network → train → measure beside baselines
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from saiki.core.errors import (
    DTypeError,
    LabelError,
    LengthError,
    OptionError,
    ShapeError,
    ValueRangeError,
)
from saiki.core.names import choose
from saiki.core.ragged import Ragged
from saiki.data.categories import Categories
from saiki.data.missing import Missing, require_missing_option
from saiki.data.splits import split_sequences
from saiki.learning import Observer, RaggedSource, ValidationEvent, newest_verified
from saiki.models.base import inside_search
from saiki.models.options import Array, CommonOptions, Layer
from saiki.models.reporting import ATTENTION_SHOWN
from saiki.models.sequence_features import Features, FeaturesFile, embeds, tokens
from saiki.models.sequence_input import (
    Frame,
    Layout,
    Sequences,
    is_frame,
    read_sequences,
)
from saiki.models.sequence_online import OnlineSequences
from saiki.models.sequence_targets import Targets, as_found, read_targets, read_weights
from saiki.nn import AttentionPool, EmbeddingConfig, LastConfig, Stack

if TYPE_CHECKING:
    from saiki.insight import Fact, Metric, Picture

Scaling = Literal["standard", "minmax"]
SCALINGS = ("standard", "minmax", None)
PREDICT_BATCH = 256  # sequences run at once when predicting; changes speed only


@dataclass(frozen=True, kw_only=True)
class SequenceOptions(CommonOptions):
    """The options both sequence tasks have, as config.json keeps them."""

    scaling: str | None
    validation: float | str | None
    per_step: bool | None
    layout: str
    id: str | None
    time: str | None
    columns: list[str] | None
    categories: list[str] | None
    encoding: str
    missing: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """Sequences with their targets and weights: the training or the validation part."""

    arrays: list[Array]  # as they were read, not scaled
    targets: Targets
    weights: Array | None

    @property
    def lengths(self) -> Array:
        """(n,) steps of each sequence."""
        return np.array([len(a) for a in self.arrays], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.arrays)


def joined(first: Part, second: Part) -> Part:
    """Both parts together."""
    weights = None
    if first.weights is not None or second.weights is not None:
        weights = np.concatenate(
            [np.ones(len(p)) if p.weights is None else p.weights for p in (first, second)]
        )
    values = np.concatenate([first.targets.values, second.targets.values])
    return Part(
        arrays=[*first.arrays, *second.arrays],
        targets=Targets(values=values, per_step=first.targets.per_step),
        weights=weights,
    )


class BestWeights(Observer):
    """Keeps the best weights of the validated phase, for figures that are honest after a refit.

    Args:
        network: the network being trained; only read.
        resumed: folder of checkpoints that the run goes on from; its best weights are where the copy starts.
    """

    def __init__(self, network: torch.nn.Module, resumed: str | Path | None) -> None:
        self.network = network
        self.weights: dict[str, Tensor] | None = None
        if resumed is not None:
            checkpoint = newest_verified(resumed)
            position = checkpoint.state.get("position")
            if isinstance(position, dict) and position.get("phase") == "fit" and position.get("validated"):
                self.weights = dict(checkpoint.model)

    def on_validation(self, event: ValidationEvent) -> None:
        """Copy the weights where they are the best so far."""
        if event.is_best:
            self.weights = {name: value.clone() for name, value in self.network.state_dict().items()}


class SequenceEstimator(OnlineSequences):
    """Abstract: what SequenceClassifier and SequenceRegressor do alike. They bring how y is read, the loss,
    the baselines and the figures.
    """

    _labels: ClassVar[bool]  # whether y holds labels

    scaling: Scaling | None
    validation: float | tuple[object, object] | None
    per_step: bool | None
    layout: Layout
    id: str | None
    time: str | None
    columns: Sequence[str] | None
    categories: Sequence[str] | None
    encoding: Literal["one_hot", "embed"]
    missing: Missing

    network_: Stack
    per_step_: bool
    feature_names_: tuple[str, ...] | None
    outputs_: int
    categories_: tuple[Categories, ...]
    features_: Features
    tokens_: bool
    details_: dict[str, Any]

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401  scikit-learn's own class
        from sklearn.utils import TransformerTags

        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = self.missing != "error"
        tags.transformer_tags = TransformerTags(preserves_dtype=[])  # transform() gives the network's dtype
        if not self._labels:
            tags.target_tags.multi_output = True
        return tags

    # ---- what a task brings --------------------------------------------------------------------------------

    def _check_targets(self, targets: Targets) -> None:
        """Refuse a y that the task cannot learn, before it is split."""

    def _learn_targets(self, train: Targets) -> None:
        """Learn what y is (classes, outputs, scaling) from the training rows; sets `outputs_`."""
        raise NotImplementedError

    def _encode(self, targets: Targets) -> Tensor:
        """Targets as the loss wants them, (n,) or (n, K), or (N,) or (N, K) sequence after sequence."""
        raise NotImplementedError

    def _observed(self, targets: Targets) -> Tensor | None:
        """True where a target was observed, in the form of `_encode`; None where all were."""
        return None

    def _row_loss(self, train: Targets) -> Callable[..., Tensor]:
        raise NotImplementedError

    def _embeddings(self) -> list[EmbeddingConfig]:
        """The layers at the front of the network that turn codes into vectors."""
        return self.features_.embeddings()

    def _stratify(self, targets: Targets) -> Array | None:
        """(n,) class of each sequence, for the split; None splits at random."""
        raise NotImplementedError

    def _measure(self, outputs: Array, targets: Targets) -> dict[str, float]:
        """The task's figures for network outputs (rows, outputs)."""
        raise NotImplementedError

    def _baselines(self, train: Part, validation: Part) -> list[dict[str, Any]]:
        raise NotImplementedError

    def _details(self, outputs: Array, validation: Part) -> dict[str, Any]:
        """More about the validation part for the report, as JSON."""
        raise NotImplementedError

    def _figures_shown(self) -> list[tuple[str, Metric]]:
        """The figures of the report's comparison, the one that decides first."""
        raise NotImplementedError

    def _pictures(self) -> list[Picture]:
        """The report's own pictures."""
        raise NotImplementedError

    def _loss_shown(self) -> str:
        """What the training loss is called."""
        raise NotImplementedError

    # ---- fit -----------------------------------------------------------------------------------------------

    def fit(
        self,
        X: object,
        y: object = None,
        *,
        sample_weight: object = None,
        lengths: object = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        every_minutes: float | None = None,
        observers: Sequence[Observer] = (),
    ) -> Self:
        """Train on sequences.

        Args:
            X: n sequences: a list of (T_i, F) arrays, (n, T, F), (n, T) for one feature, a Ragged, a
                PackedSequence, a nested tensor, or a long data frame with the columns `id` and `time`.
            y: one row a sequence or one row a step, told by its shape; or, with a frame, the name of its
                column (a list of names for several outputs).
            sample_weight: (n,) weights of the sequences.
            lengths: (n,) steps in use of a padded array.
            checkpoint: folder for checkpoints, written before the first update and after every epoch.
            resume: go on from the newest good checkpoint in that folder, bit for bit.
            every_minutes: minutes between checkpoints instead of epochs.
            observers: `saiki.learning.Observer`s, told of what happens.

        Returns:
            self.

        Raises:
            ShapeError, LengthError, DTypeError, ValueRangeError, LabelError, DataError, OptionError: what is
                wrong with the data or the options, before any training starts.
            NonFiniteError: the loss or a gradient became infinite or NaN.
            CheckpointError, DiskError: the checkpoint belongs to another run, or the disk refuses.
        """
        self._begin(checkpoint, resume)
        self._check_reading()
        sequences = self._read(X, lengths, y, fitting=True)
        targets = self._read_targets(y, sequences, self.per_step)
        weights = read_weights(sample_weight, len(sequences))
        self.n_features_in_ = sequences.features
        self.feature_names_ = sequences.columns
        self.categories_ = sequences.categories
        self.per_step_ = targets.per_step
        everything = Part(arrays=sequences.arrays, targets=targets, weights=weights)
        self._check_targets(targets)
        train, validation = self._split(everything)
        self._learn_targets(train.targets)
        if validation is not None:
            self._encode(validation.targets)  # an unseen label is an error before training
        loss = self._row_loss(train.targets)
        self.features_ = Features.fit(
            train.arrays,
            self.scaling,
            missing=self.missing,
            columns=sequences.columns,
            categories=sequences.categories,
        )
        values = int(train.lengths.sum()) * self.n_features_in_
        after: list[Layer] = [] if self.per_step_ else [LastConfig(both_ends=self.bidirectional)]
        embeddings = self._embeddings()
        inputs = self.features_.size + sum(e.size - 1 for e in embeddings)
        layers = self._layers(values=values, input_size=inputs, output_size=self.outputs_, after=after)
        self.tokens_ = embeds(layers) or (len(embeddings) > 0 and embeds(embeddings))
        if self.tokens_ and (self.missing != "error" or self.categories_):
            raise OptionError(
                "the network's first layer embeds X as it is, which leaves no place for missing= and "
                "categories=.",
                "Leave the Embedding to encoding='embed', or leave those out.",
            )
        network = self._build([*embeddings, *layers], self.features_.size, self.outputs_)
        if network.pooled == self.per_step_:
            raise ShapeError(
                "network pools over time, but y has one row a step."
                if self.per_step_
                else "network gives one output a step, but y has one row a sequence.",
                "Leave the pooling layer out."
                if self.per_step_
                else "Add LastConfig() or another pooling layer.",
            )
        refits = validation is not None and self.training is not None and self.training.refit == "all"
        honest = BestWeights(network, checkpoint if resume else None) if refits else None
        self._train(
            network,
            loss,
            self._source(train),
            None if validation is None else self._source(validation),
            everything=self._source(joined(train, validation)) if refits and validation is not None else None,
            values=values,
            sequences=len(train),
            checkpoint=checkpoint,
            resume=resume,
            every_minutes=every_minutes,
            observers=observers if honest is None else [honest, *observers],
        )
        if honest is None:
            self._judge(train, validation)
        else:
            self._judge_before_refit(train, validation, honest)
        return self

    def _check_reading(self) -> None:
        """Check the options of how X is read."""
        if self.scaling not in SCALINGS:
            raise OptionError(f"scaling is {self.scaling!r} but must be 'standard', 'minmax' or None.")
        if self.per_step is not None and not isinstance(self.per_step, bool):
            raise OptionError(f"per_step is {self.per_step!r} but must be True, False or None.")
        for name in ("columns", "categories"):
            if isinstance(getattr(self, name), str):
                raise DTypeError(
                    f"{name} is {getattr(self, name)!r} but must be a list of names.",
                    f"Write {name}=[{getattr(self, name)!r}].",
                )
        require_missing_option(self.missing)
        choose(self.encoding, {"one_hot": 0, "embed": 1}, "encoding")

    def _judge_before_refit(self, train: Part, validation: Part | None, honest: BestWeights) -> None:
        """Measure with the weights that had not seen the validation part, then put the final ones back."""
        if honest.weights is None:
            self._judge(train, None)
            note = "Resumed while training again on all sequences, so nothing was left to measure on."
        else:
            final = {name: value.clone() for name, value in self.network_.state_dict().items()}
            self.network_.load_state_dict(honest.weights)
            self._judge(train, validation)
            self.network_.load_state_dict(final)
            note = "The figures are those of the network before it was trained again on all sequences."
        self.record_ = replace(self.record_, notes=[*self.record_.notes, note])

    def _read(self, X: object, lengths: object, y: object = None, *, fitting: bool = False) -> Sequences:
        named = is_frame(X) and (isinstance(y, str) or _all_text(y, X))
        target = ((y,) if isinstance(y, str) else tuple(y)) if named else ()  # type: ignore[arg-type]
        return read_sequences(
            X,
            lengths=lengths,
            frame=Frame(
                id=self.id,
                time=self.time,
                columns=self.columns,
                target=target,
                categories=self.categories,
                encoding=self.encoding,
                known=None if fitting else self.categories_,
            ),
            layout=self.layout,
            features=None if fitting else self.n_features_in_,
            columns=None if fitting else self.feature_names_,
            missing=self.missing,
        )

    def _read_targets(
        self, y: object, sequences: Sequences, per_step: bool | None, name: str = "y"
    ) -> Targets:
        gaps = not self._labels and self.missing == "mask"
        return read_targets(y, sequences, labels=self._labels, per_step=per_step, gaps=gaps, name=name)

    def _split(self, everything: Part) -> tuple[Part, Part | None]:
        """Training and validation part, apart by whole sequences; for labels every class in proportion."""
        validation = self.validation
        n = len(everything)
        if validation is None:
            return everything, None
        if isinstance(validation, tuple):
            if len(validation) != 2:
                raise OptionError(f"validation is a tuple of {len(validation)} but must be (X, y).")
            X, y = validation
            sequences = self._read(X, None, y)
            targets = self._read_targets(y, sequences, self.per_step_, "validation y")
            return everything, Part(arrays=sequences.arrays, targets=targets, weights=None)
        if isinstance(validation, bool) or not isinstance(validation, (int, float)) or not 0 < validation < 1:
            raise OptionError(
                f"validation is {validation!r} but must be a share between 0 and 1, (X, y) or None."
            )
        if n < 2:
            raise LengthError(
                f"X has n_samples=1 sequence, too few to keep a share of {validation} for validation.",
                "Give more sequences, validation=(X, y), or validation=None.",
            )
        strata = self._stratify(everything.targets)
        chosen = split_sequences(n if strata is None else strata, float(validation), seed=self.seed_)
        if len(chosen[1]) == 0:
            raise LabelError(
                "every class has a single sequence, so none can be kept for validation.",
                "Use validation=None, or give validation=(X, y).",
            )
        parts = []
        for indices, what in zip(chosen, ("training", "validation")):
            if everything.lengths[indices].sum() == 0:
                raise LengthError(
                    f"every sequence of the {what} part is empty.",
                    "Leave empty sequences out, or give more of others.",
                )
            if everything.weights is not None and not everything.weights[indices].any():
                raise LengthError(
                    "all sequences of the training or of the validation part have sample_weight zero.",
                    "Use validation=None or validation=(X, y).",
                )
            parts.append(
                Part(
                    arrays=[everything.arrays[int(i)] for i in indices],
                    targets=everything.targets.select(indices, everything.lengths),
                    weights=None if everything.weights is None else everything.weights[indices],
                )
            )
        return parts[0], parts[1]

    def _inputs(self, arrays: Sequence[Array]) -> list[Tensor]:
        """Scaled sequences in the network's dtype, on the CPU; whole numbers where it embeds them."""
        if self.tokens_:
            return [torch.from_numpy(tokens(a)) for a in arrays]
        dtype = self._torch_dtype()
        inputs = [
            torch.from_numpy(self.features_.encode(a, f"sequence {i} of X")).to(dtype)
            for i, a in enumerate(arrays)
        ]
        for index, x in enumerate(inputs):
            if not bool(torch.isfinite(x).all()):
                raise ValueRangeError(
                    f"a sequence of X reaches {np.nanmax(np.abs(arrays[index])):.3g}, which after scaling "
                    f"({self.scaling}) is too large for {self.dtype}.",
                    "Check the units, use another scaling, or dtype='float64'.",
                )
        return inputs

    def _source(self, part: Part) -> RaggedSource:
        targets, mask = self._encode(part.targets), self._observed(part.targets)
        lengths = part.lengths.tolist() if part.targets.per_step else None
        return RaggedSource(
            self._inputs(part.arrays),
            targets if lengths is None else list(torch.split(targets, lengths)),
            mask=mask if mask is None or lengths is None else list(torch.split(mask, lengths)),
            weights=None if part.weights is None else torch.from_numpy(part.weights).to(self._torch_dtype()),
        )

    def _judge(self, train: Part, validation: Part | None) -> None:
        """Our figures, and the simple models', on the validation part."""
        self.metrics_, self.baselines_ = {}, []
        parts = {"training": train, "validation": validation}
        self.details_ = {
            "splits": [
                {"name": name, "sequences": len(part), "steps": int(part.lengths.sum())}
                for name, part in parts.items()
                if part is not None
            ]
        }
        if validation is None or len(validation) == 0:
            return
        outputs = self._run(validation.arrays)
        self.metrics_ = self._measure(outputs, validation.targets)
        self.details_.update(self._details(outputs, validation))
        self.details_.update(self._attention(validation))
        if self.baselines and not inside_search():
            self.baselines_ = self._baselines(self._for_others(train), self._for_others(validation))

    def _attention(self, part: Part) -> dict[str, Any]:
        """The weights that each AttentionPool gives to the steps of the part's first sequences, as JSON."""
        shown = [array for array in part.arrays if len(array)][:ATTENTION_SHOWN]
        if not shown or not any(isinstance(layer, AttentionPool) for layer in self.network_.modules()):
            return {}
        device = next(p.device for p in self.network_.parameters())
        with torch.inference_mode():
            weights = self.network_.attention(Ragged.from_list(self._inputs(shown)).to(device))
        return {
            "attention": [
                {"layer": name, "weights": [row.cpu().tolist() for row in found.to_list()]}
                for name, found in weights.items()
            ]
        }

    def _for_others(self, part: Part) -> Part:
        """The part as other models can read it: without gaps, categories written out as 0 and 1."""
        if self.missing == "error" and not self.categories_:
            return part
        return replace(part, arrays=[self.features_.encode(a, embed=False) for a in part.arrays])

    # ---- report ------------------------------------------------------------------------------------------

    def report(self) -> str | None:
        """The report as one self-contained HTML page."""
        from saiki.insight import Fact, Split
        from saiki.models.reporting import attention_pictures, compare, model_name, page

        self._require_fitted()
        splits = self.details_.get("splits", [])
        held = next((s["sequences"] for s in splits if s["name"] == "validation"), 0)
        return page(
            self,
            title="Sequence classifier" if self._labels else "Sequence regressor",
            summary=self._summary(),
            comparison=compare(
                self._figures_shown(),
                self.metrics_,
                self.baselines_,
                name=model_name(self),
                measured_on=f"{held} validation sequences, chosen by the seed"
                if not isinstance(self.validation, tuple)
                else f"{held} validation sequences, given by the user",
            ),
            pictures=[*self._pictures(), *attention_pictures(self.details_.get("attention", []))],
            data=[
                Fact(name="features a step", value=float(self.n_features_in_)),
                *self._facts(),
                *(
                    Fact(name=f"steps in the {s['name']} part", value=float(s["steps"]), unit="steps")
                    for s in splits
                ),
            ],
            splits=[Split(name=s["name"], count=s["sequences"], unit="sequences") for s in splits],
            loss=self._loss_shown(),
            notes=self._stream_notes(),
        )

    def _summary(self) -> str:
        """One sentence on what goes in and what comes out."""
        return (
            f"One {'label' if self._labels else 'row of numbers'} a "
            f"{'step' if self.per_step_ else 'sequence'}, from sequences of {self.n_features_in_} "
            f"features a step."
        )

    def _facts(self) -> list[Fact]:
        """What the data held besides numbers that are all there."""
        from saiki.insight import Fact

        gaps = [self.features_.scaler.columns[k] for k in self.features_.masked]
        facts = [
            Fact(
                name=f"category {category.column}",
                value=float(len(category.levels)),
                unit="levels",
                note="embedded" if category.encoding == "embed" else "one-hot",
            )
            for category in self.categories_
        ]
        facts += [Fact(name="features with gaps, masked", value=", ".join(gaps))] if gaps else []
        if hasattr(self, "stream_"):
            made = f"{self.stream_.updates} updates"
            facts.append(
                Fact(
                    name="rows learned from a stream", value=float(self.stream_.rows), unit="rows", note=made
                )
            )
        return facts

    # ---- predict -------------------------------------------------------------------------------------------

    def _run(self, arrays: Sequence[Array], hidden: bool = False) -> Array:
        """Network outputs: (n, K), or (N, K) sequence after sequence for one output a step."""
        network = self.network_
        device = next((p.device for p in network.parameters()), self._device())
        found: list[Array | None] = [None] * len(arrays)
        for chosen in _batches([len(a) for a in arrays]):
            ragged = Ragged.from_list(self._inputs([arrays[i] for i in chosen])).to(device)
            with torch.inference_mode():
                out = network.hidden(ragged) if hidden else network(ragged)
            rows = [r.cpu().numpy() for r in out.to_list()] if isinstance(out, Ragged) else out.cpu().numpy()
            for i, row in zip(chosen, rows):
                if not np.isfinite(row).all():
                    raise ValueRangeError(
                        f"the network's answer for sequence {i} of X is not finite; the sequence reaches "
                        f"{np.nanmax(np.abs(arrays[i]), initial=0):.3g}.",
                        "Check its units against those of the training data.",
                    )
                found[i] = row
        rows_found: list[Array] = [row for row in found if row is not None]
        return np.concatenate(rows_found) if self.per_step_ else np.stack(rows_found)

    def fit_transform(
        self, X: object, y: object = None, *, sample_weight: object = None, lengths: object = None
    ) -> Array | list[Array]:
        """`fit(X, y)`, then `transform(X)`: what a Pipeline calls on a step that is not its last."""
        return self.fit(X, y, sample_weight=sample_weight, lengths=lengths).transform(X, lengths)

    def evaluate(self, X: object, y: object = None, *, lengths: object = None) -> dict[str, float]:
        """The task's figures on data with known answers.

        Args:
            X: sequences in any form fit takes.
            y: what is to be predicted, in any form fit takes.
            lengths: steps in use of a padded array.

        Returns:
            Figure by name, the same as `metrics_` holds for the validation part.
        """
        self._require_fitted()
        sequences = self._read(X, lengths, y)
        targets = self._read_targets(y, sequences, self.per_step_)
        return self._measure(self._run(sequences.arrays), targets)

    def transform(self, X: object, lengths: object = None) -> Array | list[Array]:
        """The last hidden representation: what the head reads, usable as features in a Pipeline.

        Returns:
            (n, H), or for a model of one output a step one (T_i, H) array a sequence (in the form X came).
        """
        self._require_fitted()
        sequences = self._read(X, lengths)
        return as_found(self._run(sequences.arrays, hidden=True), sequences, self.per_step_)

    # ---- files ---------------------------------------------------------------------------------------------

    def _option(self, name: str, value: Any) -> Any:  # noqa: ANN401  JSON out
        if name == "validation" and isinstance(value, tuple):
            return "given"  # the data itself is no part of a model
        if name in ("columns", "categories") and value is not None:
            return [str(column) for column in value]
        return super()._option(name, value)

    @classmethod
    def _arguments(cls, options: dict[str, Any]) -> dict[str, Any]:
        if options["validation"] == "given":
            options = {**options, "validation": None}
        return super()._arguments(options)

    def _tensors(self) -> dict[str, Array]:
        return {f"scaler.{name}": values for name, values in self.features_.scaler.tensors().items()}

    def _restore_features(self, stored: FeaturesFile, tensors: Mapping[str, Array]) -> None:
        self.features_ = Features.restore(
            stored, self.scaling, tensors, self.n_features_in_, self.feature_names_
        )
        self.categories_ = self.features_.categories


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices in batches of like length, so that little time passes with few sequences running."""
    order = np.argsort(np.array(lengths), kind="stable")
    for start in range(0, len(order), PREDICT_BATCH):
        yield [int(i) for i in order[start : start + PREDICT_BATCH]]


def _all_text(y: object, X: object) -> bool:
    names = {str(name) for name in getattr(X, "names", None) or X.columns}  # type: ignore[attr-defined]
    return isinstance(y, (list, tuple)) and len(y) > 0 and all(isinstance(v, str) and v in names for v in y)
