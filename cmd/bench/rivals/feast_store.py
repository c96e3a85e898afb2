"""A table of keys with 20 columns in Feast, with Redis as its online store.

    feast_store.py load KEYS PORT-OF-REDIS    makes the table, wide.parquet, and writes it to Redis
    feast_store.py ask KEYS REQUESTS          prints the median time of a request of the SDK, in nanoseconds
"""

import random
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float64

COLUMNS = [f"c{i}" for i in range(20)]
CONFIG = """project: bench
provider: local
registry: registry.db
online_store: {{type: redis, connection_string: "127.0.0.1:{port}"}}
offline_store: {{type: file}}
entity_key_serialization_version: 3
"""


def load(keys: int, port: int) -> None:
    Path("feature_store.yaml").write_text(CONFIG.format(port=port), encoding="utf-8")
    rng = np.random.default_rng(7)
    table = pd.DataFrame({"k": np.arange(keys), **{c: rng.random(keys) for c in COLUMNS}})
    table.to_parquet("wide.parquet", index=False)
    sample = table.sample(2000, random_state=7)
    pd.DataFrame({"id": sample.k, "k": sample.k, "y": sample.c0 > sample.c1}).to_csv("asked.csv", index=False)
    table["event_timestamp"] = datetime.now(UTC)
    table.head(1).to_parquet("feast.parquet", index=False)
    store = FeatureStore(".")
    key = Entity(name="k", join_keys=["k"], value_type=ValueType.INT64)
    view = FeatureView(
        name="wide",
        entities=[key],
        schema=[Field(name=c, dtype=Float64) for c in COLUMNS],
        source=FileSource(path="feast.parquet", timestamp_field="event_timestamp"),
        ttl=timedelta(days=365),
    )
    store.apply([key, view])
    for start in range(0, keys, 50_000):
        store.write_to_online_store("wide", table.iloc[start : start + 50_000])


def ask(keys: int, requests: int) -> None:
    store, random_keys = FeatureStore("."), random.Random(7)
    names = [f"wide:{c}" for c in COLUMNS]
    took = []
    for _ in range(requests):
        k = random_keys.randrange(keys)
        start = time.perf_counter_ns()
        found = store.get_online_features(features=names, entity_rows=[{"k": k}]).to_dict()
        took.append(time.perf_counter_ns() - start)
        if found["c19"][0] is None:
            sys.exit(f"key {k} has no features")
    print(int(statistics.median(took)))


if __name__ == "__main__":
    {"load": load, "ask": ask}[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3]))
