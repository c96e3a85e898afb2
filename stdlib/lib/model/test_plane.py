"""tenon_plane: a model that the serving plane asks gives what the model itself gives.

The exported models, bodies of requests and predictions are kept in folder _testdata of Go's package model,
which answers the same requests. TENON_UPDATE=1 rewrites them.
"""

import json
import os
from pathlib import Path

import pandas as pd
import pytest

import tenon_model
import tenon_plane
import tenon_step
from conftest import FEATURES, col, mixed, model_out
from tenon_trees import NotExportedError

KEPT = Path(__file__).parents[2] / "serve" / "plane" / "model" / "_testdata"
MODELS = {
    "hist": ("train.sklearn", "sklearn.ensemble.HistGradientBoostingClassifier", "late"),
    "hist_regression": ("train.sklearn", "sklearn.ensemble.HistGradientBoostingRegressor", "delay"),
    "forest": ("train.sklearn", "sklearn.ensemble.RandomForestClassifier", "kind"),
    "extra_trees": ("train.sklearn", "sklearn.ensemble.ExtraTreesRegressor", "delay"),
    "lightgbm": ("train.lightgbm", None, "kind"),
    "xgboost": ("train.xgboost", None, "late"),
}


def params(estimator):
    if estimator is None:
        return {"rounds": 8}
    size = {"max_iter": 10} if "Hist" in estimator else {"n_estimators": 5, "max_depth": 6}
    return {"estimator": estimator, "params": size}


def asked():
    """Rows as a caller sends them, with values that training has not seen."""
    frame, _ = mixed()
    frame = frame[FEATURES].head(60).copy()
    frame["carrier"] = frame["carrier"].where(frame.index % 7 != 0, "never seen")
    frame["at"] += pd.to_timedelta(frame.index * 1234567, unit="us")
    return frame


def body(frame):
    rows = [
        {
            name: None if pd.isna(value) else value.isoformat() if name == "at" else value
            for name, value in row.items()
        }
        for row in frame.to_dict("records")
    ]
    return {"instances": rows}


@pytest.mark.parametrize("name", MODELS)
def test_what_go_compares(fit, name):
    component, estimator, label = MODELS[name]
    model = tenon_model.load(fit(component, params(estimator), label).path("model"))
    frame = asked()
    predicted = model.predict(frame)
    kept = {
        "document": tenon_plane.export(model, None),
        "request": body(frame),
        "predictions": predicted.to_dict("records"),
    }
    path = KEPT / f"{name}.json"
    text = json.dumps(kept, separators=(",", ":"), allow_nan=False) + "\n"
    if os.environ.get("TENON_UPDATE") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8")) == json.loads(text), "TENON_UPDATE=1 rewrites it"


@pytest.mark.parametrize("name", MODELS)
def test_a_trained_model_is_exported_with_rows_to_check(fit, name):
    component, estimator, label = MODELS[name]
    folder = fit(component, params(estimator), label).path("model")
    model = tenon_model.load(folder)
    document = json.loads((folder / tenon_plane.FILE).read_text(encoding="utf-8"))
    kept = document.pop("check")
    assert document == json.loads(json.dumps(tenon_plane.export(model, None)))
    assert len(kept["rows"]) == len(kept["outputs"]) > 50
    columns = [c.name for c in model.signature.input]
    rows = pd.DataFrame(kept["rows"], columns=columns).astype({"at": "datetime64[us]"})
    again = tenon_plane.check(model, rows_as_table(rows, model))
    assert again == kept


def rows_as_table(rows, model):
    return tenon_step.conform(rows, model.signature.input, "the rows")


def test_rows_with_infinite_numbers_are_not_checked(lab):
    inputs = [col("x", "float64", nullable=True), col("n", "int64")]
    x = [float(i % 7) for i in range(200)]
    x[0], x[1], x[2] = float("inf"), float("-inf"), None
    table = lab.table(
        {"x": x, "n": range(200), "y": [i % 2 == 0 for i in range(200)]}, [*inputs, col("y", "bool")]
    )
    outputs = model_out("classification", inputs, col("y", "bool"))
    got = lab.ok("train.lightgbm", params={"rounds": 4}, inputs={"train": table}, outputs=outputs)
    kept = json.loads((got.path("model") / tenon_plane.FILE).read_text(encoding="utf-8"))["check"]
    assert len(kept["rows"]) == 198
    assert [None, 2] in kept["rows"]


def test_a_model_for_python_has_no_export(fit):
    folder = fit("train.sklearn", {"estimator": "sklearn.neighbors.KNeighborsClassifier"}).path("model")
    assert not (folder / tenon_plane.FILE).exists()


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"estimator": "sklearn.neighbors.KNeighborsClassifier"}, "KNeighborsClassifier is no ensemble"),
        (
            {"params": {"objective": "reg:squarederror"}, "rounds": 2},
            "an objective that gives no probabilities",
        ),
    ],
)
def test_what_is_not_exported(fit, spec, says):
    component = "train.sklearn" if "estimator" in spec else "train.xgboost"
    model = tenon_model.load(fit(component, spec).path("model"))
    with pytest.raises(NotExportedError, match=says):
        tenon_plane.export(model, None)
