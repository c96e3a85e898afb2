"""Writes the frames and the reference figures of the tests of package measure.

    uv run --no-project --python 3.11 --with-requirements requirements.lock reference.py

The frames are *.parquet, the figures reference.json. `run.sh` does this in a locked environment.
"""

import datetime as dt
import json
import math
import statistics
import uuid
import warnings
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.stats as st
from scipy.spatial import distance
from sklearn import metrics
from statsmodels.stats.multitest import multipletests

warnings.filterwarnings("ignore")
here = Path(__file__).parent
rng = np.random.default_rng(18)


def features(n, shift):
    """Columns of all kinds, which drift by shift."""
    f = pd.DataFrame(
        {
            "normal": rng.normal(shift, 1, n),
            "heavy": np.round(rng.lognormal(shift, 1.5, n), 2),
            "same": np.round(rng.normal(10, 3, n), 2),
            "whole": rng.poisson(40 + 5 * shift, n).astype("int64"),
            "few": rng.choice(
                np.array([0, 1, 2, 5], dtype="int64"), n, p=[0.4 - shift / 4, 0.3, 0.2, 0.1 + shift / 4]
            ),
            "some": rng.integers(0, 15, n).astype("int32"),
            "flag": rng.random(n) < 0.3 + shift / 5,
            "city": rng.choice(
                ["JFK", "LGA", "EWR", "é'\""], n, p=[0.5, 0.3 - shift / 5, 0.15 + shift / 5, 0.05]
            ),
            "new": rng.choice(["a", "b", "c"] if shift else ["a", "b"], n),
            "at": pd.Timestamp("2013-01-01")
            + pd.to_timedelta(np.round(rng.exponential(86400 * (1 + shift), n) * 1e6), unit="us"),
            "holes": np.where(rng.random(n) < 0.1, np.nan, np.round(rng.normal(shift, 2, n), 3)),
            "constant": 7.5,
        }
    )
    f["at"] = f["at"].astype("datetime64[us]")
    f.loc[f.index[:3], "holes"] = [np.inf, -np.inf, np.inf]
    return f


def evidently(reference, current):
    """Scores of Evidently: of each of its tests, and which one it chooses."""
    from evidently.core.report import Report
    from evidently.legacy.calculations import stattests as t
    from evidently.legacy.core import ColumnType
    from evidently.presets import DataDriftPreset

    tests = {
        "ks": t.ks_stat_test,
        "wasserstein_norm": t.wasserstein_stat_test,
        "psi": t.psi_stat_test,
        "jensenshannon": t.jensenshannon_stat_test,
        "z": t.z_stat_test,
    }
    scores = {}
    for name in reference.columns:
        kind = ColumnType.Categorical if reference[name].dtype in (bool, object) else ColumnType.Numerical
        r, c = (number(x[name]) if kind is ColumnType.Numerical else x[name] for x in (reference, current))
        scores[name] = {
            test: float(f(r, c, kind, None).drift_score)
            for test, f in tests.items()
            if kind in f.allowed_feature_types and (test != "z" or r.nunique() == 2 == c.nunique())
        }
    # Evidently takes no times, and booleans and texts as categories.
    columns = [n for n in reference.columns if n not in ("at", "constant")]
    report = Report([DataDriftPreset()]).run(current[columns], reference[columns]).dict()
    chosen = {}
    for m in report["metrics"]:
        if "column" in m["config"]:
            chosen[m["config"]["column"]] = {"method": m["config"]["method"], "score": float(m["value"])}
    return scores, chosen


def number(x):
    """The finite values, times as seconds."""
    if x.dtype.kind == "M":
        x = x.astype("int64") / 1e6
    return x.replace([np.inf, -np.inf], np.nan).dropna()


def scipy(reference, current):
    """Figures of scipy for each column."""
    all = {}
    for name in reference.columns:
        r, c = reference[name], current[name]
        out = all[name] = {}
        if r.dtype not in (bool, object):
            r, c = number(r), number(c)
            ks = st.ks_2samp(r, c)
            out["ks"], out["ks_p"] = float(ks.statistic), float(ks.pvalue)
            out["wasserstein"] = float(st.wasserstein_distance(r, c))
        keys = sorted(set(r) | set(c))
        if len(keys) <= 20:
            table = np.array([[(x == k).sum() for k in keys] for x in (r, c)])
            chi = st.chi2_contingency(table, correction=False)
            out["chi_square"], out["chi_square_p"] = float(chi.statistic), float(chi.pvalue)
            out["jensenshannon"] = float(distance.jensenshannon(table[0], table[1]))
    return all


