"""The schema of a model folder, read strictly and written so that a kill leaves the old model or the new one.

A model folder holds `config.json`, which lists every other file with its size and SHA-256 and every tensor
with its type and shape; `model.safetensors`; and what else the task needs. Files are data: nothing in them is
imported, evaluated or unpickled. JSON is read with a limit on size and depth, without repeated keys, NaN or
infinity. A tensor file is compared with the size and the digest that config.json lists before its header is
believed, and its header is checked against the file before an array is made.

How a folder is replaced. Every file but config.json is first written beside its final name, as
`.NAME.DIGEST.new`; then config.json is replaced in one rename, which is the moment the new model counts; then
the files are renamed to their final names. A reader looks for the file that config.json means under both
names, the digest telling them apart. Killed before the moment, the folder holds the old model and some
leftovers; after it, the new one, some files perhaps under their first names, which the next write tidies up.
No file that the old model did not list is touched, but one in the way of a new file of the same name.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
import re
import stat
import struct
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args, get_type_hints

from saiki.core.errors import DTypeError, ModelFolderError, OptionError, SaikiError, SchemaError
from saiki.core.files import _naming, atomic_write, remove_leftovers, sync_folder
from saiki.core.names import nearest, unknown

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "SCHEMA_VERSION",
    "pack_tensors",
    "plain",
    "read_config",
    "read_file",
    "read_json",
    "read_tensors",
    "require_free_folder",
    "seal",
    "strict",
    "unpack_tensors",
    "write_model",
]

T = TypeVar("T")

SCHEMA_VERSION = 1
CONFIG = "config.json"
MODEL = "model.safetensors"
MAX_CONFIG = 4 << 20  # bytes of config.json; a vocabulary has a file of its own
MAX_HEADER = 16 << 20  # bytes of a tensor file's header, some 100,000 tensors
MAX_DEPTH = 64  # brackets inside brackets

# What config.json may hold at its top. `options` is what the estimator was made with; the other sections are
# what fitting found, and each task checks its own with `strict`.
SECTIONS = ("options", "network", "data", "fitted", "record", "metrics", "notes", "tied")
ENVELOPE = ("format", "schema", "saiki", "task", *SECTIONS, "files", "tensors", "sha256")

# safetensors' name of a type -> numpy's, little-endian as the format has it
DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}
_DTYPE_NAMES = {numpy: name for name, numpy in DTYPES.items()}
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,99}")
_UNEXPECTED = ("unexpected_keyword_argument", "extra_forbidden")  # pydantic's words for an unknown key
_STAGED = re.compile(r"\.(.+)\.([0-9a-f]{64})\.new")


# -------------------------------------------------------------------- values <-> dataclasses


def strict(cls: type[T], mapping: Mapping[str, Any], where: str) -> T:
    """Build a frozen dataclass, with those inside it, out of plain values, believing nothing.

    Types are exact (true and 1.0 are no integers, 1 is a float too), `Literal` lists the names allowed and
    `Annotated[int, annotated_types.Interval(ge=1, le=512)]` the range; an unknown key is an error.

    Args:
        cls: the dataclass.
        mapping: what was read from JSON or TOML.
        where: what is being read, for messages: "config.json: options".
    Raises:
        SchemaError: a key is unknown (the nearest one is offered) or missing, or a value does not fit.
    """
    from pydantic import ValidationError

    if not isinstance(mapping, Mapping):
        raise SchemaError(f"{where} is {_show(mapping)} but must be a table of keys and values.")
    text = json.dumps([_jsonable(dict(mapping), where)])
    try:
        built = _adapter(cast("Any", cls)).validate_json(text)
    except ValidationError as error:
        raise _explain(cls, error.errors(include_url=False), where) from error
    except (SaikiError, TypeError) as error:  # from a __post_init__
        raise SchemaError(f"{where}: {error}") from error
    return cast("T", built[0])


def plain(value: object, where: str = "value") -> Any:  # noqa: ANN401
    """The JSON form of dataclasses, tuples, numpy numbers and paths: dicts, lists, numbers, text, None.

    Raises:
        SchemaError: a number is NaN or infinite, a key is no text, or something has no plain form (a
            function, an array); the place is named.
    """
    if _is_plain(value):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        made = {each.name: getattr(value, each.name) for each in fields(value) if each.init}
        return {
            name: part if _is_plain(part) else plain(part, f"{where}.{name}") for name, part in made.items()
        }
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise SchemaError(f"{where} has the key {_show(key)} but a key must be text.")
        return {key: plain(part, f"{where}.{key}") for key, part in value.items()}
    if isinstance(value, list | tuple):
        # a record has thousands of numbers, and is written with every checkpoint
        return [part if _is_plain(part) else plain(part, f"{where}[{i}]") for i, part in enumerate(value)]
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    item = getattr(value, "item", None)  # numpy scalars
    if callable(item) and getattr(value, "shape", None) == () and not isinstance(value, float):
        return plain(item(), where)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise SchemaError(f"{where} is {value}, which JSON cannot hold; a stored number must be finite.")
        return float(value)
    raise SchemaError(
        f"{where} is {_show(value)} ({type(value).__name__}), which has no plain form.",
        "Only numbers, text, lists and tables can be stored; a function is stored as a name.",
    )


def _is_plain(value: object) -> bool:
    """True if `plain` gives this back as it is, by the types that are told at once."""
    kind = type(value)
    return value is None or kind in (str, int, bool) or (kind is float and math.isfinite(value))  # type: ignore[arg-type]


def _jsonable(value: object, where: str) -> Any:  # noqa: ANN401
    try:
        return plain(value, where)
    except RecursionError as error:
        raise SchemaError(f"{where} is nested too deep.") from error


@functools.lru_cache(maxsize=256)
def _adapter(cls: type[Any]) -> Any:  # noqa: ANN401
    from pydantic import ConfigDict, TypeAdapter

    # In a list, because pydantic takes no config beside a bare dataclass; nested dataclasses inherit it.
    config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    return TypeAdapter(list[cls], config=config)  # type: ignore[valid-type]


def _explain(cls: type[Any], found: list[Any], where: str) -> SchemaError:
    """One sentence for what pydantic found, with the key as the user wrote it."""
    unexpected = [each for each in found if each["type"] in _UNEXPECTED]
    first = (unexpected or found)[0]  # a key misspelled is missing too, and its wrong name says more
    path, inside = _follow(cls, first["loc"][1:])
    place = f"{where}: {path}" if path else where
    alike = [other for other in found if _follow(cls, other["loc"][1:])[0] == path]
    kind, value = first["type"], first.get("input")
    if kind in _UNEXPECTED:
        key = str(first["loc"][-1])
        above, _ = _follow(cls, first["loc"][1:-1])
        place = f"{where}: {above}" if above else where
        known = [each.name for each in fields(inside) if each.init] if inside is not None else []
        return SchemaError(
            f"{place}: {unknown(key, known, 'key')}" if known else f"{place} is an unknown key."
        )
    if kind in ("missing", "missing_argument"):
        return SchemaError(f"{place} is missing.")
    if kind in ("value_error", "assertion_error"):
        return SchemaError(f"{place}: {first['ctx']['error']}")
    wanted = []
    for other in alike:
        text = other["msg"].removeprefix("Input should be ").removeprefix("Input should ")
        if text not in wanted:
            wanted.append(text)
    names = [
        name
        for other in alike
        for name in re.findall(r"'([^']*)'", str(other.get("ctx", {}).get("expected")))
    ]
    guess = nearest(value, names) if isinstance(value, str) else None
    hint = f"Did you mean {guess!r}?" if guess is not None else None
    return SchemaError(f"{place} is {_show(value)} but must be {', or '.join(wanted)}.", hint)


def _follow(cls: type[Any], loc: tuple[Any, ...]) -> tuple[str, Any]:
    """The written path of a place, and the dataclass whose key its last part is."""
    path = ""
    owner: Any = cls  # the dataclass we are in
    here: Any = cls  # the annotation we are at
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
            continue
        inside = _dataclass_in(here)
        if inside is not None:
            owner = inside
            hints = get_type_hints(inside, include_extras=True)
            if part in hints:
                here = hints[part]
            elif part == inside.__name__:
                continue  # pydantic's label of a union's branch
        elif not re.fullmatch(r"[A-Za-z0-9_ \-]+", part) or part in ("int", "float", "str", "bool", "none"):
            continue  # such a label too: literal['auto'], list[int]
        path += f".{part}" if path else str(part)
    return path, owner


def _dataclass_in(annotation: Any) -> Any:  # noqa: ANN401
    if isinstance(annotation, type) and is_dataclass(annotation):
        return annotation
    for inner in get_args(annotation):
        found = _dataclass_in(inner)
        if found is not None:
            return found
    return None


# -------------------------------------------------------------------- JSON


def read_json(data: bytes, where: str, limit: int = MAX_CONFIG) -> Any:  # noqa: ANN401
    """Parse JSON that nobody vouches for.

    Args:
        data: UTF-8 text.
        where: what it is, for messages: the file's path.
        limit: bytes allowed.
    Raises:
        SchemaError: too long, not UTF-8, not JSON, a key twice in one object, NaN, infinity or a number
            beyond float64, or nested deeper than 64.
    """
    if len(data) > limit:
        raise SchemaError(f"{where} has {len(data)} bytes but must have at most {limit}.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SchemaError(f"{where} is not UTF-8 text (byte {error.start}).") from error
    try:
        value = json.loads(
            text,
            object_pairs_hook=_no_repeats,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_short_int,
        )
    except _JSONRefused as error:
        raise SchemaError(f"{where}: {error}.") from error
    except RecursionError as error:
        raise SchemaError(f"{where} is nested deeper than {MAX_DEPTH}.") from error
    except json.JSONDecodeError as error:
        raise SchemaError(
            f"{where} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}; "
            "the file may be cut short or changed."
        ) from error
    _check_depth(value, where)
    return value


class _JSONRefused(Exception):
    """Valid JSON that we refuse; `read_json` adds the file's name."""


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _JSONRefused(f"the key {_show(twice)} comes twice in one object")
    return made


