"""serve.http: what POST /explain answers equals the values of the package shap."""

import json

import httpx
import numpy as np
import pytest
import xgboost

import tenon_model
import tenon_step
from conftest import FEATURES, mixed
from testing_services import service

ROWS = 60


def rows():
    frame, _ = mixed()
    for row in frame[FEATURES].head(ROWS).to_dict("records"):
        row["at"] = row["at"].isoformat()
        yield {name: None if value is None or value != value else value for name, value in row.items()}


def explained(shared, served, name, program="go", explain=True):
    with service(shared, {"model": served[name]}, program=program, explain=explain) as (_, url):
        body = json.dumps({"instances": list(rows())}, default=lambda v: v.item())
        return httpx.post(f"{url}/explain", content=body, timeout=60)


def by_column(values, names):
    """Of each row and class, the sums for the columns that features are made of."""
    total = np.zeros((len(values), values.shape[2], len(FEATURES)))
    for i, name in enumerate(names):
        total[:, :, FEATURES.index(name)] += values[:, i]
    return total


def test_a_forest_on_categories_of_text(shared, served):
    shap = pytest.importorskip("shap")
    doc = explained(shared, served, "kind").json()
    assert doc["explains"] == "probability"
    model = tenon_model.load(served["kind"]["path"])
    frame, _ = mixed()
    given = model.features(tenon_step.conform(frame[FEATURES].head(ROWS), model.signature.input, "the rows"))
    steps = model.predictor
    names = [n.partition("__")[2] for n in steps[:-1].get_feature_names_out()]
    columns = [max((c for c in FEATURES if n == c or n.startswith(f"{c}_")), key=len) for n in names]
    explainer = shap.TreeExplainer(steps[-1])
    want = by_column(np.asarray(explainer.shap_values(steps[:-1].transform(given))), columns)
    got = [
        [[e["contributions"][c][name] for name in FEATURES] for c in model.classes]
        for e in doc["explanations"]
    ]
    assert np.allclose(got, want, rtol=0, atol=1e-12)
    assert list(doc["explanations"][0]["base"].values()) == pytest.approx(list(explainer.expected_value))


def test_xgboost_with_categories(shared, served):
    doc = explained(shared, served, "boosted").json()
    assert (doc["explains"], doc["class"]) == ("log-odds", True)
    model = tenon_model.load(served["boosted"]["path"])
    frame, _ = mixed()
    given = model.features(tenon_step.conform(frame[FEATURES].head(ROWS), model.signature.input, "the rows"))
    booster = model.predictor.booster
    given = given.set_axis(booster.feature_names, axis=1)
    want = booster.predict(xgboost.DMatrix(given, enable_categorical=True), pred_contribs=True)
    got = [[e["contributions"][name] for name in FEATURES] + [e["base"]] for e in doc["explanations"]]
    assert np.allclose(got, want, rtol=0, atol=1e-5)


def test_models_that_are_not_explained(shared, served):
    assert explained(shared, served, "minutes", explain=False).status_code == 404
    for name in ("neighbors", "minutes"):
        answer = explained(shared, served, name, program="python")
        assert answer.status_code == 501
        assert "only predictions of trees" in answer.json()["detail"]
