"""tenon_step: what is written is what is declared, or one clear line."""

import datetime as dt
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tenon_step
from tenon_step import Column, StepError, TableWriter, conform


def column(type: str, **more) -> list[Column]:
    return [Column("x", type, **more)]


@pytest.mark.parametrize(
    ("type", "values", "want"),
    [
        ("int64", [1, 2], [1, 2]),
        ("int64", pd.Series([1.0, np.nan]), [1, None]),
        ("int32", pa.array([1, 2], pa.uint64()), [1, 2]),
        ("float64", [1, 2], [1.0, 2.0]),
        ("float64", [decimal.Decimal("1.5")], [1.5]),
        ("int64", [decimal.Decimal("7")], [7]),
        ("string", pd.Series(["a", None], dtype=object), ["a", None]),
        ("string", pd.Series(["a", "b"], dtype="category"), ["a", "b"]),
        ("bool", pd.Series([True, None], dtype=object), [True, None]),
        ("date", pd.Series(pd.to_datetime(["2024-05-17"])), [dt.date(2024, 5, 17)]),
        ("timestamp", [dt.date(2024, 5, 17)], [dt.datetime(2024, 5, 17)]),
        (
            "timestamp",
            pd.Series(pd.to_datetime(["2024-05-17"]).astype("datetime64[ns]")),
            [dt.datetime(2024, 5, 17)],
        ),
        ("time", [dt.time(1, 2)], [dt.time(1, 2)]),
        ("bytes", [b"\0"], [b"\0"]),
        ("float32", [None, None], [None, None]),
    ],
)
def test_casts_that_lose_nothing(type, values, want):
    got = conform({"x": values}, column(type, nullable=True))
    assert got.column(0).to_pylist() == want
    assert got.column(0).type == tenon_step.arrow_type(type)


@pytest.mark.parametrize(
    ("type", "values", "says"),
    [
        ("int64", ["12"], "column x: wanted int64, found string"),
        ("int64", [1.5], "column x: wanted int64, found double that does not fit"),
        ("int8", [300], "column x: wanted int8, found int64 that does not fit"),
        ("string", [1], "column x: wanted string, found int64"),
        ("bool", [0, 1], "column x: wanted bool, found int64"),
        ("int64", [1, None], "column x: wanted int64, not nullable, found 1 nulls in 2 rows"),
        (
            "int64",
            pd.Series([1, "a"], dtype=object),
            "column x: wanted int64, found values of mixed or unknown type",
        ),
        ("timestamptz", [dt.datetime(2024, 1, 1)], 'give it a time zone, with pandas .dt.tz_localize("UTC")'),
        ("timestamp", [dt.datetime(2024, 1, 1, tzinfo=dt.UTC)], "drop its time zone"),
        ("date", [dt.datetime(2024, 1, 1, 5)], "found timestamp[us] with times of the day"),
    ],
)
def test_a_value_that_does_not_fit_names_column_and_types(type, values, says):
    with pytest.raises(StepError) as e:
        conform({"x": values}, column(type))
    assert says in str(e.value)


def test_columns_are_those_declared_in_that_order():
    declared = [Column("b", "int64"), Column("a", "int64")]
    frame = pd.DataFrame({"a": [1], "b": [2]})
    assert conform(frame, declared).to_pylist() == [{"b": 2, "a": 1}]
    with pytest.raises(StepError, match=r"column b is missing; did you mean bb\?|column b is missing"):
        conform(frame.rename(columns={"b": "bb"}), declared)
    with pytest.raises(StepError, match="column c is not declared"):
        conform(frame.assign(c=1), declared)
    assert conform(frame.assign(c=1), declared, extra="drop").column_names == ["b", "a"]
    assert conform(frame.set_index("a"), declared).column_names == ["b", "a"]


@pytest.mark.parametrize("data", [[{"x": 1}, {"x": 2}], {"x": np.array([1, 2])}, pa.table({"x": [1, 2]})])
def test_tables_come_in_many_forms(data):
    assert conform(data, column("int64")).column("x").to_pylist() == [1, 2]


def test_the_same_rows_are_the_same_bytes_however_divided(tmp_path):
    n = 300_000
    frame = pd.DataFrame({"i": np.arange(n), "s": np.arange(n).astype(str)})
    columns = [Column("i", "int64"), Column("s", "string")]
    for name, size in (("whole", n), ("parts", 7_001)):
        with TableWriter(tmp_path / name, columns, "out") as writer:
            for at in range(0, n, size):
                writer.write(frame.iloc[at : at + size])
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "parts").read_bytes()
    file = pq.ParquetFile(tmp_path / "whole")
    assert file.metadata.metadata is None, "no pandas metadata"
    assert file.read().to_pandas().equals(frame)


def test_a_lazy_table_reads_what_is_declared(tmp_path):
    names = ["a", "a.b", "c"]
    with TableWriter(tmp_path / "t", [Column(n, "int64") for n in names], "out") as writer:
        writer.write({n: [i] for i, n in enumerate(names)})
    lazy = tenon_step.LazyTable(tmp_path / "t")
    assert len(lazy) == 1
    assert lazy.names == names
    assert conform(lazy, [Column("a.b", "int64")], extra="ignore").to_pylist() == [{"a.b": 1}]
    with pytest.raises(StepError, match="column b is missing; it has: a, a.b, c"):
        conform(lazy, [Column("b", "int64")], extra="ignore")


def test_types_survive_parquet(tmp_path):
    types = ["bool", "uint8", "int16", "uint32", "uint64", "float32", "string", "bytes", "date", "time"]
    columns = [Column(t, t, nullable=True) for t in [*types, "timestamp", "timestamptz"]]
    with TableWriter(tmp_path / "t", columns, "out") as writer:
        writer.write({c.name: [None] for c in columns})
    assert pq.read_schema(tmp_path / "t").equals(tenon_step.arrow_schema(columns))