def p_values():
    """p-values of the distributions, for samples that no frame has."""
    ks = []
    for m, n, d in [
        (1, 1, 1),
        (3, 2, 0.5),
        (5, 7, 0.4),
        (10, 10, 0.3),
        (100, 130, 0.11),
        (1000, 1000, 0.06),
        (9999, 10000, 0.02),
        (10000, 317, 0.2),
        (2000, 3, 0.8),
    ]:
        a, b = sample(m, n, d)
        r = st.ks_2samp(a, b)
        ks.append([m, n, float(r.statistic), float(r.pvalue)])
    for m, n in [
        (20000, 7),
        (20000, 60),
        (15000, 180),
        (10001, 10001),
        (40000, 30000),
        (250000, 200000),
        (1000000, 1000000),
        (3000000, 3000000),
    ]:
        en = np.round(m * n / (m + n))
        for z in [0.3, 0.45, 0.6, 0.8, 1, 1.3, 1.6, 2.2, 4, 8, 20]:
            d = float(z / np.sqrt(en))
            if 0 < d < 1:
                ks.append([m, n, d, float(np.clip(st.kstwo.sf(d, en), 0, 1))])
    chi = [
        [x, k, float(st.chi2.sf(x, k))]
        for k in (1, 2, 3, 10, 99, 5000)
        for x in (1e-8, 0.1, 1, 3.84, 0.9 * k, k, 1.3 * k + 3, 2 * k + 40, 4 * k + 300)
    ]
    p = [
        0.001,
        0.008,
        0.039,
        0.041,
        0.042,
        0.06,
        0.074,
        0.205,
        0.212,
        0.216,
        0.222,
        0.251,
        0.269,
        0.275,
        0.34,
        0.008,
    ]
    adjusted = {
        name: list(map(float, multipletests(p, method=method)[1]))
        for name, method in {"holm": "holm", "benjamini-hochberg": "fdr_bh"}.items()
    }
    return {"ks": ks, "chi_square": chi, "p": p, "adjusted": adjusted}


def sample(m, n, d):
    """Two samples without ties whose statistic is near d."""
    a = (np.arange(m) + 0.5) / m
    return a, (np.arange(n) + 0.31) / n * (1 - d) + d


