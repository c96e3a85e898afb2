"""How much each class counts in training: the parameter `class_weight`.

It is "balanced", or a weight for some classes by their names; others have 1. With "balanced", a class has
rows / (classes * rows of the class), as in scikit-learn, so that all classes count the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tenon_step import StepError, nearest


def class_weights(spec: Any, classes: Sequence[Any], y: np.ndarray) -> np.ndarray | None:
    """The weight of each of `classes`, None if there is no `spec`. `y` are indexes in `classes`.

    StepError for a regression, and for a name that no class of the training data has.
    """
    from tenon_model import label_name

    if spec is None:
        return None
    if not len(classes):
        raise StepError("class_weight is for a classification; leave it out")
    if spec == "balanced":
        return len(y) / (len(classes) * np.bincount(y, minlength=len(classes)))
    names = [label_name(c) for c in classes]
    if not isinstance(spec, Mapping):
        raise StepError(f'class_weight is {spec!r}, wanted "balanced" or a weight by class')
    for name in spec:
        if name not in names:
            raise StepError(
                f"class_weight: the training data has no class {name}{nearest(name, names, 'it has')}"
            )
    return np.array([float(spec.get(name, 1)) for name in names])


def reject_own(spec: Any, params: Mapping[str, Any], own: Sequence[str]) -> None:
    """StepError if `params` weigh the classes, too."""
    if spec is not None and (found := [name for name in own if name in params]):
        raise StepError(f"class_weight and params.{found[0]} both weigh the classes; leave one out")
