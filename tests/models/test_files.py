"""Model folders: what goes in comes out to the bit; what was tampered with is refused by name."""

from __future__ import annotations

import json
import shutil
import sys
import tracemalloc
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from sklearn.base import clone

from saiki import SequenceClassifier, SequenceRegressor, load
from saiki.cells import Cell, State
from saiki.core.errors import ModelFolderError, SchemaError
from saiki.core.schema import read_config, read_tensors, seal, write_model
from saiki.models.files import TASKS
from saiki.nn import CellConfig, DenseConfig, GRUConfig, LastConfig, LayerConfig, LSTMConfig

QUICK = {"hidden_size": 5, "max_epochs": 2, "random_state": 3, "verbose": False}


def data() -> tuple[list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((t, 3)) for t in rng.integers(2, 7, size=20)], np.arange(20) % 3


@pytest.fixture(scope="module")
def model() -> SequenceClassifier:
    X, y = data()
    return SequenceClassifier(**QUICK).fit(X, np.array(["red", "green", "blue"])[y])


@pytest.fixture
def folder(model, tmp_path):
    return model.save(tmp_path / "model")


def test_a_folder_holds_what_the_design_says(folder):
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "metrics.json",
        "model.safetensors",
        "report.html",
    ]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert {"accuracy", "f1", "log_loss"} == set(metrics["model"]) and len(metrics["baselines"]) == 2
    page = (folder / "report.html").read_text()
    assert "Confusion matrix" in page and "softmax regression on pooled features" in page


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cell": "gru", "bidirectional": True, "num_layers": 2, "dropout": 0.25, "dtype": "float64"},
        {"network": [("first", GRUConfig(hidden_size=4)), LastConfig(), DenseConfig(size=3)]},
        {"hidden_size": "auto", "scaling": "minmax", "class_weight": "balanced", "patience": None},
        {"class_weight": {0: 2.0, 2: 0.5}, "batch_size": "all", "validation": None, "scaling": None},
    ],
)
def test_round_trip_to_the_bit(options, tmp_path):
    from saiki import Training

    X, y = data()
    training = Training(optimizer={"type": "rmsprop"}, schedule="cosine", clip_norm=0.5)
    fitted = SequenceClassifier(**{**QUICK, **options}, training=training).fit(X, y)
    again = load(fitted.save(tmp_path / "m"))
    assert type(again) is SequenceClassifier
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    for name, value in again.get_params(deep=False).items():
        if name not in ("training", "network"):
            assert value == getattr(fitted, name), name
    assert again.training.checked() == training.checked()
    assert again.record_ == fitted.record_
    assert again.metrics_ == fitted.metrics_ and again.baselines_ == fitted.baselines_
    assert again.parameter_note_ == fitted.parameter_note_
    assert str(again.summary()) == str(fitted.summary())
    second = load(again.save(tmp_path / "n"))
    np.testing.assert_array_equal(second.predict_proba(X), fitted.predict_proba(X))
    again.fit(X, y)  # a loaded estimator is an estimator


def test_given_validation_data_is_not_stored(tmp_path):
    X, y = data()
    fitted = SequenceRegressor(**QUICK, validation=(X[:5], y[:5])).fit(X, y)
    assert load(fitted.save(tmp_path / "m")).validation is None


def test_an_existing_model_is_not_overwritten(model, folder):
    before = (folder / "model.safetensors").read_bytes()
    with pytest.raises(ModelFolderError, match="already holds a model"):
        model.save(folder)
    assert (folder / "model.safetensors").read_bytes() == before
    assert model.save(folder, force=True) == folder


def test_not_fitted_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="is not fitted yet"):
        SequenceClassifier().save(tmp_path / "m")
    assert not (tmp_path / "m").exists()


# ---- a user's own callables ------------------------------------------------------------------------------


def smooth_l1(outputs, targets):
    return torch.nn.functional.smooth_l1_loss(outputs, targets, reduction="none").mean(dim=1)


@dataclass(frozen=True)
class Power:
    """A loss with options of its own."""

    p: float = 2.0
    name: ClassVar[str] = "power"

    def options(self) -> dict[str, float]:
        return {"p": self.p}

    def __call__(self, outputs, targets):
        return ((outputs - targets).abs() ** self.p).mean(dim=1)


@pytest.mark.parametrize(("loss", "name"), [(smooth_l1, "smooth_l1"), (Power(1.5), "power")])
def test_a_loss_of_ones_own_is_a_name_resolved_from_extra(loss, name, tmp_path):
    X, y = data()
    fitted = SequenceRegressor(**QUICK, loss=loss).fit(X, y)
    saved = fitted.save(tmp_path / "m")
    assert "def " not in (saved / "config.json").read_text()
    with pytest.raises(SchemaError, match=f"uses '{name}', which is not Saiki's own.*extra=.*{name}"):
        load(saved)
    again = load(saved, extra={name: type(loss) if isinstance(loss, Power) else loss})
    assert again.loss == loss
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))


