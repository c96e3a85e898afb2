"""tune.optuna and the programs of its trials, without tenon."""

import json
from pathlib import Path

import pytest

SPACE = {
    "params.depth": {"type": "int", "low": 1, "high": 64, "log": True, "step": 1},
    "params.rate": {"type": "float", "low": 0.01, "high": 1.0, "log": True},
    "kind": {"type": "categorical", "choices": ["gini", None, [3, 4]]},
}


class Study:
    """Runs rounds as units do; `value` judges the parameters of a trial."""

    def __init__(self, lab, value, **params):
        self.lab, self.value = lab, value
        self.params = {
            "space": SPACE,
            "sampler": "tpe",
            "metric": "log_loss",
            "direction": "minimize",
            "parallel": 2,
            "failures": 0,
            **params,
        }
        self.inputs, self.asked = {}, []

    def file(self, doc):
        path = self.lab.root / f"file{next(self.lab._count)}"
        path.write_text(json.dumps(doc))
        return {"kind": "file", "path": str(path)}

    def doc(self, ports, **params):
        outputs = {port: {"kind": "file"} for port in ports}
        return {"params": {**self.params, **params}, "inputs": self.inputs, "outputs": outputs}

    def round(self, number):
        nexts = [f"next_{i + 1}" for i in range(self.params["parallel"])]
        done = self.lab.inside("tune.optuna", **self.doc(["told", *nexts], round=number))
        asked = [json.loads(done.path(port).read_text()) for port in nexts]
        self.asked += asked
        results = [{"state": "skipped"} if p is None else self.value(p) for p in asked]
        self.inputs = {
            "told": {"kind": "file", "path": str(done.path("told"))},
            **{f"trial_{i}": self.file(r) for i, r in enumerate(results, 1)},
        }

    def finish(self):
        return self.lab.run("tune.optuna", **self.doc(["best", "study"]))


def loss(p):
    return {"state": "complete", "value": abs(p["params.rate"] - 0.1) + p["params.depth"] / 100}


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes"])
def test_a_study_repeats_itself_and_finds_the_best(lab, sampler):
    studies = [Study(lab, loss, sampler=sampler) for _ in range(2)]
    for study in studies:
        for number in (1, 2, 3):
            study.round(number)
    assert studies[0].asked == studies[1].asked
    assert len({json.dumps(p) for p in studies[0].asked}) > 3
    done = studies[0].finish()
    best = json.loads(done.path("best").read_text())
    values = [loss(p)["value"] for p in studies[0].asked]
    assert best["value"] == min(values) and best["number"] == values.index(min(values)) + 1
    assert done.metrics["trials"] == 6 and done.metrics["best_log_loss"] == min(values)
    assert len(json.loads(done.path("study").read_text())["trials"]) == 6


def test_results_change_what_is_asked_next(lab):
    studies = [
        Study(lab, loss, parallel=1),
        Study(lab, lambda p: {"state": "complete", "value": -loss(p)["value"]}, parallel=1),
    ]
    for study in studies:
        for number in range(1, 13):
            study.round(number)
    assert studies[0].asked[:10] == studies[1].asked[:10]  # random ones, before the sampler has a model
    assert studies[0].asked[10:] != studies[1].asked[10:]


def test_another_history_than_the_sampler_makes_is_refused(lab):
    study = Study(lab, loss)
    study.round(1)
    told = json.loads(Path(study.inputs["told"]["path"]).read_text())
    told["asked"][0]["params.depth"] = 63
    study.inputs["told"] = study.file(told)
    error = lab.error("tune.optuna", **study.doc(["told", "next_1", "next_2"], round=2))
    assert error.endswith("it does not repeat itself")


def test_a_grid_has_every_combination_once(lab):
    space = {
        "a": {"type": "float", "low": 0.1, "high": 0.35, "step": 0.1, "log": False},
        "b": {"type": "int", "low": 1, "high": 3, "step": 2, "log": False},
    }
    study = Study(
        lab, lambda p: {"state": "complete", "value": p["a"]}, sampler="grid", space=space, parallel=4
    )
    study.round(1)
    study.round(2)
    assert study.asked == [{"a": a, "b": b} for a in (0.1, 0.2, 0.3) for b in (1, 3)] + [None, None]
    assert json.loads(study.finish().path("best").read_text())["params"] == {"a": 0.1, "b": 1}


def test_failed_trials_are_recorded_until_there_are_too_many(lab):
    def value(p):
        return {"state": "failed", "error": "it hurts"} if p["kind"] == "gini" else loss(p)

    study = Study(lab, value, sampler="random", failures=9)
    for number in (1, 2, 3):
        study.round(number)
    done = study.finish()
    assert done.status == 0, done.log
    failed = sum(p["kind"] == "gini" for p in study.asked)
    assert 0 < failed < 6 and done.metrics["failed"] == failed
    study.params["failures"] = failed - 1
    done = study.finish()
    assert done.status == 1 and f"{failed} of 6 trials failed, and failures allows {failed - 1}" in done.log
    assert "it hurts" in done.log


def test_a_study_without_a_success_has_no_best(lab):
    study = Study(lab, lambda p: {"state": "failed", "error": "never"}, failures=100)
    study.round(1)
    done = study.finish()
    assert done.status == 1 and "none of 2 trials succeeded" in done.log
