"""A whole study in one program: its trials are forked from this process, which has loaded the libraries.

Inputs: `train` and `validation`, tables with the columns of the model. Outputs: `best` and `study`, see
`tenon_trials`. The parameter `tuning` has what `tenon_trial` needs, how many `trials` there are, and the
`chooser`: a script, the environment that it needs, and its parameters. Each result is in a checkpoint before
the next trial begins, so a study that is killed repeats only the trials that were running.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tenon_step
from tenon_step import Step, StepError
from tenon_trial import Running, run
from tenon_trials import check_failures, finish

Trial = dict[str, Any]


def main(step: Step) -> None:
    tuning = step.params["tuning"]
    study, count = tuning["chooser"]["params"], tuning["trials"]
    parallel = study["parallel"]
    threads = str(max(1, (step.threads or os.cpu_count() or 1) // parallel))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = threads
    of_trial = quiet(step, parallel)
    rounds, some = restored(step)
    record = Record(step, sum(map(len, rounds)) + len(some))
    with chooser(step, rounds) as after:
        asked = after(None)
        while sum(map(len, rounds)) < count:
            asked = asked[: count - sum(map(len, rounds))]
            waiting = {i: p for i, p in enumerate(asked) if p is not None and i not in some}
            some |= {i: {"state": "skipped"} for i, p in enumerate(asked) if p is None}
            trials = {
                i: Running(of_trial, params, step.scratch / f"trial-{i}", report=not record.loaded)
                for i, params in waiting.items()
            }
            for i, result in run(trials):
                record.load(result.pop("modules", None))
                some[i] = result
                record.save(rounds, some, said(sum(map(len, rounds)) + i + 1, result, tuning["metric"]))
            rounds.append([{"params": p, **some[i]} for i, p in enumerate(asked)])
            some = {}
            check_failures([trial for trials in rounds for trial in trials], study["failures"])
            if sum(map(len, rounds)) < count:
                asked = after(rounds[-1])
    finish(step, study, [trial for trials in rounds for trial in trials])


def said(number: int, result: Trial, metric: str) -> str:
    """A trial in words."""
    if result["state"] == "complete":
        return f"trial {number}: {metric} {result['value']:.6g}"
    return f"trial {number} failed: {result['error']}"


def restored(step: Step) -> tuple[list[list[Trial]], dict[int, Trial]]:
    """The rounds that were complete when an earlier attempt ended, and results of the next one by place."""
    if not (found := step.restore()):
        return [], {}
    doc = json.loads((found.path / "study.json").read_text(encoding="utf-8"))
    return doc["rounds"], {int(i): result for i, result in doc["some"].items()}


def quiet(step: Step, parallel: int) -> Step:
    """The step for one of several trials: what it reports is not that of the study."""
    resources = dict(step.resources)
    if "milli_cpu" in resources:
        resources["milli_cpu"] = max(1000, resources["milli_cpu"] // parallel)
    return Step({**step.doc, "progress": None, "checkpoints": None, "resources": resources})


class Record:
    """Records results as they come, and loads libraries once."""

    def __init__(self, step: Step, done: int) -> None:
        self.step, self.done, self.loaded = step, done, False

    def save(self, rounds: list[list[Trial]], some: dict[int, Trial], message: str) -> None:
        self.done += 1
        text = json.dumps({"rounds": rounds, "some": some})
        self.step.checkpoint(
            self.done, lambda folder: (folder / "study.json").write_text(text, encoding="utf-8")
        )
        tenon_step.log(message)
        self.step.progress(self.done, self.step.params["tuning"]["trials"], message)

    def load(self, modules: list[str] | None) -> None:
        """Imports what a trial has imported, so that the next ones begin with it."""
        for name in modules or ():
            with contextlib.suppress(Exception):  # a trial imports it as well
                importlib.import_module(name)
        self.loaded = self.loaded or modules is not None


@contextlib.contextmanager
def chooser(step: Step, rounds: list[list[Trial]]) -> Iterator[Any]:
    """A function that takes the results of a round, or None for those that are known, and returns the
    parameters of the next one."""
    doc = step.params["tuning"]["chooser"]
    python = step.doc["interpreters"][doc["environment"]]
    command = [python, Path(__file__).parent / doc["script"], "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout

        def after(results: list[Trial] | None) -> list[dict[str, Any] | None]:
            study = {"params": doc["params"], "seed": step.seed32, "rounds": rounds}
            with contextlib.suppress(BrokenPipeError):  # its end says more
                process.stdin.write(json.dumps(study if results is None else results) + "\n")
                process.stdin.flush()
            if not (line := process.stdout.readline()):
                raise StepError(f"what chooses the parameters exited with {process.wait()}")
            return json.loads(line)

        try:
            yield after
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.terminate()  # what a killed trial left may still hold its input open


if __name__ == "__main__":
    tenon_step.run(main)
