"""monitor.evidently: the figures of its JSON are those of monitor.#Drift on the same rows."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from conftest import col
from tenon_step import StepError

FRAMES = Path(__file__).parents[1] / "measure" / "_reference"
TYPES = {
    "normal": "float64",
    "heavy": "float64",
    "same": "float64",
    "whole": "int64",
    "few": "int64",
    "some": "int32",
    "flag": "bool",
    "city": "string",
    "new": "string",
    "at": "timestamp",
    "holes": "float64",
    "constant": "float64",
}
SCHEMA = [col(name, kind, nullable=True) for name, kind in TYPES.items()]
OUT = {"html": {"kind": "file"}, "json": {"kind": "file"}}
FIGURES = json.loads((FRAMES / "figures.json").read_text())


def ports(requests, reference):
    port = {"kind": "table", "format": "parquet", "schema": SCHEMA}
    return {"requests": {**port, "path": str(requests)}, "reference": {**port, "path": str(reference)}}


def run(lab, inputs, columns=None, exclude=()):
    params = {"columns": columns or {}, "exclude": list(exclude), "alpha": 0.05}
    return lab.inside("monitor.evidently", inputs=inputs, outputs=OUT, params=params)


def scores(outcome):
    """The configuration and the score of each column."""
    metrics = json.loads(outcome.path("json").read_text())["metrics"]
    return {m["config"]["column"]: (m["config"], m["value"]) for m in metrics if "column" in m["config"]}


@pytest.mark.parametrize("frame", ["small", "large"])
@pytest.mark.parametrize("spec", ["default", "limited"])
def test_figures_are_those_of_a_drift(lab, frame, spec):
    want = FIGURES[frame][spec]
    inputs = ports(FRAMES / f"{frame}_current.parquet", FRAMES / f"{frame}_reference.parquet")
    got = run(lab, inputs, want["columns"])
    found = scores(got)
    assert set(found) == set(TYPES)
    for figure in want["figures"]:
        config, score = found[figure["column"]]
        limited = "max" in want["columns"].get(figure["column"], {})
        by_p = figure["test"] in ("ks", "chi_square") and not limited
        assert score == pytest.approx(figure["p" if by_p else "value"], rel=1e-9, abs=1e-12), figure
        assert config["threshold"] == (0.05 if by_p else figure["max"]), figure
    rows = pq.read_metadata(inputs["requests"]["path"]).num_rows
    assert json.loads(got.path("json").read_text())["metrics"][0]["value"] == rows
    assert b"<html" in got.files("html")[""][:200].lower()


def test_a_column_without_values_is_left_out(lab, capsys):
    rows = {name: [None] * 3 for name in TYPES} | {"normal": [1.0, float("inf"), 2.0]}
    requests = lab.table(rows, SCHEMA)["path"]
    got = run(lab, ports(requests, FRAMES / "small_reference.parquet"))
    assert set(scores(got)) == {"normal"}
    assert "column city is not compared: the requests have no values of it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("columns", "want"),
    [
        ({"city": {"test": "ks"}}, "column city of type string: ks compares numbers and times"),
        ({"normal": {"test": "wasserstein"}}, "column normal: a report of Evidently needs a limit"),
        ({"nrmal": {"max": 1}}, "column nrmal is not compared; did you mean normal"),
    ],
)
def test_refused(lab, columns, want):
    inputs = ports(FRAMES / "small_current.parquet", FRAMES / "small_reference.parquet")
    with pytest.raises(StepError, match=want):
        run(lab, inputs, columns)
