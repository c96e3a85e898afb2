"""tenon_trees: covers of nodes, from which the serving plane computes the values of SHAP.

The contributions that the package shap gives (TreeExplainer, path-dependent, of the raw output), or the
library itself where shap only asks it or has no support, are kept in the folder _testdata/explained of Go's
package trees, which compares its own. TENON_UPDATE=1 rewrites them.
"""

import json
import os

import numpy as np
import pytest
import xgboost
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

import tenon_trees
from test_trees import ASKED, FLAG, KEPT, LIGHTGBM, NUMBER, SKLEARN, TRAIN, XGBOOST, train_lightgbm

# shap has no support for categories of HistGradientBoosting: Go's tests compare these by enumeration.
NUMERIC = {
    "hist_classifier": (HistGradientBoostingClassifier(max_iter=12, max_leaf_nodes=12), FLAG),
    "hist_regressor": (HistGradientBoostingRegressor(max_iter=12, max_leaf_nodes=12), NUMBER),
}
FORESTS = {name: SKLEARN[name] for name in SKLEARN if not name.startswith("hist")}
NUMBERS = list(TRAIN)[:-1]


def contributions(predictor, asked):
    """For each row, those of each output and feature, and the base of each output."""
    shap = pytest.importorskip("shap")
    explainer = shap.TreeExplainer(predictor, feature_perturbation="tree_path_dependent", model_output="raw")
    values = np.asarray(explainer.shap_values(asked, check_additivity=False))
    if values.ndim == 2:
        values = values[:, :, None]
    return values.transpose(0, 2, 1), np.ravel(explainer.expected_value)


def own(flat, outputs):
    """The same from what LightGBM and XGBoost give: the base comes after the features of an output."""
    parts = np.asarray(flat, dtype=float).reshape(len(ASKED), outputs, -1)
    return parts[:, :, :-1], parts[0, :, -1]


def compare(name, document, asked, values, base):
    """The document, the rows and the contributions are those that Go compares."""
    kept = {
        "model": document,
        "rows": [[None if np.isnan(x) else x for x in row] for row in asked.tolist()],
        "contributions": values.tolist(),
        "base": base.tolist(),
    }
    path = KEPT / "explained" / f"{name}.json"
    if os.environ.get("TENON_UPDATE") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(kept, separators=(",", ":"), allow_nan=False) + "\n", encoding="utf-8")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["model"] == json.loads(json.dumps(document)), "TENON_UPDATE=1 rewrites it"
    assert found["rows"] == kept["rows"]
    assert np.allclose(found["contributions"], values, rtol=1e-9, atol=1e-12)
    assert np.allclose(found["base"], base, rtol=1e-9)


@pytest.mark.parametrize("name", [*NUMERIC, *FORESTS])
def test_scikit_learn(name):
    model, y = (NUMERIC | FORESTS)[name]
    model.fit(TRAIN[NUMBERS], y)
    asked = ASKED[NUMBERS]
    compare(name, tenon_trees.export(model), asked.to_numpy(float), *contributions(model, asked))


@pytest.mark.parametrize("name", LIGHTGBM)
def test_lightgbm(name):
    booster = train_lightgbm(*LIGHTGBM[name])
    outputs = booster.num_model_per_iteration()
    values, base = own(booster.predict(ASKED, pred_contrib=True), outputs)
    if name == "lightgbm_forest":
        # LightGBM adds up the contributions of trees whose predictions it averages.
        values, base = values / booster.num_trees(), base / booster.num_trees()
    asked = ASKED.assign(k=ASKED["k"].cat.codes.replace(-1, np.nan))
    compare(name, tenon_trees.export(booster), asked.to_numpy(float), values, base)


@pytest.mark.parametrize("name", XGBOOST)
def test_xgboost(name):
    params, y = XGBOOST[name]
    train = xgboost.DMatrix(TRAIN, label=y, enable_categorical=True)
    booster = xgboost.train(params | {"max_depth": 4, "nthread": 1, "seed": 1}, train, 8)
    asked = xgboost.DMatrix(ASKED, enable_categorical=True)
    flat = booster.predict(asked, pred_contribs=True)
    values, base = own(flat, params.get("num_class", 1))
    asked = ASKED.assign(k=ASKED["k"].cat.codes.replace(-1, np.nan))
    compare(name, tenon_trees.export(booster), asked.to_numpy(float), values, base)


@pytest.mark.parametrize("name", ["lightgbm_multiclass", "xgboost_multiclass"])
def test_shap_asks_the_library(name):
    """So that the contributions kept for both are also those of shap."""
    if name.startswith("lightgbm"):
        booster = train_lightgbm(*LIGHTGBM[name])
        asked, flat = ASKED, booster.predict(ASKED, pred_contrib=True)
    else:
        params, y = XGBOOST[name]
        train = xgboost.DMatrix(TRAIN[NUMBERS], label=y)
        booster = xgboost.train(params | {"max_depth": 4, "nthread": 1, "seed": 1}, train, 8)
        asked = ASKED[NUMBERS]
        flat = booster.predict(xgboost.DMatrix(asked), pred_contribs=True)
    values, _ = contributions(booster, asked)
    assert np.array_equal(values, own(flat, 3)[0])
