"""Categories: levels learned once, saved, and refused in one sentence when unseen."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saiki.core.errors import DataError, OptionError, SchemaError
from saiki.data import Categories, fit_categories, read_table


def test_one_hot_and_codes():
    city = Categories.fit("city", ["Rome", "Oslo", "Rome"])
    assert city.levels == ("Oslo", "Rome") and city.names == ("city=Oslo", "city=Rome") and city.width == 2
    assert city.encode(["Rome", "Oslo"]).tolist() == [[0, 1], [1, 0]]
    embedded = Categories.fit("city", ["Rome", "Oslo", "Rome"], "embed")
    assert embedded.encode(["Rome", "Oslo"]).tolist() == [[1], [0]]
    assert embedded.width == 1 and embedded.size == 2 and embedded.names == ("city",)


def test_unseen_level():
    table = read_table(io.StringIO("t,city\n1,Rome\n2,Paris\n"))
    city = Categories.fit("city", ["Rome", "Oslo"])
    with pytest.raises(DataError) as caught:
        city.codes(table["city"], table.place)
    assert str(caught.value) == (
        "column 'city' holds 'Paris' in line 3 of the open file, a level the training data did not "
        "have; known: Oslo, "
        "Rome. Correct the cell, or train on data that has this level."
    )
    with pytest.raises(DataError, match=r"in row 0 \(counted from 0\).*Did you mean 'Rome'\?"):
        city.codes(["rome"])
    many = Categories.fit("k", [str(i) for i in range(30)])
    with pytest.raises(DataError, match=r"\.\.\. \(30 in all\)"):
        many.codes(["x"])


def test_missing_levels():
    with pytest.raises(DataError) as caught:
        Categories.fit("city", ["Rome", None])
    assert str(caught.value) == (
        "category column 'city' has 1 missing cell, the first in row 1 (counted from 0); a category "
        "cannot be "
        "interpolated. Fill it in, or use missing='mask', which treats missing as a level."
    )
    masked = Categories.fit("city", ["Rome", None, "Oslo"], missing="mask")
    assert masked.encode(["Rome", None]).tolist() == [[0, 1], [0, 0]]
    assert Categories.fit("city", ["Rome", None], "embed", missing="mask").codes(["Rome", None]).tolist() == [
        0,
        1,
    ]
    assert masked.size == 3
    with pytest.raises(DataError, match="category column 'city' has no value in row 1"):
        Categories.fit("city", ["Rome"]).codes(["Rome", None])
    with pytest.raises(DataError, match="no value at all"):
        Categories.fit("city", [None])


@given(
    st.lists(st.one_of(st.none(), st.text(max_size=4)), min_size=1).filter(
        lambda labels: any(x is not None for x in labels)
    ),
    st.sampled_from(["one_hot", "embed"]),
)
def test_codes_decode_and_survive_saving(labels, encoding):
    categories = Categories.fit("k", labels, encoding, missing="mask")
    again = Categories.restore(categories.to_config())
    assert again == categories
    codes = again.codes(labels)
    assert again.decode(codes).tolist() == labels
    assert codes.max() < again.size
    assert again.encode(labels).shape == (len(labels), again.width) == (len(labels), len(again.names))


def test_detected_and_declared():
    table = read_table(io.StringIO("t,city,code,x\n1,Rome,3,0.5\n2,Oslo,4,1\n"))
    assert [one.column for one in fit_categories(table)] == ["city"]
    declared = fit_categories(table, ["code", "city"], "embed")
    assert [one.levels for one in declared] == [("3", "4"), ("Oslo", "Rome")]
    with pytest.raises(DataError, match="has no category column 'cty'"):
        fit_categories(table, ["cty"])
    with pytest.raises(DataError, match="is the time column"):
        fit_categories(table, ["t"])


def test_refusals():
    with pytest.raises(OptionError, match="did you mean 'one_hot'"):
        Categories.fit("k", ["a"], "onehot")
    good = Categories.fit("k", ["a", "b"]).to_config()
    for levels in ([], ["a", "a"], [1, 2]):
        with pytest.raises(SchemaError):
            Categories.restore({**good, "levels": levels})
