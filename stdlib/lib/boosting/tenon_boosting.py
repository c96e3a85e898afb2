"""What the trainers of gradient boosting share: data, classes, a part held out for early stopping."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

import tenon_early
import tenon_flavours
import tenon_model
import tenon_weights
from tenon_model import Encoding
from tenon_step import Port, Signature, Step, StepError, log, nearest


@dataclass
class Data:
    """Encoded features and targets (class numbers if classes), and the part held out, which may be empty.

    Those of `train` and `held` have the names that the library gets, `features` those of the columns.
    """

    port: Port
    signature: Signature
    encoding: Encoding
    label: dict[str, Any]
    features: pd.DataFrame
    train: pd.DataFrame
    train_y: np.ndarray
    held: pd.DataFrame
    held_y: np.ndarray
    train_weight: np.ndarray | None  # of each row, with weights of the classes
    held_weight: np.ndarray | None
    stop_after: int | None  # rounds without improvement
    rounds: int

    @property
    def classes(self) -> int:
        """How many, 0 in a regression."""
        return len(self.label.get("classes", ()))

    def save(self, flavour: str, step: Step, rounds: int) -> None:
        """Writes the model folder's JSON files and the metrics. `rounds` is the number of those kept."""
        rows = len(self.train) + len(self.held)
        info = {
            "flavour": flavour,
            "estimator": flavour,
            "params": step.params.get("params") or {},
            "rounds": rounds,
            "seed": step.seed32,
            "rows": rows,
            "encoding": list(self.encoding.columns),
            **self.label,
        }
        tenon_model.save(self.port.path, self.signature, info)
        step.metrics(rows=rows, features=self.train.shape[1], rounds=rounds)


def read(step: Step, own_weights: Sequence[str]) -> Data:
    """Reads the input `train` and the parameters `rounds`, `early_stopping` and `class_weight`.

    `own_weights` are the library's own parameters for the weights of classes.
    """
    port = step.output("model", "model")
    if port.signature is None:
        raise StepError("output model has no signature")
    rounds = step.params.get("rounds") or 100
    if not isinstance(rounds, int) or rounds < 1:
        raise StepError(f"parameter rounds is {rounds!r}, wanted a positive integer")
    if not port.signature.input:
        raise StepError(tenon_model.NO_INPUTS)
    frame, y = tenon_model.training_data(step, port.signature)
    label = tenon_model.describe(y, port.signature)
    if "classes" in label:
        y = np.searchsorted(np.array(label["classes"], dtype=y.dtype), y)
    wanted = step.params.get("class_weight")
    tenon_weights.reject_own(wanted, step.params.get("params") or {}, own_weights)
    weights = tenon_weights.class_weights(wanted, label.get("classes", ()), y)
    held, stop_after = tenon_early.hold_out(step, y, len(label.get("classes", ())))
    # Categories and classes are those of all rows: the part held out is training data too.
    encoding = Encoding.fit(frame, port.signature, native=True)
    encoded = encoding.apply(frame)
    features = encoded.copy(deep=False)
    features.columns = tenon_flavours.codes(features.shape[1])
    return Data(
        port=port,
        signature=port.signature,
        encoding=encoding,
        label=label,
        features=encoded,
        train=features[~held],
        train_y=y[~held],
        held=features[held],
        held_y=y[held],
        train_weight=None if weights is None else weights[y[~held]],
        held_weight=None if weights is None else weights[y[held]],
        stop_after=stop_after,
        rounds=rounds,
    )


def with_codes(params: Mapping[str, Any], signature: Signature, code: Callable[[int], Any]) -> dict[str, Any]:
    """The user's parameters, with `code` of its position for each column that they name."""
    names = [c.name for c in signature.input]

    def coded(parameter: str, name: Any) -> Any:
        if not isinstance(name, str):
            return code(name)
        if name not in names:
            raise StepError(
                f"parameter {parameter} names no column {name}{nearest(name, names, 'there are')}"
            )
        return code(names.index(name))

    out = dict(params)
    for parameter, value in params.items():
        if parameter == "monotone_constraints" and isinstance(value, Mapping):
            for name in value:
                coded(parameter, name)
            out[parameter] = tuple(value.get(name, 0) for name in names)
        elif parameter == "monotone_constraints" and isinstance(value, list):
            out[parameter] = tuple(value)  # XGBoost takes no list
        elif parameter == "interaction_constraints" and isinstance(value, list):
            out[parameter] = [[coded(parameter, name) for name in group] for group in value]
        elif isinstance(value, str) and value.startswith("name:"):
            found = [str(coded(parameter, name)) for name in value.removeprefix("name:").split(",")]
            out[parameter] = ",".join(found)
    return out


def reject_unknown(library: str, unknown: list[str], known: list[str]) -> None:
    """StepError for parameters that the library says it does not know; it would only warn."""
    if unknown:
        raise StepError(f"{library} has no parameter {unknown[0]}{nearest(unknown[0], known)}")


def report(step: Step, done: int, total: int, metrics: Mapping[str, float]) -> None:
    """Logs metrics of the rows held out, by the library's names, and the progress every 10 rounds."""
    step.log({f"held_out_{name}": value for name, value in metrics.items()}, step=done)
    if done % 10 == 0 or done == total:
        step.progress(done, total, f"round {done}")


def note_early(best: int, rounds: int) -> None:
    if best < rounds:
        log(f"stopped early: {best} of {rounds} rounds kept")
