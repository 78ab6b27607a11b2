"""Write the reference from the docstrings: one Markdown page a room, one entry a public name.

The docstrings are Markdown (code in backticks, equations indented, tables with bars), so they go into MyST
directives of Sphinx's Python domain almost as they are; only their sections (Args, Returns, Raises) become
lists.
"""

from __future__ import annotations

import importlib
import inspect
import re
import types
import typing
from pathlib import Path

ROOMS = (
    "core",
    "cells",
    "engine",
    "nn",
    "losses",
    "metrics",
    "decoding",
    "data",
    "learning",
    "insight",
    "models",
)
SUBMODULES = {
    "core": ("errors", "ragged", "activations", "initialisers", "random", "record", "schema"),
    "insight": (
        "figures",
        "figures_reach",
        "figures_gates",
        "figures_features",
        "figures_health",
        "figures_online",
        "findings",
    ),
}
SECTIONS = (
    "Args",
    "Attributes",
    "Returns",
    "Yields",
    "Raises",
    "Source",
    "Sources",
    "Example",
    "Examples",
    "Note",
    "Shapes",
)
LISTS = ("Args", "Attributes", "Raises")


def write_all(folder: Path) -> None:
    """Write `folder`/*.md, touching only what changed, so that a second build is quick."""
    folder.mkdir(exist_ok=True)
    pages = {"index.md": _index()}
    for room in ROOMS:
        pages[f"{room}.md"] = _room(room)
    for old in folder.glob("*.md"):
        if old.name not in pages:
            old.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def public_names(module: types.ModuleType) -> list[str]:
    """What the module exports, in alphabetical order; nothing where it exports nothing."""
    return sorted((n for n in getattr(module, "__all__", ()) if not n.startswith("_")), key=str.lower)


def _index() -> str:
    import saiki

    rows = "\n".join(room for room in ("saiki", *ROOMS) if room != "saiki")
    top = [n for n in public_names(saiki) if n not in ROOMS]
    lines = [
        "# Reference",
        "",
        "Made from the docstrings. One page a room; a room uses only those above it.",
        "",
    ]
    if top:
        lines += ["At the top of the package, each loaded on first use:", ""]
        lines += [f"- `saiki.{n}`{_where(n, saiki)}" for n in top] + [""]
    return "\n".join([*lines, "```{toctree}", ":maxdepth: 1", "", rows, "```", ""])


def _where(name: str, package: types.ModuleType) -> str:
    obj = getattr(package, name)
    home = getattr(obj, "__module__", "")
    room = home.split(".")[1] if home.count(".") else ""
    return f" ([{room}]({room}.md))" if room in ROOMS else ""


def _room(room: str) -> str:
    module = importlib.import_module(f"saiki.{room}")
    lines = [f"# saiki.{room}", "", _docstring(module), ""]
    said: set[int] = set()
    for name in public_names(module):
        lines += _entry(module, name, said)
    for sub in SUBMODULES.get(room, ()):
        child = importlib.import_module(f"saiki.{room}.{sub}")
        names = public_names(child) or _defined_in(child)
        lines += [f"## saiki.{room}.{sub}", "", _docstring(child), ""]
        for name in names:
            lines += _entry(child, name, said)
    return "\n".join(lines) + "\n"


def _defined_in(module: types.ModuleType) -> list[str]:
    own = (n for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__)
    return sorted((n for n in own if not n.startswith("_")), key=str.lower)


def _entry(module: types.ModuleType, name: str, said: set[int]) -> list[str]:
    obj = inspect.getattr_static(module, name, None)
    obj = getattr(module, name) if obj is None else obj
    if isinstance(obj, types.ModuleType):
        return []
    full = f"{module.__name__}.{name}"
    fresh = id(obj) not in said
    said.add(id(obj))
    if inspect.isclass(obj):
        return _fenced(
            f"py:class {full}{_signature(obj)}", _class_body(obj) if fresh else "See above.", 6, not fresh
        )
    if callable(obj) and not isinstance(obj, type) and hasattr(obj, "__qualname__"):
        return _fenced(f"py:function {full}{_signature(obj)}", _docstring(obj), 6, not fresh)
    return _fenced(f"py:data {full}", _data(obj), 6, not fresh)


def _data(obj: object) -> str:
    if isinstance(obj, dict) and all(isinstance(key, str) for key in obj):
        return "Names: " + ", ".join(f"`{key}`" for key in obj) + "."
    if isinstance(obj, (int, float, str)):
        return f"`{obj!r}`"
    if typing.get_origin(obj) is not None:
        text = re.sub(r"\b(typing|torch|collections\.abc)\.", "", str(obj))
        return f"The type `{text}`."
    return _docstring(obj) if getattr(type(obj), "__module__", "").startswith("saiki") else ""


