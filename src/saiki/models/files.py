"""Estimators as folders, and back: a closed, versioned schema, tensors beside it, nothing executable.

    MODEL/config.json           options, network, what fit learned, the record, figures; lists the other files
          model.safetensors     network.* the weights, the task's own tensors (scaling) beside them
          metrics.json          figures of the model and of the simple models on the validation part
          report.html           the same, to look at
          stream.safetensors    what a model that learns from a stream carries from row to row
          vocabulary.json, ...  what a task keeps besides, such as words and how text is cut into them
          checkpoints/          of a run that was given this folder; each holds the options too

A user's own loss, activation or cell is stored as a name with JSON options, a layer of the user's own as its
type and fields; each is resolved only from `load(folder, extra={"name": object})`. Sizes are compared with
the tensors that are there before the network is made, so a config that claims a giant costs nothing.
"""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.overrides import TorchFunctionMode

from saiki.core.custom import Custom, resolve
from saiki.core.errors import (
    CheckpointError,
    ModelFolderError,
    OptionError,
    SaikiError,
    SchemaError,
)
from saiki.core.names import choose
from saiki.core.random import generator
from saiki.core.record import FitRecord
from saiki.core.schema import (
    pack_tensors,
    plain,
    read_config,
    read_file,
    read_json,
    read_tensors,
    require_free_folder,
    strict,
    unpack_tensors,
    write_model,
)
from saiki.learning import get_rule
from saiki.learning.checkpoints import Checkpoint, newest_verified
from saiki.losses import LOSSES
from saiki.models.base import STREAM
from saiki.models.options import DTYPES, Array, Layer, as_mapping
from saiki.nn import layer_from_mapping

if TYPE_CHECKING:
    from saiki.learning import Training
    from saiki.models.base import Estimator

logger = logging.getLogger("saiki")

WEIGHTS = "network."  # prefix of the network's tensors, so that a layer may have any name
ESTIMATOR, FITTED = (
    "estimator.json",
    "fitted.safetensors",
)  # what a checkpoint holds beside the trainer's files
OWN_FILES = (
    "model.safetensors",
    "metrics.json",
    "report.html",
    STREAM,
)  # the others are the task's documents
MAX_LAYERS = 256  # layers of a network read from a file
MAX_SIZE = 2**31


class _Tasks(Mapping[str, "type[Estimator]"]):
    """Task name -> estimator; each is loaded when it is asked for."""

    _home: Mapping[str, tuple[str, str]] = {
        "forecaster": ("saiki.models.forecaster", "Forecaster"),
        "classifier": ("saiki.models.classifier", "SequenceClassifier"),
        "regressor": ("saiki.models.regressor", "SequenceRegressor"),
        "transcriber": ("saiki.models.transcriber", "Transcriber"),
        "translator": ("saiki.models.translator", "Translator"),
        "tagger": ("saiki.models.tagger", "SequenceTagger"),
        "answerer": ("saiki.models.answerer", "Answerer"),
        "language_model": ("saiki.models.language_model", "LanguageModel"),
    }

    def __getitem__(self, name: str) -> type[Estimator]:
        module, attribute = self._home[name]
        return cast("type[Estimator]", getattr(importlib.import_module(module), attribute))

    def __iter__(self) -> Iterator[str]:
        return iter(self._home)

    def __len__(self) -> int:
        return len(self._home)


TASKS: Mapping[str, type[Estimator]] = _Tasks()


@dataclass(frozen=True, kw_only=True)
class NetworkFile:
    """The network as config.json keeps it."""

    layers: list[dict[str, Any]]
    input_size: Annotated[int, Ge(1), Le(MAX_SIZE)]
    output_size: Annotated[int, Ge(1), Le(MAX_SIZE)]
    dtype: Literal["float32", "float64"]


@dataclass(frozen=True, kw_only=True)
class MetricsFile:
    """Figures on the validation part; a figure that could not be measured is null."""

    model: dict[str, float | None]
    baselines: list[dict[str, str | float | None]]
    details: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """What a checkpoint holds of the estimator: the same sections as config.json's."""

    format: Literal["saiki-estimator"]
    schema: Literal[1]
    task: str
    options: dict[str, Any]
    network: NetworkFile
    fitted: dict[str, Any]
    seed: Annotated[int, Ge(0)]


# ---- out -----------------------------------------------------------------------------------------


