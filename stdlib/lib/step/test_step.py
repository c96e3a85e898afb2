"""tenon_step: what is written is what is declared, or one clear line."""

import datetime as dt
import decimal
import json
from pathlib import Path

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
        ("float32", [0.1], [np.float32(0.1)]),
        ("int64", pd.Series([2**60 + 1, None], dtype="Int64"), [2**60 + 1, None]),
        ("int64", pd.Series([2**60 + 1, None], dtype="int64[pyarrow]"), [2**60 + 1, None]),
        ("int64", [2**60 + 1, None], [2**60 + 1, None]),
        ("uint64", [2**64 - 1, None], [2**64 - 1, None]),
        ("bool", pd.Series([True, None], dtype="boolean"), [True, None]),
        ("float64", [decimal.Decimal("0.1")], [0.1]),
    ],
)
def test_casts_that_lose_nothing(type, values, want):
    got = conform({"x": values}, column(type, nullable=True))
    assert got.column(0).to_pylist() == want
    assert got.column(0).type == tenon_step.arrow_type(type)


NAN = float("nan")


@pytest.mark.parametrize(
    "values",
    [
        [1.5, NAN, None],
        pd.Series([1.5, NAN, None], dtype=object),
        pd.Series([1.5, NAN, pd.NA], dtype=object),
        pd.Series(pa.array([1.5, NAN, None]), dtype="double[pyarrow]"),
        pa.array([1.5, NAN, None]),
        pa.chunked_array([pa.array([1.5]), pa.array([NAN, None])]),
    ],
    ids=["list", "object", "object with NA", "Arrow dtype", "Arrow", "chunks of Arrow"],
)
def test_nan_is_null_unless_it_is_a_value(values, tmp_path):
    def write(**more):
        with TableWriter(tmp_path / "x.parquet", column("float64", **more), "output out") as w:
            w.write({"x": values} if not isinstance(values, pa.ChunkedArray) else pa.table({"x": values}))
        return pq.read_table(tmp_path / "x.parquet").column("x")

    assert write(nullable=True).to_pylist() == [1.5, None, None]
    both = write(nullable=True, nan=True)
    assert both.null_count == 1
    assert str(both.to_pylist()) == "[1.5, nan, None]"
    for more in ({}, {"nan": True}):
        with pytest.raises(
            StepError, match="output out: column x: wanted float64, not nullable, found . nulls"
        ):
            write(**more)


def test_floats_of_numpy_are_values_where_nan_is_one(tmp_path):
    for values in (np.array([1.5, NAN]), pd.Series([1.5, NAN])):
        got = conform({"x": values}, column("float32", nan=True)).column(0)
        assert str(got.to_pylist()) == "[1.5, nan]"
        assert conform({"x": values}, column("float32", nullable=True)).column(0).null_count == 1


def test_null_and_nan_stay_apart_in_a_data_frame():
    table = pa.table({"x": pa.array([1.5, NAN, None]), "y": pa.array([1.5, NAN, None])})
    frame = tenon_step.to_pandas(table, {"x", "y"}, {"x"})
    declared = [Column("x", "float64", nullable=True, nan=True), Column("y", "float64", nullable=True)]
    got = conform(frame, declared)
    assert str(got.column("x").to_pylist()) == "[1.5, nan, None]"
    assert frame.y.dtype == np.float64
    assert got.column("y").to_pylist() == [1.5, None, None]


