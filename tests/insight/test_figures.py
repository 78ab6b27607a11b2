"""The pictures: valid, self-contained, unambiguous in one page, and true to their data."""

from __future__ import annotations

import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from saiki.core.errors import OptionError, ShapeError, ValueRangeError
from saiki.core.record import EpochRecord, FitRecord
from saiki.insight import figures

SVG = "{http://www.w3.org/2000/svg}"


def _epoch(epoch, loss, validation_loss=None, updates=None):
    at = 10 * epoch if updates is None else updates
    return EpochRecord(
        epoch=epoch, updates=at, loss=loss, validation_loss=validation_loss, lr=0.1, seconds=1.0 * epoch
    )


def _fit(epochs, updates, best_epoch=None):
    return FitRecord(epochs=epochs, updates=updates, best_epoch=best_epoch)


def _record(n=9):
    epochs = [_epoch(k, 1.0 / k, 1.2 / k) for k in range(1, n + 1)]
    return _fit(epochs, [(k, 0.1, 2.0 + np.sin(k)) for k in range(1, 10 * n)], best_epoch=n - 1)


QUANTILES = {0.1: np.arange(5.0) - 1, 0.5: np.arange(5.0), 0.9: np.arange(5.0) + 1}
PICTURES = {
    "learning_curves": lambda: figures.learning_curves(_record()),
    "gradient_norm": lambda: figures.gradient_norm(_record(), clip_norm=1.0),
    "gradient_norm_many": lambda: figures.gradient_norm(_record(40), clip_norm=1.0),
    "error_by_horizon": lambda: figures.error_by_horizon({"model": [1, 2.0, 3], "naive": [2, np.nan, 4]}),
    "forecast_fan": lambda: figures.forecast_fan(np.arange(5), QUANTILES, truth=[0, np.nan, 2, np.nan, 4]),
    "forecast_fan_dates": lambda: figures.forecast_fan(
        np.arange("2001-01-06", "2001-02-10", 7, dtype="datetime64[D]"),
        QUANTILES,
        past_times=np.array(["2000-12-23", "2000-12-30"], dtype="datetime64[D]"),
        past=[1.0, 2.0],
        name="CO₂",
        unit="ppm",
    ),
    "confusion": lambda: figures.confusion([[5, 1], [0, 7]], ["yes", "no"]),
    "confusion_large": lambda: figures.confusion(np.eye(60), [f"class {k}" for k in range(60)]),
    "agreement": lambda: figures.agreement([1.0, 2.0, np.nan], [1.1, 1.8, 3.0], name="level", unit="cm"),
    "attention_bars": lambda: figures.attention_over_steps([0.2, 0.5, 0.3], steps=["a", "b", "c"]),
    "attention_strips": lambda: figures.attention_over_steps(np.full((3, 4), 0.25), lengths=[4, 0, 2]),
    "traces": lambda: figures.traces(
        {"gates": {"i": np.zeros(6), "f": np.ones(6)}, "state": {"c": np.arange(6)}}
    ),
}


