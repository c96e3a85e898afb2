"""The metrics of an evaluation by the values of some columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tenon_step import StepError, nearest

if TYPE_CHECKING:
    from tenon_evaluate import Result
    from tenon_step import LazyTable

GROUPS = 20  # of a column; of numbers and times with more values, ranges are made
RANGES = 5
LEAST = 20  # rows of a group with metrics


def segments(result: Result, test: LazyTable, columns: Sequence[str]) -> list[dict[str, Any]]:
    """For each column its groups in the order of their values, with rows and metrics.

    A group with fewer than `LEAST` rows has its count and no metrics: they would say little, and reveal
    something about single rows. Of a text with more than `GROUPS` values the most frequent are groups, the
    others are one.
    """
    names = list(result.metrics([]))
    found = []
    for column in columns:
        if column not in test.names:
            raise StepError(f"segments: input test has no column {column}{nearest(column, test.names)}")
        groups = []
        for name, mask in groups_of(test, column):
            rows = int(mask.sum())
            group: dict[str, Any] = {"group": name, "rows": rows}
            if rows < LEAST:
                group["reason"] = f"fewer than {LEAST} rows"
            else:
                notes: list[str] = []
                metrics = result.only(mask).metrics(notes)
                group["metrics"] = {name: metrics.get(name) for name in names}
                if any(name not in metrics for name in names):
                    group["reasons"] = [note.replace("the test set", "the group") for note in notes]
            groups.append(group)
        found.append({"column": column, "groups": groups})
    return found


def groups_of(test: LazyTable, column: str) -> list[tuple[str, np.ndarray]]:
    """Name and rows of each group; that of missing values is last."""
    data = test.read([column]).column(0)
    if pa.types.is_binary(data.type):
        raise StepError(f"segments: column {column} has bytes, which make no groups")
    if pa.types.is_date(data.type):
        data = data.cast(pa.timestamp("us"))
    values = data.to_pandas(integer_object_nulls=True)
    missing = values.isna().to_numpy()
    known = values[~missing].infer_objects()
    counts = known.value_counts()
    groups: list[tuple[str, np.ndarray]] = []
    if len(counts) > GROUPS and ordered(known):
        groups = ranges(known, values.index)
    else:
        most = sorted(counts.index, key=lambda v: (-counts[v], v))[:GROUPS]
        for value in sorted(most):
            groups.append((shown(value), (values == value).to_numpy()))
        if rest := len(counts) - len(most):
            groups.append((f"{rest} other values", (~values.isin(most)).to_numpy() & ~missing))
    if missing.any():
        groups.append(("missing", missing))
    return groups


def ordered(values: pd.Series) -> bool:
    """Whether the values are numbers or times, which make ranges."""
    return pd.api.types.is_numeric_dtype(values) or pd.api.types.is_datetime64_any_dtype(values)


def ranges(values: pd.Series, rows: pd.Index) -> list[tuple[str, np.ndarray]]:
    """Up to `RANGES` ranges of about as many rows each."""
    bins = pd.qcut(values.rank(method="min"), RANGES, labels=False, duplicates="drop").to_numpy()
    groups = []
    for i in np.unique(bins):
        of = values[bins == i]
        groups.append((f"{shown(of.min())} to {shown(of.max())}", rows.isin(of.index)))
    return groups


def shown(value: Any) -> str:
    from tenon_model import label_name

    if isinstance(value, pd.Timestamp):
        return value.isoformat(sep=" ").removesuffix(" 00:00:00")
    if isinstance(value, float):
        return f"{value:.6g}"
    return label_name(value)