def _no_constant(name: str) -> float:
    raise _JSONRefused(f"it holds {name}, but a number must be finite")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _JSONRefused(f"it holds {_show(text)}, which is beyond a float64")
    return number


def _short_int(text: str) -> int:
    if len(text) > 20:  # int64 has 19 digits and a sign
        raise _JSONRefused(f"it holds an integer of {len(text)} digits")
    return int(text)


def _check_depth(value: object, where: str) -> None:
    level = [value]
    for depth in range(MAX_DEPTH + 1):
        containers = [part for part in level if isinstance(part, dict | list)]
        if not containers:
            return
        if depth == MAX_DEPTH:
            break
        level = [
            inner for part in containers for inner in (part.values() if isinstance(part, dict) else part)
        ]
    raise SchemaError(f"{where} is nested deeper than {MAX_DEPTH}.")


def _canonical(value: object) -> bytes:
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode()


def seal(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with its own digest in `sha256`, over everything else in it.

    Whoever changes a config.json on purpose seals it again; a change by accident is then found on reading.
    """
    rest = {key: value for key, value in config.items() if key != "sha256"}
    return {**rest, "sha256": hashlib.sha256(_canonical(rest)).hexdigest()}


# -------------------------------------------------------------------- tensors <-> bytes


def pack_tensors(tensors: Mapping[str, np.ndarray[Any, Any]], where: str = MODEL) -> bytes:
    """The bytes of a safetensors file.

    Raises:
        SchemaError: a name is no text, empty, or too long.
        DTypeError: an array of a type that the format or numpy does not have.
    """
    import numpy as np
    from safetensors.numpy import save

    ready = {}
    for name, tensor in tensors.items():
        _check_tensor_name(name, where)
        array = np.asarray(tensor)
        little = array.dtype.newbyteorder("<") if array.dtype.byteorder != "|" else array.dtype
        if little.str not in _DTYPE_NAMES:
            raise DTypeError(
                f"{where}: tensor {name!r} holds {array.dtype}, which a tensor file cannot hold.",
                f"Use one of {', '.join(np.dtype(known).name for known in _DTYPE_NAMES)}.",
            )
        ready[name] = np.array(array, dtype=little, order="C")
    return bytes(save(ready))


def unpack_tensors(
    data: bytes, where: str, listed: Mapping[str, Any] | None = None
) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a safetensors file, its header checked against its size before any array is made.

    Args:
        data: the whole file.
        where: its path, for messages.
        listed: {name: {"dtype", "shape"}} as config.json lists it; None accepts what the header says.
    Returns:
        New arrays, writable, in the order of the file.
    Raises:
        ModelFolderError: the header lies about sizes, leaves holes, overlaps, or differs from the list.
    """
    import numpy as np

    header, start = _tensor_header(data, where)
    if listed is not None:
        _compare_listed(header, listed, where)
    arrays = {}
    for name, (dtype, shape, begin, end) in header.items():
        flat = np.frombuffer(data, dtype=np.uint8, count=end - begin, offset=start + begin)
        if dtype == "BOOL" and flat.size and int(flat.max()) > 1:
            raise ModelFolderError(f"{where}: tensor {name!r} holds bytes that are neither false nor true.")
        arrays[name] = flat.copy().view(DTYPES[dtype]).reshape(shape)
    return arrays


def _tensor_header(data: bytes, where: str) -> tuple[dict[str, tuple[str, tuple[int, ...], int, int]], int]:
    """{name: (type, shape, begin, end)} in the order of the bytes, and where the bytes start."""
    if len(data) < 8:
        raise ModelFolderError(f"{where} is cut short: {len(data)} bytes are no tensor file.", _AGAIN)
    (size,) = struct.unpack("<Q", data[:8])
    if size > MAX_HEADER or size > len(data) - 8:
        raise ModelFolderError(
            f"{where} claims a header of {size} bytes, but it has {len(data)} bytes in all "
            f"and a header has at most {MAX_HEADER}.",
            _AGAIN,
        )
    try:
        header = read_json(data[8 : 8 + size], f"{where}, header", MAX_HEADER)
    except SchemaError as error:
        raise ModelFolderError(error.message, _AGAIN) from error
    if not isinstance(header, dict) or data[8:9] != b"{":
        raise ModelFolderError(f"{where} has a header that is no JSON object.", _AGAIN)
    room = len(data) - 8 - size
    entries = []
    for name, entry in header.items():
        if name == "__metadata__":
            if not isinstance(entry, dict) or not all(isinstance(text, str) for text in entry.values()):
                raise ModelFolderError(f"{where} has a __metadata__ that is not text by name.")
            continue
        entries.append((name, *_tensor_entry(name, entry, room, where)))
    entries.sort(key=lambda entry: (entry[3], entry[4]))
    at = 0
    for name, _, _, begin, end in entries:
        if begin != at:
            raise ModelFolderError(
                f"{where}: tensor {name!r} begins at byte {begin} but the one before ends at {at}; "
                "a tensor file has neither holes nor overlaps."
            )
        at = end
    if at != room:
        raise ModelFolderError(f"{where}: the tensors end at byte {at} but {room} bytes are there.", _AGAIN)
    return {name: (dtype, shape, begin, end) for name, dtype, shape, begin, end in entries}, 8 + size


def _tensor_entry(name: str, entry: object, room: int, where: str) -> tuple[str, tuple[int, ...], int, int]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ModelFolderError(f"{where}: tensor {name!r} must have just dtype, shape and data_offsets.")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ModelFolderError(f"{where}: tensor {name!r}: {unknown(dtype, DTYPES, 'element type')}")
    if not _is_sizes(shape) or len(shape) > 16:
        raise ModelFolderError(f"{where}: tensor {name!r} has the shape {_show(shape)}, which is none.")
    if not _is_sizes(offsets) or len(offsets) != 2 or not offsets[0] <= offsets[1] <= room:
        raise ModelFolderError(
            f"{where}: tensor {name!r} claims bytes {_show(offsets)} of the {room} there are.", _AGAIN
        )
    begin, end = offsets
    needed = math.prod(shape) * int(DTYPES[dtype][2:])
    if end - begin != needed:
        raise ModelFolderError(
            f"{where}: tensor {name!r} of {dtype} {tuple(shape)} needs {needed} bytes but has {end - begin}."
        )
    return dtype, tuple(shape), begin, end


def _compare_listed(header: Mapping[str, Any], listed: Mapping[str, Any], where: str) -> None:
    for name in listed:
        if name not in header:
            raise ModelFolderError(f"{where} lacks the tensor {name!r} that {CONFIG} lists.", _AGAIN)
    for name, (dtype, shape, _, _) in header.items():
        if name not in listed:
            raise ModelFolderError(
                f"{where} holds the tensor {name!r}, which {CONFIG} does not list.", _AGAIN
            )
        want = listed[name]
        if want["dtype"] != dtype or tuple(want["shape"]) != shape:
            raise ModelFolderError(
                f"{where}: tensor {name!r} is {dtype} {shape} but {CONFIG} lists {want['dtype']} "
                f"{tuple(want['shape'])}.",
                _AGAIN,
            )


def _is_sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(size) is int and 0 <= size < 2**63 for size in value)