def odd_columns():
    """Columns with odd values, by name: the type in DuckDB, the reference and the window."""
    nan, inf, n = math.nan, math.inf, None
    local = np.random.default_rng(5)  # the other frames stay as they are
    normal = lambda m, s, k: [float(x) for x in np.round(local.normal(m, s, k), 3)]  # noqa: E731
    day = dt.datetime(2026, 3, 29, 1, 59, 58)
    zone = dt.timezone(dt.timedelta(hours=-5, minutes=-30))
    seconds = [dt.timedelta(microseconds=int(x)) for x in local.integers(0, 5_000_000, 70)]
    return {
        "nulls": ("DOUBLE", [1.5, n, 2.5, n, 3.0, 4.0], [n, 1.5, 9.0, n, n]),
        "NaN": ("DOUBLE", [1.0, nan, 2.0, 3.0], [nan, nan, 2.0, 7.0, n]),
        "infinities": ("DOUBLE", [1.0, inf, 2.0, -inf, 3.0], [inf, 0.5, 2.0, -inf]),
        "the same constant": ("DOUBLE", [7.5] * 6, [7.5] * 4),
        "two constants": ("DOUBLE", [7.5] * 6, [8.25] * 4),
        "a constant window": ("DOUBLE", normal(0, 1, 30), [0.25] * 12),
        "a constant reference": ("DOUBLE", [0.25] * 12, normal(0, 1, 30)),
        "one row": ("DOUBLE", [3.0], [3.5]),
        "zeros of both signs": ("DOUBLE", [0.0, -0.0, 1.0], [-0.0, -0.0, 1.0, 1.0]),
        "ties": ("DOUBLE", [1.0, 1.0, 2.0, 2.0, 2.0, 3.0] * 4, [1.0, 2.0, 3.0, 3.0] * 5),
        "subnormal numbers": ("DOUBLE", [5e-324, 1e-320, 3e-310, 0.0], [1e-320, 2e-320, 4e-310]),
        "huge numbers": ("DOUBLE", [1e300, -1e300, 3e299, 2e300], [5e299, 1.5e300, -4e300]),
        "far from zero": ("DOUBLE", [1e15 + i % 7 for i in range(40)], [1e15 + i % 5 for i in range(30)]),
        "bins with nulls": ("DOUBLE", [n, *normal(0, 1, 50), n], [*normal(0.5, 1, 40), n, nan]),
        "single precision": (
            "FLOAT",
            [float(np.float32(x)) for x in (0.1, 0.2, 0.3, 16777217)],
            [float(np.float32(x)) for x in (0.1, 0.25, 0.3)],
        ),
        "small integers": ("TINYINT", [-128, -1, 0, 1, 127, 5, 6], [-128, -128, 3, 127]),
        "unsigned": ("UINTEGER", [0, 1, 4294967295, 7, 8, 9], [0, 1, 4294967295, 4294967294]),
        "unsigned, 64 bits": ("UBIGINT", [2**64 - 1, 2**63, 1, 2, 3, 4], [2**63, 2**63, 5]),
        "beyond 2^53": (
            "BIGINT",
            [2**53 + i for i in range(0, 60, 2)],
            [2**53 + i for i in range(10, 80, 4)],
        ),
        "bins of integers": (
            "INTEGER",
            [int(x) for x in local.integers(0, 26, 90)],
            [int(x) for x in local.integers(0, 30, 60)],
        ),
        "decimals": (
            "DECIMAL(9,2)",
            list(map(Decimal, ("1.25", "0.10", "-3.75", "9999999.99"))),
            list(map(Decimal, ("1.25", "0.20", "7.00"))),
        ),
        "long decimals": (
            "DECIMAL(38,10)",
            list(map(Decimal, ("1234567890123456789.0123456789", "0.0000000001", "-5.5"))),
            list(map(Decimal, ("0.0000000002", "-5.5", "1234567890123456789"))),
        ),
        "booleans": ("BOOLEAN", [True, False, True, n, True], [False, False, n, n, True]),
        "a constant boolean": ("BOOLEAN", [True] * 5, [True, False, False]),
        "timestamps": (
            "TIMESTAMP",
            [day + x for x in seconds[:40]],
            [day + x * 2 for x in seconds[40:]] + [n],
        ),
        "timestamps with a zone": (
            "TIMESTAMP WITH TIME ZONE",
            [(day + x).replace(tzinfo=dt.UTC) for x in seconds[:9]],
            [(day + x).replace(tzinfo=zone) for x in seconds[9:15]],
        ),
        "dates": (
            "DATE",
            [dt.date(1900, 1, 1), dt.date(1969, 12, 31), dt.date(2024, 2, 29)],
            [dt.date(2024, 2, 29), dt.date(2024, 3, 1)],
        ),
        "times of day": (
            "TIME",
            [dt.time(0), dt.time(23, 59, 59, 999999), dt.time(12)],
            [dt.time(12), dt.time(12, 0, 0, 1)],
        ),
        "texts": (
            "VARCHAR",
            ["", " ", "a", "A", "é", "NULL", n, "a"],
            ["", "a ", "e\u0301", "é", "NULL", n, n, "A"],
        ),
        "only new texts": ("VARCHAR", ["a", "b", "b"], ["c", "d", "c", "e"]),
        "identifiers": ("UUID", [uuid.UUID(int=i) for i in (1, 2, 3)], [uuid.UUID(int=i) for i in (3, 3, 9)]),
    }