def save(estimator: Estimator, folder: str | Path, *, force: bool = False) -> Path:
    """Write a fitted estimator as a model folder.

    Args:
        estimator: any task.
        folder: made if absent.
        force: replace a model that is already there.

    Returns:
        The folder.

    Raises:
        ModelFolderError: the folder already holds a model and force is False.
        DiskError: the disk refuses; the old model still loads.
    """
    target = require_free_folder(folder, force)
    page = estimator.report()  # it looks inside, and what it sees is part of the metrics
    metrics = _metrics(estimator)
    extra: dict[str, bytes | Mapping[str, Array]] = {**estimator._documents()}
    carried = estimator._stream_tensors()
    if carried:
        extra[STREAM] = carried
    extra["metrics.json"] = json.dumps(plain(metrics), indent=1, ensure_ascii=False).encode() + b"\n"
    if page is not None:
        extra["report.html"] = page.encode()
    config = {
        "task": estimator.task,
        **_sections(estimator, estimator.network_),
        "record": estimator.record_.to_json(),
        "metrics": metrics,
    }
    write_model(target, config, _all_tensors(estimator, estimator.network_), force=force, extra_files=extra)
    return target


def _sections(estimator: Estimator, network: Any) -> dict[str, Any]:  # noqa: ANN401  it has sizes
    return {
        "options": estimator._options(),
        "network": NetworkFile(
            layers=[as_mapping(layer) for layer in estimator.layers_],
            input_size=network.input_size,
            output_size=network.output_size,
            dtype=cast("Literal['float32', 'float64']", estimator.dtype),
        ),
        "fitted": estimator._fitted(),
    }


def _all_tensors(estimator: Estimator, network: torch.nn.Module) -> dict[str, Array]:
    weights = {WEIGHTS + name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}
    return {**weights, **estimator._tensors()}


def _metrics(estimator: Estimator) -> MetricsFile:
    return MetricsFile(
        model={name: _finite(value) for name, value in estimator.metrics_.items()},
        baselines=[{name: _finite(value) for name, value in row.items()} for row in estimator.baselines_],
        details=estimator.details_,
    )


def _finite(value: Any) -> Any:  # noqa: ANN401  a figure or a name
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value


def checkpoint_files(estimator: Estimator, network: torch.nn.Module) -> dict[str, bytes]:
    """What each checkpoint of this run keeps besides the trainer's files, so that it loads by itself."""
    sections = plain(_sections(estimator, network))
    content = {
        "format": "saiki-estimator",
        "schema": 1,
        "task": estimator.task,
        **sections,
        "seed": estimator.seed_,
    }
    return {
        **estimator._documents(),
        ESTIMATOR: json.dumps(content, ensure_ascii=False, allow_nan=False).encode(),
        FITTED: pack_tensors(estimator._tensors(), FITTED),
    }


def stored_seed(folder: str | Path) -> int | None:
    """The seed of the run whose checkpoints are in this folder; None where there are none."""
    try:
        checkpoint = newest_verified(Path(folder))
    except CheckpointError:
        return None  # the trainer says what is wrong with them
    return _unfinished(checkpoint).seed if ESTIMATOR in checkpoint.files else None


# ---- in ------------------------------------------------------------------------------------------


def load(folder: str | Path, extra: Mapping[str, object] | None = None) -> Estimator:
    """Read an estimator from a model folder; nothing in it is imported, evaluated or unpickled.

    A folder of a run that has not finished is read from its newest whole checkpoint: the log says so, and the
    record's notes keep it.

    Args:
        folder: what `save` wrote, or a folder with checkpoints of an unfinished run.
        extra: the user's own callables (losses, activations, cells, layers) by the name they are stored
            under.

    Returns:
        The fitted estimator.

    Raises:
        ModelFolderError: no model there, a file is cut short or changed, or nothing was trained yet.
        SchemaError: config.json breaks its schema, is of a newer one, or disagrees with the tensors.
        OptionError: a name that neither Saiki nor `extra` knows.
    """
    path = Path(folder)
    if not path.is_dir():
        raise ModelFolderError(f"{path} is not a folder, so there is no model in it.", "Check the path.")
    carried: dict[str, Array] = {}
    if (path / "config.json").exists():
        config = read_config(path)
        where = str(path / "config.json")
        for section in ("options", "network", "fitted", "record", "metrics"):
            if section not in config:
                raise SchemaError(f"{where}: {section} is missing.")
        network = strict(NetworkFile, config["network"], f"{where}: network")
        estimator = _estimator(config["task"], config["options"], where, extra)
        record = FitRecord.from_json(config["record"], f"{where}: record")
        figures = strict(MetricsFile, config["metrics"], f"{where}: metrics")
        tensors = read_tensors(path, config)
        fitted = config["fitted"]
        if STREAM in config["files"]:
            carried = read_tensors(path, config, STREAM)
        documents = {name: read_file(path, config, name) for name in config["files"] if name not in OWN_FILES}
    else:
        checkpoint = _newest(path)
        content = _unfinished(checkpoint)
        where = str(checkpoint.path / ESTIMATOR)
        network = content.network
        estimator = _estimator(content.task, content.options, where, extra)
        tensors = unpack_tensors(checkpoint.files[FITTED], str(checkpoint.path / FITTED))
        tensors.update({WEIGHTS + name: value.numpy() for name, value in checkpoint.model.items()})
        record = _record_of(checkpoint, content.seed)
        figures = MetricsFile(model={}, baselines=[], details={})
        fitted = content.fitted
        documents = {name: data for name, data in checkpoint.files.items() if name not in (ESTIMATOR, FITTED)}
    _restore(estimator, network, fitted, tensors, where, extra)
    try:
        estimator._restore_documents(documents)
    except SchemaError as error:
        raise SchemaError(f"{path}: {error.message}", error.hint) from error
    estimator.record_ = record
    estimator.seed_ = record.seed if record.seed is not None else 0
    estimator.metrics_ = {k: float("nan") if v is None else v for k, v in figures.model.items()}
    estimator.baselines_ = [dict(row) for row in figures.baselines]
    estimator.details_ = figures.details
    estimator.parameter_note_ = _note(record)
    if carried:
        try:
            estimator._restore_stream(carried)
        except SchemaError as error:
            raise SchemaError(f"{path / STREAM}: {error.message}", error.hint) from error
    return estimator


