"""Runs a trainer with the parameters that a study found best.

Input: `best`, what `tune.*` chose, in addition to the inputs of the trainer. The parameter `tuning` names its
script; all others are the trainer's, and searched values replace those that the model declares.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tenon_step
from tenon_step import Step, StepError


def main(step: Step) -> None:
    found = json.loads(step.input("best", "file").path.read_text(encoding="utf-8"))
    shown = ", ".join(f"{path} = {json.dumps(value)}" for path, value in sorted(found["params"].items()))
    tenon_step.log(f"trained with the parameters of trial {found['number']}: {shown}")
    trainer(step)(with_params(step, found["params"], without="best"))


def trainer(step: Step) -> Callable[[Step], Any]:
    """The function `main` of the trainer."""
    name = step.params["tuning"]["main"]
    module = tenon_step.import_file("tenon_trainer", Path(__file__).with_name(name))
    if not callable(found := getattr(module, "main", None)):
        raise StepError(f"a trainer that is tuned needs a function main(step), which {name} lacks")
    return found


def with_params(step: Step, params: Mapping[str, Any], without: str, **doc: Any) -> Step:
    """The step of the trainer: without one input, with `params` by their paths, and with other parts of its
    document."""
    own = {name: value for name, value in step.params.items() if name != "tuning"}
    for path, value in params.items():
        own = placed(own, path.split("."), value)
    inputs = {name: port for name, port in step.doc["inputs"].items() if name != without}
    return Step({**step.doc, "params": own, "inputs": inputs, **doc})


def placed(params: Mapping[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    """`params` with a value at a path."""
    if not path[1:]:
        return {**params, path[0]: value}
    within = params.get(path[0]) or {}
    if not isinstance(within, Mapping):
        raise StepError(f"{path[0]} is not a struct: it has no {'.'.join(path[1:])} to search")
    return {**params, path[0]: placed(within, path[1:], value)}


if __name__ == "__main__":
    tenon_step.run(main)
