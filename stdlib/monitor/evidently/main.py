"""monitor.evidently: a report of Evidently with the tests of monitor.#Drift."""

from __future__ import annotations

import itertools
import os
import uuid
from typing import TYPE_CHECKING, Any

import tenon_step
from tenon_profile import compared
from tenon_step import Step, StepError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

CATEGORIES = ("bool", "string")
# Those of package measure, which says what they are.
FEW_ROWS, FEW_VALUES = 1000, 5
OF_NUMBERS = ("ks", "wasserstein", "wasserstein_norm")
# Tests of #Drift by their name in Evidently, without and with a limit of the statistic. Those with a prefix
# are here, because Evidently has another one, or only its p-value.
NAMES = {
    "ks": ("ks", "tenon_ks"),
    "chi_square": ("tenon_chi_square_p", "tenon_chi_square"),
    "wasserstein": ("", "tenon_wasserstein"),
    "wasserstein_norm": ("wasserstein", "wasserstein"),
    "psi": ("psi", "psi"),
    "jensenshannon": ("jensenshannon", "jensenshannon"),
}
DISTANCE = 0.1  # the limit of a distance without one


def main(step: Step) -> None:
    types = compared(step)
    for name in step.params["columns"]:
        if name not in types:
            raise StepError(f"column {name} is not compared{tenon_step.nearest(name, types, 'there are')}")
    requests, reference = (frame(step.arrow(name), types) for name in ("requests", "reference"))
    for name, rows in (("requests", requests), ("reference", reference)):
        if rows.empty:
            raise StepError(f"the table {name} has no rows to compare")
    for name in list(types):
        for side, rows in (("requests", requests), ("reference", reference)):
            if name in types and rows[name].isna().all():
                tenon_step.log(f"column {name} is not compared: the {side} have no values of it")
                del types[name]
    if not types:
        raise StepError("no column has values in the requests and in the reference")
    snapshot = report(step.params, types, requests, reference)
    snapshot.save_html(str(step.output("html").path))
    snapshot.save_json(str(step.output("json").path))
    step.metrics(rows=len(requests), reference_rows=len(reference))


def frame(table: pa.Table, types: dict[str, str]) -> pd.DataFrame:
    """The columns as #Drift compares them: times as seconds, booleans as texts, other numbers as float64.

    What has no distribution, such as infinities, is null.
    """
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    columns = {}
    for name, kind in types.items():
        column = table[name]
        if kind in CATEGORIES:
            columns[name] = column.cast(pa.string()).to_pandas().astype(object)
            continue
        day, second = kind == "date", kind in ("time", "timestamp", "timestamptz")
        if day or second:
            column = column.cast(pa.int32() if day else pa.int64())  # days, or microseconds
        numbers = column.cast(pa.float64(), safe=False).to_numpy()
        if day or second:
            numbers = numbers * 86400 if day else numbers / 1e6
        columns[name] = np.where(np.isfinite(numbers), numbers, np.nan)
    return pd.DataFrame(columns)


def report(
    params: dict[str, Any], types: dict[str, str], requests: pd.DataFrame, reference: pd.DataFrame
) -> Any:
    """The snapshot of Evidently."""
    os.environ["DO_NOT_TRACK"] = "1"  # it is read when Evidently is imported
    import uuid6

    # Evidently numbers the parts of a page at random, and two runs have to write the same bytes.
    ids = itertools.count(1)
    uuid.uuid4 = uuid6.uuid7 = lambda: uuid.UUID(int=next(ids))
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import RowCount
    from evidently.presets import DataDriftPreset

    register()
    tests = {
        n: test(n, kind, params["columns"].get(n, {}), params["alpha"], requests[n], reference[n])
        for n, kind in types.items()
    }
    kinds = DataDefinition(
        numerical_columns=[n for n, kind in types.items() if kind not in CATEGORIES],
        categorical_columns=[n for n, kind in types.items() if kind in CATEGORIES],
    )
    drift = DataDriftPreset(
        columns=list(types),
        per_column_method={n: name for n, (name, _) in tests.items()},
        per_column_threshold={n: limit for n, (_, limit) in tests.items()},
    )
    sides = (Dataset.from_pandas(rows[list(types)], data_definition=kinds) for rows in (requests, reference))
    return Report([RowCount(), drift]).run(*sides)


def test(
    name: str, kind: str, limits: dict[str, Any], alpha: float, requests: pd.Series, reference: pd.Series
) -> tuple[str, float]:
    """The test of a column, by its name in Evidently, and its limit."""
    chosen, limit = limits.get("test"), limits.get("max")
    if chosen is None:
        chosen = default(kind not in CATEGORIES, requests.dropna(), reference.dropna())
    elif chosen in OF_NUMBERS and kind in CATEGORIES:
        raise StepError(f"column {name} of type {kind}: {chosen} compares numbers and times")
    without, limited = NAMES[chosen]
    if limit is not None:
        return limited, limit
    if not without:
        raise StepError(f"column {name}: a report of Evidently needs a limit for {chosen}, so set max")
    return without, alpha if chosen in ("ks", "chi_square") else DISTANCE


def default(numeric: bool, requests: pd.Series, reference: pd.Series) -> str:
    """The test of a column without one, as `measure.DefaultTest` chooses it."""
    many = min(len(requests), len(reference)) > FEW_ROWS
    if numeric and len({*requests.unique(), *reference.unique()}) > FEW_VALUES:
        return "wasserstein_norm" if many else "ks"
    return "jensenshannon" if many else "chi_square"


def register() -> None:
    """Adds the tests of #Drift that Evidently lacks."""
    import numpy as np
    import scipy.stats as st
    from evidently.legacy.calculations.stattests import StatTest, register_stattest
    from evidently.legacy.core import ColumnType

    def chi_square(reference, current):
        keys, at = np.unique(np.concatenate([reference, current]).astype(object), return_inverse=True)
        sides = np.split(at, [len(reference)])
        return st.chi2_contingency(
            [np.bincount(side, minlength=len(keys)) for side in sides], correction=False
        )

    def distance(name, title, f):
        def measure(reference, current, kind, threshold):
            score = float(f(reference, current))
            return score, score > threshold

        kinds = [ColumnType.Numerical, ColumnType.Categorical]
        register_stattest(StatTest(name=name, display_name=title, allowed_feature_types=kinds), measure)

    def p_value(reference, current, kind, threshold):
        p = float(chi_square(reference, current).pvalue)
        return p, p < threshold

    distance("tenon_ks", "K-S statistic", lambda r, c: st.ks_2samp(r, c).statistic)
    distance(
        "tenon_chi_square", "chi-square statistic of homogeneity", lambda r, c: chi_square(r, c).statistic
    )
    distance("tenon_wasserstein", "Wasserstein distance", st.wasserstein_distance)
    register_stattest(
        StatTest(
            name="tenon_chi_square_p",
            display_name="chi-square p_value of homogeneity",
            allowed_feature_types=[ColumnType.Numerical, ColumnType.Categorical],
        ),
        p_value,
    )


if __name__ == "__main__":
    tenon_step.run(main)
