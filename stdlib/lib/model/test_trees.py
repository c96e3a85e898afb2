"""tenon_trees: what the serving plane evaluates equals what the library predicts, bit for bit.

The models here, rows and predictions of the libraries are kept in the folder _testdata of Go's package trees,
which compares its own predictions. TENON_UPDATE=1 rewrites them.
"""

import json
import os
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeRegressor

import tenon_trees

KEPT = Path(__file__).parents[2] / "serve" / "plane" / "trees" / "_testdata"
NAMES = ["ash", "birch", "cedar", "elm", "fir"]


def rows(seed, count):
    """Numbers with missing values, and categories of which training has not all."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "a": rng.normal(size=count),
            "b": rng.integers(0, 50, count).astype(float),
            "c": rng.exponential(size=count) * 1e3,
            "d": rng.choice([0.0, 1.0, np.nan], count),
        }
    )
    frame.loc[rng.random(count) < 0.1, "a"] = np.nan
    codes = rng.integers(-1, 4 if seed == 1 else 5, count)
    frame["k"] = pd.Categorical.from_codes(codes, categories=NAMES)
    noise = rng.normal(size=count)
    number = np.nan_to_num(frame.a) * 3 + frame.b * 0.1 + (codes == 1) + noise
    return frame, number, number > 2, np.digitize(number, [1, 4])


TRAIN, NUMBER, FLAG, KIND = rows(1, 3000)
ASKED, *_ = rows(2, 120)

SKLEARN = {
    "hist_classifier": (HistGradientBoostingClassifier(max_iter=12, max_leaf_nodes=12), FLAG),
    "hist_regressor": (HistGradientBoostingRegressor(max_iter=12, max_leaf_nodes=12), NUMBER),
    "hist_quantile": (
        HistGradientBoostingRegressor(loss="quantile", quantile=0.8, max_iter=8, max_leaf_nodes=12),
        NUMBER,
    ),
    "forest_classifier": (RandomForestClassifier(n_estimators=5, max_depth=5, random_state=0), KIND),
    "forest_regressor": (RandomForestRegressor(n_estimators=5, max_depth=5, random_state=0), NUMBER),
    "extra_classifier": (ExtraTreesClassifier(n_estimators=5, max_depth=5, random_state=0), FLAG),
    "tree": (DecisionTreeRegressor(max_depth=6, random_state=0), NUMBER),
}
LIGHTGBM = {
    "lightgbm_binary": ({"objective": "binary"}, FLAG.astype(int)),
    "lightgbm_regression": ({"objective": "regression"}, NUMBER),
    "lightgbm_multiclass": ({"objective": "multiclass", "num_class": 3}, KIND),
    "lightgbm_zero_as_missing": ({"objective": "regression_l1", "zero_as_missing": True}, NUMBER),
    "lightgbm_forest": (
        {"objective": "regression", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.7},
        NUMBER,
    ),
}
XGBOOST = {
    "xgboost_binary": ({"objective": "binary:logistic"}, FLAG),
    "xgboost_regression": ({"objective": "reg:squarederror"}, NUMBER),
    "xgboost_quantile": ({"objective": "reg:quantileerror", "quantile_alpha": 0.8}, NUMBER),
    "xgboost_multiclass": ({"objective": "multi:softprob", "num_class": 3}, KIND),
}


def train_lightgbm(params, y):
    common = {"verbose": -1, "num_threads": 1, "seed": 1, "num_leaves": 12, "deterministic": True}
    return lightgbm.train(params | common, lightgbm.Dataset(TRAIN, label=y), 8)


def compare(name, document, asked, predicted):
    """The document, the rows and the predictions are those that Go compares."""
    kept = {
        "model": document,
        "rows": [[None if np.isnan(x) else x for x in row] for row in asked.tolist()],
        "predictions": [np.atleast_1d(p).tolist() for p in predicted],
    }
    path = KEPT / f"{name}.json"
    text = json.dumps(kept, separators=(",", ":"), allow_nan=False) + "\n"
    if os.environ.get("TENON_UPDATE") == "1":
        path.write_text(text, encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8")) == json.loads(text), "TENON_UPDATE=1 rewrites it"


@pytest.mark.parametrize("name", SKLEARN)
def test_scikit_learn(name):
    model, y = SKLEARN[name]
    native = name.startswith("hist")
    columns = list(TRAIN) if native else list(TRAIN)[:-1]
    model.fit(TRAIN[columns], y)
    document = tenon_trees.export(model)
    ask = getattr(model, "predict_proba", model.predict)
    asked = ASKED[columns].copy()
    predicted = ask(asked)
    if native:
        known = tenon_trees.categories(model)[columns.index("k")]
        assert known == NAMES[:4], "the codes of categories are those of the training data"
        asked["k"] = [known.index(k) if k in known else np.nan for k in asked["k"]]
    compare(name, document, asked.to_numpy(float), predicted)


@pytest.mark.parametrize("name", LIGHTGBM)
def test_lightgbm(name):
    booster = train_lightgbm(*LIGHTGBM[name])
    predicted = booster.predict(ASKED)
    if name == "lightgbm_binary":
        predicted = np.column_stack([1 - predicted, predicted])
    asked = ASKED.assign(k=ASKED["k"].cat.codes.replace(-1, np.nan))
    compare(name, tenon_trees.export(booster), asked.to_numpy(float), predicted)


@pytest.mark.parametrize("name", XGBOOST)
def test_xgboost(name):
    params, y = XGBOOST[name]
    train = xgboost.DMatrix(TRAIN, label=y, enable_categorical=True)
    booster = xgboost.train(params | {"max_depth": 4, "nthread": 1, "seed": 1}, train, 8)
    predicted = booster.predict(xgboost.DMatrix(ASKED, enable_categorical=True))
    if name == "xgboost_binary":
        predicted = np.column_stack([1 - predicted, predicted])
    asked = ASKED.assign(k=ASKED["k"].cat.codes.replace(-1, np.nan))
    compare(name, tenon_trees.export(booster), asked.to_numpy(float), predicted.astype(float))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: HistGradientBoostingRegressor(loss="poisson", max_iter=2).fit(TRAIN, NUMBER**2),
            "HalfPoisson",
        ),
        (lambda: HistGradientBoostingClassifier(max_iter=2).fit(TRAIN, KIND), "more than two classes"),
        (
            lambda: GradientBoostingRegressor(n_estimators=2).fit(TRAIN[["b"]], NUMBER),
            "is no ensemble of trees",
        ),
        (
            lambda: RandomForestRegressor(2).fit(TRAIN[["b"]], np.column_stack([NUMBER, NUMBER])),
            "several outputs",
        ),
        (lambda: train_lightgbm({"objective": "poisson"}, NUMBER**2), 'the objective "poisson"'),
        (lambda: train_lightgbm({"objective": "binary", "sigmoid": 2}, FLAG), "a sigmoid parameter"),
        (lambda: train_lightgbm({"objective": "regression", "reg_sqrt": True}, NUMBER), '"regression sqrt"'),
        (lambda: train_lightgbm({"objective": "regression", "linear_tree": True}, NUMBER), "linear trees"),
    ],
)
def test_what_is_not_exported(make, says):
    with pytest.raises(tenon_trees.NotExportedError, match=says):
        tenon_trees.export(make())