def _note(record: FitRecord) -> str:
    from saiki.models.sizing import parameter_note

    return parameter_note(record.parameters, record.training_values, record.training_sequences)


def _newest(path: Path) -> Checkpoint:
    """The newest whole checkpoint of an unfinished run, in this folder or in its `checkpoints`."""
    for folder in (path / "checkpoints", path):
        if folder.is_dir() and any(child.name.isdigit() for child in folder.iterdir() if child.is_dir()):
            try:
                checkpoint = newest_verified(folder)
            except CheckpointError as error:
                raise ModelFolderError(
                    f"{path} holds no finished model: {error.message}", error.hint
                ) from error
            if ESTIMATOR not in checkpoint.files or FITTED not in checkpoint.files:
                raise ModelFolderError(
                    f"{checkpoint.path} is a checkpoint without {ESTIMATOR}, not one of an estimator's run.",
                    "Load it with saiki.learning instead.",
                )
            position = checkpoint.state.get("position")
            if not isinstance(position, dict) or not position.get("update"):
                raise ModelFolderError(
                    f"{path} holds no finished model, and its only whole checkpoint is the one from "
                    f"before the "
                    "first update: nothing was trained yet.",
                    "Fit again; resume=True goes on from there.",
                )
            return checkpoint
    raise ModelFolderError(
        f"{path} holds no config.json and no checkpoint, so there is no model in it: nothing was trained "
        f"yet, or "
        "the path is another.",
        "Check the path.",
    )


def _record_of(checkpoint: Checkpoint, seed: int) -> FitRecord:
    note = (
        f"This run had not finished: the weights are those of checkpoint {checkpoint.path.name}, the "
        f"newest that is "
        "whole. Fit with resume=True to go on."
    )
    if checkpoint.rejected:
        note += f" Passed over: {'; '.join(checkpoint.rejected)}."
    logger.warning("%s: %s", checkpoint.path.parent, note)
    stored = checkpoint.state.get("record")
    record = FitRecord() if stored is None else FitRecord.from_json(stored, f"{checkpoint.path}: record")
    return replace(record, seed=seed, notes=[*record.notes, note])


def _unfinished(checkpoint: Checkpoint) -> Unfinished:
    where = str(checkpoint.path / ESTIMATOR)
    mapping = read_json(checkpoint.files[ESTIMATOR], where)
    if not isinstance(mapping, dict):
        raise SchemaError(f"{where} does not hold an object.")
    if isinstance(mapping.get("schema"), int) and mapping["schema"] > 1:
        raise SchemaError(
            f"{where} is of schema {mapping['schema']}, written by a newer Saiki.",
            "Install a newer Saiki: pip install --upgrade saiki",
        )
    return strict(Unfinished, mapping, where)