def _check_tensor_name(name: object, where: str) -> None:
    if not isinstance(name, str) or not 0 < len(name) <= 256 or name == "__metadata__":
        raise SchemaError(f"{where}: {_show(name)} is no name for a tensor.")


# -------------------------------------------------------------------- the folder

_AGAIN = "Copy the model folder again, or save the model again."


def require_free_folder(folder: str | os.PathLike[str], force: bool = False) -> Path:
    """Refuse, before any work, a folder that a model cannot be saved into.

    Args:
        folder: where the model is to go; it need not exist.
        force: whether a model there may be replaced.
    Returns:
        The folder.
    Raises:
        ModelFolderError: it holds a model and `force` is off, it is a file, or its config.json is not ours.
    """
    target = Path(folder)
    if os.path.lexists(target) and not target.is_dir():
        raise ModelFolderError(f"{target} is a file but a model needs a folder.", "Choose another folder.")
    if not os.path.lexists(target / CONFIG):
        return target
    if not force:
        raise ModelFolderError(
            f"{target} already holds a model ({CONFIG}).",
            "Choose another folder, or replace it with force (--force).",
        )
    _old_files(target)
    return target


def write_model(
    folder: str | os.PathLike[str],
    config: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray[Any, Any]],
    *,
    force: bool = False,
    extra_files: Mapping[str, bytes | Mapping[str, np.ndarray[Any, Any]]] | None = None,
) -> None:
    """Write a model folder; killed at any moment, it leaves the old model or the new one.

    Args:
        folder: made if it is not there. Files in it that are no part of a model are left alone.
        config: `task`, and any of the sections options, network, data, fitted, record, metrics, notes, tied;
            format, versions, digests and lists are added here.
        tensors: what goes into model.safetensors.
        force: replace a model that is there.
        extra_files: more files by name: bytes as they are, or tensors for a further tensor file.
    Raises:
        ModelFolderError: the folder already holds a model, or a file of the user's is in the way.
        SchemaError, OptionError: the config has an unknown section or something that JSON cannot hold.
        DTypeError: a tensor of a type that cannot be stored.
        DiskError: the disk refused; the old model still loads.
    """
    from saiki import __version__

    target = require_free_folder(folder, force)
    for key in config:
        if key != "task" and key not in SECTIONS:
            raise OptionError(unknown(key, ("task", *SECTIONS), "section of a model's config"))
    if not isinstance(config.get("task"), str):
        raise SchemaError(f"{CONFIG}: task is {_show(config.get('task'))} but must be a name.")
    contents = {MODEL: pack_tensors(tensors, MODEL)}
    listed: dict[str, dict[str, Any]] = {MODEL: _list_tensors(contents[MODEL], MODEL)}
    for name, content in (extra_files or {}).items():
        if not isinstance(name, str) or not _FILE_NAME.fullmatch(name) or name in (CONFIG, MODEL):
            raise OptionError(f"{_show(name)} is no name for a further file of a model folder.")
        if isinstance(content, Mapping):
            contents[name] = pack_tensors(content, name)
            listed[name] = _list_tensors(contents[name], name)
        else:
            contents[name] = bytes(content)
    files: dict[str, dict[str, Any]] = {}
    for name, data in contents.items():
        files[name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        if name in listed and name != MODEL:
            files[name]["tensors"] = listed[name]
    envelope = {
        "format": "saiki",
        "schema": SCHEMA_VERSION,
        "saiki": __version__,
        **{key: plain(value, f"{CONFIG}: {key}") for key, value in config.items()},
        "files": files,
        "tensors": listed[MODEL],
    }
    sealed = seal(envelope)
    text = json.dumps(sealed, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    checked = _check_envelope(read_json(text, CONFIG), CONFIG)  # what we write, we can read
    _replace(target, contents, text, checked, force)


def read_config(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The checked content of a model folder's config.json.

    The sections are plain values still; the task builds its own dataclasses from them with `strict`.

    Raises:
        ModelFolderError: no such folder, no config.json in it, or it cannot be read.
        SchemaError: it is not ours, of a newer schema, changed, or breaks the schema.
    """
    path = Path(folder) / CONFIG
    if not Path(folder).is_dir():
        raise ModelFolderError(f"{folder} is not a folder, so there is no model in it.", "Check the path.")
    data = _read(path, MAX_CONFIG)
    return _check_envelope(read_json(data, str(path)), str(path))


def read_file(folder: str | os.PathLike[str], config: Mapping[str, Any], file: str) -> bytes:
    """The bytes of a file that config.json lists, its size and SHA-256 checked.

    Args:
        folder: the model folder.
        config: what `read_config` gave.
        file: its name, such as "vocabulary.json".
    Raises:
        ModelFolderError: not listed, missing, cut short, or changed.
    """
    files = config["files"]
    if file not in files:
        raise ModelFolderError(f"{Path(folder) / CONFIG}: {unknown(file, files, 'file')}")
    size, digest = files[file]["size"], files[file]["sha256"]
    path = Path(folder) / file
    for _ in range(2):  # twice: a writer may rename the first name to the second between our two looks
        staged = _staged(Path(folder), file, digest)
        data = None
        for candidate in (staged, path):
            if candidate is path or os.path.lexists(candidate):
                with contextlib.suppress(_WrongFile):
                    data = _read_exactly(candidate, size, digest)
                    return data
    raise _wrong(path, size, digest)


def read_tensors(
    folder: str | os.PathLike[str], config: Mapping[str, Any], file: str = MODEL
) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a tensor file: size, SHA-256, header and list all checked first.

    Args:
        folder: the model folder.
        config: what `read_config` gave.
        file: which tensor file.
    Returns:
        New writable arrays by name.
    Raises:
        ModelFolderError: missing, cut short, changed, or at odds with config.json; the file is named.
    """
    data = read_file(folder, config, file)
    listed = config["tensors"] if file == MODEL else config["files"][file].get("tensors")
    if listed is None:
        raise ModelFolderError(f"{Path(folder) / file} is not listed as a tensor file.")
    return unpack_tensors(data, str(Path(folder) / file), listed)


def _list_tensors(data: bytes, where: str) -> dict[str, Any]:
    header, _ = _tensor_header(data, where)
    return {name: {"dtype": dtype, "shape": list(shape)} for name, (dtype, shape, _, _) in header.items()}


def _check_envelope(config: object, where: str) -> dict[str, Any]:
    if not isinstance(config, dict):
        raise SchemaError(f"{where} is no JSON object.")
    if config.get("format") != "saiki":
        raise SchemaError(f"{where} is not the configuration of a Saiki model.", "Check the path.")
    schema = config.get("schema")
    if type(schema) is not int or schema < 1:
        raise SchemaError(f"{where}: schema is {_show(schema)} but must be a whole number of at least 1.")
    if schema > SCHEMA_VERSION:
        raise SchemaError(
            f"{where} is of schema {schema}, written by Saiki {_show(config.get('saiki'))}; this version "
            f"reads up to schema {SCHEMA_VERSION}.",
            "Install a newer Saiki: pip install --upgrade saiki",
        )
    for key in config:
        if key not in ENVELOPE:
            raise SchemaError(f"{where}: {unknown(key, ENVELOPE, 'key')}")
    for key, kind in (("saiki", str), ("task", str), ("files", dict), ("tensors", dict), ("sha256", str)):
        if key not in config:
            raise SchemaError(f"{where}: {key} is missing; the file is cut short or changed.")
        if not isinstance(config[key], kind):
            raise SchemaError(f"{where}: {key} is {_show(config[key])} but must be {_KINDS[kind]}.")
    if seal(config)["sha256"] != config["sha256"]:
        raise SchemaError(
            f"{where} was changed after it was written: its SHA-256 differs from the one it holds.", _AGAIN
        )
    for key, kind in (("options", dict), ("tied", dict)):
        if key in config and not isinstance(config[key], kind):
            raise SchemaError(f"{where}: {key} is {_show(config[key])} but must be {_KINDS[kind]}.")
    for name, entry in config["files"].items():
        _check_file_entry(name, entry, where)
    if MODEL not in config["files"]:
        raise SchemaError(f"{where}: files does not list {MODEL}.")
    _check_tensor_list(config["tensors"], f"{where}: tensors")
    return config


_KINDS: dict[type[Any], str] = {str: "text", dict: "an object"}


def _check_file_entry(name: str, entry: object, where: str) -> None:
    if not _FILE_NAME.fullmatch(name) or name == CONFIG:
        raise SchemaError(f"{where}: files lists {_show(name)}, which is no plain file name.")
    if not isinstance(entry, dict) or not {"size", "sha256"} <= set(entry) <= {"size", "sha256", "tensors"}:
        raise SchemaError(f"{where}: files.{name} must have size and sha256.")
    if not _is_sizes([entry["size"]]):
        raise SchemaError(
            f"{where}: files.{name}.size is {_show(entry['size'])} but must be a number of bytes."
        )
    digest = entry["sha256"]
    if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise SchemaError(
            f"{where}: files.{name}.sha256 is {_show(digest)} but must be 64 hexadecimal digits."
        )
    if "tensors" in entry:
        _check_tensor_list(entry["tensors"], f"{where}: files.{name}.tensors")


def _check_tensor_list(listed: object, where: str) -> None:
    if not isinstance(listed, dict):
        raise SchemaError(f"{where} is {_show(listed)} but must be an object.")
    for name, entry in listed.items():
        _check_tensor_name(name, where)
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape"}:
            raise SchemaError(f"{where}.{name} must have just dtype and shape.")
        if not isinstance(entry["dtype"], str) or entry["dtype"] not in DTYPES:
            raise SchemaError(f"{where}.{name}: {unknown(entry['dtype'], DTYPES, 'element type')}")
        if not _is_sizes(entry["shape"]):
            raise SchemaError(f"{where}.{name}.shape is {_show(entry['shape'])} but must be a list of sizes.")


# -------------------------------------------------------------------- replacing one model by the next


def _staged(folder: Path, name: str, digest: str) -> Path:
    return folder / f".{name}.{digest}.new"


def _replace(
    target: Path, contents: Mapping[str, bytes], text: bytes, config: Mapping[str, Any], force: bool
) -> None:
    """Stage the files, replace config.json, move the files to their names: see the head of this module."""
    with _naming(target, "no model was written"):
        fresh = not target.is_dir()
        target.mkdir(parents=True, exist_ok=True)
        if fresh:
            sync_folder(target.parent)
    old = _old_files(target) if force and os.path.lexists(target / CONFIG) else {}
    remove_leftovers(target)
    _tidy(target, old)
    for name in contents:
        if not old and os.path.lexists(target / name):
            raise ModelFolderError(
                f"{target / name} exists and belongs to no model, so it is not overwritten.",
                "Move it away, or choose another folder.",
            )
    staged = {name: _staged(target, name, config["files"][name]["sha256"]) for name in contents}
    try:
        for name, data in contents.items():
            atomic_write(staged[name], data)
        atomic_write(target / CONFIG, text)
    except BaseException:
        if _reads(target, text):  # the new config counts already: only its fsync failed
            raise
        for path in staged.values():
            with contextlib.suppress(OSError):
                os.unlink(path)
        raise
    with _naming(target, "the new model is complete and loads"):
        for name, path in staged.items():
            os.replace(path, target / name)
        for name in old:
            if name not in contents:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(target / name)
        sync_folder(target)


def _reads(target: Path, text: bytes) -> bool:
    try:
        return (target / CONFIG).read_bytes() == text
    except OSError:
        return False


def _old_files(target: Path) -> dict[str, str]:
    """{name: digest} of the files of the model that is to be replaced, of any schema, or an error."""
    path = target / CONFIG
    try:
        config = read_json(_read(path, MAX_CONFIG), str(path))
    except SaikiError as error:
        raise ModelFolderError(
            f"{path} cannot be read, so it may be someone else's and is not replaced: {error.message}",
            "Remove it yourself if you do not need it.",
        ) from error
    if not isinstance(config, dict) or config.get("format") != "saiki":
        raise ModelFolderError(
            f"{path} belongs to something that is not a Saiki model, so it is not replaced.",
            "Choose another folder.",
        )
    files = config.get("files")
    names = files if isinstance(files, dict) else {}
    return {
        name: str(entry.get("sha256")) if isinstance(entry, dict) else ""
        for name, entry in names.items()
        if _FILE_NAME.fullmatch(name) and name != CONFIG
    }


def _tidy(target: Path, old: Mapping[str, str]) -> None:
    """Finish what a killed write began: files of the model that counts get their names, others go."""
    with _naming(target, "the model there is as it was"):
        for entry in list(os.scandir(target)):
            match = _STAGED.fullmatch(entry.name)
            if match is None or not entry.is_file(follow_symlinks=False):
                continue
            if old.get(match[1]) == match[2]:
                os.replace(entry.path, target / match[1])
            else:
                os.unlink(entry.path)


class _WrongFile(Exception):
    """A candidate that is not the file that config.json means."""


def _read_exactly(path: Path, size: int, digest: str) -> bytes:
    try:
        # the size is compared before anything of that size is allocated
        with _open(path) as file:
            if os.fstat(file.fileno()).st_size != size:
                raise _WrongFile
            data = bytes(file.read(size + 1))
    except OSError as error:
        raise _WrongFile from error
    if len(data) != size or hashlib.sha256(data).hexdigest() != digest:
        raise _WrongFile
    return data


def _wrong(path: Path, size: int, digest: str) -> ModelFolderError:
    """The error for a listed file that is not there as listed."""
    try:
        with _open(path) as file:
            came = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return ModelFolderError(
            f"{path} is missing, but {CONFIG} lists it: the model folder is cut short.", _AGAIN
        )
    except OSError as error:
        return ModelFolderError(f"{path} cannot be read: {error.strerror or error}.", _AGAIN)
    if came != size:
        what = "cut short" if came < size else "too long"
        return ModelFolderError(f"{path} is {what}: it has {came} bytes but {CONFIG} lists {size}.", _AGAIN)
    return ModelFolderError(
        f"{path} was changed: its SHA-256 differs from the one that {CONFIG} lists ({digest[:12]}…).", _AGAIN
    )


def _open(path: Path) -> Any:  # noqa: ANN401
    # Not blocking, and regular files only: a pipe laid there must not hang us.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is not a regular file")
    return os.fdopen(descriptor, "rb")


def _read(path: Path, limit: int) -> bytes:
    try:
        with _open(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise SchemaError(f"{path} has {size} bytes but must have at most {limit}.")
            return bytes(file.read(limit + 1))
    except FileNotFoundError as error:
        raise ModelFolderError(
            f"{path.parent} holds no {path.name}, so there is no finished model in it.", "Check the path."
        ) from error
    except OSError as error:
        raise ModelFolderError(f"{path} cannot be read: {error.strerror or error}.") from error


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
