"""feature.python: a function that gets its tables by name."""

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
