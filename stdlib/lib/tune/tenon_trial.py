"""One trial of a study: trains with the parameters that it is given, and measures the model on other rows.

Inputs: `train` and `validation`, tables with the columns of the model; `next`, the parameters, or null if there is
nothing more to try. Output: `trial`::

    {"state": "complete", "value": 0.62}
    {"state": "failed", "error": "took longer than 600 s"}
    {"state": "skipped"}

A trial that fails, crashes or hangs is a result as well, so the program then ends with 0. What is written depends on
nothing but the inputs, unless time decides.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
import traceback
from typing import Any

import tenon_step
from tenon_step import Step
from tenon_tuned import trainer, with_params


def main(step: Step) -> None:
    params = json.loads(step.input("next", "file").path.read_text(encoding="utf-8"))
    if params is None:
        result: dict[str, Any] = {"state": "skipped"}
    else:
        result = attempt(step, params)
    if result["state"] == "complete":
        step.metrics({step.params["tuning"]["metric"]: result["value"]})
    elif result["state"] == "failed":
        tenon_step.log(f"the trial failed: {result['error']}")
    step.output(step.params["tuning"]["output"]).path.write_text(json.dumps(result) + "\n", encoding="utf-8")


def attempt(step: Step, params: dict[str, Any]) -> dict[str, Any]:
    """The result of a trial, which runs in a process of its own: it may crash or hang.

    That is forked here, before any library with threads is loaded.
    """
    answer = step.scratch / "result.json"
    answer.unlink(missing_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            result = measured(step, params)
            beside = answer.with_suffix(".part")
            beside.write_text(json.dumps(result), encoding="utf-8")
            beside.rename(answer)
            status = 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    limit = step.params["tuning"]["seconds"]
    status = ended(pid, limit)
    if status is None:
        return {"state": "failed", "error": f"took longer than {limit:g} s"}
    if os.WIFSIGNALED(status):
        return {"state": "failed", "error": f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"}
    if not answer.exists():
        return {"state": "failed", "error": f"exited with {os.waitstatus_to_exitcode(status)}"}
    return json.loads(answer.read_text(encoding="utf-8"))


def ended(pid: int, limit: float) -> int | None:
    """The status with which a process ended, or None if it had to be killed after `limit` seconds."""
    until, pause = time.monotonic() + limit, 0.005
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return status
        if time.monotonic() >= until:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None
        time.sleep(pause)
        pause = min(2 * pause, 0.1)


def measured(step: Step, params: dict[str, Any]) -> dict[str, Any]:
    """Trains, and returns the metric of the model on the rows for validation."""
    try:
        import tenon_model
        from tenon_evaluate import Result

        tuning, folder = step.params["tuning"], step.scratch / "model"
        output = {"kind": "model", "path": str(folder), "signature": tuning["signature"]}
        inner = with_params(step, params, without="next", outputs={"model": output}, metrics=None)
        folder.mkdir(parents=True, exist_ok=True)
        trainer(step)(inner)
        rows = step.lazy("validation")
        if not len(rows):
            raise tenon_step.StepError("there are no rows for validation")
        notes: list[str] = []
        value = Result(tenon_model.load(folder), rows).metrics(notes).get(tuning["metric"])
    except SystemExit as e:
        return {"state": "failed", "error": f"the trainer exited with {e.code}"}
    except Exception as e:
        if not isinstance(e, tenon_step.StepError):
            traceback.print_exc()
        name = "" if isinstance(e, tenon_step.StepError) else f"{type(e).__name__}: "
        return {"state": "failed", "error": " ".join(f"{name}{e}".split())}
    if value is None:
        return {"state": "failed", "error": f"{tuning['metric']} is not defined: {'; '.join(notes)}"}
    if not math.isfinite(value):
        return {"state": "failed", "error": f"{tuning['metric']} is {value}"}
    return {"state": "complete", "value": value}


if __name__ == "__main__":
    tenon_step.run(main)
