"""train.lightgbm: real fits, errors that name the nearest."""

import pytest

from testing_models import check_model


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
