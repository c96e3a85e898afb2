"""Bootstrap intervals of the metrics of an evaluation, and of how far two models are apart on the same rows.

A resample draws as many rows of the test set as it has, with replacement; with groups, as many groups, each
with all of its rows. The interval of a metric lies between two percentiles of its values in the resamples
(B. Efron, R. Tibshirani: An Introduction to the Bootstrap, 1993, chapter 13). All models share the resamples,
so the interval of a difference is that of a paired bootstrap.

A resample is an array of weights: how often each row was drawn. What scikit-learn computes of so many copies
of the rows is computed here for many resamples at once, from sums over rows and from ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse

from tenon_step import StepError, nearest

if TYPE_CHECKING:
    from tenon_evaluate import Result
    from tenon_step import LazyTable

LEVEL = 0.95
RESAMPLES, FEWER = 1000, 200  # unless the spec has a number: FEWER for more than MANY rows
MANY = 200_000
BLOCK = 4_000_000  # weights that are in memory at a time
DEFINED = 0.9  # the least share of the resamples in which a metric is defined, for an interval of it
LEAST = 2  # rows or groups


def intervals(
    spec: Mapping[str, Any],
    result: Result,
    others: Mapping[str, Result],
    test: LazyTable,
    column: str | None,
    seed: int,
    notes: list[str],
) -> dict[str, Any]:
    """What `report.json` has under `intervals`; nothing without resamples.

    `spec` is {level, resamples}, `column` has the groups. `metrics` has the lower and the upper end for each
    metric of `result`, `differences` those of its differences to each of `others`: its own value less theirs.
    A metric without an interval is left out, with a note.
    """
    level, resamples = spec.get("level", LEVEL), spec.get("resamples")
    if resamples is None:
        resamples = RESAMPLES if len(test) <= MANY else FEWER
    if not resamples:
        return {}
    groups = None if column is None else codes(test, column)
    drawn = len(test) if groups is None else int(groups.max()) + 1
    if drawn < LEAST:
        what = "row" if groups is None else f"value of {column}"
        notes.append(f"there are no intervals: the test set has one {what}")
        return {}
    tables = {name: table(r) for name, r in {"": result, **others}.items()}
    found: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in tables}
    for weights in draws(len(test), resamples, seed, groups):
        for name, of in tables.items():
            found[name].append(of.metrics(weights))
    values = {
        name: {metric: np.concatenate([b[metric] for b in blocks]) for metric in blocks[0]}
        for name, blocks in found.items()
    }
    own = values.pop("")
    metrics = {}
    for name in result.metrics([]):
        if name not in own:
            notes.append(f"{name} has no interval: that of an extreme value does not hold")
        elif (ends := percentiles(own[name], level)) is None:
            notes.append(f"{name} has no interval: too few resamples define it")
        else:
            metrics[name] = ends
    differences = {}
    for name, theirs in values.items():
        pairs = {
            metric: percentiles(own[metric] - theirs[metric], level) for metric in metrics if metric in theirs
        }
        differences[name] = {metric: ends for metric, ends in pairs.items() if ends is not None}
    return {
        "level": level,
        "resamples": resamples,
        **({} if column is None else {"column": column, "groups": drawn}),
        "metrics": metrics,
        "differences": differences,
    }


def ends(found: Mapping[str, Any]) -> dict[str, float]:
    """The intervals as metrics of the step: `roc_auc [lower]` and `roc_auc [upper]`."""
    return {
        f"{name} [{end}]": value
        for name, pair in found.get("metrics", {}).items()
        for end, value in zip(("lower", "upper"), pair, strict=True)
    }


def codes(test: LazyTable, column: str) -> np.ndarray:
    """The number of the group of each row; missing values are a group."""
    if column not in test.names:
        raise StepError(f"intervals: input test has no column {column}{nearest(column, test.names)}")
    values = test.read([column]).column(0).to_pandas()
    return pd.factorize(values, use_na_sentinel=False)[0]


def draws(rows: int, resamples: int, seed: int, groups: np.ndarray | None) -> Iterator[np.ndarray]:
    """Blocks of weights, of shape (resamples, rows)."""
    random = np.random.default_rng(seed)
    drawn = rows if groups is None else int(groups.max()) + 1
    size = max(BLOCK // max(rows, drawn), 1)
    for start in range(0, resamples, size):
        block = np.empty((min(size, resamples - start), drawn))
        for weights in block:
            weights[:] = np.bincount(random.integers(0, drawn, drawn), minlength=drawn)
        yield block if groups is None else block[:, groups]


def percentiles(values: np.ndarray, level: float) -> list[float] | None:
    """Both ends; None if too few of the values are defined."""
    defined = values[np.isfinite(values)]
    if len(defined) < DEFINED * len(values):
        return None
    return [float(q) for q in np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])]


def table(result: Result) -> Classes | Numbers:
    return Classes(result) if result.model.classification else Numbers(result)


def ratio(above: np.ndarray, below: np.ndarray, otherwise: float) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(above), float(otherwise)), where=below != 0)


class Classes:
    """The metrics of a classification for weighted rows."""

    def __init__(self, result: Result) -> None:
        self.names = set(result.metrics([]))
        self.binary = len(result.names) == 2 and not result.unseen
        n, k = len(result.y), len(result.names)

        def members(of: np.ndarray, rows: np.ndarray) -> Any:
            return scipy.sparse.csr_array((np.ones(len(rows)), (rows, of[rows])), shape=(n, k))

        every = np.arange(n)
        self.actual = members(result.y, every)
        self.predicted = members(result.predicted, every)
        self.hits = members(result.y, np.flatnonzero(result.y == result.predicted))
        self.means: dict[str, np.ndarray] = {}
        if "log_loss" in self.names:
            p = result.p
            own = p[every, result.y] / p.sum(axis=1)
            tiny = np.finfo(p.dtype).eps
            self.means["log_loss"] = -np.log(own.clip(tiny, 1 - tiny))
        if "brier_score_loss" in self.names:
            off = (result.p - np.eye(k)[result.y]) ** 2
            self.means["brier_score_loss"] = off[:, 1] if self.binary else off.sum(axis=1)
        self.ranks: list[Ranks] = []
        if self.names & {"roc_auc", "average_precision"}:
            self.ranks = [
                Ranks(result.score[:, i], result.y == i) for i in ([1] if self.binary else range(k))
            ]

    def metrics(self, w: np.ndarray) -> dict[str, np.ndarray]:
        rows = w.sum(axis=1)
        actual, predicted, hits = w @ self.actual, w @ self.predicted, w @ self.hits
        right = hits.sum(axis=1)
        with np.errstate(all="ignore"):
            out = {"accuracy": right / rows, "balanced_accuracy": np.nanmean(hits / actual, axis=1)}
        by_class = {
            "precision": ratio(hits, predicted, 0),
            "recall": ratio(hits, actual, 0),
            "f1": ratio(2 * hits, actual + predicted, 0),
        }
        there = actual + predicted > 0
        for name, values in by_class.items():
            # Like scikit-learn's macro average: over the classes that occur or are predicted.
            out[name] = values[:, 1] if self.binary else (values * there).sum(axis=1) / there.sum(axis=1)
        spread = (rows**2 - (actual**2).sum(axis=1)) * (rows**2 - (predicted**2).sum(axis=1))
        out["matthews_corrcoef"] = ratio(right * rows - (actual * predicted).sum(axis=1), np.sqrt(spread), 0)
        if self.ranks:
            areas = np.array([r.areas(w) for r in self.ranks]).mean(axis=0)
            out["roc_auc"], out["average_precision"] = areas
        out |= {name: w @ values / rows for name, values in self.means.items()}
        return {name: values for name, values in out.items() if name in self.names}


class Ranks:
    """The rows in the order of their scores, the highest first, for the areas under two curves."""

    def __init__(self, score: np.ndarray, positive: np.ndarray) -> None:
        self.order = np.argsort(-score, kind="stable")
        self.positive = positive[self.order].astype(np.float64)
        of = score[self.order]
        self.last = np.append(np.flatnonzero(of[1:] != of[:-1]), len(of) - 1)  # of those with the same score

    def areas(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """roc_auc and average_precision; NaN for a resample without rows of both kinds."""
        w = w[:, self.order]
        every = w.cumsum(axis=1)[:, self.last]
        w *= self.positive
        hits = w.cumsum(axis=1)[:, self.last]
        others = every - hits
        positives, negatives = hits[:, -1], others[:, -1]
        new = np.diff(hits, axis=1, prepend=0)
        precision = ratio(hits, every, 0)
        with np.errstate(all="ignore"):
            average = np.einsum("ij,ij->i", new, precision) / positives
            # A positive row is above the negative ones that follow, and half above those beside it.
            beside = np.diff(others, axis=1, prepend=0)
            above = np.einsum("ij,ij->i", new, negatives[:, None] - others + beside / 2)
            area = above / (positives * negatives)
        average[negatives == 0] = np.nan
        return area, average


class Numbers:
    """The metrics of a regression for weighted rows."""

    def __init__(self, result: Result) -> None:
        self.names = set(result.metrics([]))
        y, off = result.y, result.y - result.predicted
        size = np.abs(off)
        centred = y - y.mean()
        columns = [centred, centred**2, off, off**2, size]
        self.relative = "mean_absolute_percentage_error" in self.names
        if self.relative:
            columns.append(size / np.abs(y))
        self.columns = np.stack(columns, axis=1)
        self.order = np.argsort(size, kind="stable")
        self.sizes = size[self.order]

    def metrics(self, w: np.ndarray) -> dict[str, np.ndarray]:
        rows = w.sum(axis=1)
        means = (w @ self.columns / rows[:, None]).T
        level, square, off, off_square, size = means[:5]
        spread = square - level**2
        spread[spread <= 1e-12 * square] = 0  # all labels of the resample are the same
        out = {
            "r2": 1 - ratio(off_square, spread, np.nan),
            "explained_variance": 1 - ratio(off_square - off**2, spread, np.nan),
            "mean_absolute_error": size,
            "mean_squared_error": off_square,
            "root_mean_squared_error": np.sqrt(off_square),
            "median_absolute_error": self.median(w, rows),
        }
        if self.relative:
            out["mean_absolute_percentage_error"] = means[5]
        return {name: values for name, values in out.items() if name in self.names}

    def median(self, w: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The median of the sizes of the errors: the mean of the two in the middle of an even number."""
        until = w[:, self.order].cumsum(axis=1)
        middle = [(until > at[:, None]).argmax(axis=1) for at in ((rows - 1) // 2, rows // 2)]
        return (self.sizes[middle[0]] + self.sizes[middle[1]]) / 2
