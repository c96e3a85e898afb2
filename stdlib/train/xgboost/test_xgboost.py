"""train.xgboost: real fits, errors that name the nearest."""

import json

import pytest

from testing_models import check_model


@pytest.mark.parametrize(
    ("params", "label"),
    [
        ({"rounds": 20, "params": {"max_depth": 3}}, "late"),
        ({"rounds": 20, "early_stopping": {"rounds": 3, "fraction": 0.2}}, "kind"),
        ({"rounds": 20}, "delay"),
    ],
)
def test_model(fit, params, label):
    check_model(fit, "train.xgboost", params, label)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"params": {"max_dept": 3}}, "xgboost has no parameter max_dept; did you mean max_depth"),
        (
            {"params": {"objective": "binary:logistics"}},
            "Unknown objective function: `binary:logistics`; did you mean binary:logistic",
        ),
    ],
)
def test_errors_name_the_nearest(lab, fit, params, says):
    assert says in fit("train.xgboost", params, run=lab.error)


def test_progress_is_reported(fit):
    got = fit("train.xgboost", {"rounds": 25})
    assert [p["done"] for p in got.progress] == [10, 20, 25]
    assert json.loads(got.files("model")["model.json"])["rounds"] == 25
