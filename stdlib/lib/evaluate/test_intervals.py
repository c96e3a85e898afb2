"""Intervals: a weighted metric is scikit-learn's of so many copies of the rows, percentiles are SciPy's."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as m

import tenon_intervals
from tenon_evaluate import Result


def result(classification, names=(), unseen=(), **arrays):
    """A result that no model made."""
    r = Result.__new__(Result)
    seen = [n for n in names if n not in unseen]
    r.model = SimpleNamespace(classification=classification, classes=seen)
    r.names, r.unseen = list(names), list(unseen)
    for name, value in arrays.items():
        setattr(r, name, value)
    return r


def classes(random, rows, k, margin=False, digits=1):
    """Scores, with ties if they have few digits, and predictions that follow from them."""
    y = random.integers(0, k, rows)
    p = np.round(random.dirichlet(np.ones(k), rows) + np.eye(k)[y] * random.random((rows, 1)), digits) + 0.01
    p /= p.sum(axis=1, keepdims=True)
    return result(
        True, [f"c{i}" for i in range(k)], y=y, predicted=p.argmax(axis=1), p=None if margin else p, score=p
    )


def constant(random, rows):
    """A dummy: all rows have the same scores."""
    p = np.tile([0.3, 0.7], (rows, 1))
    return result(True, ["a", "b"], y=random.integers(0, 2, rows), predicted=np.ones(rows, int), p=p, score=p)


def numbers(random, rows):
    y = np.round(random.normal(3, 2, rows), 1)
    y[y == 0] = 1
    return result(False, y=y, predicted=y + random.normal(0, 1, rows))


@pytest.mark.parametrize("seed", range(12))
def test_a_weighted_metric_is_that_of_copies_of_the_rows(seed):
    random = np.random.default_rng(seed)
    rows = int(random.integers(8, 60))
    for r in (
        classes(random, rows, 2),
        classes(random, rows, 2, margin=True),
        classes(random, rows, 4),
        classes(random, rows, 3, digits=9),
        constant(random, rows),
        numbers(random, rows),
    ):
        table = tenon_intervals.table(r)
        weights = np.concatenate(list(tenon_intervals.draws(rows, 5, seed, None)))
        assert (weights.sum(axis=1) == rows).all()
        got = table.metrics(weights)
        assert set(got) == set(r.metrics([])) - {"max_error"}
        for i, w in enumerate(weights.astype(int)):
            notes = []
            want = r.only(np.repeat(np.arange(rows), w)).metrics(notes)
            for name, values in got.items():
                if name in want:
                    assert values[i] == pytest.approx(want[name], rel=1e-9, abs=1e-12), (name, notes)
                else:
                    assert not np.isfinite(values[i]), (name, notes)


def test_percentiles_are_those_of_scipy():
    random = np.random.default_rng(1)
    r = classes(random, 300, 2)
    test = range(300)
    got = tenon_intervals.intervals({"resamples": 4000, "level": 0.9}, r, {}, test, None, 1, [])["metrics"]
    for name, metric, scores in (
        ("accuracy", m.accuracy_score, r.predicted),
        ("roc_auc", m.roc_auc_score, r.p[:, 1]),
    ):
        want = scipy.stats.bootstrap(
            (r.y, scores),
            metric,
            n_resamples=500,
            paired=True,
            vectorized=False,
            confidence_level=0.9,
            method="percentile",
            rng=np.random.default_rng(2),
        ).confidence_interval
        width = want.high - want.low
        assert got[name] == pytest.approx(list(want), abs=width / 6), name


def test_groups_are_drawn_whole_and_differences_are_paired(lab):
    random = np.random.default_rng(3)
    effect = random.normal(0, 1, 30)
    group = np.repeat(np.arange(30), 20)
    y = random.normal(0, 0.1, 600) + 10
    r = result(False, y=y, predicted=y + effect[group])
    better = result(False, y=y, predicted=y + 0.9 * effect[group])
    schema = [{"name": "shop", "type": "string", "nullable": True}]
    names = [None if g == 0 else f"s{g}" for g in group]
    port = lab.table({"shop": names}, schema)
    import tenon_step

    test = tenon_step.Step(lab.build("evaluate.regression", inputs={"test": port})).lazy("test")
    spec = {"resamples": 500}
    by_row = tenon_intervals.intervals(spec, r, {"serving": better}, test, None, 1, [])
    by_shop = tenon_intervals.intervals(spec, r, {"serving": better}, test, "shop", 1, [])
    assert (by_shop["column"], by_shop["groups"]) == ("shop", 30)

    def width(found):
        low, high = found["metrics"]["mean_absolute_error"]
        return high - low

    assert width(by_shop) > 3 * width(by_row), "rows of a shop err together"
    low, high = by_shop["differences"]["serving"]["mean_absolute_error"]
    assert 0 < low < high < width(by_shop) / 4, "what both models share does not count"
    notes = []
    one = lab.table({"shop": ["a"] * 600}, schema)
    test = tenon_step.Step(lab.build("evaluate.regression", inputs={"test": one})).lazy("test")
    assert tenon_intervals.intervals(spec, r, {}, test, "shop", 1, notes) == {}
    assert notes == ["there are no intervals: the test set has one value of shop"]


def test_a_rare_class_has_no_interval():
    y = np.array([0] * 40 + [1])
    p = np.column_stack([1 - y * 0.5, y * 0.5])
    r = result(True, ["a", "b"], y=y, predicted=y * 0, p=p, score=p)
    notes = []
    found = tenon_intervals.intervals({"resamples": 200}, r, {}, range(41), None, 1, notes)
    assert "roc_auc" not in found["metrics"] and "accuracy" in found["metrics"]
    assert "roc_auc has no interval: too few resamples define it" in notes