def _class_body(cls: type) -> str:
    parts = [_docstring(cls)]
    if issubclass(cls, BaseException) and cls.__module__.startswith("saiki"):
        bases = ", ".join(f"`{b.__name__}`" for b in cls.__bases__)
        return "\n".join([*parts, "", f"Also {bases}."])
    for name in _members(cls):
        raw = inspect.getattr_static(cls, name)
        if isinstance(raw, property):
            parts += _fenced(f"py:property {name}", _docstring(raw.fget), 5)
        elif isinstance(raw, (classmethod, staticmethod)):
            kind = ":classmethod:" if isinstance(raw, classmethod) else ":staticmethod:"
            parts += _fenced(
                f"py:method {name}{_signature(raw.__func__, bound=isinstance(raw, classmethod))}",
                _docstring(raw.__func__),
                5,
                option=kind,
            )
        elif inspect.isfunction(raw):
            parts += _fenced(f"py:method {name}{_signature(raw, bound=True)}", _docstring(raw), 5)
    return "\n".join(parts)


def _members(cls: type) -> list[str]:
    """Public functions and properties that the library defines and documents, the class's own first."""
    found: list[str] = []
    for base in cls.__mro__:
        if not base.__module__.startswith("saiki"):
            continue
        for name, value in vars(base).items():
            target = getattr(value, "__func__", getattr(value, "fget", value))
            if name.startswith("_") or name in (*found, "extra_repr") or not inspect.isfunction(target):
                continue
            if inspect.getdoc(target):
                found.append(name)
    return found


def _signature(obj: object, *, bound: bool = False) -> str:
    try:
        signature = inspect.signature(obj)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return ""
    parameters = list(signature.parameters.values())
    if bound and parameters:
        parameters = parameters[1:]
    tidy = [p.replace(annotation=p.empty, default=_default(p.default)) for p in parameters]
    return str(signature.replace(parameters=tidy, return_annotation=inspect.Signature.empty))


class _Shown:
    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _default(value: object) -> object:
    if value is inspect.Parameter.empty:
        return value
    text = repr(value)
    return _Shown("..." if "<" in text or len(text) > 60 else text)


def _fenced(head: str, body: str, ticks: int, unlisted: bool = False, option: str = "") -> list[str]:
    kind, _, rest = head.partition(" ")
    options = [o for o in (option, ":no-index:" if unlisted else "") if o]
    return ["`" * ticks + f"{{{kind}}} {rest}", *options, "", body, "`" * ticks, ""]


def _docstring(obj: object) -> str:
    """The docstring with its sections as Markdown."""
    text = inspect.getdoc(obj) or ""
    if inspect.isclass(obj) and (not text or text.startswith(f"{obj.__name__}(")):
        return ""  # a dataclass's or named tuple's own signature says nothing that the entry does not
    out: list[str] = []
    lines = text.split("\n")
    k = 0
    while k < len(lines):
        match = re.fullmatch(rf"({'|'.join(SECTIONS)}):\s*(.*)", lines[k])
        if match is None:
            out.append(lines[k])
            k += 1
            continue
        body = []
        k += 1
        while k < len(lines) and (not lines[k].strip() or lines[k].startswith(" ")):
            body.append(lines[k])
            k += 1
        out += ["", *_section(match[1], match[2], inspect.cleandoc("\n" + "\n".join(body))), ""]
    return "\n".join(_paragraphs(out)).strip()


def _section(title: str, first: str, body: str) -> list[str]:
    if title in LISTS:
        return [f"**{title}**", "", *_items(body)]
    if title in ("Example", "Examples"):
        return [f"**{title}**", "", "```python", *body.split("\n"), "```"]
    return [f"**{title}**", "", first, *body.split("\n")]


def _items(body: str) -> list[str]:
    out: list[str] = []
    for line in body.split("\n"):
        match = re.match(r"(\*{0,2}[\w.]+(?:, [\w.]+)*):\s+(.*)", line)
        if match:
            out.append(f"- `{match[1]}`: {match[2]}")
        elif line.strip():
            out.append(f"  {line.strip()}" if out else line)
    return out


def _paragraphs(lines: list[str]) -> list[str]:
    """Blank lines around indented blocks and tables, which Markdown needs and a docstring may leave out."""
    out: list[str] = []
    fence = False
    for line in lines:
        fence ^= line.startswith("```")
        before = out[-1] if out else ""
        item = before.startswith(("- ", "  ")) and not before.startswith("    ")
        indented = line.startswith("    ")
        if not fence and before.strip() and indented != before.startswith("    ") and not item:
            out.append("")
        out.append(line)
    return out
