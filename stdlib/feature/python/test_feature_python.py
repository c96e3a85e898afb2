"""feature.python: a function that gets its tables by name."""

import pyarrow.parquet as pq

from conftest import col, table_out

OUT = table_out(col("n", "int64"), col("s", "string", nullable=True))


def test_feature_gets_its_tables_by_name(lab):
    people = lab.table({"n": [1, 2], "s": ["a", "b"]}, OUT["out"]["schema"])
    script = "def transform(people, more, plus): return people.assign(n=people.n + more.n + plus)"
    got = lab.ok(
        "feature.python",
        params={"script": "f.py", "args": {"plus": 10}},
        inputs={"people": people, "more": people},
        scripts={"f.py": script},
        outputs=OUT,
    )
    assert got.table()["n"].tolist() == [12, 14]


def test_a_feature_keeps_null_and_nan_apart(lab):
    schema = [col("x", "float64", nullable=True, nan=True), col("y", "float64", nullable=True)]
    values = lab.table({"x": [1.5, float("nan"), None], "y": [1.5, None, 2.5]}, schema)
    got = lab.ok(
        "feature.python",
        params={"script": "f.py"},
        inputs={"t": values},
        scripts={"f.py": "def transform(t): return t.assign(y=t.x)"},
        outputs=table_out(*schema),
    )
    table = pq.read_table(got.path("out"))
    assert str(table.column("x").to_pylist()) == "[1.5, nan, None]"
    assert table.column("y").to_pylist() == [1.5, None, None]
