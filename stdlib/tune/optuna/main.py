"""tune.optuna: chooses parameters with a sampler of Optuna, in rounds.

Parameters: `space`, by path {type: "float" | "int" | "categorical", low, high, log, step, choices};
`sampler`, `direction`, `metric`, `parallel` (how many a round has), `failures` (how many trials may fail),
and `round`, from 1. Inputs: of the round before, `told`, and `trial_1`, `trial_2` ..., the results of its
trials, see `tenon_trial`. Outputs: `told`, all trials so far and what this round asks for, and `next_1`,
`next_2` ..., the parameters of one trial each. Without `round`, the study is over, and the outputs are `best`
and `study`::

    {"number": 7, "params": {"params.num_leaves": 12}, "value": 0.31}
    {"metric": ..., "direction": ..., "sampler": ..., "trials": [{"number": 1, "params": {...}, ...}]}

With the argument --serve, it is not a step but answers `tenon_study` line by line, see `serve`.

A round is a function of the seed and of the results before it: the study is repeated from its beginning,
which takes milliseconds, and refused if the sampler then asks for anything else than it did.
"""

from __future__ import annotations

import itertools
import json
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import tenon_step
from tenon_step import Step, StepError
from tenon_trials import check_failures, finish, write

if TYPE_CHECKING:
    import optuna


def main(step: Step) -> None:
    rounds = told(step)
    trials = [trial for trials in rounds for trial in trials]
    check_failures(trials, step.params["failures"])
    if step.params.get("round"):
        chooser = Chooser(step.params, step.seed32)
        chooser.repeat(rounds)
        asked = chooser.ask()
        write(step, "told", {"rounds": rounds, "asked": asked})
        for place, params in enumerate(asked, 1):
            write(step, f"next_{place}", params)
    else:
        finish(step, step.params, trials)


def told(step: Step) -> list[list[dict[str, Any]]]:
    """The trials of all rounds, each with its parameters and its result."""
    if "told" not in step.inputs:
        return []
    before = read(step, "told")
    results = [read(step, f"trial_{i}") for i in range(1, len(step.inputs))]
    last = [{"params": params, **result} for params, result in zip(before["asked"], results, strict=False)]
    return [*before["rounds"], last]


def read(step: Step, port: str) -> Any:
    return json.loads(step.input(port, "file").path.read_text(encoding="utf-8"))


class Chooser:
    """Asks for the parameters of one round after the other."""

    def __init__(self, params: Mapping[str, Any], seed: int) -> None:
        self.space, self.count = params["space"], params["parallel"]
        self.grid = grid(self.space) if params["sampler"] == "grid" else None
        if self.grid is not None:
            return
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        made = {
            "tpe": optuna.samplers.TPESampler,
            "random": optuna.samplers.RandomSampler,
            "cmaes": optuna.samplers.CmaEsSampler,
        }
        self.study = optuna.create_study(
            direction=params["direction"], sampler=made[params["sampler"]](seed=seed)
        )
        self.distributions = {path: distribution(p) for path, p in self.space.items()}

    def ask(self) -> list[dict[str, Any] | None]:
        """The parameters of the trials of the next round. None where a grid has no more."""
        if self.grid is not None:
            found = list(itertools.islice(self.grid, self.count))
            return found + [None] * (self.count - len(found))
        self.asked = [self.study.ask(self.distributions) for _ in range(self.count)]
        return [values(self.space, trial.params) for trial in self.asked]

    def tell(self, results: Sequence[Mapping[str, Any]]) -> None:
        """The results of the round that was asked for last."""
        if self.grid is not None:
            return
        from optuna.trial import TrialState

        for trial, result in zip(self.asked, results, strict=True):
            if result["state"] == "complete":
                self.study.tell(trial, result["value"])
            else:
                self.study.tell(trial, state=TrialState.FAIL)

    def repeat(self, rounds: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        """Rounds that were made before. StepError if they would not be the same again."""
        for trials in rounds:
            again, before = self.ask(), [trial["params"] for trial in trials]
            if again != before:
                raise StepError(
                    f"the sampler asks for {json.dumps(again)} where it asked for {json.dumps(before)}: "
                    "it does not repeat itself"
                )
            self.tell(trials)


def serve() -> None:
    """Chooses for `tenon_study`: a line with the study, then one with the results of each round.

    Each is answered by a line with the parameters of the next one.
    """
    study = json.loads(sys.stdin.readline())
    chooser = Chooser(study["params"], study["seed"])
    chooser.repeat(study["rounds"])
    print(json.dumps(chooser.ask()), flush=True)
    for line in sys.stdin:
        chooser.tell(json.loads(line))
        print(json.dumps(chooser.ask()), flush=True)


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
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        tenon_step.run(main)
