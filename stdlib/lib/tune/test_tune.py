"""Trials and studies with a trainer of their own, as tenon runs them."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tenon_checkpoint
import tenon_trial
from conftest import SHARED, STDLIB, col, model_out

TRAINER = """
import os, signal, time
import tenon_step

def main(step):
    import tenon_model, tenon_sklearn
    how = step.params["how"]
    if how == "hang":
        time.sleep(60)
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "exit":
        raise SystemExit(3)
    port = step.output("model", "model")
    frame, y = tenon_model.training_data(step, port.signature)
    spec = {"estimator": "sklearn.linear_model." + how, "params": {"alpha": step.params["options"]["alpha"]}}
    tenon_sklearn.fit(spec, frame, y, port.signature, step.seed32).save(port.path)
    step.metrics(rows=len(frame))
"""
INPUTS, LABEL = [col("x", "float64")], col("y", "float64")


@pytest.fixture
def tuned(lab):
    """Runs a program of the library around the trainer."""
    rows = [{"x": float(i), "y": 3.0 * i + 1} for i in range(40)]
    tables = {
        "train": lab.table(rows[::2], [*INPUTS, LABEL]),
        "validation": lab.table(rows[1::2], [*INPUTS, LABEL]),
    }
    signature = model_out("regression", INPUTS, LABEL)["model"]["signature"]

    def run(program, inputs, outputs, tuning, tables=tables, **doc):
        params = {"how": "Ridge", "options": {"alpha": 1.0, "other": 2}}
        base = {
            "main": "trainer.py",
            "metric": "r2",
            "seconds": 100,
            "output": "trial",
            "signature": signature,
        }
        built = lab.build(
            "train.sklearn",
            scripts={"_tenon/trainer.py": TRAINER},
            params={**params, "tuning": {**base, **tuning}},
            inputs={**tables, **inputs},
            outputs=outputs,
            **doc,
        )
        library = lab.root / built["code"] / "_tenon"
        for path in SHARED.values():
            shutil.copy(path, library)
        shutil.copytree(STDLIB / "tune" / "optuna", library / "chooser")
        shutil.copytree(
            library,
            library / "chooser",
            dirs_exist_ok=True,
            ignore=lambda folder, names: {"chooser", "main.py"},
        )
        shutil.copy(library / program, library / "main.py")
        return lab.execute(built)

    return run


def test_a_trial_that_is_ended_leaves_no_workers(tmp_path):
    inner = f"sleep 60 & echo $! > {tmp_path}/part && mv {tmp_path}/part {tmp_path}/worker; wait"
    trial = subprocess.Popen(["sh", "-c", f"setsid sh -c '{inner}' & wait"])

    def until(condition):
        end = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.01)

    def ended(pid):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        return state == "Z"  # its parent was killed, and nothing has waited for it yet

    until((tmp_path / "worker").exists)
    worker = int((tmp_path / "worker").read_text())
    assert worker in tenon_trial.descendants(trial.pid) and not ended(worker)
    tenon_trial.kill(trial.pid)
    assert trial.wait() == -signal.SIGKILL
    until(lambda: ended(worker))
    assert tenon_trial.descendants(trial.pid) == []


def file(lab, doc):
    path = lab.root / f"doc{next(lab._count)}"
    path.write_text(json.dumps(doc))
    return {"kind": "file", "path": str(path)}


@pytest.mark.parametrize(
    ("params", "want"),
    [
        ({"options.alpha": 0.0}, {"state": "complete", "value": 1.0}),
        ({"how": "hang"}, {"state": "failed", "error": "took longer than 5 s"}),
        ({"how": "crash"}, {"state": "failed", "error": "was killed by SIGSEGV"}),
        ({"how": "exit"}, {"state": "failed", "error": "the trainer exited with 3"}),
        (
            {"how": "Rigde"},
            {
                "state": "failed",
                "error": "sklearn.linear_model has no class Rigde; did you mean sklearn.linear_model.Ridge "
                "or sklearn.linear_model.RidgeCV or sklearn.linear_model.BayesianRidge?",
            },
        ),
        ({"how.much": 1}, {"state": "failed", "error": "how is not a struct: it has no much to search"}),
        (None, {"state": "skipped"}),
    ],
)
def test_a_trial_is_a_result_whatever_happens(lab, tuned, params, want):
    limit = {"seconds": 5} if params == {"how": "hang"} else {}
    done = tuned("tenon_trial.py", {"next": file(lab, params)}, {"trial": {"kind": "file"}}, limit)
    assert done.status == 0, done.log
    result = json.loads(done.path("trial").read_text())
    assert pytest.approx(result.pop("value", None)) == want.get("value")
    assert result == {name: what for name, what in want.items() if name != "value"}
    assert done.metrics == ({"r2": 1.0} if want["state"] == "complete" else {})


def test_the_model_is_trained_with_the_best_parameters(lab, tuned):
    best = {"number": 3, "params": {"options.alpha": 0.25}, "value": 0.9}
    done = tuned("tenon_tuned.py", {"best": file(lab, best)}, model_out("regression", INPUTS, LABEL), {})
    assert done.status == 0, done.log
    assert done.json("model", "model.json")["params"] == {"alpha": 0.25}
    assert "trained with the parameters of trial 3: options.alpha = 0.25" in done.log


STUDY = {
    "space": {
        "options.alpha": {"type": "float", "low": 0.0, "high": 100.0, "log": False},
        "how": {"type": "categorical", "choices": ["Ridge", "crash"]},
    },
    "sampler": "random",
    "metric": "r2",
    "direction": "maximize",
    "parallel": 2,
    "failures": 5,
}


def study(tuned, trials, checkpoints=None, **params):
    chooser = {"script": "chooser/main.py", "environment": "e", "params": {**STUDY, **params}}
    return tuned(
        "tenon_study.py",
        {},
        {"best": {"kind": "file"}, "study": {"kind": "file"}},
        {"trials": trials, "chooser": chooser},
        interpreters={"e": sys.executable},
        **({"checkpoints": checkpoints} if checkpoints else {}),
    )


def test_a_study_in_one_program(tuned):
    done = study(tuned, 5)
    assert done.status == 0, done.log
    trials = json.loads(done.path("study").read_text())["trials"]
    assert [t["number"] for t in trials] == [1, 2, 3, 4, 5]
    complete = [t for t in trials if t["state"] == "complete"]
    assert all(t["error"] == "was killed by SIGSEGV" for t in trials if t not in complete)
    assert 0 < len(complete) < 5 and done.metrics["failed"] == 5 - len(complete)
    best = json.loads(done.path("best").read_text())
    assert best["params"] == min(complete, key=lambda t: t["params"]["options.alpha"])["params"]
    assert [line["done"] for line in done.progress] == [1, 2, 3, 4, 5]


def test_a_study_resumes_from_its_checkpoint(lab, tuned):
    """Values that no trial has are kept, so the trials were not run again."""
    first = study(tuned, 3)
    trials = [
        {k: v for k, v in t.items() if k != "number"}
        for t in json.loads(first.path("study").read_text())["trials"]
    ]
    kept = [{"params": t["params"], "state": "complete", "value": 0.125} for t in trials[:2]]
    folder = lab.root / "checkpoints"
    folder.mkdir()
    saved = tenon_checkpoint.Checkpoints(folder, "key", 1, 1)
    text = json.dumps({"rounds": [kept], "some": {}})
    saved.save(2, lambda to: (to / "study.json").write_text(text))
    done = study(tuned, 3, checkpoints={"path": str(folder), "key": "key", "keep": 1, "attempt": 2})
    assert done.status == 0, done.log
    assert [t.get("value") for t in json.loads(done.path("study").read_text())["trials"]][:2] == [
        0.125,
        0.125,
    ]
    assert len(done.progress) == 2  # resumed, and one trial
