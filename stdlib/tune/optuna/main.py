"""tune.optuna: chooses parameters with a sampler of Optuna, in rounds.

Parameters: `space`, by path {type: "float" | "int" | "categorical", low, high, log, step, choices}; `sampler`,
`direction`, `metric`, `parallel` (how many a round has), `failures` (how many trials may fail), and `round`, from 1.
Inputs: of the round before, `told`, and `trial_1`, `trial_2` ..., the results of its trials, see `tenon_trial`.
Outputs: `told`, all trials so far and what this round asks for, and `next_1`, `next_2` ..., the parameters of one trial
each. Without `round`, the study is over, and the outputs are `best` and `study`::

    {"number": 7, "params": {"params.num_leaves": 12}, "value": 0.31}
    {"metric": ..., "direction": ..., "sampler": ..., "trials": [{"number": 1, "params": {...}, "state": ..., ...}]}

A round is a function of the seed and of the results before it: the study is repeated from its beginning, which takes
milliseconds, and refused if the sampler then asks for anything else than it did.
"""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import tenon_step
from tenon_step import Step, StepError

if TYPE_CHECKING:
    import optuna


def main(step: Step) -> None:
    rounds = told(step)
    trials = [trial for trials in rounds for trial in trials]
    check_failures(trials, step.params["failures"])
    if step.params.get("round"):
        asked = ask(step, rounds)
        write(step, "told", {"rounds": rounds, "asked": asked})
        for place, params in enumerate(asked, 1):
            write(step, f"next_{place}", params)
    else:
        finish(step, trials)


def told(step: Step) -> list[list[dict[str, Any]]]:
    """The trials of all rounds, each with its parameters and its result."""
    if "told" not in step.inputs:
        return []
    before = read(step, "told")
    results = [read(step, f"trial_{i}") for i in range(1, len(step.inputs))]
    last = [
        {"params": params, **result} for params, result in zip(before["asked"], results, strict=False)
    ]
    return [*before["rounds"], last]


def read(step: Step, port: str) -> Any:
    return json.loads(step.input(port, "file").path.read_text(encoding="utf-8"))


def write(step: Step, port: str, doc: Any) -> None:
    step.output(port, "file").path.write_text(json.dumps(doc, indent=1) + "\n", encoding="utf-8")


def check_failures(trials: list[dict[str, Any]], allowed: int) -> None:
    failed = [(n, t) for n, t in enumerate(trials, 1) if t["state"] == "failed"]
    if len(failed) > allowed:
        n, last = failed[-1]
        raise StepError(
            f"{len(failed)} of {len(trials)} trials failed, and failures allows {allowed}; trial {n} with "
            f"{json.dumps(last['params'])}: {last['error']}"
        )


def finish(step: Step, trials: list[dict[str, Any]]) -> None:
    """Writes the study, and the best of its trials: of equal ones, the first."""
    p = step.params
    numbered = [{"number": n, **trial} for n, trial in enumerate(trials, 1) if trial["state"] != "skipped"]
    complete = [trial for trial in numbered if trial["state"] == "complete"]
    if not complete:
        raise StepError(f"none of {len(numbered)} trials succeeded: there are no best parameters")
    best = (min if p["direction"] == "minimize" else max)(complete, key=lambda trial: trial["value"])
    write(step, "best", {name: best[name] for name in ("number", "params", "value")})
    write(step, "study", {**{n: p[n] for n in ("metric", "direction", "sampler", "space")}, "trials": numbered})
    step.metrics(
        {f"best_{p['metric']}": best["value"]},
        best_trial=best["number"],
        trials=len(numbered),
        failed=len(numbered) - len(complete),
    )


def ask(step: Step, rounds: list[list[dict[str, Any]]]) -> list[dict[str, Any] | None]:
    """The parameters of the trials of the next round. None where a grid has no more."""
    space, count = step.params["space"], step.params["parallel"]
    if step.params["sampler"] == "grid":
        begin = count * len(rounds)
        found = list(itertools.islice(grid(space), begin, begin + count))
        return found + [None] * (count - len(found))
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    study = optuna.create_study(direction=step.params["direction"], sampler=sampler(step))
    distributions = {path: distribution(range_) for path, range_ in space.items()}
    for trials in rounds:
        asked = [study.ask(distributions) for _ in range(count)]
        if (again := [values(space, t.params) for t in asked]) != [t["params"] for t in trials]:
            raise StepError(
                f"the sampler asks for {json.dumps(again)} where it asked for "
                f"{json.dumps([t['params'] for t in trials])}: it does not repeat itself"
            )
        for trial, result in zip(asked, trials, strict=True):
            if result["state"] == "complete":
                study.tell(trial, result["value"])
            else:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
    return [values(space, study.ask(distributions).params) for _ in range(count)]


def sampler(step: Step) -> optuna.samplers.BaseSampler:
    import optuna

    made = {
        "tpe": optuna.samplers.TPESampler,
        "random": optuna.samplers.RandomSampler,
        "cmaes": optuna.samplers.CmaEsSampler,
    }
    return made[step.params["sampler"]](seed=step.seed32)


def distribution(p: Mapping[str, Any]) -> optuna.distributions.BaseDistribution:
    """The distribution of a parameter. Choices are drawn by their places, so that they may be of any type."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if p["type"] == "categorical":
        return CategoricalDistribution(range(len(p["choices"])))
    if p["type"] == "int":
        return IntDistribution(int(p["low"]), int(p["high"]), log=p["log"], step=int(p["step"]))
    return FloatDistribution(float(p["low"]), float(p["high"]), log=p["log"], step=p.get("step"))


def values(space: Mapping[str, Any], drawn: Mapping[str, Any]) -> dict[str, Any]:
    return {
        path: p["choices"][drawn[path]] if p["type"] == "categorical" else drawn[path]
        for path, p in sorted(space.items())
    }


def grid(space: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All combinations; the last parameter changes first."""
    paths = sorted(space)
    for point in itertools.product(*(points(space[path]) for path in paths)):
        yield dict(zip(paths, point, strict=True))


def points(p: Mapping[str, Any]) -> list[Any]:
    if p["type"] == "categorical":
        return list(p["choices"])
    low, high, width = (Decimal(str(p[name])) for name in ("low", "high", "step"))
    made = int if p["type"] == "int" else float
    return [made(low + i * width) for i in range(int((high - low) // width) + 1)]


if __name__ == "__main__":
    tenon_step.run(main)
