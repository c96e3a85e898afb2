"""evaluate.regression: metrics are scikit-learn's, plots are the same bytes."""

import numpy as np
import pytest
import sklearn.metrics as m

import tenon_model


def test_regression(made, evaluate):
    got = evaluate("delay", plots=True)
    report = got.json("report", "report.json")
    y = made["frame"]["delay"].to_numpy()
    predicted = tenon_model.load(made["delay"]).predict(made["frame"])["prediction"]
    assert report["metrics"]["r2"] == pytest.approx(m.r2_score(y, predicted))
    assert report["metrics"]["root_mean_squared_error"] == pytest.approx(
        np.sqrt(((y - predicted) ** 2).mean())
    )
    assert len(report["metrics"]) == 8
    assert report["baseline"]["r2"] < 0.05
    assert set(got.files("report")) == {"report.json", "details.json", "predicted.svg", "residuals.svg"}