@dataclass(frozen=True, kw_only=True)
class TwiceConfig(LayerConfig):
    type: ClassVar[str] = "twice"
    factor: float = 2.0

    def output_size(self, input_size: int) -> int:
        return input_size

    def build(self, input_size: int, generator: Any = None, dtype: Any = None, device: Any = None) -> Any:
        from saiki.nn import Layer

        factor = self.factor

        class Twice(Layer):
            def forward(self, x):
                return x.with_data(x.data * factor)

        return Twice()


def test_a_layer_of_ones_own_is_resolved_from_extra(tmp_path):
    X, y = data()
    network = [TwiceConfig(factor=3.0), GRUConfig(hidden_size=4), LastConfig()]
    fitted = SequenceClassifier(**QUICK, network=network).fit(X, y)
    saved = fitted.save(tmp_path / "m")
    with pytest.raises(SchemaError, match="unknown layer type 'twice'"):
        load(saved)
    again = load(saved, extra={"twice": TwiceConfig})
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))


def swish(a):
    return a * torch.sigmoid(a)


@dataclass(frozen=True, kw_only=True)
class Leaky(Cell):
    tau: float = 2.0
    name: ClassVar[str] = "leaky"

    def step(self, params, state, x):
        new = torch.tanh(x @ params.weight_ih.T + state.h @ params.weight_hh.T + params.bias)
        return State(h=state.h + (new - state.h) / self.tau)


def test_an_activation_and_a_cell_of_ones_own_are_resolved_from_extra(tmp_path):
    X, y = data()
    network = [
        LSTMConfig(hidden_size=4, activation=swish),
        CellConfig(cell=Leaky, hidden_size=4, options={"tau": 3.0}, bidirectional=True),
        LastConfig(),
    ]
    fitted = clone(SequenceClassifier(**QUICK, network=network)).fit(X, y, checkpoint=tmp_path / "run")
    saved = fitted.save(tmp_path / "m")
    for folder in (saved, tmp_path / "run"):  # a finished folder, and the checkpoints of one that is not
        for extra, missing in ((None, "swish"), ({"swish": swish}, "leaky")):
            with pytest.raises(SchemaError, match=f"uses '{missing}', which is not Saiki's own.*extra="):
                load(folder, extra=extra)
    again = load(saved, extra={"swish": swish, "leaky": Leaky})
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    assert again.get_params()["network"] == network


# ---- folders that are not what they should be ------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "metrics.json", "report.html"])
def test_a_missing_or_cut_file_is_named(folder, name):
    file = folder / name
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    if name == "model.safetensors":
        with pytest.raises(ModelFolderError, match=f"{name} is cut short"):
            load(folder)
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(ModelFolderError, match=f"{name} was changed: its SHA-256 differs"):
            load(folder)
        file.unlink()
        with pytest.raises(ModelFolderError, match=f"{name} is missing"):
            load(folder)
    else:
        load(folder)  # for people, not for the model: what is said there is never believed


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_config_cut_short_is_named(folder, share):
    file = folder / "config.json"
    text = file.read_bytes()
    file.write_bytes(text[: int(len(text) * share)])
    with pytest.raises(SchemaError, match=r"config.json is not JSON"):
        load(folder)


def test_no_model_there(tmp_path):
    with pytest.raises(ModelFolderError, match="is not a folder, so there is no model in it"):
        load(tmp_path / "nowhere")
    with pytest.raises(ModelFolderError, match=r"holds no config.json and no checkpoint"):
        load(tmp_path)


def _rewrite(folder, change, tensors=None) -> None:
    """The folder with a changed config whose digests all hold: what only the schema can refuse."""
    config = read_config(folder)
    arrays = read_tensors(folder, config) if tensors is None else tensors
    kept = {
        k: v
        for k, v in config.items()
        if k not in ("format", "schema", "saiki", "files", "tensors", "sha256")
    }
    change(kept)
    shutil.rmtree(folder)
    write_model(folder, kept, arrays)


