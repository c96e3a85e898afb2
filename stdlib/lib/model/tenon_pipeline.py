"""The parts of a scikit-learn pipeline that Tenon adds to the steps of the user. A model holds them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin, clone


class RefusedByStepError(ValueError):
    """A value that a step does not take, in the column `column` of the row `row`."""

    def __init__(self, column: str, row: int, says: str, value: Any) -> None:
        super().__init__(f"column {column}: {says}: {value} in row {row + 1}")
        self.column, self.row, self.says, self.value = column, row, says, value


class Part(TransformerMixin, BaseEstimator):
    """Fits a transformer to some input and hands on what it makes."""

    def fit(self, X: Any, y: Any = None) -> Part:  # noqa: N803, as scikit-learn names it
        self.fit_transform(X, y)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "fitted_") or not hasattr(self, "transformer")


class OnColumns(Part):
    """Replaces some columns of a DataFrame by what the transformer makes of them; the others stay.

    A new column that has the name of another one gets that of the step as a prefix.
    """

    def __init__(self, name: str, transformer: Any, columns: Sequence[str]) -> None:
        self.name, self.transformer, self.columns = name, transformer, columns

    def fit_transform(self, X: pd.DataFrame, y: Any = None) -> pd.DataFrame:  # noqa: N803
        given = X[list(self.columns)]
        try:
            self.fitted_ = in_pandas(clone(self.transformer))
            made = self.fitted_.fit_transform(given, y)
        except ValueError as e:
            if "sparse" not in str(e):
                raise
            self.fitted_ = clone(self.transformer)  # a DataFrame is not sparse
            made = self.fitted_.fit_transform(given, y)
        return self._replaced(X, made)

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:  # noqa: N803
        given = X[list(self.columns)]
        try:
            made = self.fitted_.transform(given)
        except ValueError as e:
            refuse_value(self.fitted_, given, e)
            raise
        return self._replaced(X, made)

    def _replaced(self, frame: pd.DataFrame, made: Any) -> pd.DataFrame:
        rest = frame.drop(columns=list(self.columns))
        if not isinstance(made, pd.DataFrame):
            made = dense(made)
            made = pd.DataFrame(made.reshape(len(frame), -1), columns=self._names(made))
        made = made.set_axis(unique(map(str, made.columns), set(rest.columns), self.name), axis=1)
        return pd.concat([made.set_axis(frame.index, axis=0).infer_objects(), rest], axis=1)

    def _names(self, made: np.ndarray) -> list[str]:
        try:
            return list(self.fitted_.get_feature_names_out())
        except (AttributeError, ValueError, TypeError):
            return [f"{self.name}{i}" for i in range(1 if made.ndim == 1 else made.shape[1])]


class OneColumn(Part):
    """Gives one column to a transformer that takes no table, such as TfidfVectorizer; "" for missing text."""

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer

    def fit_transform(self, X: pd.DataFrame, y: Any = None) -> Any:  # noqa: N803
        # Those for labels, such as LabelBinarizer, take nothing else.
        self.fitted_ = clone(self.transformer)
        return as_columns(self.fitted_.fit_transform(self._values(X)))

    def transform(self, X: pd.DataFrame) -> Any:  # noqa: N803
        return as_columns(self.fitted_.transform(self._values(X)))

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        return self.fitted_.get_feature_names_out()

    def _values(self, frame: pd.DataFrame) -> Any:
        column = frame.iloc[:, 0]
        if pd.api.types.is_numeric_dtype(column.dtype):
            return column.to_numpy()
        return column.astype(object).where(column.notna(), "").to_numpy()


class Dense(Part):
    """Makes an array of a sparse matrix, before a step that takes none."""

    def fit_transform(self, X: Any, y: Any = None) -> Any:  # noqa: N803
        return dense(X)

    def transform(self, X: Any) -> Any:  # noqa: N803
        return dense(X)


class Columns:
    """Selects the columns of a DataFrame that are numbers, or those that are not, but for some."""

    def __init__(self, numbers: bool, but: Sequence[str]) -> None:
        self.numbers, self.but = numbers, but

    def __call__(self, frame: pd.DataFrame) -> list[str]:
        kinds = {"include" if self.numbers else "exclude": "number"}
        return [name for name in frame.select_dtypes(**kinds).columns if name not in self.but]


def refuse_value(transformer: Any, given: pd.DataFrame, error: ValueError) -> None:
    """Says which value a transformer refused, if `error` is about an unknown or a missing one."""
    for i, name in enumerate(given):
        values = given[name]
        if "unknown categories" in str(error) and hasattr(transformer, "categories_"):
            known = [c for c in transformer.categories_[i] if not pd.isna(c)]
            null = len(known) < len(transformer.categories_[i])
            bad, says = ~values.isin(known), "the training data did not have this value"
            if null:
                bad &= values.notna()
        elif "NaN" in str(error):
            bad, says = values.isna(), "the model takes no missing value"
        else:
            return
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise RefusedByStepError(str(name), row, says, values.iloc[row]) from error


def in_pandas(transformer: Any) -> Any:
    """The transformer, which gives DataFrames if it can."""
    if "sparse_output" in transformer.get_params():
        transformer.set_params(sparse_output=False)
    try:
        return transformer.set_output(transform="pandas")
    except (AttributeError, ValueError):
        return transformer


def dense(values: Any) -> Any:
    if sparse.issparse(values):
        return values.toarray()
    return values if isinstance(values, pd.DataFrame) else np.asarray(values)


def as_columns(values: Any) -> Any:
    """A table of what may be one column."""
    if sparse.issparse(values):
        return values
    values = np.asarray(values)
    return values.reshape(len(values), -1)


def unique(names: Iterable[str], taken: Iterable[str], prefix: str) -> list[str]:
    """The names, or ones with the prefix for those that are taken or come twice."""
    taken, out = set(taken), []
    for name in names:
        free, n = name, 1
        while free in taken:
            free, n = f"{prefix}__{name}" if n == 1 else f"{prefix}__{name}-{n}", n + 1
        taken.add(free)
        out.append(free)
    return out
