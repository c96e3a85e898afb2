"""Weights of classes: the models are those that scikit-learn, XGBoost and LightGBM fit with them."""

import lightgbm
import numpy as np
import pytest
import sklearn.base
import xgboost
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

import tenon_model
import tenon_weights
from conftest import mixed
from tenon_step import StepError

BY_NAME = {"true": 5, "false": 0.5}


def test_balanced_is_scikit_learns():
    y = np.random.default_rng(1).choice(4, 100, p=[0.1, 0.2, 0.3, 0.4])
    got = tenon_weights.class_weights("balanced", list("abcd"), y)
    assert got == pytest.approx(compute_class_weight("balanced", classes=np.arange(4), y=y))
    assert tenon_weights.class_weights({"c": 2}, list("abcd"), y).tolist() == [1, 1, 2, 1]
    assert tenon_weights.class_weights(None, [], y) is None


def trained(lab, fit, component, params, label="late"):
    """The model, its features and labels, and what it predicts."""
    model = tenon_model.load(fit(component, params, label, run=lab.inside).path("model"))
    frame, _ = mixed()
    x = model.features(frame)
    return model, x, frame[label].to_numpy(), model.predict_proba(x)


@pytest.mark.parametrize(("spec", "own"), [("balanced", "balanced"), (BY_NAME, {True: 5, False: 0.5})])
@pytest.mark.parametrize(
    "path",
    ["sklearn.linear_model.LogisticRegression", "sklearn.ensemble.GradientBoostingClassifier"],
)
def test_sklearn(lab, fit, path, spec, own):
    """The one has a parameter class_weight, the other takes weights of rows."""
    params = {"estimator": path, "class_weight": spec}
    model, x, y, got = trained(lab, fit, "train.sklearn", params)
    again = sklearn.base.clone(model.predictor)
    plain = again.set_params(**({"estimator__class_weight": None} if "Logistic" in path else {}))
    unweighted = plain.fit(x, y).predict_proba(x)
    if "Logistic" in path:
        again.set_params(estimator__class_weight=own).fit(x, y)
    else:
        again.fit(x, y, estimator__sample_weight=compute_sample_weight(own, y))
    assert np.allclose(got, again.predict_proba(x), rtol=1e-6)
    assert abs(got - unweighted).max() > 0.02, "the weights matter"


def test_xgboost_and_lightgbm(lab, fit):
    _, x, y, got = trained(lab, fit, "train.xgboost", {"rounds": 10, "class_weight": "balanced"}, "kind")
    x = x.set_axis([f"c{i}" for i in range(x.shape[1])], axis=1)
    codes = np.unique(y, return_inverse=True)[1]
    weight = compute_sample_weight("balanced", y)
    data = xgboost.DMatrix(x, codes, weight=weight, enable_categorical=True)
    params = {"seed": 7, "tree_method": "hist", "objective": "multi:softprob", "num_class": len(set(y))}
    assert np.allclose(got, xgboost.train(params, data, 10).predict(data), atol=1e-6)

    _, x, y, got = trained(lab, fit, "train.lightgbm", {"rounds": 10, "class_weight": BY_NAME})
    x = x.set_axis([f"c{i}" for i in range(x.shape[1])], axis=1)
    weight = compute_sample_weight({True: 5, False: 0.5}, y)
    params = {
        "seed": 7,
        "deterministic": True,
        "force_row_wise": True,
        "objective": "binary",
        "verbosity": -1,
    }
    want = lightgbm.train(params, lightgbm.Dataset(x, y, weight=weight), 10).predict(x)
    assert np.allclose(got[:, 1], want, atol=1e-6)


@pytest.mark.parametrize(
    ("component", "params", "label", "says"),
    [
        (
            "train.sklearn",
            {"estimator": "sklearn.neighbors.KNeighborsClassifier"},
            "late",
            "class_weight: sklearn.neighbors.KNeighborsClassifier weighs neither classes nor rows",
        ),
        (
            "train.sklearn",
            {"estimator": "sklearn.linear_model.LogisticRegression", "params": {"class_weight": "balanced"}},
            "late",
            "class_weight and params.class_weight both weigh the classes; leave one out",
        ),
        (
            "train.sklearn",
            {"estimator": "xgboost.XGBClassifier", "params": {"scale_pos_weight": 2}},
            "late",
            "class_weight and params.scale_pos_weight both weigh the classes",
        ),
        (
            "train.lightgbm",
            {"params": {"is_unbalance": True}},
            "late",
            "class_weight and params.is_unbalance",
        ),
        ("train.xgboost", {}, "delay", "class_weight is for a classification; leave it out"),
        ("train.xgboost", {"class_weight": {"tru": 2}}, "late", "has no class tru; did you mean true"),
    ],
)
def test_what_cannot_be_weighed_is_refused(lab, fit, component, params, label, says):
    with pytest.raises(StepError, match=says.replace(".", r"\.")):
        fit(component, {"class_weight": "balanced", **params}, label, run=lab.inside)
