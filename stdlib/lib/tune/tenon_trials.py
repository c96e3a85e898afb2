"""The outcome of the trials of a study.

A trial is {"params": {...}, "state": "complete" | "failed" | "skipped", "value"?, "error"?}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tenon_step import Step, StepError


def check_failures(trials: Sequence[Mapping[str, Any]], allowed: int) -> None:
    """StepError if more than `allowed` trials have failed."""
    failed = [(n, t) for n, t in enumerate(trials, 1) if t["state"] == "failed"]
    if len(failed) > allowed:
        n, last = failed[-1]
        raise StepError(
            f"{len(failed)} of {len(trials)} trials failed, and failures allows {allowed}; trial {n} with "
            f"{json.dumps(last['params'])}: {last['error']}"
        )


def finish(step: Step, study: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]) -> None:
    """Writes the outputs of a study, `best` and `study`. Of equal trials, the first is the best."""
    numbered = [{"number": n, **trial} for n, trial in enumerate(trials, 1) if trial["state"] != "skipped"]
    complete = [trial for trial in numbered if trial["state"] == "complete"]
    if not complete:
        raise StepError(f"none of {len(numbered)} trials succeeded: there are no best parameters")
    choose = min if study["direction"] == "minimize" else max
    best = choose(complete, key=lambda trial: trial["value"])
    write(step, "best", {name: best[name] for name in ("number", "params", "value")})
    said = {name: study[name] for name in ("metric", "direction", "sampler", "space")}
    write(step, "study", {**said, "trials": numbered})
    step.metrics(
        {f"best_{study['metric']}": best["value"]},
        best_trial=best["number"],
        trials=len(numbered),
        failed=len(numbered) - len(complete),
    )


def write(step: Step, port: str, doc: Any) -> None:
    """Writes a document as an output of kind file."""
    step.output(port, "file").path.write_text(json.dumps(doc, indent=1) + "\n", encoding="utf-8")