@pytest.mark.parametrize(
    ("type", "values", "says"),
    [
        ("int64", ["12"], "column x: wanted int64, found string"),
        ("int64", [1.5], "column x: wanted int64, found double that does not fit: 1.5 in row 1"),
        ("int64", [*range(5), 2.5, 3.5], "found double that does not fit: 2.5 in row 6"),
        ("string", ["a"] * 9 + [None], "found 1 nulls in 10 rows, such as row 10"),
        ("int8", [300], "column x: wanted int8, found int64 that does not fit"),
        ("string", [1], "column x: wanted string, found int64"),
        ("bool", [0, 1], "column x: wanted bool, found int64"),
        ("int64", [1, None], "column x: wanted int64, not nullable, found 1 nulls in 2 rows"),
        (
            "int64",
            pd.Series([1, "a"], dtype=object),
            "column x: wanted int64, found values of mixed type: int, then str in row 2: 'a'",
        ),
        ("string", ["a", None, "b", 3, 4], "found values of mixed type: str, then int in row 4: 3"),
        ("string", [None, object], "found a value of type type in row 2: <class 'object'>"),
        ("timestamptz", [dt.datetime(2024, 1, 1)], 'give it a time zone, with pandas .dt.tz_localize("UTC")'),
        ("timestamp", [dt.datetime(2024, 1, 1, tzinfo=dt.UTC)], "drop its time zone"),
        ("date", [dt.datetime(2024, 1, 1, 5)], "found timestamp[us] with times of the day"),
        ("int64", [2.0**53], "found double beyond 2^53, where floats skip integers"),
        ("int64", pa.array([2.0**24], pa.float32()), "found float beyond 2^24"),
        ("int64", [2**60 + 1, 1.5], "found values of mixed type: int, then float in row 2: 1.5"),
        ("float64", [2**60 + 1, 1.5], "found values of mixed type: int, then float in row 2: 1.5"),
        ("float64", [2**53 + 1], "found int64 that does not fit"),
        ("float64", [decimal.Decimal("1234567890123456789.5")], "with more digits than a double has"),
        ("float64", [decimal.Decimal(2**53 + 1)], "with more digits than a double has"),
        ("int64", [decimal.Decimal("7.5")], "that does not fit"),
        ("float32", [1e300], "found double that is too large for a float"),
        ("string", ["\ud83d"], "half of a surrogate pair"),
        ("date", [dt.date(2024, 1, 1), dt.datetime(2024, 1, 1, 5)], "found dates among timestamps"),
        ("timestamp", [pd.Timestamp("2024-01-01T00:00:00.000000001")], "found nanoseconds"),
        (
            "timestamp",
            pd.Series(pd.to_datetime(["2024-01-01T00:00:00.000000001"])),
            "found timestamp[ns] that does not fit",
        ),
        (
            "timestamptz",
            [dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, tzinfo=dt.UTC)],
            "with a time zone among others without",
        ),
        ("time", [dt.time(1, tzinfo=dt.UTC)], "found times with a time zone"),
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


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"]), "column x is there twice"),
        (pd.Series([1], name="x"), "cannot make a table of pandas.*Series: wanted a DataFrame"),
        (pa.array([1]), "cannot make a table of pyarrow.*Array: wanted a DataFrame"),
    ],
)
def test_what_is_no_table_is_refused(data, says):
    with pytest.raises(StepError, match=says):
        conform(data, column("int64"))


@pytest.mark.parametrize("values", [[], [None, None], pd.Series([np.nan]), pd.Series([], dtype="float64")])
def test_a_column_without_values_is_of_any_type(values):
    for kind in ("string", "date", "timestamptz", "bool"):
        cast = conform({"x": values}, [Column("x", kind, nullable=True)])
        assert cast.schema == tenon_step.arrow_schema(column(kind))
        assert cast.column(0).null_count == len(values)


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


EXACT = {
    "int64": [2**60 + 1, None, -(2**63)],
    "uint64": [2**64 - 1, None, 0],
    "int8": [-128, None, 127],
    "bool": [True, None, False],
    "float64": [0.1, None, 1e308],
    "string": ["a", None, ""],
    "bytes": [b"\0\xff", None, b""],
    "date": [dt.date(9999, 12, 31), None, dt.date(1, 1, 1)],
    "time": [dt.time(23, 59, 59, 999999), None, dt.time(0)],
    "timestamp": [dt.datetime(9999, 12, 31, 1, 2, 3, 456789), None, dt.datetime(1, 1, 1)],
    "timestamptz": [
        dt.datetime(9999, 12, 31, 1, 2, 3, 456789, dt.UTC),
        None,
        dt.datetime(1, 1, 1, tzinfo=dt.UTC),
    ],
}


@pytest.mark.parametrize("nulls", [True, False])
def test_a_table_passes_through_pandas_unchanged(tmp_path, nulls):
    values = EXACT if nulls else {n: [v for v in rows if v is not None] for n, rows in EXACT.items()}
    columns = [Column(t, t, nullable=nulls) for t in values]
    with TableWriter(tmp_path / "in", columns, "in") as writer:
        writer.write({n: pa.array(rows, tenon_step.arrow_type(n)) for n, rows in values.items()})
    port = {"kind": "table", "path": str(tmp_path / "in"), "schema": [vars(c) for c in columns]}
    step = tenon_step.Step(
        {"inputs": {"in": port}, "outputs": {"out": port | {"path": str(tmp_path / "out")}}}
    )
    frame = step.table("in")
    assert str(frame["int64"].dtype) == ("Int64" if nulls else "int64")
    step.write_table("out", frame)
    assert pq.read_table(tmp_path / "out").equals(pq.read_table(tmp_path / "in"))


