"""How sequences come in: tables, text, windows, scaling, splits, built-in and generated sets."""

from __future__ import annotations

from saiki.data.audio import Audio, read_audio, resampled
from saiki.data.audio_features import AudioFeatures
from saiki.data.builtin import DATASETS, load
from saiki.data.categories import Categories, embedding_size, fit_categories, require_few_levels
from saiki.data.conll import Tagged, read_tagged
from saiki.data.datasets import Dataset
from saiki.data.missing import (
    MISSING_OPTIONS,
    affected,
    check_complete,
    interpolate,
    interpolate_series,
    mask,
    require_missing_option,
)
from saiki.data.scaling import Scaler, WindowScaling, window_level
from saiki.data.sequences import load_npz, sequences_from_table, steps_first
from saiki.data.splits import TimeSplit, split_in_time, split_sequences
from saiki.data.table import Gap, InputForm, Series, Table, like_form, read_table, show_time, write_csv
from saiki.data.tasks import REBER_SYMBOLS, reber_successors
from saiki.data.times import Frequency, TimeStyle, infer_frequency, parse_times
from saiki.data.tokens import TextCodec, Tokenizer, get_tokenizer
from saiki.data.vocabulary import Vocabulary
from saiki.data.windows import Windows

__all__ = [
    "DATASETS",
    "MISSING_OPTIONS",
    "REBER_SYMBOLS",
    "Audio",
    "AudioFeatures",
    "Categories",
    "Dataset",
    "Frequency",
    "Gap",
    "InputForm",
    "Scaler",
    "Series",
    "Table",
    "Tagged",
    "TextCodec",
    "TimeSplit",
    "TimeStyle",
    "Tokenizer",
    "Vocabulary",
    "WindowScaling",
    "Windows",
    "affected",
    "check_complete",
    "embedding_size",
    "fit_categories",
    "get_tokenizer",
    "infer_frequency",
    "interpolate",
    "interpolate_series",
    "like_form",
    "load",
    "load_npz",
    "mask",
    "parse_times",
    "read_audio",
    "read_table",
    "read_tagged",
    "reber_successors",
    "require_few_levels",
    "require_missing_option",
    "resampled",
    "sequences_from_table",
    "show_time",
    "split_in_time",
    "split_sequences",
    "steps_first",
    "window_level",
    "write_csv",
]