def words(svg):
    return [e.text for e in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_one_self_contained_svg_element(name):
    svg = PICTURES[name]()
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg" and root.attrib["role"] == "img" and root.attrib["aria-label"]
    assert not list(root.iter(f"{SVG}style")) and not list(root.iter(f"{SVG}image"))
    links = re.findall(r'(?:href="|url\()([^")]*)', svg)
    assert all(link.startswith("#") for link in links)
    ids = {e.attrib["id"] for e in root.iter() if "id" in e.attrib}
    assert {link[1:] for link in links} == ids  # each link has its target, no id is idle
    assert "font-family" not in svg  # the page's own font sets the text


@pytest.mark.parametrize("name", PICTURES)
def test_every_colour_follows_the_theme(name):
    left = re.sub(r"var\(--saiki-\w+, #[0-9a-f]{6}\)", "", PICTURES[name]())
    assert not re.findall(r"#[0-9a-fA-F]{6}\b|#000\b|black|white", left)


def test_ids_of_different_pictures_do_not_clash_and_the_same_data_give_the_same_bytes():
    svgs = [draw() for draw in PICTURES.values()]
    ids = [i for svg in svgs for i in set(re.findall(r'\bid="([^"]+)"', svg))]
    assert ids and len(ids) == len(set(ids))
    assert svgs == [draw() for draw in PICTURES.values()]


@pytest.mark.parametrize("name", PICTURES)
def test_text_stays_inside_the_picture(name):
    """Widths are estimated with 7.2 px a letter, a little more than wide interface fonts need."""
    root = ElementTree.fromstring(PICTURES[name]())
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for e in root.iter(f"{SVG}text"):
        if "rotate" in e.attrib.get("transform", ""):
            continue
        x, y, long = float(e.attrib["x"]), float(e.attrib["y"]), 7.2 * len(e.text)
        anchor = re.search(r"text-anchor: (\w+)", e.attrib["style"])
        start = x - {"start": 0, "middle": long / 2, "end": long}[anchor[1] if anchor else "start"]
        assert start >= -1 and start + long <= width + 1, (e.text, start, width)
        assert 0 <= y <= height, (e.text, y, height)


def test_lines_are_named_at_their_ends_and_the_kept_epoch_is_marked():
    found = words(figures.learning_curves(_record()))
    assert {"training", "validation", "kept: epoch 8", "epoch", "loss"} <= set(found)
    fan = words(PICTURES["forecast_fan"]())
    assert {"10–90 %", "median", "measured"} <= set(fan)
    assert {"forecast from here", "CO₂, ppm"} <= set(words(PICTURES["forecast_fan_dates"]()))


def test_evaluations_within_an_epoch_are_placed_by_their_updates():
    rows = [_epoch(1, 0.5, 0.6, updates=4), _epoch(1, 0.4, 0.3, updates=8), _epoch(2, 0.3, 0.5, updates=12)]
    found = words(figures.learning_curves(_fit(rows, [], best_epoch=1)))
    assert "update" in found and "epoch" not in found and "kept: update 8" in found


def test_labels_at_line_ends_do_not_overlap():
    svg = figures.error_by_horizon({"model": [1.0, 1], "a": [1.0, 1], "b": [1.0, 1], "c": [1.0, 1.001]})
    root = ElementTree.fromstring(svg)
    ys = sorted(float(e.attrib["y"]) for e in root.iter(f"{SVG}text") if e.text in ("model", "a", "b", "c"))
    assert len(ys) == 4 and min(np.diff(ys)) >= 14.9


def test_names_too_long_for_the_end_of_a_line_make_a_key_below():
    names = ["model", "ridge on window-scaled lags", "LASSO on window-scaled lags"]
    svg = figures.error_by_horizon({n: [1.0 + k, 2.0] for k, n in enumerate(names)}, width=360)
    texts = {e.text: e.attrib for e in ElementTree.fromstring(svg).iter(f"{SVG}text")}
    ys = [float(texts[n]["y"]) for n in names]
    assert min(ys) > float(texts["steps ahead"]["y"]) and len(set(ys)) == 3
    assert all(float(texts[n]["x"]) < 100 for n in names)


def test_of_many_methods_the_first_and_the_three_best_have_colours():
    errors = {"naive": [9.0], **{f"method {k}": [float(k)] for k in range(2, 8)}, "model": [1.0]}
    root = ElementTree.fromstring(figures.error_by_horizon(errors))
    styles = {e.text: e.attrib["style"] for e in root.iter(f"{SVG}text")}
    for name in ("naive", "method 2", "method 3", "method 4"):
        assert "other" in styles[name]
    for name in ("method 5", "method 6", "method 7"):
        assert "muted" in styles[name]


def test_confusion_writes_counts_and_the_share_found():
    found = words(figures.confusion([[3, 1], [0, 6]], ["a", "b"]))
    assert {"3", "1", "6", "75 %", "100 %", "9 of 10 right (90.0 %)"} <= set(found) and "0" not in found


def test_a_class_without_cases_has_no_share():
    assert "–" in words(figures.confusion([[0, 0], [1, 6]], ["a", "b"]))


def test_odd_names_are_text_and_nothing_else():
    name = 'a $x$ <b> & "q" \x00 url(#z) #0068a8'
    svg = figures.error_by_horizon({name: [1.0, 2.0]}, model=name, unit="$")
    assert 'a $x$ <b> & "q" � url(' in " ".join(w or "" for w in words(svg))


def test_numbers_that_never_came_are_gaps_and_single_points_are_dots():
    svg = figures.forecast_fan(np.arange(5), QUANTILES, truth=[0, np.nan, 2, np.nan, 4])
    uses = [e for e in ElementTree.fromstring(svg).iter(f"{SVG}use") if "ink" in e.attrib.get("style", "")]
    assert len(uses) == 3
    nothing = figures.forecast_fan(np.arange(5), {0.5: np.full(5, np.nan)})
    assert "nan" not in nothing.lower().replace("median", "")


@pytest.mark.parametrize("n", [1, 2])
def test_one_epoch_one_step_one_class_are_drawn(n):
    assert figures.learning_curves(_fit([_epoch(k + 1, 0.5) for k in range(n)], []))
    assert figures.gradient_norm(_fit([], [(k + 1, 0.5, 1.0) for k in range(n)]))
    assert figures.error_by_horizon({"model": [0.5] * n})
    assert figures.forecast_fan(np.arange(n), {0.5: np.ones(n)}, truth=np.ones(n))
    assert figures.confusion(np.ones((n, n)), range(n))
    assert figures.attention_over_steps(np.full(n, 1.0 / n))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: figures.learning_curves(_fit([], [])), ValueRangeError, "holds no epoch"),
        (lambda: figures.gradient_norm(_fit([], [])), ValueRangeError, "holds no update"),
        (lambda: figures.error_by_horizon({}), ShapeError, "no method"),
        (lambda: figures.error_by_horizon({"model": [1], "a": [1, 2]}), ShapeError, "all of one length"),
        (lambda: figures.error_by_horizon({"a": [1, 2]}), OptionError, "model='model'"),
        (lambda: figures.forecast_fan([1, 2], {0.5: [1.0]}), ShapeError, r"must be \(2,\) like times"),
        (lambda: figures.forecast_fan([1], {1.5: [1.0]}), ValueRangeError, "between 0 and 1"),
        (lambda: figures.forecast_fan([1], {0.5: [1.0]}, truth=[1, 2]), ShapeError, r"truth is \(2,\)"),
        (lambda: figures.forecast_fan([1], {0.5: [1.0]}, past=[1, 2]), ShapeError, "go together"),
        (lambda: figures.forecast_fan([], {0.5: []}), ShapeError, "times must be"),
        (lambda: figures.confusion([[1, 2]], ["a"]), ShapeError, r"must be \(1, 1\)"),
        (lambda: figures.confusion([[-1]], ["a"]), ValueRangeError, "not negative"),
        (lambda: figures.agreement([1.0], [1.0, 2.0]), ShapeError, "both must be"),
        (lambda: figures.agreement([np.nan], [1.0]), ValueRangeError, "no pair"),
        (lambda: figures.attention_over_steps(np.ones((1, 2, 3))), ShapeError, r"\(T,\) or \(n, T\)"),
        (lambda: figures.attention_over_steps([np.nan]), ValueRangeError, "finite"),
        (lambda: figures.attention_over_steps([[1.0]], lengths=[2]), ShapeError, "lengths"),
        (lambda: figures.traces({"a": {"x": [1, 2], "y": [1]}}), ShapeError, "one length"),
        (lambda: figures.confusion([[1]], ["a"], width=100), ValueRangeError, "200 × 60"),
    ],
)
def test_what_does_not_fit_is_a_clear_error(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_a_standalone_file_brings_background_font_and_both_colour_schemes():
    text = figures.standalone(PICTURES["confusion"]())
    root = ElementTree.fromstring(text.split("\n", 1)[1])
    style = root.find(f"{SVG}style").text
    assert "prefers-color-scheme: dark" in style and "font-family" in style
    assert style.count("--saiki-ink:") == 2
    assert float(root.attrib["width"]) > 0


def test_pictures_leave_matplotlibs_state_alone_and_load_it_only_when_drawn():
    code = (
        "import sys; from saiki.insight import figures\n"
        "assert not {'matplotlib', 'jinja2'} & set(sys.modules), 'loaded on import'\n"
        "import matplotlib\n"
        "def now(): return {k: v for k, v in matplotlib.rcParams.items() if k != 'backend'}\n"
        "before = now()\n"
        "figures.confusion([[1]], ['a'])\n"
        "assert now() == before\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_text_colours_can_be_read_on_their_page():
    """4.5 : 1 is what WCAG 2.2 asks of text; the series colours are text too, at the ends of their lines."""

    def luminance(colour):
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        parts = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    for scheme in (0, 1):
        paper = luminance(figures.THEME["paper"][scheme])
        for role in ("ink", "muted", "model", "other1", "other2", "other3", "other4"):
            ink = luminance(figures.THEME[role][scheme])
            contrast = (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05)
            assert contrast >= 4.5, (role, scheme, contrast)


def test_drawing_does_not_load_pyplot():
    code = "import sys; from saiki.insight import figures; figures.confusion([[1]], ['a'])\n"
    code += "assert 'matplotlib.pyplot' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