def _estimator(
    task: str, options: Mapping[str, Any], where: str, extra: Mapping[str, object] | None
) -> Estimator:
    try:
        kind = choose(task, TASKS, "task")
    except OptionError as error:
        raise SchemaError(f"{where}: {error.message}", error.hint) from error
    read = strict(kind.OptionsFile, options, f"{where}: options")
    arguments = {field.name: getattr(read, field.name) for field in fields(read)}
    try:
        if arguments.get("network") is not None:
            arguments["network"] = [
                layer_from_mapping(entry, f"network line {line}", extra=extra)
                for line, entry in enumerate(arguments["network"], start=1)
            ]
        if arguments["training"] is not None:
            arguments["training"] = _training(arguments["training"])
        if arguments.get("rule") is not None:
            arguments["rule"] = get_rule(arguments["rule"])
        arguments["device"] = _device_here(arguments["device"], where)
        if isinstance(arguments.get("loss"), Custom):
            arguments["loss"] = resolve(arguments["loss"], extra, LOSSES)
        return kind(**kind._arguments(arguments))
    except SaikiError as error:
        if isinstance(error, SchemaError):
            raise
        raise SchemaError(f"{where}: options: {error.message}", error.hint) from error


def _device_here(device: str, where: str) -> str:
    """The stored device, or the CPU where this machine has no such device."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        logger.warning(
            "%s: the model was fitted on %s, which is not here; it is loaded on the CPU.", where, device
        )
        return "cpu"
    return device


def _training(mapping: Mapping[str, Any]) -> Training:
    from saiki.learning import Training

    return Training.from_mapping(mapping)


def _restore(
    estimator: Estimator,
    network: NetworkFile,
    fitted: Mapping[str, Any],
    tensors: dict[str, Array],
    where: str,
    extra: Mapping[str, object] | None,
) -> None:
    weights = {
        name.removeprefix(WEIGHTS): tensors.pop(name) for name in list(tensors) if name.startswith(WEIGHTS)
    }
    learned: Any = strict(estimator.FittedFile, fitted, f"{where}: fitted")
    stack, layers = _network(estimator, learned, network, weights, where, extra)
    try:
        estimator._restore(learned, tensors)
    except SchemaError as error:
        raise SchemaError(f"{where}: fitted: {error.message}", error.hint) from error
    stack.eval()
    estimator.layers_ = layers
    estimator.network_ = stack.to(estimator._device())


class _ShapesOnly(TorchFunctionMode):
    """Inside, tensors have a shape and no memory: a network is laid out without being made."""

    _made = frozenset({torch.rand, torch.randn, torch.zeros, torch.ones, torch.empty, torch.full, torch.eye})

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  torch's protocol
        given = dict(kwargs or {})
        if func in self._made:
            given.pop("generator", None)
            given["device"] = "meta"
        elif func is Tensor.to:
            given.pop("device", None)
            args = tuple(a for a in args if not isinstance(a, (torch.device, str)))
        return func(*args, **given)


def _network(
    estimator: Estimator,
    learned: object,
    file: NetworkFile,
    weights: Mapping[str, Array],
    where: str,
    extra: Mapping[str, object] | None,
) -> tuple[torch.nn.Module, list[Layer]]:
    """The network and its configs, made only after every shape agrees with the tensors that are there."""
    if len(file.layers) > MAX_LAYERS:
        raise SchemaError(f"{where}: network has {len(file.layers)} layers but at most {MAX_LAYERS} may be.")
    for layer in file.layers:
        depth = layer.get("num_layers", 1)
        if isinstance(depth, int) and depth > max(len(weights), 1):
            raise SchemaError(
                f"{where}: network has num_layers={depth}, but there are only {len(weights)} tensors."
            )
    try:
        layers = [
            layer_from_mapping(layer, f"network line {line}", extra=extra)
            for line, layer in enumerate(file.layers, start=1)
        ]
        with _ShapesOnly():
            stack = estimator._assemble(
                layers,
                file.input_size,
                file.output_size,
                learned,
                source=generator(0, "weights"),
                dtype=DTYPES[file.dtype],
            )
    except SchemaError:
        raise
    except (SaikiError, RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise SchemaError(f"{where}: network: {error}") from error
    wanted = {name: tuple(value.shape) for name, value in stack.state_dict().items()}
    for name, shape in wanted.items():
        if name not in weights:
            raise SchemaError(
                f"{where}: the network has a tensor {name} {shape}, which the model file lacks."
            )
        if weights[name].shape != shape:
            raise SchemaError(
                f"{where}: the network's tensor {name} is {weights[name].shape} in the model file but "
                f"must be {shape}."
            )
        if not np.isfinite(weights[name]).all():
            raise SchemaError(f"{where}: the tensor {name} holds values that are not finite.")
    for name in weights:
        if name not in wanted:
            raise SchemaError(
                f"{where}: the model file has a tensor {name}, which the network has no place for."
            )
    state = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in weights.items()}
    for name, value in stack.state_dict().items():
        if state[name].dtype != value.dtype:
            raise SchemaError(
                f"{where}: the tensor {name} holds {state[name].dtype} but must hold {value.dtype}."
            )
    stack.load_state_dict(state, assign=True)
    return stack, layers
