"""The model folder: read strictly, written so that a kill leaves the old model or the new one."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import math
import os
import random
import struct
import sys
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import annotated_types as at
import numpy as np
import pytest
from safetensors.numpy import save

from saiki.core import schema
from saiki.core.errors import (
    DiskError,
    DTypeError,
    ModelFolderError,
    OptionError,
    SaikiError,
    SchemaError,
)
from saiki.core.schema import (
    SCHEMA_VERSION,
    pack_tensors,
    plain,
    read_config,
    read_file,
    read_json,
    read_tensors,
    require_free_folder,
    seal,
    strict,
    unpack_tensors,
    write_model,
)

# -------------------------------------------------------------------- dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer:
    type: ClassVar[str] = "layer"
    size: Annotated[int, at.Interval(ge=1, le=512)] = 8
    activation: Literal["tanh", "sigmoid"] = "tanh"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    lr: Annotated[float, at.Gt(0)] = 0.1
    hidden_size: int | Literal["auto"] = 64
    layers: tuple[Layer, ...] = ()
    head: Layer | None = None
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    groups: dict[str, Layer] = dataclasses.field(default_factory=dict)
    name: str | None = None
    shuffle: bool = True

    def __post_init__(self):
        if self.name == "refused":
            raise OptionError("the name 'refused' is taken.", "Choose another.")
        if self.name == "mistaken":
            raise DTypeError("a mistake.")


FULL = Options(
    lr=1,
    hidden_size="auto",
    layers=(Layer(size=3), Layer(activation="sigmoid")),
    head=Layer(),
    groups={"a": Layer(size=512)},
    name="x",
    shuffle=False,
)


def test_plain_and_strict_are_inverse():
    stored = json.loads(json.dumps(plain(FULL)))
    built = strict(Options, stored, "options")
    assert built == FULL and isinstance(built.layers, tuple) and type(built.layers[0]) is Layer
    assert strict(Options, {}, "options") == Options()
    assert strict(Options, {"quantiles": [1, 0]}, "options").quantiles == (1.0, 0.0)
    assert strict(Options, {"quantiles": (0.25,)}, "options").quantiles == (0.25,)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"hiden_size": 3}, r"config: unknown key 'hiden_size'; did you mean 'hidden_size'\? Known: lr, "),
        ({"layers": [{"sise": 3}]}, r"config: layers\[0\]: unknown key 'sise'; did you mean 'size'\?"),
        ({"head": {"sise": 3}}, r"config: head: unknown key 'sise'; did you mean 'size'\?"),
        ({"groups": {"a": {"sise": 3}}}, r"config: groups\.a: unknown key 'sise'; did you mean 'size'\?"),
        (
            {"groups": {"a": {"size": 513}}},
            r"config: groups\.a\.size is 513 but must be less than or equal to 512",
        ),
        (
            {"layers": [{}, {"size": 0}]},
            r"config: layers\[1\]\.size is 0 but must be greater than or equal to 1",
        ),
        ({"layers": [{"size": 2**70}]}, r"size is 1180591620717411303424 but must be"),
        ({"layers": [{"size": 3.0}]}, r"layers\[0\]\.size is 3\.0 but must be a valid integer"),
        ({"layers": [{"size": True}]}, r"layers\[0\]\.size is True but must be a valid integer"),
        ({"layers": [{"size": "3"}]}, r"layers\[0\]\.size is '3' but must be a valid integer"),
        (
            {"layers": [{"activation": "tahn"}]},
            r"is 'tahn' but must be 'tanh' or 'sigmoid'\. Did you mean 'tanh'\?",
        ),
        ({"layers": {}}, r"config: layers is \{\} but must be"),
        ({"layers": [3]}, r"config: layers\[0\] is 3 but must be an object"),
        (
            {"hidden_size": "atuo"},
            r"hidden_size is 'atuo' but must be a valid integer, or 'auto'\. Did you mean 'auto'",
        ),
        ({"lr": 0}, r"config: lr is 0 but must be greater than 0"),
        ({"lr": math.nan}, r"config\.lr is nan, which JSON cannot hold"),
        ({"lr": math.inf}, r"config\.lr is inf, which JSON cannot hold"),
        ({"lr": None}, r"config: lr is None but must be a valid number"),
        ({"name": 3}, r"config: name is 3 but must be a valid string"),
        ({"shuffle": 1}, r"config: shuffle is 1 but must be a valid boolean"),
        ({"name": "refused"}, r"config: the name 'refused' is taken\. Choose another\."),
        ({"name": "mistaken"}, r"config: a mistake\."),
        ({"name": print}, r"config\.name is <built-in function print>.*has no plain form"),
        ({3: 3}, r"config has the key 3 but a key must be text"),
        (["lr"], r"config is \['lr'\] but must be a table of keys and values"),
        (None, r"config is None but must be a table"),
    ],
)
def test_strict_names_the_place_and_what_must_be(mapping, message):
    with pytest.raises(SchemaError, match=message):
        strict(Options, mapping, "config")


def test_a_required_key_is_missed():
    @dataclasses.dataclass(frozen=True)
    class Needs:
        steps: int

    with pytest.raises(SchemaError, match=r"config: steps is missing\."):
        strict(Needs, {}, "config")


def test_plain_takes_numpy_numbers_and_paths():
    value = {"a": np.float32(0.5), "b": np.int64(3), "c": np.bool_(True), "d": Path("x/y"), "e": (1, None)}
    assert plain(value) == {"a": 0.5, "b": 3, "c": True, "d": os.path.join("x", "y"), "e": [1, None]}
    assert [type(part) for part in plain(value).values()] == [float, int, bool, str, list]
    for wrong in (np.zeros(2), object(), {1, 2}, b"x", 1j, np.float64("nan")):
        with pytest.raises(SchemaError, match=r"value\.a is "):
            plain({"a": wrong})
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(SchemaError, match=r"nested too deep"):
        strict(Options, {"layers": deep}, "config")


# -------------------------------------------------------------------- JSON


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a": 1, "a": 2}', r"f: the key 'a' comes twice in one object"),
        (b'{"b": {"a": 1, "a": 1}}', r"the key 'a' comes twice"),
        (b'{"a": NaN}', r"it holds NaN, but a number must be finite"),
        (b'{"a": -Infinity}', r"it holds -Infinity"),
        (b'{"a": 1e999}', r"it holds '1e999', which is beyond a float64"),
        (b'{"a": ' + b"9" * 5000 + b"}", r"an integer of 5000 digits"),
        (b'{"a": 1', r"f is not JSON: .* in line 1, column 8; the file may be cut short"),
        (b"", r"f is not JSON"),
        (b"{} {}", r"f is not JSON: Extra data"),
        (b"\xef\xbb\xbf{}", r"f is not JSON"),
        (b'{"a": "\xff"}', r"f is not UTF-8 text \(byte 7\)"),
        (b"[" * 65 + b"]" * 65, r"f is nested deeper than 64"),
        (b"[" * 500_000 + b"]" * 500_000, r"f is nested deeper than 64"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, r"f is nested deeper than 64"),
        (b" " * ((4 << 20) + 1), r"f has 4194305 bytes but must have at most 4194304"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_json_is_read_strictly(text, message):
    with pytest.raises(SchemaError, match=message):
        read_json(text, "f")


def test_good_json_is_read():
    assert read_json('{"a": [1, 2.5, null, true, "é"]}'.encode(), "f") == {"a": [1, 2.5, None, True, "é"]}
    assert read_json(b"[" * 64 + b"]" * 64, "f") == eval("[" * 64 + "]" * 64)  # noqa: S307


# -------------------------------------------------------------------- tensor files


def tensors():
    return {
        "weight_ih_l0": np.arange(6, dtype=np.float32).reshape(2, 3),
        "bias_l0": np.array([0.5, -1.5]),
        "count": np.array(7, dtype=np.int64),
        "empty": np.zeros((0, 4), dtype=np.float16),
        "mask": np.array([True, False, True]),
        "generator": np.arange(5, dtype=np.uint8),
    }


def assert_same(got, expected):
    assert set(got) == set(expected)
    for name, array in expected.items():
        assert got[name].dtype == array.dtype and got[name].shape == array.shape, name
        np.testing.assert_array_equal(got[name], array, err_msg=name)


def test_tensors_survive_and_are_what_safetensors_writes():
    assert_same(unpack_tensors(pack_tensors(tensors()), "t"), tensors())
    assert pack_tensors(tensors()) == save(tensors())
    assert_same(unpack_tensors(save(tensors(), metadata={"origin": "elsewhere"}), "t"), tensors())
    back = unpack_tensors(pack_tensors(tensors()), "t")["bias_l0"]
    back += 1  # new and writable
    awkward = {"a": np.arange(12.0).reshape(3, 4).T[::-1], "b": np.arange(3, dtype=">i4"), "c": np.float32(2)}
    assert_same(
        unpack_tensors(pack_tensors(awkward), "t"),
        {k: np.asarray(v).astype(np.asarray(v).dtype.newbyteorder("<")) for k, v in awkward.items()},
    )
    assert unpack_tensors(pack_tensors({}), "t") == {}


@pytest.mark.parametrize(
    "wrong", [np.zeros(2, complex), np.array(["a"]), np.array([None]), np.zeros(2, np.longdouble)]
)
def test_a_type_that_cannot_be_stored(wrong):
    with pytest.raises(DTypeError, match=r"tensor 'w' holds .* which a tensor file cannot hold"):
        pack_tensors({"w": wrong})


@pytest.mark.parametrize("name", ["", "x" * 257, "__metadata__", 3])
def test_a_name_that_is_none(name):
    with pytest.raises(SchemaError, match=r"is no name for a tensor"):
        pack_tensors({name: np.zeros(1)})


def tensor_file(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"t is cut short: 0 bytes"),
        (b"1234567", r"t is cut short: 7 bytes"),
        (
            struct.pack("<Q", 2**63) + b"{}",
            r"claims a header of 9223372036854775808 bytes, but it has 10 bytes",
        ),
        (struct.pack("<Q", 3) + b"{}", r"claims a header of 3 bytes"),
        (struct.pack("<Q", (16 << 20) + 1) + b" " * ((16 << 20) + 2), r"a header has at most 16777216"),
        (tensor_file(b"[]"), r"a header that is no JSON object"),
        (tensor_file(b" {}"), r"a header that is no JSON object"),
        (tensor_file(b"nonsense"), r"t, header is not JSON"),
        (tensor_file(b'{"a": 1, "a": 2}'), r"the key 'a' comes twice"),
        (tensor_file({"a": 3}), r"tensor 'a' must have just dtype, shape and data_offsets"),
        (tensor_file({"a": {**entry(), "more": 1}}, b"x" * 8), r"must have just dtype"),
        (tensor_file({"a": entry(dtype="F8")}, b"x" * 8), r"unknown element type 'F8'\. Known: F64"),
        (tensor_file({"a": entry(dtype=3)}, b"x" * 8), r"unknown element type 3"),
        (tensor_file({"a": entry(shape=(-2,))}, b"x" * 8), r"has the shape \[-2\]"),
        (tensor_file({"a": entry(shape=(2.0,))}, b"x" * 8), r"has the shape \[2\.0\]"),
        (tensor_file({"a": entry(shape=(True, 2))}, b"x" * 8), r"has the shape"),
        (tensor_file({"a": entry(shape=(1,) * 17)}, b"x" * 8), r"has the shape"),
        (
            tensor_file({"a": entry(shape=(2**40, 2**40))}, b"x" * 8),
            r"needs 4835703278458516698824704 bytes but has 8",
        ),
        (tensor_file({"a": entry(shape=(3,))}, b"x" * 8), r"of F32 \(3,\) needs 12 bytes but has 8"),
        (tensor_file({"a": entry(offsets=(0, 9))}, b"x" * 8), r"claims bytes \[0, 9\] of the 8"),
        (tensor_file({"a": entry(offsets=(8, 0))}, b"x" * 8), r"claims bytes \[8, 0\]"),
        (tensor_file({"a": entry(offsets=(-8, 0))}, b"x" * 8), r"claims bytes \[-8, 0\]"),
        (tensor_file({"a": entry(offsets=(0, 8, 9))}, b"x" * 8), r"claims bytes"),
        (tensor_file({"a": entry()}, b"x" * 9), r"the tensors end at byte 8 but 9 bytes are there"),
        (tensor_file({}, b"x"), r"the tensors end at byte 0 but 1 bytes are there"),
        (
            tensor_file({"a": entry(offsets=(1, 9))}, b"x" * 9),
            r"tensor 'a' begins at byte 1 but the one before ends at 0",
        ),
        (
            tensor_file({"a": entry(), "b": entry()}, b"x" * 8),
            r"tensor 'b' begins at byte 0 but the one before ends at 8",
        ),
        (tensor_file({"a": entry(), "b": entry(offsets=(12, 20))}, b"x" * 20), r"neither holes nor overlaps"),
        (tensor_file({"a": entry("BOOL", (2,), (0, 2))}, b"\1\2"), r"neither false nor true"),
        (tensor_file({"__metadata__": {"a": 3}}), r"__metadata__ that is not text"),
        (tensor_file({"__metadata__": []}), r"__metadata__ that is not text"),
    ],
    ids=range(31),
)
def test_a_lying_tensor_file_is_refused(data, message):
    with pytest.raises(ModelFolderError, match=message):
        unpack_tensors(data, "t")


# -------------------------------------------------------------------- the folder

CONFIG = {
    "task": "forecaster",
    "options": {"hidden_size": 8, "lr": 0.5, "cell": "lstm", "nested": {"on": True, "list": [1, 2]}},
    "network": [{"type": "lstm", "hidden_size": 8}],
    "tied": {},
}
EXTRA = {"metrics.json": b'{"mae": 1.0}', "training.safetensors": {"m": np.ones(3)}}


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    write_model(folder, CONFIG, tensors(), extra_files=EXTRA)
    return folder


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def load(folder):
    """Everything in the folder, as a task would read it."""
    config = read_config(folder)
    files = {}
    for name, listed in config["files"].items():
        if name == "model.safetensors" or "tensors" in listed:
            files[name] = {k: v.tobytes() for k, v in read_tensors(folder, config, name).items()}
        else:
            files[name] = read_file(folder, config, name)
    return config, files


def test_a_folder_is_read_as_it_was_written(model):
    config = read_config(model)
    assert sorted(content(model)) == [
        "config.json",
        "metrics.json",
        "model.safetensors",
        "training.safetensors",
    ]
    assert {key: config[key] for key in CONFIG} == CONFIG
    assert config["format"] == "saiki" and config["schema"] == SCHEMA_VERSION == 1
    assert config["tensors"]["weight_ih_l0"] == {"dtype": "F32", "shape": [2, 3]}
    data = (model / "model.safetensors").read_bytes()
    assert config["files"]["model.safetensors"] == {
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    assert_same(read_tensors(model, config), tensors())
    assert_same(read_tensors(model, config, "training.safetensors"), {"m": np.ones(3)})
    assert read_file(model, config, "metrics.json") == b'{"mae": 1.0}'


def test_the_same_model_is_the_same_bytes(model, tmp_path):
    write_model(tmp_path / "again", CONFIG, tensors(), extra_files=EXTRA)
    assert content(tmp_path / "again") == content(model)


def test_a_model_is_not_overwritten_unless_forced(model):
    before = content(model)
    with pytest.raises(ModelFolderError, match=r"already holds a model .* replace it with force"):
        write_model(model, CONFIG, {})
    with pytest.raises(ModelFolderError, match=r"already holds a model"):
        require_free_folder(model)
    assert content(model) == before
    (model / "notes.txt").write_text("mine")
    (model / "checkpoints").mkdir()
    assert require_free_folder(model, force=True) == model
    write_model(model, {"task": "classifier"}, {"w": np.zeros(2)}, force=True)
    assert sorted(os.listdir(model)) == ["checkpoints", "config.json", "model.safetensors", "notes.txt"]
    assert read_config(model)["task"] == "classifier" and (model / "notes.txt").read_text() == "mine"
    assert_same(read_tensors(model, read_config(model)), {"w": np.zeros(2)})


def test_what_is_the_users_is_not_overwritten(tmp_path):
    (tmp_path / "metrics.json").write_text("mine")
    with pytest.raises(ModelFolderError, match=r"metrics\.json exists and belongs to no model"):
        write_model(tmp_path, CONFIG, {}, extra_files={"metrics.json": b""})
    assert content(tmp_path) == {"metrics.json": b"mine"}
    other = tmp_path / "other"
    other.mkdir()
    for text, message in (
        ('{"model_type": "bert"}', "not a Saiki model"),
        ("nonsense", "cannot be read, so it may be"),
    ):
        (other / "config.json").write_text(text)
        with pytest.raises(ModelFolderError, match=message):
            write_model(other, CONFIG, {}, force=True)
        assert content(other) == {"config.json": text.encode()}
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelFolderError, match=r"is a file but a model needs a folder"):
        write_model(tmp_path / "file", CONFIG, {})
    assert require_free_folder(tmp_path / "new") == tmp_path / "new" and not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("config", "extra", "kind", "message"),
    [
        (
            {"task": "x", "optoins": {}},
            {},
            OptionError,
            r"unknown section of a model's config 'optoins'; did you mean",
        ),
        ({}, {}, SchemaError, r"task is None but must be a name"),
        ({"task": "x", "options": {"lr": math.nan}}, {}, SchemaError, r"config\.json: options\.lr is nan"),
        ({"task": "x", "options": {"f": print}}, {}, SchemaError, r"options\.f is .*no plain form"),
        ({"task": "x", "options": []}, {}, SchemaError, r"options is \[\] but must be an object"),
        ({"task": "x", "options": {"n": 10**30}}, {}, SchemaError, r"an integer of 31 digits"),
        ({"task": "x", "notes": "x" * (5 << 20)}, {}, SchemaError, r"must have at most 4194304"),
        ({"task": "x"}, {"../x": b""}, OptionError, r"'\.\./x' is no name for a further file"),
        ({"task": "x"}, {"config.json": b""}, OptionError, r"is no name for a further file"),
        ({"task": "x"}, {".hidden": b""}, OptionError, r"is no name for a further file"),
        (
            {"task": "x"},
            {"t.safetensors": {"a": np.zeros(1, complex)}},
            DTypeError,
            r"t\.safetensors: tensor 'a'",
        ),
    ],
)
def test_what_cannot_be_stored_is_refused_before_anything_is_written(tmp_path, config, extra, kind, message):
    with pytest.raises(kind, match=message):
        write_model(tmp_path / "m", config, {}, extra_files=extra)
    assert not (tmp_path / "m").exists()


def change(model, edit):
    """Edit config.json on purpose: it is sealed again, so only what was edited is wrong."""
    path = model / "config.json"
    config = json.loads(path.read_text())
    edit(config)
    path.write_text(json.dumps(seal(config)))


def put(*keys_and_value):
    *keys, last, value = keys_and_value

    def edit(config):
        for key in keys:
            config = config[key]
        config[last] = value

    return edit


def drop(key):
    return lambda config: config.pop(key)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            put("schema", 2),
            r"config\.json is of schema 2, written by Saiki '.*'; this version reads up to.*newer",
        ),
        (put("schema", 0), r"schema is 0 but must be a whole number"),
        (put("schema", "1"), r"schema is '1'"),
        (put("schema", True), r"schema is True"),
        (put("format", "other"), r"is not the configuration of a Saiki model"),
        (drop("format"), r"is not the configuration of a Saiki model"),
        (put("task", 3), r"task is 3 but must be text"),
        (drop("task"), r"task is missing"),
        (put("optoins", {}), r"unknown key 'optoins'; did you mean 'options'\?"),
        (put("options", 3), r"options is 3 but must be an object"),
        (put("files", []), r"files is \[\] but must be an object"),
        (put("files", {}), r"files does not list model\.safetensors"),
        (put("files", "../../etc/passwd", {"size": 1, "sha256": "0" * 64}), r"which is no plain file name"),
        (put("files", "config.json", {"size": 1, "sha256": "0" * 64}), r"which is no plain file name"),
        (put("files", "model.safetensors", "size", -1), r"size is -1 but must be a number of bytes"),
        (put("files", "model.safetensors", "size", 1.5), r"size is 1\.5"),
        (
            put("files", "model.safetensors", "sha256", "x"),
            r"sha256 is 'x' but must be 64 hexadecimal digits",
        ),
        (put("files", "model.safetensors", "more", 1), r"must have size and sha256"),
        (put("files", "model.safetensors", 3), r"must have size and sha256"),
        (put("tensors", "bias_l0", "dtype", "F8"), r"tensors\.bias_l0: unknown element type 'F8'"),
        (put("tensors", "bias_l0", "shape", [-1]), r"tensors\.bias_l0\.shape is \[-1\]"),
        (put("tensors", "bias_l0", 3), r"tensors\.bias_l0 must have just dtype and shape"),
        (put("tensors", "", {"dtype": "F32", "shape": []}), r"'' is no name for a tensor"),
        (put("files", "training.safetensors", "tensors", 3), r"files\.training\.safetensors\.tensors is 3"),
    ],
    ids=range(24),
)
def test_a_config_that_breaks_the_schema_is_refused(model, edit, message):
    change(model, edit)
    with pytest.raises(SchemaError, match=message):
        read_config(model)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            put("tensors", "bias_l0", "shape", [1, 2]),
            r"model\.safetensors: tensor 'bias_l0' is F64 \(2,\) but config\.json lists F64 \(1, 2\)",
        ),
        (put("tensors", "bias_l0", "dtype", "I64"), r"'bias_l0' is F64 \(2,\) but config\.json lists I64"),
        (
            lambda config: config["tensors"].pop("mask"),
            r"holds the tensor 'mask', which config\.json does not list",
        ),
        (put("tensors", "more", {"dtype": "F32", "shape": [2]}), r"lacks the tensor 'more'"),
        (
            put("files", "model.safetensors", "size", 10**12),
            r"model\.safetensors is cut short: it has \d+ bytes but",
        ),
        (
            put("files", "model.safetensors", "sha256", "0" * 64),
            r"model\.safetensors was changed: its SHA-256 differs",
        ),
    ],
    ids=range(6),
)
def test_tensors_that_differ_from_the_list_are_refused(model, edit, message):
    change(model, edit)
    config = read_config(model)
    with pytest.raises(ModelFolderError, match=message):
        read_tensors(model, config)


def test_a_folder_cut_short_is_named(model, tmp_path):
    config = read_config(model)
    with pytest.raises(ModelFolderError, match=r"unknown file 'metrics\.jsn'; did you mean 'metrics\.json'"):
        read_file(model, config, "metrics.jsn")
    with pytest.raises(ModelFolderError, match=r"metrics\.json is not listed as a tensor file"):
        read_tensors(model, config, "metrics.json")
    (model / "metrics.json").write_bytes(b'{"mae": 1.0} ')
    with pytest.raises(ModelFolderError, match=r"metrics\.json is too long: it has 13 bytes"):
        read_file(model, config, "metrics.json")
    (model / "metrics.json").unlink()
    with pytest.raises(ModelFolderError, match=r"metrics\.json is missing, but config\.json lists it"):
        read_file(model, config, "metrics.json")
    os.mkfifo(model / "metrics.json")
    with pytest.raises(ModelFolderError, match=r"metrics\.json cannot be read"):
        read_file(model, config, "metrics.json")
    (model / "config.json").unlink()
    with pytest.raises(ModelFolderError, match=r"holds no config\.json, so there is no finished model in it"):
        read_config(model)
    os.mkfifo(model / "config.json")
    with pytest.raises(ModelFolderError, match=r"cannot be read"):
        read_config(model)
    with pytest.raises(ModelFolderError, match=r"absent is not a folder"):
        read_config(tmp_path / "absent")
    (model / "config.json").unlink()
    with open(model / "config.json", "wb") as file:
        file.truncate(1 << 40)  # sparse: a terabyte by name only
    with pytest.raises(SchemaError, match=r"has 1099511627776 bytes but must have at most"):
        read_config(model)


# -------------------------------------------------------------------- mutations


def small_model(folder):
    write_model(folder, CONFIG, {"w": np.arange(3, dtype=np.float32)}, extra_files={"metrics.json": b"{}"})
    return load(folder)


def refused(folder):
    """Whether loading raises one of our errors; any other error fails the test."""
    try:
        load(folder)
    except SaikiError:
        return True
    return False


@pytest.mark.parametrize("name", ["model.safetensors", "metrics.json", "config.json"])
def test_every_byte_flipped_is_refused_or_means_the_same(tmp_path, name):
    """Every bit of the listed files; of config.json every byte, where blanks alone mean nothing."""
    small_model(tmp_path / "m")
    before = load(tmp_path / "m")
    path = tmp_path / "m" / name
    good = path.read_bytes()
    flips = range(8) if name != "config.json" else (0, 5)
    passed = 0
    for at_byte in range(len(good)):
        for bit in flips:
            bad = bytearray(good)
            bad[at_byte] ^= 1 << bit
            path.write_bytes(bad)
            if not refused(tmp_path / "m"):
                passed += 1
                assert name == "config.json" and load(tmp_path / "m") == before, (at_byte, bit)
                assert good[at_byte : at_byte + 1].isspace() or bytes([bad[at_byte]]).isspace()
    assert passed < len(good) / 2


@pytest.mark.parametrize("name", ["model.safetensors", "metrics.json", "config.json"])
def test_every_truncation_is_refused(tmp_path, name):
    small_model(tmp_path / "m")
    path = tmp_path / "m" / name
    good = path.read_bytes()
    for length in range(len(good) - (name == "config.json")):  # the last byte of config.json is a line end
        path.write_bytes(good[:length])
        assert refused(tmp_path / "m"), length
    path.write_bytes(good + b"x")
    assert refused(tmp_path / "m")


def mutate(value, rng):
    """The value with one random place in it changed."""
    junk = [None, True, -1, 0, 1, 2**62, 0.5, "", "x", "../x", [], {}, [[]], {"a": 1}, "F64", "0" * 64]
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        made = dict(value)
        what = rng.random()
        if what < 0.15:
            del made[key]
        elif what < 0.3:
            made[rng.choice([key + "x", "x", key.upper()])] = made.pop(key)
        else:
            made[key] = mutate(value[key], rng)
        return made
    if isinstance(value, list) and value and rng.random() < 0.7:
        made = list(value)
        k = rng.randrange(len(made))
        made[k] = mutate(made[k], rng)
        return made
    return rng.choice(junk)


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.long)])
def test_mutated_configs_are_refused_or_give_the_same_tensors(tmp_path, count):
    """Unsealed, any change of meaning is found; sealed again, the lists still hold the files."""
    _, files = small_model(tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    good = json.loads(path.read_text())
    rng = random.Random(7)
    found = 0
    for _ in range(count):
        bad = mutate(good, rng)
        path.write_text(json.dumps(bad))
        if bad != good:
            assert refused(tmp_path / "m"), bad
        if isinstance(bad, dict):
            path.write_text(json.dumps(seal(bad)))
            if refused(tmp_path / "m"):
                found += 1
            else:
                config, got = load(tmp_path / "m")
                assert all(got[name] == files[name] for name in got)
                assert set(config) <= set(schema.ENVELOPE)
    assert found > count / 4


def test_mutated_tensor_files_are_refused_or_give_arrays_of_their_own_bytes():
    """No digest here: random bytes of the header changed, and what still passes is wholly inside the file."""
    good = pack_tensors(tensors())
    header = 8 + struct.unpack("<Q", good[:8])[0]
    rng = random.Random(3)
    passed = 0
    for _ in range(5000):
        bad = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            bad[rng.randrange(header)] = rng.choice([rng.randrange(256), *b'0123456789"[]{},:'])
        try:
            arrays = unpack_tensors(bytes(bad), "t")
        except SaikiError:
            continue
        passed += 1
        assert sum(array.nbytes for array in arrays.values()) == len(good) - header
    assert passed < 2500


def test_reading_hostile_files_runs_no_code(tmp_path):
    """The interpreter's own audit hook: no import, exec, or pickle while hostile folders are read."""
    small_model(tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    good = json.loads(path.read_text())
    refused(tmp_path / "m")
    events = []
    watching = [True]

    def hook(event, _):
        if watching and event in (
            "import",
            "exec",
            "compile",
            "pickle.find_class",
            "os.system",
            "subprocess.Popen",
        ):
            events.append(event)

    sys.addaudithook(hook)
    rng = random.Random(11)
    for _ in range(300):
        path.write_text(
            json.dumps(
                seal(
                    {"x": mutate(good, rng)}
                    if rng.random() < 0.1
                    else {**good, "options": {"a": mutate(good, rng)}}
                )
            )
        )
        refused(tmp_path / "m")
    watching.clear()
    assert events == []


# -------------------------------------------------------------------- kills and failing disks


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it runs, not even a clean-up that touches the disk."""


def killed_after(monkeypatch, steps, work):
    """Run `work`; after `steps` calls that change the disk every further one raises. True if one did."""
    taken, dead = 0, False

    def wrap(real):
        def call(*arguments, **options):
            nonlocal taken, dead
            if dead or taken == steps:
                dead = True
                raise Killed
            taken += 1
            return real(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        for name in ("write", "fsync", "replace", "rename", "unlink", "mkdir", "fchmod"):
            patch.setattr(os, name, wrap(getattr(os, name)))
        real_open = os.open
        opening = wrap(real_open)

        def open_(path, flags, *rest, **options):
            return (opening if flags & os.O_CREAT else real_open)(path, flags, *rest, **options)

        patch.setattr(os, "open", open_)
        try:
            work()
        except Killed:
            return True
    return False


OLD = (
    {"task": "old", "options": {"a": 1}},
    {"w": np.zeros(3)},
    {"metrics.json": b"old", "vocabulary.json": b"[]"},
)
NEW = ({"task": "new", "options": {"b": 2}}, {"w": np.ones(3), "v": np.ones(1)}, {"metrics.json": b"new!"})


def write(folder, model, force=False):
    config, arrays, extra = model
    write_model(folder, config, arrays, extra_files=extra, force=force)


def test_a_kill_at_any_moment_leaves_the_old_model_or_the_new_one(tmp_path, monkeypatch):
    reference = {}
    for name, version in (("old", OLD), ("new", NEW)):
        write(tmp_path / name, version)
        reference[name] = load(tmp_path / name)
    seen = []
    for steps in range(200):
        folder = tmp_path / f"m{steps}"
        write(folder, OLD)
        (folder / "notes.txt").write_text("mine")
        killed = killed_after(monkeypatch, steps, lambda folder=folder: write(folder, NEW, force=True))
        got = load(folder)
        which = got[0]["task"]
        assert got == reference[which], steps
        assert (folder / "notes.txt").read_text() == "mine"
        seen.append(which)
        # what a kill leaves behind does not hinder the next save, and is gone after it
        write(folder, OLD, force=True)
        assert load(folder) == reference["old"]
        assert set(os.listdir(folder)) == {*os.listdir(tmp_path / "old"), "notes.txt"}, steps
        if not killed:
            break
    assert (
        seen[0] == "old" and seen[-1] == "new" and seen == sorted(seen, reverse=True) and 15 < len(seen) < 100
    )


def test_a_kill_of_the_first_save_leaves_no_model_or_a_whole_one(tmp_path, monkeypatch):
    write(tmp_path / "whole", NEW)
    for steps in range(200):
        folder = tmp_path / f"m{steps}"
        killed = killed_after(monkeypatch, steps, lambda folder=folder: write(folder, NEW))
        if (folder / "config.json").exists():
            assert load(folder) == load(tmp_path / "whole")
        else:
            with pytest.raises(ModelFolderError, match=r"is not a folder|holds no config\.json"):
                read_config(folder)
            write(folder, NEW)  # and the next save just works
            assert content(folder) == content(tmp_path / "whole")
        if not killed:
            break
    assert not killed and steps > 10


@pytest.mark.parametrize("call", ["write", "fsync", "replace", "open", "fchmod", "unlink", "mkdir"])
def test_a_failing_disk_leaves_a_model_that_loads(tmp_path, monkeypatch, call):
    """The n-th call fails, for every n: an error that names the path, and the old model or the new loads."""
    write(tmp_path / "old", OLD)
    write(tmp_path / "new", NEW)
    reference = {name: load(tmp_path / name) for name in ("old", "new")}
    for nth in range(1, 60):
        folder = tmp_path / f"m{nth}"
        write(folder, OLD)
        real, count = getattr(os, call), 0

        def fail(*arguments, real=real, nth=nth, **options):
            nonlocal count
            count += 1
            if count == nth:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*arguments, **options)

        raised = None
        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            try:
                write(folder, NEW, force=True)
            except (DiskError, ModelFolderError) as error:
                raised = error
        got = load(folder)
        assert got == reference[got[0]["task"]]
        assert raised is not None or got[0]["task"] == "new"
        assert raised is None or str(folder) in str(raised)
        if raised is not None and got[0]["task"] == "old":
            assert content(folder) == content(tmp_path / "old")  # nothing half-written stays
        if count < nth:
            break
    assert count < nth
