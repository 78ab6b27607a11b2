"""Tables in, checked, and out as they came: every refusal by its exact words."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saiki.core.errors import DataError, OptionError, SaikiError
from saiki.data import read_table, write_csv

GOOD = "date,co2\n2001-01-06,370.1\n2001-01-13,370.5\n2001-01-20,371.0\n"


@pytest.fixture
def csv(tmp_path):
    """Writes text to a file called data.csv and gives its path."""

    def write(text, name="data.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def refusal(source, **options):
    with pytest.raises(DataError) as caught:
        read_table(source, **options)
    return str(caught.value)


# ---- reading


def test_csv(csv):
    table = read_table(csv(GOOD), targets="co2")
    assert table.names == ("date", "co2") and table.time == "date" and table.targets == ("co2",)
    assert table.kinds == {"date": "time", "co2": "number"}
    assert table["co2"].tolist() == [370.1, 370.5, 371.0]
    assert table.times.tolist() == [
        np.datetime64(d).astype("M8[us]").item() for d in ("2001-01-06", "2001-01-13", "2001-01-20")
    ]
    assert table.frequency.name == "1 week" and table.frequency.season == 52
    assert len(table.series) == 1 and table.lengths == (3,)


def test_gzip_by_content_and_open_files(csv):
    expected = read_table(csv(GOOD)).fingerprint()
    assert read_table(csv(gzip.compress(GOOD.encode()), "data.csv.gz")).fingerprint() == expected
    assert read_table(csv(gzip.compress(GOOD.encode()), "misnamed.csv")).fingerprint() == expected
    assert read_table(io.StringIO(GOOD)).fingerprint() == expected
    assert read_table(io.BytesIO(GOOD.encode())).fingerprint() == expected
    assert read_table(io.BytesIO(gzip.compress(GOOD.encode()))).fingerprint() == expected


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (GOOD.replace(",", ";"), {}),
        (GOOD.replace(",", "\t"), {}),
        (GOOD.replace(",", "|"), {}),
        (GOOD.replace("\n", "\r\n"), {}),
        ("\ufeff" + GOOD, {}),
        (GOOD.replace(",", ", "), {}),
        (GOOD.rstrip("\n"), {}),
        (GOOD.replace("\n", "\n\n"), {}),
        (GOOD.replace(",", ";").replace(".", ","), {"decimal": ","}),
        (GOOD.replace("2001-", "2001/").replace("-", "/"), {}),
        (GOOD.replace("-", "").replace("date", "day"), {}),
    ],
    ids=[
        "semicolon",
        "tab",
        "bar",
        "crlf",
        "bom",
        "blank",
        "no-newline",
        "blank-lines",
        "comma-decimal",
        "slashes",
        "digits",
    ],
)
def test_csv_dialects(csv, text, options):
    table = read_table(csv(text), **options)
    assert table["co2"].tolist() == [370.1, 370.5, 371.0]
    assert table.times[0] == np.datetime64("2001-01-06")


@pytest.mark.parametrize("cell", ["", "NA", "NaN", "nan", "null", "N/A", " "])
def test_missing_cells(csv, cell):
    table = read_table(csv(f"date,x,kind\n2001-01-06,{cell},{cell}\n2001-01-07,2,a\n2001-01-08,3,b\n"))
    assert np.isnan(table["x"][0]) and table["x"][1:].tolist() == [2, 3]
    assert table["kind"].tolist() == [None, "a", "b"] and table.categories == ("kind",)


def test_a_column_of_missing_cells_is_a_number_column(csv):
    table = read_table(csv("t,x\n1,\n2,\n"))
    assert table.kinds["x"] == "number" and np.isnan(table["x"]).all()


def test_declared_kinds(csv):
    path = csv("t,code,x\n1,7,1\n2,7.0,2\n3,8,3\n")
    assert read_table(path).kinds["code"] == "number"
    assert read_table(path, categories=["code"])["code"].tolist() == ["7", "7.0", "8"]
    frame = pd.DataFrame({"t": [1, 2, 3], "code": [7.0, np.nan, 8.0]})
    assert read_table(frame, categories=["code"])["code"].tolist() == ["7", None, "8"]
    assert read_table(path, columns=["x"]).names == ("t", "x")


def test_no_header(csv):
    table = read_table(csv("1.5,2\n3,4\n"), header=False)
    assert table.names == ("column 1", "column 2") and table["column 1"].tolist() == [1.5, 3]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("value,when\n1,2001-01-01\n2,2001-01-02\n", "when"),
        ("value,when\n1,20010101\n2,20010102\n", "when"),
        ("YEAR,SUN\n1700,5\n1701,11\n", "YEAR"),
        ("Month,#Passengers\n1949-01,112\n1949-02,118\n", "Month"),
        ("ds,y\n2001-01-01T10:00,1\n2001-01-01T11:00,2\n", "ds"),
        ("date,hour,y\n2001-01-01,5,1\n2001-01-02,3,2\n", "date"),
        ("y,day\n1,5\n2,3\n", None),  # does not increase and is not first: a covariate
        ("Y\n22262\n21756\n", None),
        ("x,flag\n1,0\n2,1\n", None),
    ],
)
def test_time_column_is_found(csv, text, time):
    assert read_table(csv(text)).time == time


def test_time_can_be_named_or_denied(csv):
    path = csv("date,step,y\n2001-01-01,0,1\n2001-01-02,5,2\n2001-01-03,10,3\n")
    assert read_table(path, time="step").frequency.name == "5"
    assert read_table(path, time=False).time is None


def test_several_series_are_grouped_in_order_of_appearance(csv):
    table = read_table(csv("shop,t,y\nb,1,1\na,1,10\nb,2,2\na,2,20\na,3,30\n"), id="shop")
    assert [(s.name, s.start, s.stop, len(s)) for s in table.series] == [("b", 0, 2, 2), ("a", 2, 5, 3)]
    assert table["y"].tolist() == [1, 2, 10, 20, 30] and table.lines.tolist() == [2, 4, 3, 5, 6]
    assert table.place(2) == "line 3 of data.csv"


def test_number_ids_keep_their_type():
    table = read_table({"id": [7, 7, 3], "t": [0, 1, 0], "y": [1.0, 2, 3]}, id="id")
    assert [s.value for s in table.series] == [7, 3] and [s.name for s in table.series] == ["7", "3"]


def test_values_are_views_by_series(csv):
    table = read_table(csv("shop,t,y,z\nb,1,1,5\nb,2,2,6\n"), id="shop")
    values = table.values(["z", "y"])
    assert values.tolist() == [[5, 1], [6, 2]]
    assert np.shares_memory(values, values[table.series[0].rows])


def test_constant_columns(csv):
    table = read_table(csv("s,t,city,y\na,1,Oslo,1\na,2,Oslo,2\nb,1,Rome,3\n"), id="s")
    assert table.constant("city") == ["Oslo", "Rome"]
    with pytest.raises(DataError) as caught:
        table.constant("y")
    assert str(caught.value) == (
        "column 'y' must be constant within a series, but line 3 of data.csv holds 2.0 where series 'a' "
        "began with 1.0. Use a column with one value a series, or declare this one as a covariate."
    )


# ---- refusals


def test_empty_file(csv):
    expected = (
        "data.csv is empty; expected a header line and one row a time step. Check that the right file was "
        "written."
    )
    assert refusal(csv("")) == expected
    assert refusal(csv(" \n\n")) == expected


def test_header_only(csv):
    assert refusal(csv("date,co2\n")) == (
        "data.csv holds a header (date, co2) and no rows; expected at least one row. Check that the "
        "rows were written."
    )
    assert "no rows" in refusal(pd.DataFrame({"date": [], "co2": []}))


def test_text_in_a_number_column(csv):
    text = GOOD + "2001-01-27,about 371\n"
    assert refusal(csv(text)) == (
        "column 'co2' must hold numbers, but line 5 of data.csv holds 'about 371' (3 of its 4 "
        "present cells are "
        "numbers). Correct the cell, leave it empty if the value is missing, or declare the column "
        "in categories."
    )
    frame = pd.DataFrame({"t": [1, 2, 3], "y": ["1", "2", "x"]})
    assert "row 2 (counted from 0) of the pandas frame holds 'x'" in refusal(frame)
    assert "line 2 of data.csv holds 'a'" in refusal(csv("t,y\n1,a\n2,b\n"), numbers=["y"])
    assert "holds '1_000'" in refusal(csv("t,y\n1,1_000\n2,3\n"))


def test_values_of_a_text_column(csv):
    table = read_table(csv("t,y\n1,a\n2,b\n"))
    with pytest.raises(DataError, match=r"column 'y' must hold numbers, but line 2 of data.csv holds 'a'\."):
        table.values("y")
    dated = read_table(csv("date,id,y\n2001-01-01,a,1\n", "dated.csv"), id="id")
    with pytest.raises(
        DataError, match=r"column 'date' must hold numbers, but line 2 of dated.csv holds '2001-01-01'"
    ):
        dated.values(["y", "date"])
    with pytest.raises(DataError, match=r"column 'id' must hold numbers, but line 2 of dated.csv holds 'a'"):
        dated.values(["id"])


def test_decimal_comma_is_recognised(csv):
    assert refusal(csv("date;co2\n2001-01-01;370,1\n2001-01-02;371\n")) == (
        "column 'co2' must hold numbers, but line 2 of data.csv holds '370,1' (1 of its 2 present "
        "cells are numbers). "
        "Read the file with decimal=','."
    )


def test_infinite_values(csv):
    assert refusal(csv(GOOD + "2001-01-27,inf\n2001-02-03,-inf\n")) == (
        "column 'co2' holds 2 infinite values, the first in line 5 of data.csv; expected finite "
        "numbers. Correct the "
        "cell, or leave it empty if the value is missing."
    )
    assert "1 infinite value, the first in row 1" in refusal({"y": np.array([1, np.inf])})
    assert "infinite value" in refusal(np.array([[1.0], [np.inf]]))


def test_duplicate_times(csv):
    assert refusal(csv(GOOD + "2001-01-13,3\n")) == (
        "the time 2001-01-13 occurs 2 times in column 'date': line 3 of data.csv and line 5 of "
        "data.csv. Keep one row "
        "a time, or name the series' column with id=."
    )
    assert refusal(csv("s,t,y\na,1,1\nb,1,2\nb,1,3\n"), id="s") == (
        "the time 1 occurs 2 times in column 't' of series 'b': line 3 of data.csv and line 4 of "
        "data.csv. Keep one "
        "row a time."
    )


def test_unsorted_times(csv):
    path = csv("date,co2\n2001-01-06,1\n2001-01-20,3\n2001-01-13,2\n")
    assert refusal(path) == (
        "the times in column 'date' are not in order: line 4 of data.csv (2001-01-13) comes after "
        "2001-01-20. Sort "
        "the rows by time, or use sort=True."
    )
    assert refusal(csv("hour,y\n1,1\n0,2\n", "hours.csv")).endswith(
        "If 'hour' is no time column, use time=False."
    )
    table = read_table(path, sort=True)
    assert table["co2"].tolist() == [1, 2, 3] and table.lines.tolist() == [2, 4, 3]


def test_gaps(csv):
    path = csv("date,co2\n2001-01-06,1\n2001-01-13,2\n2001-01-20,3\n2001-02-10,4\n")
    assert refusal(path) == (
        "the series of data.csv has gaps: at a step of 1 week, 2 rows are absent in 1 place, the "
        "first between "
        "2001-01-20 and 2001-02-10. Use gaps='complete' to add the absent rows with missing cells, "
        "or gaps='keep' to "
        "take the rows as they are."
    )
    kept = read_table(path, gaps="keep")
    assert len(kept) == 4 and [gap.missing for gap in kept.gaps] == [2]
    complete = read_table(path, gaps="complete")
    assert complete.time_style.write(complete.times).tolist() == [
        "2001-01-06", "2001-01-13", "2001-01-20", "2001-01-27", "2001-02-03", "2001-02-10",
    ]  # fmt: skip
    np.testing.assert_array_equal(complete["co2"], [1, 2, 3, np.nan, np.nan, 4])
    assert complete.lines.tolist() == [2, 3, 4, -1, -1, 5] and complete.gaps == ()
    assert complete.place(3) == "a row added to data.csv"


def test_completion_keeps_ids_and_leaves_categories_missing(csv):
    table = read_table(csv("s,t,k,y\na,1,u,1\na,2,v,1\na,4,w,2\nb,1,u,3\nb,2,u,4\n"), id="s", gaps="complete")
    assert table["s"].tolist() == ["a"] * 4 + ["b"] * 2 and table["k"].tolist() == [
        "u",
        "v",
        None,
        "w",
        "u",
        "u",
    ]
    assert table.lengths == (4, 2) and table["t"].tolist() == [1, 2, 3, 4, 1, 2]


def test_irregular_times(csv):
    path = csv("date,y\n2001-01-01,1\n2001-01-02,2\n2001-01-03,3\n2001-01-03 05:00,4\n")
    assert refusal(path) == (
        "the times in column 'date' are irregular: the usual step is 1 day, but line 5 of data.csv "
        "(2001-01-03 05:00) "
        "follows 2001-01-03 00:00. Bring the rows to one step (resample them), or use gaps='keep' to "
        "take them as "
        "equally spaced."
    )
    assert "irregular" in refusal(path, gaps="complete")
    assert read_table(path, gaps="keep").irregular == 3


def test_unknown_columns(csv):
    path = csv(GOOD)
    assert refusal(path, targets="CO2 ") == (
        "data.csv has no target column 'CO2 '; its columns are date, co2. Did you mean 'co2'?"
    )
    assert refusal(path, time="year").startswith(
        "data.csv has no time column 'year'; its columns are date, co2."
    )
    assert refusal(path, id="site").startswith("data.csv has no id column 'site'")
    assert refusal(path, columns=["c02"]).endswith("Did you mean 'co2'?")
    with pytest.raises(DataError, match="has no column 'x'"):
        read_table(path)["x"]


def test_times_that_are_none(csv):
    assert refusal(csv("date,y\n2001-01-01,1\nsoon,2\n")) == (
        "column 'date' must hold times, but line 3 of data.csv holds 'soon'. Write times as "
        "2001-12-29, 2001-12-29 "
        "13:00, 20011229 or numbers, or name another column with time=."
    )
    assert "line 2 of data.csv holds '13/01/2001'" in refusal(csv("date,y\n13/01/2001,1\n"))
    assert "line 3 of data.csv holds '2001-02-30'" in refusal(csv("date,y\n2001-02-01,1\n2001-02-30,2\n"))
    assert refusal(csv("date,y\n2001-02-01,1\n,2\n")) == (
        "the time column 'date' has no value in line 3 of data.csv (1 missing cell in all); expected "
        "one in every "
        "row. Fill the cell, or remove the row."
    )


def test_wrong_number_of_cells(csv):
    assert refusal(csv("a,b\n1,2\n3\n")) == (
        "line 3 of data.csv has 1 cell, but the header names 2 columns. Quote a cell that holds the "
        "delimiter, or "
        "name the delimiter with delimiter=."
    )


def test_no_names_in_the_first_line(csv):
    assert refusal(csv("1,2\n3,4\n")) == (
        "the first line of data.csv holds numbers only (1, 2); expected the names of the columns. "
        "Add a header line, "
        "or use header=False (the columns are then called column 1, column 2, ...)."
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a,b\n1,\xff\n", "data.csv is not UTF-8 text: line 2 holds the byte 0xff."),
        (b"\x1f\x8bnonsense", "data.csv is a damaged gzip file"),
        (b"a,b\n1,\x00\n", "data.csv holds NUL bytes"),
        (
            b'a,b\n1,"' + b"x" * 200_000 + b'"\n',
            "line 2 of data.csv is no CSV: field larger than field limit",
        ),
        (b"a,a\n1,2\n", "data.csv has two columns called 'a'."),
        (b'a,b\n1,"2\n3,4\n', "line 3 of data.csv is no CSV: unexpected end of data. Check the quotes."),
        (b'"', "data.csv is no CSV"),
    ],
)
def test_damaged_files(csv, content, words):
    assert words in refusal(csv(content))


def test_no_file(tmp_path):
    assert "there is no file at" in refusal(tmp_path / "none.csv")
    assert "there is a folder at" in refusal(tmp_path)


def test_damaged_parquet(csv):
    assert "data.parquet cannot be read as Parquet" in refusal(csv(b"PAR1 no", "data.parquet"))


@pytest.mark.parametrize("source", [3, None, [1, 2], object()])
def test_what_is_no_table(source):
    assert "is no table; expected a path, a pandas, polars or pyarrow frame" in refusal(source)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (np.zeros((2, 2, 2)), r"\(T,\) or \(T, F\); this one is \(2, 2, 2\)"),
        (np.zeros((0, 2)), "the array is empty"),
        (np.array(["a"]), "must hold numbers"),
        ({}, "the mapping has no columns"),
        ({"a": [1, 2], "b": [1]}, "column 'b' has 1 row, but column 'a' has 2"),
        ({"a": [[1], [2]]}, "expected one value a row"),
    ],
)
def test_malformed_arrays_and_mappings(source, words):
    with pytest.raises(DataError, match=words):
        read_table(source)


@pytest.mark.parametrize("unit", ["D", "s", "us", "ns"])
def test_a_mapping_may_hold_numpy_dates(unit):
    days = np.arange("2020-01-30", "2020-02-03", dtype="datetime64[D]").astype(f"datetime64[{unit}]")
    table = read_table({"day": days, "level": np.arange(4.0)})
    assert table.time == "day" and table.frequency.name == "1 day"
    np.testing.assert_array_equal(table.times, days)
    with pytest.raises(DataError, match="column 'level' has 3 rows, but column 'day' has 4"):
        read_table({"day": days, "level": np.arange(3.0)})


def test_unknown_options(csv):
    path = csv(GOOD)
    for option in ({"gaps": "fill"}, {"decimal": ";"}, {"delimiter": ",,"}):
        with pytest.raises(OptionError):
            read_table(path, **option)
    with pytest.raises(OptionError, match="both in categories and in numbers"):
        read_table(path, categories=["co2"], numbers=["co2"])


# ---- in and out as they came


def frame_columns(table):
    return {"date": table.frequency.following(table.times[-1], 2), "forecast": np.array([1.5, 2.5])}


def test_pandas_in_and_out():
    frame = pd.DataFrame({"date": pd.to_datetime(["2001-01-06", "2001-01-13"]), "co2": [1.0, None]})
    table = read_table(frame)
    out = table.like_input(frame_columns(table))
    assert isinstance(out, pd.DataFrame)
    assert out["date"].tolist() == [pd.Timestamp("2001-01-20"), pd.Timestamp("2001-01-27")]
    assert out["forecast"].tolist() == [1.5, 2.5]


def test_pandas_index_in_and_out():
    index = pd.date_range("2001-01-06", periods=3, freq="7D", tz="Europe/Berlin", name="date")
    series = pd.Series([1.0, 2.0, 3.0], index=index, name="co2")
    for source in (series, series.to_frame()):
        table = read_table(source)
        assert table.time == "date" and table.frequency.name == "1 week"
        out = table.like_input(frame_columns(table))
        assert out.index.name == "date" and str(out.index.tz) == "Europe/Berlin"
        assert out.index[0] == pd.Timestamp("2001-01-27", tz="Europe/Berlin")


def test_pandas_oddities():
    frame = pd.DataFrame(
        {
            "t": pd.period_range("2001-01", periods=3, freq="M").to_timestamp(),
            "kind": pd.Categorical(["a", None, "b"]),
            "flag": [True, False, True],
            "whole": pd.array([1, None, 3], dtype="Int64"),
            "mixed": [1, "2", None],
        }
    )
    table = read_table(frame)
    assert table.frequency.name == "1 month" and table["kind"].tolist() == ["a", None, "b"]
    assert table["flag"].tolist() == [1, 0, 1]
    np.testing.assert_array_equal(table["whole"], [1, np.nan, 3])
    np.testing.assert_array_equal(table["mixed"], [1, 2, np.nan])


def test_polars_in_and_out():
    frame = pl.DataFrame({"date": ["2001-01-06", "2001-01-13"], "co2": [1.0, None]}).with_columns(
        pl.col("date").str.to_date()
    )
    table = read_table(frame)
    assert np.isnan(table["co2"][1])
    out = table.like_input(frame_columns(table))
    assert isinstance(out, pl.DataFrame) and out["date"].dtype == pl.Date
    assert [str(day) for day in out["date"]] == ["2001-01-20", "2001-01-27"]
    assert read_table(frame.lazy()).fingerprint() == table.fingerprint()


def test_polars_zones_come_back():
    frame = pl.DataFrame({"date": ["2001-01-06 10:00", "2001-01-06 11:00"], "y": [1, 2]}).with_columns(
        pl.col("date").str.to_datetime(time_zone="UTC").dt.convert_time_zone("Asia/Tokyo")
    )
    table = read_table(frame)
    assert table.times[0] == np.datetime64("2001-01-06T10:00")
    out = table.like_input(frame_columns(table))
    assert out["date"].dtype.time_zone == "Asia/Tokyo"
    assert out["date"].dt.convert_time_zone("UTC").dt.hour().to_list() == [12, 13]


def test_pyarrow_in_and_out():
    frame = pa.table({"date": ["2001-01-06", "2001-01-13"], "co2": [1.0, 2.0]})
    table = read_table(frame)
    out = table.like_input(frame_columns(table))
    assert isinstance(out, pa.Table) and out["date"].to_pylist() == ["2001-01-20", "2001-01-27"]


def test_parquet_in(tmp_path):
    frame = pl.DataFrame({"date": ["2001-01-06", "2001-01-13"], "co2": [1.0, None]})
    frame.write_parquet(tmp_path / "data.parquet")
    table = read_table(tmp_path / "data.parquet")
    assert table.form.source == "data.parquet"
    assert type(table.like_input({"co2": [1.0]})) is pl.DataFrame
    np.testing.assert_array_equal(table["co2"], [1, np.nan])


def test_csv_out_writes_times_as_they_were(csv):
    for text, expected in (
        (GOOD, ["2001-01-27", "2001-02-03"]),
        (GOOD.replace("-", ""), [20010127, 20010203]),
        (GOOD.replace("-", "/"), ["2001/01/27", "2001/02/03"]),
        ("t,y\n1,5\n2,6\n3,7\n", [4, 5]),
        ("date,y\n1949-01,5\n1949-02,6\n", ["1949-03", "1949-04"]),
        ("date,y\n2001-01-01T10:00,5\n2001-01-01T11:30,6\n", ["2001-01-01T13:00", "2001-01-01T14:30"]),
        (
            "date,y\n2001-01-01 10:00:00,5\n2001-01-01 10:00:10,6\n",
            ["2001-01-01 10:00:20", "2001-01-01 10:00:30"],
        ),
        (
            "date,y\n2001-01-01T10:00Z,5\n2001-01-01T13:00+02:00,6\n",
            ["2001-01-01T12:00+00:00", "2001-01-01T13:00+00:00"],
        ),
    ):
        table = read_table(csv(text))
        out = table.like_input({table.time: table.frequency.following(table.times[-1], 2)})
        assert out[table.time].tolist() == expected


def test_array_in_and_out():
    table = read_table(np.arange(6.0).reshape(3, 2))
    assert table.names == ("y0", "y1") and table.time is None
    assert table.like_input({"y0": [1.0], "y1": [2.0]}).tolist() == [[1, 2]]
    assert read_table(np.arange(3)).names == ("y",)


def test_write_csv_reads_back(csv):
    table = read_table(csv("date,y,k\n2001-01-01,0.1,a\n2001-01-02,,\n2001-01-03,3,b\n"))
    again = read_table(csv(write_csv(table.columns), "again.csv"))
    assert again.fingerprint() == table.fingerprint()
    frame = pd.DataFrame({"date": table.times, "y": table["y"]})
    assert write_csv(frame) == "date,y\n2001-01-01,0.1\n2001-01-02,\n2001-01-03,3.0\n"


numbers = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), numbers, st.sampled_from(["p", "q", 'a "quoted", level', None])),
        min_size=1,
        max_size=20,
    )
)
def test_long_frames_survive_every_way_in(rows):
    """CSV, pandas, polars and a mapping of the same rows give the same table, series by series."""
    columns = {
        "id": [row[0] for row in rows],
        "t": list(range(len(rows))),
        "y": [row[1] for row in rows],
        "k": [row[2] for row in rows],
    }
    text = write_csv({name: np.array([*values, None], dtype=object)[:-1] for name, values in columns.items()})
    options = {"id": "id", "time": "t", "gaps": "keep", "categories": ["k"]}
    tables = [
        read_table(source, **options)
        for source in (
            io.StringIO(text),
            pd.DataFrame(columns),
            pl.DataFrame(columns, schema={"id": pl.String, "t": pl.Int64, "y": pl.Float64, "k": pl.String}),
            columns,
        )
    ]
    for table in tables:
        assert table.fingerprint() == tables[0].fingerprint()
        for series in table.series:
            expected = [np.nan if y is None else y for name, y, _ in rows if name == series.name]
            np.testing.assert_array_equal(table["y"][series.rows], expected)


def test_fingerprint_sees_every_cell(csv):
    seen = {
        read_table(csv(text)).fingerprint()
        for text in (
            GOOD,
            GOOD.replace("371.0", "371.1"),
            GOOD.replace("co2", "co"),
            GOOD.replace("2001", "2002"),
        )
    }
    assert len(seen) == 4


CELLS = st.sampled_from(
    [
        "",
        "1",
        "2",
        "2.5",
        "-3e5",
        "inf",
        "nan",
        "x",
        "2001-01-01",
        "20010102",
        '"',
        ";",
        "é",
        "1_0",
        "\x00",
        "²",
    ]
)


@given(
    st.one_of(
        st.binary(max_size=60),
        st.text(max_size=60).map(str.encode),
        st.lists(st.lists(CELLS, min_size=1, max_size=4).map(",".join), max_size=6).map(
            lambda rows: "\n".join(rows).encode()
        ),
        st.binary(max_size=20).map(lambda tail: gzip.compress(GOOD.encode())[:-8] + tail),
    ),
    st.sampled_from(
        [{}, {"time": False}, {"gaps": "complete"}, {"gaps": "keep", "sort": True}, {"header": False}]
    ),
)
def test_any_bytes_are_a_table_or_a_clear_refusal(content, options):
    try:
        table = read_table(io.BytesIO(content), **options)
    except SaikiError as error:
        assert str(error).endswith((".", "?"))  # noqa: PT017 (both ends are right; the words are tested above)
        return
    assert len(table) > 0 and all(len(values) == len(table) for values in table.columns.values())
    for name in table.numbers:
        assert not np.isinf(table[name]).any()
    assert sum(table.lengths) == len(table)


def test_reading_a_table_needs_no_torch():
    code = "import sys, saiki.data; saiki.data.load('co2'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
