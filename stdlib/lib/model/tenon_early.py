"""Rows of the training data that trainers hold out to know when to stop."""

from __future__ import annotations

from typing import Any

import numpy as np

from tenon_step import Step, StepError


def hold_out(step: Step, y: np.ndarray, classes: int) -> tuple[np.ndarray, int | None]:
    """Which rows the parameter `early_stopping` holds out, and after how many rounds without improvement
    training stops; None if it does not. `y` are class numbers if there are classes."""
    held = np.zeros(len(y), dtype=bool)
    stopping: dict[str, Any] = step.params.get("early_stopping") or {}
    if not stopping:
        return held, None
    fraction = stopping.get("fraction", 0.1)
    if not 0 < fraction < 1:
        raise StepError(f"early_stopping.fraction is {fraction}, wanted a number between 0 and 1")
    held[np.random.default_rng(step.seed32).permutation(len(y))[: max(1, int(len(y) * fraction))]] = True
    if held.all():
        raise StepError("early_stopping holds out all rows; there are too few")
    if classes and len(np.unique(y[~held])) < classes:
        raise StepError("early_stopping holds out all rows of a class; lower its fraction")
    return held, stopping.get("rounds", 10)
