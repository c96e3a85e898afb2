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
BLOCK = 100_000  # weights that are in memory at a time: few enough for a cache of the processor
COLUMNS = 100  # of a dense table; wider ones are sparse
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
        every = np.arange(n)
        right = np.flatnonzero(result.y == result.predicted)
        # Three columns for each class: where it is the label, where it is predicted, and where it is both.
        rows = np.concatenate([every, every, right])
        columns = np.concatenate([result.y, k + result.predicted, 2 * k + result.y[right]])
        members = scipy.sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(n, 3 * k))
        self.members = members.toarray() if 3 * k <= COLUMNS else members
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
        actual, predicted, hits = np.split(w @ self.members, 3, axis=1)
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
        of, positive = score[self.order], positive[self.order]
        ends = np.append(np.flatnonzero(of[1:] != of[:-1]), len(of) - 1)
        tie = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=-1))
        # The areas are sums over the positive rows, so only scores that these have are needed.
        self.rows = self.order[positive]
        scores, first = np.unique(tie[positive], return_index=True)
        self.last = ends[scores]  # row of each score, in order
        self.before = np.append(-1, ends)[scores] + 1  # how many rows are above it
        self.last_positive = np.append(first[1:], len(self.rows)) - 1
        self.tied = (self.last > self.before).any()

    def areas(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """roc_auc and average_precision; NaN for a resample without rows of both kinds."""
        if len(self.last) == 1 and self.last[0] == len(self.order) - 1 and self.before[0] == 0:
            return self.alike(w)
        every = cumulated(w, self.order)
        hits = new = np.take(w, self.rows, axis=1)
        hits = hits.cumsum(axis=1)
        rows, positives = every[:, -1], hits[:, -1]
        negatives = rows - positives
        until = np.take(every, self.last, axis=1)
        if self.tied:
            hits = np.take(hits, self.last_positive, axis=1)
            new = np.diff(hits, axis=1, prepend=0)
            above = np.take(np.pad(every, ((0, 0), (1, 0))), self.before, axis=1)
            # A positive row is above the negative ones that follow, and half above those beside it.
            others = (until - hits + above - (hits - new)) / 2
        else:
            others = until - hits
        precision = ratio(hits, until, 0)
        with np.errstate(all="ignore"):
            average = np.einsum("ij,ij->i", new, precision) / positives
            area = 1 - np.einsum("ij,ij->i", new, others) / (positives * negatives)
        average[negatives == 0] = np.nan
        return area, average

    def alike(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The areas where all rows have the same score, as those of a dummy."""
        rows, positives = w.sum(axis=1), np.take(w, self.rows, axis=1).sum(axis=1)
        both = (positives > 0) & (positives < rows)
        return np.where(both, 0.5, np.nan), np.where(both, positives / rows, np.nan)


def cumulated(w: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The sums of the weights in an order, of shape (resamples, rows)."""
    out = np.take(w, order, axis=1)
    return out.cumsum(axis=1, out=out)


class Numbers:
    """The metrics of a regression for weighted rows."""

    def __init__(self, result: Result) -> None:
        self.names = set(result.metrics([]))
        y, off = result.y, result.y - result.predicted
        size = np.abs(off)
        centred = y - y.mean()
        beside = off - off.mean()
        columns = [centred, centred**2, beside, beside**2, off**2, size]
        self.relative = "mean_absolute_percentage_error" in self.names
        if self.relative:
            columns.append(size / np.abs(y))
        self.columns = np.stack(columns, axis=1)
        self.order = np.argsort(size, kind="stable")
        self.sizes = size[self.order]

    def metrics(self, w: np.ndarray) -> dict[str, np.ndarray]:
        rows = w.sum(axis=1)
        means = (w @ self.columns / rows[:, None]).T
        level, square, beside, beside_square, off_square, size = means[:6]
        spread = square - level**2
        spread[spread <= 1e-12 * square] = 0  # all labels of the resample are the same
        out = {
            "r2": 1 - ratio(off_square, spread, np.nan),
            "explained_variance": 1 - ratio(beside_square - beside**2, spread, np.nan),
            "mean_absolute_error": size,
            "mean_squared_error": off_square,
            "root_mean_squared_error": np.sqrt(off_square),
            "median_absolute_error": self.median(w, rows),
        }
        if self.relative:
            out["mean_absolute_percentage_error"] = means[6]
        return {name: values for name, values in out.items() if name in self.names}

    def median(self, w: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The median of the sizes of the errors: the mean of the two in the middle of an even number."""
        middle = np.stack([(rows - 1) // 2, rows // 2], axis=1)
        found = [
            np.searchsorted(until, at, side="right")
            for until, at in zip(cumulated(w, self.order), middle, strict=True)
        ]
        return self.sizes[np.array(found)].mean(axis=1)