def odd():
    """What scipy and Evidently say about odd columns."""
    all = []
    for name, (kind, reference, current) in odd_columns().items():
        categories = kind in ("BOOLEAN", "VARCHAR", "UUID")
        sides = [
            pd.Series([float_of(x) if not categories else x for x in side if x is not None])
            for side in (reference, current)
        ]
        out = {
            "name": name,
            "type": kind,
            "reference": [text(x) for x in reference],
            "current": [text(x) for x in current],
            "nulls": current.count(None) / len(current),
        }
        if not categories:
            r, c = (x[np.isfinite(x)] for x in sides)
            out["non_finite"] = (len(sides[1]) - len(c)) / len(current)
            out["outside"] = float(((c < r.min()) | (c > r.max())).mean())
            if "INT" in kind:
                r, c = (x.astype("float64") if "BIGINT" in kind else x.astype("int64") for x in (r, c))
            out["tests"] = numeric(r, c)
        else:
            r, c = sides
            out["new_categories"] = float((~c.isin(r)).mean())
            out["tests"] = {}
        out["tests"] |= grouped(r, c, categories)
        all.append(out)
    return all


def float_of(x):
    match x:
        case dt.datetime():
            return (
                x.replace(tzinfo=x.tzinfo or dt.UTC) - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
            ) / dt.timedelta(seconds=1)
        case dt.date():
            return float((x - dt.date(1970, 1, 1)).days * 86400)
        case dt.time():
            return x.hour * 3600 + x.minute * 60 + x.second + x.microsecond / 1e6
    return float(x)


def text(x):
    """A value as DuckDB reads it, or None."""
    if x is None or isinstance(x, str):
        return x
    return repr(x) if isinstance(x, float) else str(x)


def numeric(r, c):
    ks = st.ks_2samp(r, c)
    tests = {
        "ks": [float(ks.statistic), float(ks.pvalue)],
        "wasserstein": [float(st.wasserstein_distance(r, c))],
    }
    deviation = statistics.pstdev(map(float, r))  # exact, where numpy.std is not
    if tests["wasserstein"][0] == 0:
        tests["wasserstein_norm"] = [0.0]
    elif deviation > 0:
        tests["wasserstein_norm"] = [tests["wasserstein"][0] / deviation]
    return tests


def grouped(r, c, categories):
    from evidently.legacy.calculations import stattests as t
    from evidently.legacy.core import ColumnType

    kind = ColumnType.Categorical if categories else ColumnType.Numerical
    keys, at = np.unique(np.concatenate([r, c]).astype(str if categories else float), return_inverse=True)
    table = [np.bincount(x, minlength=len(keys)) for x in np.split(at, [len(r)])]
    chi = st.chi2_contingency(table, correction=False)
    return {
        "psi": [float(t.psi_stat_test(r, c, kind, None).drift_score)],
        "jensenshannon": [float(t.jensenshannon_stat_test(r, c, kind, None).drift_score)],
        "chi_square": [float(chi.statistic), float(chi.pvalue)],
    }


def many_categories():
    """Three categories of a reference, and a window with these and many others."""
    r = pd.Series([f"c{i % 3}" for i in range(3000)])
    c = pd.Series([f"c{i}" for i in range(120_000)] * 2)
    return grouped(r, c, True)


def labels(n):
    p = rng.beta(0.8, 1.6, n)
    y = rng.random(n) < p**1.3
    third = rng.choice(["x", "y", "z"], n)
    f = pd.DataFrame(
        {
            "y": np.where(y, "late", "on time"),
            "p": np.round(p, 3),
            "predicted": np.where(p > 0.4, "late", "on time"),
            "y3": third,
            "predicted3": np.where(rng.random(n) < 0.6, third, rng.choice(["x", "y"], n)),
            "delay": np.round(rng.normal(5, 20, n), 1),
            "group": rng.choice(["a", "b"], n),
            "fallback": rng.random(n) < 0.07,
        }
    )
    f["forecast"] = np.round(f["delay"] * 0.8 + rng.normal(0, 9, n), 1)
    # labels that have not arrived
    f.loc[f.index[::17], ["y", "y3"]] = None
    f.loc[f.index[::17], "delay"] = np.nan
    return f


