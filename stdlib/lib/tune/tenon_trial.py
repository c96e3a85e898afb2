"""One trial of a study: trains with the parameters that it is given, and measures the model on other rows.

Inputs: `train` and `validation`, tables with the columns of the model; `next`, the parameters, or null if
there is nothing more to try. Output: `trial`::

    {"state": "complete", "value": 0.62}
    {"state": "failed", "error": "took longer than 600 s"}
    {"state": "skipped"}

A trial that fails, crashes or hangs is a result as well, so the program then ends with 0. What is written
depends on nothing but the inputs, unless time decides.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tenon_step
from tenon_step import Step
from tenon_tuned import trainer, with_params


def main(step: Step) -> None:
    params = json.loads(step.input("next", "file").path.read_text(encoding="utf-8"))
    if params is None:
        result: dict[str, Any] = {"state": "skipped"}
    else:
        [(_, result)] = run({1: Running(step, params, step.scratch / "trial")})
    if result["state"] == "complete":
        step.metrics({step.params["tuning"]["metric"]: result["value"]})
    elif result["state"] == "failed":
        tenon_step.log(f"the trial failed: {result['error']}")
    step.output(step.params["tuning"]["output"]).path.write_text(json.dumps(result) + "\n", encoding="utf-8")


class Running:
    """A trial in a process of its own, since it may crash or hang. It writes files to `folder`."""

    def __init__(self, step: Step, params: dict[str, Any], folder: Path, report: bool = False) -> None:
        """Forks. `report` adds the libraries that the trial has loaded to the result, as `modules`."""
        self.limit = step.params["tuning"]["seconds"]
        self.answer = folder / "result.json"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        sys.stdout.flush()
        sys.stderr.flush()
        self.until = time.monotonic() + self.limit
        self.pid = os.fork()
        if self.pid:
            return
        status = 1
        try:
            result = measured(step, params, folder)
            if report:
                result["modules"] = libraries()
            beside = self.answer.with_suffix(".part")
            beside.write_text(json.dumps(result), encoding="utf-8")
            beside.rename(self.answer)
            status = 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def poll(self) -> dict[str, Any] | None:
        """The result, or None while it runs."""
        ended, status = os.waitpid(self.pid, os.WNOHANG)
        if not ended:
            if time.monotonic() < self.until:
                return None
            kill(self.pid)
            os.waitpid(self.pid, 0)
            return {"state": "failed", "error": f"took longer than {self.limit:g} s"}
        if os.WIFSIGNALED(status):
            return {"state": "failed", "error": f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"}
        if not self.answer.exists():
            return {"state": "failed", "error": f"exited with {os.waitstatus_to_exitcode(status)}"}
        return json.loads(self.answer.read_text(encoding="utf-8"))


def kill(root: int) -> None:
    """Kills a process and what it has started, such as the workers of a trainer: they would keep their CPUs.

    All are stopped first, so that none starts another one meanwhile."""
    stopped: list[int] = []
    while more := [pid for pid in [root, *descendants(root)] if pid not in stopped]:
        for pid in more:
            send(pid, signal.SIGSTOP)
        stopped += more
    for pid in reversed(stopped):
        send(pid, signal.SIGKILL)


def send(pid: int, what: signal.Signals) -> None:
    """Sends a signal to a process, unless it has ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, what)


def descendants(root: int) -> list[int]:
    """The processes that a process has started, and those that they have started, in /proc of Linux."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # "7 (a name) S 1 ...": the name may have spaces and parentheses
            parent = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found[1:]


def run(trials: dict[int, Running]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The results of trials, in the order in which they end."""
    pause = 0.001
    while trials:
        ended = [(n, result) for n, trial in trials.items() if (result := trial.poll())]
        for n, result in ended:
            del trials[n]
            yield n, result
        if not ended:
            time.sleep(pause)
            pause = min(2 * pause, 0.05)


def libraries() -> list[str]:
    """The modules of installed packages that are loaded."""
    return sorted(
        name
        for name, module in list(sys.modules.items())
        if "site-packages" in (getattr(module, "__file__", None) or "")
    )


def measured(step: Step, params: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Trains, and returns the metric of the model on the rows for validation."""
    try:
        import tenon_model
        from tenon_evaluate import Result

        tuning, folder = step.params["tuning"], scratch / "model"
        output = {"kind": "model", "path": str(folder), "signature": tuning["signature"]}
        inner = with_params(
            step, params, without="next", outputs={"model": output}, metrics=None, scratch=str(scratch)
        )
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
