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


def by_row(lab, script, makes, **params):
    """How a function of single rows is run on three rows of n and s."""
    columns = [col("n", "int64"), col("s", "string", nullable=True)]
    return {
        "params": {"script": "f.py", "row": True, **params},
        "inputs": {"t": lab.table({"n": [1, 2, 3], "s": ["a", None, "c"]}, columns)},
        "scripts": {"f.py": script},
        "outputs": table_out(col("n", "int64"), *makes),
    }


def test_a_function_of_a_row_gets_columns_by_name(lab):
    script = "def f(s, n, plus): return {'y': None if s is None else s * (n + plus)}"
    got = lab.ok(
        "feature.python",
        **by_row(lab, script, [col("y", "string", nullable=True)], function="f", args={"plus": 1}),
    )
    assert pq.read_table(got.path("out")).to_pydict() == {"n": [1, 2, 3], "y": ["aa", None, "cccc"]}


def test_a_row_that_the_function_refuses_is_named(lab):
    script = "def transform(s):\n    if s is None:\n        raise ValueError('no text')\n    return {'y': 1}"
    said = lab.error("feature.python", **by_row(lab, script, [col("y", "int64")]))
    assert "row 2 of t, column y: f.py: transform() refuses it: no text" in said


def test_a_value_of_another_type_is_named(lab):
    said = lab.error(
        "feature.python", **by_row(lab, "def transform(n): return {'y': n / 2}", [col("y", "int64")])
    )
    assert "row 1 of t, column y: f.py: transform() returned float, wanted an int" in said


def test_a_function_that_depends_on_other_rows_fails(lab):
    script = "seen = []\ndef transform(n):\n    seen.append(n)\n    return {'y': len(seen)}"
    said = lab.error("feature.python", **by_row(lab, script, [col("y", "int64")]))
    assert "does not depend on its row alone: in row 3, y is 3" in said
