"""The options of training, as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, final

from saiki.core.checks import require_bool, require_int, require_number, require_positive
from saiki.core.errors import OptionError
from saiki.core.names import unknown
from saiki.learning.bptt import BPTT
from saiki.learning.optimisers import Group, Optimizer, get_optimizer
from saiki.learning.options import mapping_of, named, refuse_unknown
from saiki.learning.rtrl import RTRL
from saiki.learning.rules import LearningRule
from saiki.learning.schedules import Schedule, get_schedule
from saiki.learning.truncated import TruncatedBPTT

RULES: dict[str, type[Any]] = {"bptt": BPTT, "truncated_bptt": TruncatedBPTT, "rtrl": RTRL}


def get_rule(rule: str | Mapping[str, object] | LearningRule) -> LearningRule:
    """A learning rule by name, from a mapping with a `type`, or as it is.

    Raises:
        OptionError: an unknown name or option; the nearest one is offered.
    """
    if isinstance(rule, str | Mapping):
        built: LearningRule = named(rule, RULES, BPTT, "learning rule")
        return built
    if not isinstance(rule, LearningRule):
        raise OptionError(
            f"rule is {rule!r} but must be a name or a learning rule.", f"Known: {', '.join(RULES)}."
        )
    return rule


@final
@dataclass(frozen=True, kw_only=True)
class Training:
    """How a network is trained, apart from the few numbers every estimator has (rate, epochs, batch size).

    Args:
        optimizer: a name, a mapping with a `type`, or a value: sgd, momentum, nesterov, adagrad, rmsprop,
            adam, adamw.
        schedule: likewise: constant, linear, inverse, exponential, cosine, plateau, warmup.
        clip_norm: longest gradient, over all parameters together; None: not clipped.
        clip_value: largest entry of a gradient, applied before clip_norm; None: not clipped.
        weight_decay: α of the penalty α w²/2 on W and R; None: the optimiser's own, 0 but for adamw (0.01).
        l1: λ of the penalty λ|w| on W and R.
        every: how often the validation error is taken: "epoch", or after so many updates.
        refit: "all" trains again from the same initial weights on all data, for the best number of updates.
        rule: the learning rule, a name, a mapping with a `type`, or a value: bptt, truncated_bptt, rtrl.
        groups: what is different for parameters chosen by name: `Group` values, mappings with a `pattern`, or
            pairs (pattern, mapping).
        shuffle: mix the sequences anew in each epoch.
        bucket: put sequences of like lengths together.
    """

    optimizer: str | Mapping[str, Any] | Optimizer = "adam"
    schedule: str | Mapping[str, Any] | Schedule = "constant"
    clip_norm: float | None = 1.0
    clip_value: float | None = None
    weight_decay: float | None = None
    l1: float = 0.0
    every: Literal["epoch"] | int = "epoch"
    refit: Literal["all"] | None = None
    rule: str | Mapping[str, Any] | LearningRule = field(default_factory=BPTT)
    groups: tuple[Any, ...] = ()
    shuffle: bool = True
    bucket: bool = True

    # Fields stay as they were given, because scikit-learn's clone compares them by identity; `checked`
    # resolves.

    def checked(self) -> Training:
        """The same options, names resolved to values.

        Raises:
            OptionError: an unknown name or option; the nearest one is offered.
            ValueRangeError, DTypeError: a number out of range.
        """
        if self.clip_norm is not None:
            require_positive(self.clip_norm, "clip_norm")
        if self.clip_value is not None:
            require_positive(self.clip_value, "clip_value")
        if self.weight_decay is not None:
            require_number(self.weight_decay, "weight_decay", low=0)
        require_number(self.l1, "l1", low=0)
        if isinstance(self.every, str) and self.every != "epoch":
            raise OptionError(f"every is {self.every!r} but must be 'epoch' or a number of updates.")
        if not isinstance(self.every, str):
            require_int(self.every, "every", low=1)
        if self.refit not in (None, "all"):
            raise OptionError(f"refit is {self.refit!r} but must be None or 'all'.")
        require_bool(self.shuffle, "shuffle")
        require_bool(self.bucket, "bucket")
        return replace(
            self,
            optimizer=get_optimizer(self.optimizer),
            schedule=get_schedule(self.schedule),
            rule=get_rule(self.rule),
            groups=tuple(_group(group) for group in self.groups),
        )

    def to_mapping(self) -> dict[str, Any]:
        """The options as JSON, every name resolved."""
        checked = self.checked()
        return {
            **{f.name: getattr(checked, f.name) for f in fields(checked)},
            "optimizer": mapping_of(checked.optimizer),
            "schedule": mapping_of(checked.schedule),
            "rule": mapping_of(checked.rule),
            "groups": [{f.name: getattr(group, f.name) for f in fields(group)} for group in checked.groups],
        }

    @classmethod
    def from_mapping(cls, options: Mapping[str, Any]) -> Training:
        """The options from JSON or TOML.

        Raises:
            OptionError: an unknown key, name or option; the nearest one is offered.
        """
        refuse_unknown(options, [f.name for f in fields(cls)], "training option")
        given = dict(options)
        if "groups" in given:
            given["groups"] = tuple(given["groups"])
        return cls(**given).checked()

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The options by name, so that scikit-learn's searches can reach `training__clip_norm`."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def set_params(self, **params: Any) -> Training:  # noqa: ANN401
        """Change options in place; for scikit-learn alone, which clones an estimator and sets its clone's."""
        for name, value in params.items():
            if name not in self.get_params():
                raise OptionError(unknown(name, self.get_params(), "training option"))
            object.__setattr__(self, name, value)
        return self


def _group(group: object) -> Group:
    if isinstance(group, Group):
        return group
    if isinstance(group, tuple | list) and len(group) == 2 and isinstance(group[1], Mapping):
        group = {"pattern": group[0], **group[1]}
    if isinstance(group, Mapping):
        refuse_unknown(group, [f.name for f in fields(Group)], "option of a parameter group")
        if "pattern" not in group:
            raise OptionError(f"the parameter group {dict(group)!r} has no pattern.", "For example '*.bias'.")
        return Group(**group)
    raise OptionError(f"{group!r} is no parameter group.", "Give ('*.bias', {'lr': 0.01}).")