def quality(f):
    f = f.dropna(subset=["y"])
    y, p = (f.y == "late").astype(int), f.p
    hat = (f.predicted == "late").astype(int)
    binary = {
        "accuracy": metrics.accuracy_score(y, hat),
        "balanced_accuracy": metrics.balanced_accuracy_score(y, hat),
        "precision": metrics.precision_score(y, hat),
        "recall": metrics.recall_score(y, hat),
        "f1": metrics.f1_score(y, hat),
        "matthews_corrcoef": metrics.matthews_corrcoef(y, hat),
        "roc_auc": metrics.roc_auc_score(y, p),
        "average_precision": metrics.average_precision_score(y, p),
        "log_loss": metrics.log_loss(y, p),
        "brier_score_loss": metrics.brier_score_loss(y, p),
    }
    multi = {
        "accuracy": metrics.accuracy_score(f.y3, f.predicted3),
        "balanced_accuracy": metrics.balanced_accuracy_score(f.y3, f.predicted3),
        "precision": metrics.precision_score(f.y3, f.predicted3, average="macro"),
        "recall": metrics.recall_score(f.y3, f.predicted3, average="macro"),
        "f1": metrics.f1_score(f.y3, f.predicted3, average="macro"),
        "matthews_corrcoef": metrics.matthews_corrcoef(f.y3, f.predicted3),
    }
    names = [
        "mean_absolute_error",
        "mean_squared_error",
        "root_mean_squared_error",
        "median_absolute_error",
        "mean_absolute_percentage_error",
        "max_error",
    ]
    regression = {n: getattr(metrics, n)(f.delay, f.forecast) for n in names}
    regression["r2"] = metrics.r2_score(f.delay, f.forecast)
    regression["explained_variance"] = metrics.explained_variance_score(f.delay, f.forecast)
    return {
        k: {n: float(x) for n, x in v.items()}
        for k, v in {"binary": binary, "multiclass": multi, "regression": regression}.items()
    }


def scores(n, power, shift):
    p = np.clip(rng.beta(1 + shift, 1.7, n), 1e-6, 1 - 1e-6)
    return pd.DataFrame(
        {"p": p, "predicted": (p > 0.5).astype("int64"), "y": (rng.random(n) < p**power).astype("int64")}
    )


def nannyml(reference, analysis):
    import nannyml

    names = ["roc_auc", "f1", "precision", "recall", "specificity", "accuracy"]
    e = nannyml.CBPE(
        metrics=names,
        y_pred_proba="p",
        y_pred="predicted",
        y_true="y",
        problem_type="classification_binary",
        chunk_size=len(analysis),
    )
    e.fit(reference)
    r = e.estimate(analysis.drop(columns="y")).filter(period="analysis").to_df()
    out = {
        n: {
            k: float(r[n][k].iloc[0])
            for k in ("value", "sampling_error", "lower_confidence_boundary", "upper_confidence_boundary")
        }
        for n in names
    }
    return {"calibrated": bool(e.needs_calibration), "metrics": out}


def write(name, frame):
    frame.to_parquet(here / f"{name}.parquet", compression="zstd", index=False)
    return frame


def main():
    doc = {
        "versions": {
            n: version(n)
            for n in ("evidently", "nannyml", "scipy", "numpy", "scikit-learn", "pandas", "statsmodels")
        }
    }
    doc["distributions"] = p_values()
    doc["odd"] = odd()
    doc["many_categories"] = many_categories()
    doc["drift"] = {}
    for name, n, m, shift in [("small", 700, 450, 0.15), ("large", 1800, 1500, 0.4)]:
        reference, current = (
            write(f"{name}_reference", features(n, 0)),
            write(f"{name}_current", features(m, shift)),
        )
        s, chosen = evidently(reference, current)
        doc["drift"][name] = {"evidently": s, "chosen": chosen, "scipy": scipy(reference, current)}
    doc["quality"] = quality(write("labels", labels(1500)))
    doc["estimate"] = {}
    for name, power in [("calibrated", 1), ("uncalibrated", 2.5)]:
        reference, analysis = (
            write(f"{name}_reference", scores(2500, power, 0)),
            write(f"{name}_current", scores(1800, power, 0.6)),
        )
        doc["estimate"][name] = nannyml(reference, analysis)
    (here / "reference.json").write_text(json.dumps(doc, indent=1) + "\n")


main()
