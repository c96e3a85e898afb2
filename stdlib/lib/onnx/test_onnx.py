"""tenon_onnx: the graphs that Go's package onnx evaluates, too, and the numbers that they get."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tenon_onnx
from tenon_step import StepError

KEPT = Path(__file__).parents[2] / "serve" / "plane" / "onnx" / "testdata"
ENCODING = [{"name": "size", "as": "number"}, {"name": "kind", "as": "text"}, {"name": "day", "as": "years"}]


def encoded(sizes, kinds):
    days = np.arange(len(sizes)) / 2
    return pd.DataFrame({"size": np.array(sizes, float), "kind": pd.Series(kinds, dtype=object), "day": days})


def test_texts_become_a_number_for_each_category_and_missing_numbers_the_median():
    tensor = tenon_onnx.fit(ENCODING, encoded([1, np.nan, 5], ["b", None, "a"]))
    assert tensor == [
        {"column": 0, "as": "number", "missing": 3.0},
        {"column": 1, "as": "onehot", "category": "a"},
        {"column": 1, "as": "onehot", "category": "b"},
        {"column": 1, "as": "onehot", "category": None},
        {"column": 2, "as": "years"},
    ]
    assert tenon_onnx.names(tensor, ENCODING) == ["size", "kind=a", "kind=b", "kind=None", "day"]
    asked = encoded([np.nan, 7, 8], ["a", "never seen", None])
    assert tenon_onnx.numbers(tensor, asked).tolist() == [[3, 1, 0, 0, 0], [7, 0, 0, 0, 0.5], [8, 0, 0, 1, 1]]


def test_a_column_without_nulls_has_no_category_for_them():
    tensor = tenon_onnx.fit(ENCODING, encoded([1, 2], ["a", "a"]))
    assert [f.get("category") for f in tensor if f["as"] == "onehot"] == ["a"]
    assert "missing" not in tensor[0]


def test_the_most_frequent_categories_are_kept(monkeypatch, capfd):
    monkeypatch.setattr(tenon_onnx, "MOST_CATEGORIES", 2)
    tensor = tenon_onnx.fit(ENCODING, encoded([1] * 5, ["c", "b", "c", "b", "a"]))
    assert [f["category"] for f in tensor if f["as"] == "onehot"] == ["b", "c"]
    assert "column kind has 3 values; the 2 most frequent are kept" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["classification", "regression"])
def test_a_graph_gives_the_same_for_any_number_of_rows(name):
    about = json.loads((KEPT / name / "plane.json").read_text())["onnx"]
    given = np.random.default_rng(1).normal(size=(600, about["inputs"]))
    session = tenon_onnx.Session((KEPT / name / "model.onnx").read_bytes(), about["rows"])
    together = session.run(given)
    assert together.shape == (600, about["outputs"])
    alone = np.concatenate([session.run(given[i : i + 1]) for i in range(0, 600, 50)])
    np.testing.assert_allclose(alone, together[::50], rtol=0, atol=1e-6 * about["scale"])
    assert session.run(given[:0]).shape == (0, about["outputs"])


def test_a_quantized_graph_depends_on_the_other_rows_unless_it_sees_one_at_a_time():
    graph = (KEPT / "quantized" / "model.onnx").read_bytes()
    given = np.random.default_rng(1).normal(size=(64, 10)) * 10
    alone, together = tenon_onnx.Session(graph, 1), tenon_onnx.Session(graph, 64)
    one_by_one = alone.run(given)
    assert np.array_equal(alone.run(given[5:6]), one_by_one[5:6])
    assert not np.array_equal(together.run(given), one_by_one)


def test_a_folder_without_a_graph(tmp_path):
    with pytest.raises(StepError, match=r"has no model\.onnx"):
        tenon_onnx.ONNXGraph(tmp_path, {"tensor": []})