def _set(*path: Any) -> Any:
    *keys, last, value = path

    def change(config: dict[str, Any]) -> None:
        for key in keys:
            config = config[key]
        config[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set("task", "oracle"), "unknown task 'oracle'. Known: forecaster, classifier, regressor"),
        (_set("task", "regressor"), "options: unknown key 'class_weight'"),
        (_set("options", "hiden_size", 3), "hiden_size.*did you mean 'hidden_size'"),
        (_set("options", "hidden_size", 2.5), "options: hidden_size is 2.5"),
        (_set("options", "training", {"clip": 1}), "unknown training option 'clip'"),
        (_set("options", "loss", {"custom": "os.system", "options": {}}), "uses 'os.system', which is not"),
        (_set("options", "network", [{"type": "os.system"}]), "unknown layer type 'os.system'"),
        (_set("fitted", "classes", ["red"]), "classes must hold at least two labels"),
        (_set("fitted", "classes", ["red", "red", "blue"]), "each once"),
        (_set("fitted", "classes_dtype", "V"), "classes_dtype is 'V'"),
        (_set("fitted", "n_features_in", 4), "scaler's center is"),
        (_set("fitted", "n_features_in", "3"), "fitted: n_features_in is '3'"),
        (_set("fitted", "color", "red"), "fitted: unknown key 'color'"),
        (
            _set("network", "input_size", 4),
            r"weight_ih_l0 is \(20, 3\) in the model file but must be \(20, 4\)",
        ),
        (_set("network", "output_size", 2), "head.weight is .* but must be"),
        (_set("network", "dtype", "float64"), "holds torch.float32 but must hold torch.float64"),
        (_set("network", "dtype", "float16"), "network: dtype is 'float16'"),
        (_set("network", "layers", []), "network: the network has no layers"),
        (_set("network", "layers", [{"type": "mean"}] * 300), "network has 300 layers but at most"),
        (_set("network", "layers", 0, "num_layers", 900), "num_layers=900, but there are only"),
        (
            _set("network", "layers", 0, "hidden_size", 65_000),
            r"weight_ih_l0 is \(20, 3\).*must be \(260000, 3\)",
        ),
        (_set("network", "layers", 0, "hidden_size", 10**9), "hidden_size is 1000000000"),
        (_set("network", "layers", 0, "activation", "exec"), "activation"),
        (_set("network", "layers", 0, "bidirectional", True), "which the model file lacks|but must be"),
        (_set("record", "speed", 3), "record: unknown key 'speed'"),
        (_set("metrics", "model", {"accuracy": "high"}), "metrics: model.accuracy is 'high'"),
    ],
)
def test_a_config_that_breaks_the_schema_is_refused_by_name(folder, change, said):
    _rewrite(folder, change)
    with pytest.raises(SchemaError, match=said):
        load(folder)


def test_a_missing_section_and_an_unknown_key_at_the_top(folder):
    _rewrite(folder, lambda config: config.pop("fitted"))
    with pytest.raises(SchemaError, match="fitted is missing"):
        load(folder)


def test_a_newer_schema_says_to_upgrade(folder):
    file = folder / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(seal({**config, "schema": 2})))
    with pytest.raises(
        SchemaError, match=r"is of schema 2, written by Saiki .* reads up to schema 1.*pip install"
    ):
        load(folder)


def test_a_changed_config_is_refused(folder):
    file = folder / "config.json"
    file.write_text(file.read_text().replace('"lstm"', '"gru"', 1))
    with pytest.raises(SchemaError, match="was changed after it was written"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t: t.pop("network.layers.head.weight"),
            "has a tensor layers.head.weight .* which the model file lacks",
        ),
        (
            lambda t: t.update({"network.extra": np.zeros(3, np.float32)}),
            "a tensor extra, which the network has no",
        ),
        (lambda t: t.update({"network.layers.head.bias": np.zeros(4, np.float32)}), r"head.bias is \(4,\)"),
        (lambda t: t.update({"network.layers.head.bias": np.full(3, np.nan, np.float32)}), "not finite"),
        (lambda t: t.pop("scaler.center"), "the tensor scaler.center is missing"),
        (lambda t: t.update({"scaler.scale": np.zeros((1, 3))}), "not above 0"),
        (lambda t: t.update({"scaler.center": np.full((1, 3), np.inf)}), "not finite"),
    ],
)
def test_tensors_that_do_not_fit_are_named(folder, change, said):
    tensors = read_tensors(folder, read_config(folder))
    change(tensors)
    _rewrite(folder, lambda config: None, tensors)
    with pytest.raises(SchemaError, match=said):
        load(folder)


def test_a_config_that_claims_a_giant_costs_no_memory(folder):
    load(folder)  # imports
    _rewrite(folder, _set("network", "layers", 0, "hidden_size", 65_536))  # 4 * 65536² floats are 64 GiB
    tracemalloc.start()
    with pytest.raises(SchemaError, match="must be"):
        load(folder)
    assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    tracemalloc.stop()


def test_loading_imports_evaluates_and_unpickles_nothing(folder):
    load(folder)
    seen: list[str] = []
    armed = True

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if armed and event in ("import", "exec", "compile", "pickle.find_class", "marshal.loads"):
            seen.append(f"{event} {arguments[:1]}")

    sys.addaudithook(watch)
    load(folder)
    armed = False
    assert seen == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_model_fitted_elsewhere_on_a_gpu_loads_here(folder, caplog):
    _rewrite(folder, _set("options", "device", "cuda:1"))
    with caplog.at_level("WARNING", logger="saiki"):
        model = load(folder)
    assert "was fitted on cuda:1, which is not here; it is loaded on the CPU" in caplog.text
    assert model.device == "cpu" and model.predict(data()[0]).shape == (20,)


def test_tasks_are_named_and_loaded_when_asked_for():
    assert {"forecaster", "classifier", "regressor", "language_model"} <= set(TASKS)
    assert TASKS["classifier"] is SequenceClassifier
    assert all(kind.task == name for name, kind in TASKS.items())
