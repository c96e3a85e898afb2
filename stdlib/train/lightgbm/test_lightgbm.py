"""train.lightgbm: real fits, errors that name the nearest."""

import numpy as np
import pytest

import tenon_model
from conftest import mixed
from testing_models import check_model, check_names


@pytest.mark.parametrize(
    ("params", "label"),
    [
        ({"rounds": 20, "params": {"max_depth": 3}}, "late"),
        ({"rounds": 200, "early_stopping": {"rounds": 3, "fraction": 0.2}}, "kind"),
        ({"rounds": 20}, "delay"),
    ],
)
def test_model(fit, params, label):
    check_model(fit, "train.lightgbm", params, label)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"params": {"num_leafs": 3}}, "lightgbm has no parameter num_leafs; did you mean num_leaves"),
    ],
)
def test_errors_name_the_nearest(lab, fit, params, says):
    assert says in fit("train.lightgbm", params, run=lab.error)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_any_name_of_a_column(lab, task):
    check_names(lab, "train.lightgbm", {"rounds": 20}, task)


def test_parameters_name_columns(lab, fit):
    constraints = {"monotone_constraints": {"hour": 1}, "interaction_constraints": [["hour", "wind"], ["at"]]}
    model = tenon_model.load(fit("train.lightgbm", {"rounds": 20, "params": constraints}).path("model"))
    frame, _ = mixed(200)
    by_hour = [model.predict(frame.assign(hour=hour))["probability"].to_numpy() for hour in range(24)]
    assert (np.diff(by_hour, axis=0) >= 0).all()
    assert np.max(by_hour[-1] - by_hour[0]) > 0.1
    got = fit("train.lightgbm", {"params": {"monotone_constraints": {"our": 1}}}, run=lab.error)
    assert got == "parameter monotone_constraints names no column our; did you mean hour?"
