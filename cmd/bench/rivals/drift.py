"""Makes two tables of many columns, and has Evidently compare them.

    drift.py make ROWS       writes reference.parquet, current.parquet and log/, which has the rows of the
                             latter as requests
    drift.py compare         prints the scores of the columns, and the seconds that it took
"""

import json
import os
import sys
import time
import warnings

import numpy as np
import pandas as pd


def make(n):
    rng = np.random.default_rng(18)
    for side, shift in (("reference", 0), ("current", 0.1)):
        columns = {}
        for i in range(40):
            columns[f"n{i}"] = rng.normal(shift * (i % 3), 1 + i / 10, n) if i % 2 else np.round(rng.lognormal(shift, 1, n), 3)
        for i in range(10):
            columns[f"c{i}"] = rng.choice([f"value {j}" for j in range(5 + 10 * i)], n)
        frame = pd.DataFrame(columns)
        frame.to_parquet(f"{side}.parquet", index=False)
    os.makedirs("log", exist_ok=True)
    frame.add_prefix("request.").assign(time=pd.Timestamp("2020-06-01", tz="UTC")).to_parquet("log/requests.parquet", index=False)


def compare():
    warnings.filterwarnings("ignore")
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    start = time.perf_counter()
    reference, current = pd.read_parquet("reference.parquet"), pd.read_parquet("current.parquet")
    kinds = DataDefinition(
        numerical_columns=[c for c in reference if c[0] == "n"], categorical_columns=[c for c in reference if c[0] == "c"]
    )
    sides = (Dataset.from_pandas(f, data_definition=kinds) for f in (current, reference))
    metrics = Report([DataDriftPreset()]).run(*sides).dict()["metrics"]
    took = time.perf_counter() - start
    scores = {m["config"]["column"]: float(m["value"]) for m in metrics if "column" in m["config"]}
    print(json.dumps({"scores": scores, "seconds": took}))


if sys.argv[1] == "make":
    make(int(sys.argv[2]))
else:
    compare()
