"""Asks scikit-learn itself which values its parameters take, to test what the compiler makes of the index.

    verdicts.py [EVERY]
    verdicts.py --native     the same for the native parameters of LightGBM and XGBoost, every 11th answer

Prints a line per class, parameter and value: import path, parameter, `yes` or `no`, and the value as JSON. Of
all lines, about 45,000, it prints every 37th, or every EVERYth.
"""

from __future__ import annotations

import inspect
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

VALUES = [
    *(None, True, False, 0, 1, 2, 3, 100, -1, -5, 4294967296, 0.0, 0.5, 1.0, 1.5, -0.5, 1e9),
    *("x", "", "auto", "balanced", "mean", "sqrt", "l2", [], [1, 2], [0.5], ["a", "b"], {}, {"a": 1}),
]


def verdicts(every: int) -> Iterator[str]:
    from sklearn.utils._param_validation import InvalidParameterError

    import tenon_sklearn

    number = 0
    for line in Path(__file__).with_name("sklearn.txt").read_text(encoding="utf-8").splitlines():
        path, _, text = line.partition(" ")
        entry = json.loads(text) if text.startswith("{") else {}
        parameters = entry.get("params", {})
        if "fit" not in entry.get("does", ()) or any("required" in p for p in parameters.values()):
            continue
        cls = tenon_sklearn.resolve(path)
        if inspect.isabstract(cls) or not hasattr(cls, "_parameter_constraints"):
            continue
        try:
            cls()._validate_params()
        except InvalidParameterError:
            continue  # a default that has to be replaced
        for parameter in parameters:
            for value in VALUES:
                number += 1
                if number % every:
                    continue
                try:
                    tenon_sklearn.make(path, {parameter: value})._validate_params()
                    answer = "yes"
                except InvalidParameterError:
                    answer = "no"
                yield f"{path} {parameter} {answer} {json.dumps(value)}"


def native(every: int) -> Iterator[str]:
    import values

    values.limit_memory()
    number = 0
    for path, error, bases in (
        ("lightgbm.train", values.lightgbm_error, values.LIGHTGBM_BASES),
        ("xgboost.train", values.xgboost_error, values.XGBOOST_BASES),
    ):
        index = Path(__file__).with_name(f"{path.partition('.')[0]}.txt").read_text(encoding="utf-8")
        line = next(line for line in index.splitlines() if line.startswith(f"{path} "))
        for parameter, entry in json.loads(line.partition(" ")[2])["params"].items():
            if "takes" not in entry:
                continue
            for value in [*VALUES, *values.OPTIONS.get(parameter, ())]:
                number += 1
                large = isinstance(value, int | float) and value > 1000  # it may take that much memory
                if number % every or large:
                    continue
                with values.quiet():
                    used = [b for b in bases if error({**b, parameter: values.TEXT})]
                    taken = any(not error({**b, parameter: value}) for b in used)
                yield f"{path} {parameter} {'yes' if taken else 'no'} {json.dumps(value)}"


if __name__ == "__main__":
    for folder in Path(__file__).parent.parent.iterdir():
        sys.path.append(str(folder))
    warnings.simplefilter("ignore")
    for line in (
        native(11) if "--native" in sys.argv else verdicts(int(sys.argv[1]) if len(sys.argv) > 1 else 37)
    ):
        print(line)
