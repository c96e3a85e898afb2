"""Asks scikit-learn itself which values its parameters take, to test what the compiler makes of the index.

    verdicts.py [EVERY]

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


if __name__ == "__main__":
    for folder in Path(__file__).parent.parent.iterdir():
        sys.path.append(str(folder))
    warnings.simplefilter("ignore")
    for line in verdicts(int(sys.argv[1]) if len(sys.argv) > 1 else 37):
        print(line)