def test_dtypes_follow_from_the_schema_and_not_from_the_rows(tmp_path):
    with TableWriter(tmp_path / "in", [Column("n", "int64", nullable=True)], "in") as writer:
        writer.write({"n": [1]})
    schema = [{"name": "n", "type": "int64", "nullable": True}]
    step = tenon_step.Step({"inputs": {"in": {"kind": "table", "path": tmp_path / "in", "schema": schema}}})
    assert str(step.table("in")["n"].dtype) == "Int64"


def test_a_merge_that_made_floats_of_large_integers_is_refused():
    left, right = pd.DataFrame({"k": [1, 2]}), pd.DataFrame({"k": [1], "x": [2**60 + 1]})
    with pytest.raises(StepError, match="column x: wanted int64, found double beyond 2"):
        conform(left.merge(right, how="left"), [Column("k", "int64"), Column("x", "int64", nullable=True)])


class Stream:
    """What Polars and others are to Arrow."""

    def __init__(self, table):
        self.__arrow_c_stream__ = table.__arrow_c_stream__


@pytest.mark.parametrize("frame", [pd.DataFrame, pa.table, lambda rows: Stream(pa.table(rows)), dict])
def test_an_output_writes_frames(tmp_path, frame):
    port = {"kind": "table", "path": str(tmp_path / "out"), "schema": [{"name": "x", "type": "int64"}]}
    step = tenon_step.Step(
        {"inputs": {"in": port}, "outputs": {"out": port, "page": {**port, "kind": "file"}}}
    )
    assert step.output("out").write(frame({"x": [2**60 + 1, 2]})) == 2
    assert pq.read_table(tmp_path / "out").to_pydict() == {"x": [2**60 + 1, 2]}
    with pytest.raises(StepError, match="in is an input, and inputs are read-only"):
        step.input("in").write(frame({"x": [1]}))
    with pytest.raises(StepError, match="output page is a file, not a table"):
        step.output("page").write(frame({"x": [1]}))


def test_the_path_of_a_table_adds_no_column(tmp_path):
    path = tmp_path / "run=3" / "in"
    path.parent.mkdir()
    pq.write_table(pa.table({"x": [1, 2]}), path)
    schema = [{"name": "x", "type": "int64"}]
    step = tenon_step.Step({"inputs": {"t": {"kind": "table", "path": str(path), "schema": schema}}})
    assert step.arrow("t").column_names == ["x"]


def test_json_is_what_duckdb_takes_for_json():
    texts = Path(__file__).parents[2] / "duck" / "engine" / "testdata" / "json.txt"
    for line in texts.read_text().splitlines():
        wanted = json.loads(line)
        found = [t for t in wanted["texts"] if tenon_step.is_json(t) != wanted["json"]]
        assert found == [], f"should be {wanted['json']}"


def test_metrics_over_time(tmp_path):
    path = tmp_path / "progress.jsonl"
    step = tenon_step.Step({"progress": str(path)})
    step.log(loss=np.float32(0.5), step=np.int64(1))
    step.log({"step": 3.0}, step=1, loss_2=NAN)
    step.log(loss=-float("inf"), step=2)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(x["step"], x["values"]) for x in lines] == [
        (1, {"loss": 0.5}),
        (1, {"step": 3.0, "loss_2": "NaN"}),
        (2, {"loss": "-Infinity"}),
    ]
    assert all(x["time"] > 1_600_000_000_000 for x in lines)
    with pytest.raises(StepError, match="loss was logged at step 2, and then at step 2: steps must ascend"):
        step.log(loss=1, step=2)
    with pytest.raises(StepError, match="loss was logged at step 2, and then at step 2"):
        step.log(loss=1, step=2.5)
    with pytest.raises(StepError, match="1 to 250 bytes"):
        step.log({"x" * 251: 1}, step=1)
    tenon_step.Step({}).log(loss=1, step=1)  # without a progress file, as in tests of users
