"""How a network learns: rules, optimisers, schedules, stopping, checkpoints, the trainer, its observers."""

from saiki.learning.batching import batches
from saiki.learning.bptt import BPTT
from saiki.learning.checkpoints import Checkpoint, newest_verified, save_checkpoint
from saiki.learning.clipping import clip_by_norm, clip_by_value, global_norm
from saiki.learning.lr_range import LRRange, lr_range_test
from saiki.learning.observers import (
    CheckpointEvent,
    EndEvent,
    History,
    Observer,
    ProgressBar,
    StartEvent,
    TensorBoard,
    UpdateEvent,
    ValidationEvent,
)
from saiki.learning.online import Online, OnlineUpdate
from saiki.learning.optimisers import (
    OPTIMISERS,
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    Group,
    Momentum,
    Nesterov,
    Optimizer,
    RMSprop,
    Updater,
    get_optimizer,
    penalised,
)
from saiki.learning.prequential import Prequential, prequential
from saiki.learning.rtrl import RTRL
from saiki.learning.rules import LearningRule, Objective, RuleState, objective
from saiki.learning.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    Exponential,
    Inverse,
    Linear,
    Plateau,
    Schedule,
    WarmUp,
    get_schedule,
)
from saiki.learning.sources import Batch, RaggedSource, Source
from saiki.learning.stopping import EarlyStopping, Stopping
from saiki.learning.trainer import Trainer, evaluate
from saiki.learning.training import RULES, Training, get_rule
from saiki.learning.truncated import TruncatedBPTT

__all__ = [
    "BPTT",
    "OPTIMISERS",
    "RTRL",
    "RULES",
    "SCHEDULES",
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Batch",
    "Checkpoint",
    "CheckpointEvent",
    "Constant",
    "Cosine",
    "EarlyStopping",
    "EndEvent",
    "Exponential",
    "Group",
    "History",
    "Inverse",
    "LRRange",
    "LearningRule",
    "Linear",
    "Momentum",
    "Nesterov",
    "Objective",
    "Observer",
    "Online",
    "OnlineUpdate",
    "Optimizer",
    "Plateau",
    "Prequential",
    "ProgressBar",
    "RMSprop",
    "RaggedSource",
    "RuleState",
    "Schedule",
    "Source",
    "StartEvent",
    "Stopping",
    "TensorBoard",
    "Trainer",
    "Training",
    "TruncatedBPTT",
    "UpdateEvent",
    "Updater",
    "ValidationEvent",
    "WarmUp",
    "batches",
    "clip_by_norm",
    "clip_by_value",
    "evaluate",
    "get_optimizer",
    "get_rule",
    "get_schedule",
    "global_norm",
    "lr_range_test",
    "newest_verified",
    "objective",
    "penalised",
    "prequential",
    "save_checkpoint",
]
