"""What both evaluations share: they read only what they use, and note what is not defined."""

import pytest

from conftest import FEATURES


@pytest.mark.parametrize("label", ["late", "kind", "delay"])
def test_a_dummy_needs_no_features(lab, made, evaluate, label):
    whole = evaluate(label, incumbent=made[label])
    train = lab.spoiled(made["train"], but=[label])
    test = lab.spoiled(made["test"], but=[*FEATURES, label])
    again = evaluate(label, incumbent=made[label], train=train, test=test)
    assert again.files("report") == whole.files("report")
    if label == "delay":
        return
    drawn = {"estimator": "sklearn.dummy.DummyClassifier", "params": {"strategy": "stratified"}}
    report = evaluate(label, train=train, test=test, baseline=drawn).json("report", "report.json")
    assert 0.3 < report["baseline"]["accuracy"] < 0.7


def test_what_is_not_defined_is_noted(lab, made, evaluate):
    frame = made["frame"]
    schema = made["test"]["schema"]
    one = evaluate("late", test=lab.table(frame[frame.late], schema), plots=True)
    report = one.json("report", "report.json")
    assert "roc_auc and average_precision are omitted: the test set lacks the class false" in report["notes"]
    assert {"accuracy", "log_loss"} <= set(report["metrics"])
    strange = evaluate("kind", test=lab.table(frame.assign(kind="lost"), schema))
    assert "classes that the training set lacks: lost" in strange.json("report", "report.json")["notes"][0]
    zero = evaluate("delay", test=lab.table(frame.assign(delay=0.0), schema), plots=False)
    assert "mean_absolute_percentage_error" not in zero.metrics
