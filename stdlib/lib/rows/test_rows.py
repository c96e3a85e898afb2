"""tenon_rows: functions that compute one row from another."""

import math
from datetime import UTC, date, datetime, time, timedelta, timezone

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import tenon_step
from tenon_rows import RowFunction
from tenon_step import Column, StepError

KINDS = {
    "bool": [True, False, None],
    "int8": [-128, 127, None],
    "uint64": [0, 2**64 - 1, None],
    "int64": [-(2**63), 2**63 - 1, None],
    "float32": [0.5, float("inf"), None],
    "float64": [1e300, -0.1, None],
    "string": ["", "ä\u0000🙂", None],
    "bytes": [b"", b"\x00\xff", None],
    "date": [date(1, 1, 1), date(9999, 12, 31), None],
    "time": [time(0), time(23, 59, 59, 999999), None],
    "timestamp": [datetime(1, 1, 1), datetime(2024, 2, 29, 1, 2, 3, 4), None],
    "timestamptz": [datetime(1969, 12, 31, 23, 59, tzinfo=UTC), datetime(2024, 2, 29, tzinfo=UTC), None],
}


def column(name, kind, nullable=False):
    return Column(name=name, type=kind, nullable=nullable)


def table(columns, **values):
    return pa.table(values, schema=tenon_step.arrow_schema(columns))


def computed(function, columns, makes, args=None, private=False, **values):
    """The values of the made columns, and what was refused."""
    rows = RowFunction(function, "f()", columns, makes, args or {}, private)
    arrays, refused = rows.compute(table(columns, **values))
    return [a.to_pylist() for a in arrays], refused


@pytest.mark.parametrize("kind", KINDS)
def test_values_come_back_as_they_were(kind):
    got, refused = computed(
        lambda x: {"y": x}, [column("x", kind, True)], [column("y", kind, True)], x=KINDS[kind]
    )
    assert got == [KINDS[kind]] and not refused


def test_values_are_those_of_python():
    seen = []

    def f(**row):
        seen.append(row)
        return {"y": 1}

    columns = [column(k, k, True) for k in KINDS]
    computed(f, columns, [column("y", "int64")], **{k: v[:1] for k, v in KINDS.items()})
    assert [type(v) for v in seen[0].values()] == [type(v[0]) for v in KINDS.values()]
    assert seen[0]["timestamptz"].tzinfo is UTC


def test_a_function_gets_what_it_has_parameters_for():
    columns = [column("a", "int64"), column("b", "int64"), column("c", "int64")]
    got, _ = computed(
        lambda b, k, a=5, d=7: {"y": [b, k, a, d]}.copy() and {"y": b + k + a + d},
        columns,
        [column("y", "int64")],
        {"k": 1},
        a=[10],
        b=[100],
        c=[1],
    )
    assert got == [[118]]


def test_numbers_of_numpy_and_missing_values_of_pandas():
    makes = [
        column("i", "int16", True),
        column("f", "float64", True),
        column("b", "bool", True),
        column("t", "timestamp", True),
    ]
    results = [
        {"i": np.int64(3), "f": np.float32(0.5), "b": np.True_, "t": pd.Timestamp("2024-01-02")},
        {"i": pd.NA, "f": 3, "b": None, "t": pd.NaT},
    ]
    got, refused = computed(lambda n: results[n], [column("n", "int64")], makes, n=[0, 1])
    assert got == [[3, None], [0.5, 3.0], [True, None], [datetime(2024, 1, 2), None]] and not refused


def test_a_float_is_no_negative_zero_and_may_be_nan():
    seen = []
    got, _ = computed(
        lambda x: seen.append(x) or {"y": -0.0 if x == 0 else x},
        [column("x", "float64")],
        [column("y", "float64")],
        x=[-0.0, math.nan],
    )
    assert math.copysign(1, seen[0]) == 1 and math.copysign(1, got[0][0]) == 1 and math.isnan(got[0][1])


def test_a_float32_is_rounded():
    got, refused = computed(
        lambda x: {"y": x}, [column("x", "float64")], [column("y", "float32")], x=[0.1, 1e300, 1e-300]
    )
    assert got[0] == [float(np.float32(0.1)), None, None]
    assert [r.says for r in refused] == [
        "f() returned a float that is too large for a float32",
        "f() returned a float that is too small for a float32",
    ]


WRONG = [
    ("int64", 1.0, "float, wanted an int"),
    ("int64", True, "bool, wanted an int"),
    ("int64", "1", "str, wanted an int"),
    ("int8", 128, "an int that int8 does not hold"),
    ("uint8", -1, "an int that uint8 does not hold"),
    ("float64", "1", "str, wanted a float"),
    ("float64", True, "bool, wanted a float"),
    ("float64", 2**53 + 1, "an int that a float does not hold exactly"),
    ("float64", 10**400, "an int that a float does not hold exactly"),
    ("bool", 1, "int, wanted a bool"),
    ("string", b"x", "bytes, wanted a str"),
    ("string", "\ud800", "a str with half of a surrogate pair, which is no Unicode"),
    ("bytes", "x", "str, wanted bytes"),
    ("date", datetime(2024, 1, 1), "datetime.datetime, wanted a date"),
    ("timestamp", date(2024, 1, 1), "datetime.date, wanted a datetime without a time zone"),
    (
        "timestamp",
        datetime(2024, 1, 1, tzinfo=UTC),
        "datetime.datetime, wanted a datetime without a time zone",
    ),
    ("timestamp", pd.Timestamp("2024-01-01T00:00:00.000000001"), "a time with nanoseconds"),
    ("timestamptz", datetime(2024, 1, 1), "datetime.datetime, wanted a datetime with a time zone"),
    ("time", time(1, tzinfo=UTC), "datetime.time, wanted a time without a time zone"),
]


@pytest.mark.parametrize(("kind", "value", "says"), WRONG)
def test_a_value_of_another_type_is_refused_with_its_column(kind, value, says):
    got, refused = computed(lambda n: {"y": value}, [column("n", "int64")], [column("y", kind)], n=[0])
    assert got == [[None]]
    assert [(r.row, r.column, r.says, r.failed) for r in refused] == [(0, "y", f"f() returned {says}", False)]


def test_a_time_in_another_zone_is_the_same_time():
    there = datetime(2024, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    got, _ = computed(lambda n: {"y": there}, [column("n", "int64")], [column("y", "timestamptz")], n=[0])
    assert got == [[datetime(2024, 1, 1, tzinfo=UTC)]]


@pytest.mark.parametrize(
    ("result", "column_", "says"),
    [
        ({"y": None, "z": 1}, "y", "f() returned None, and the column is not nullable"),
        ({"y": 1}, "z", "f() did not return it"),
        ({"y": 1, "z": 1, "w": 1}, "", "f() returned a column w, wanted only y, z"),
        ({"y": 1, "z": 1, "n": 1}, "", "f() returned a column n, which its input has; it is copied"),
        (None, "", "f() returned NoneType, wanted a dict of the columns that it computes"),
        ([1, 2], "", "f() returned list, wanted a dict of the columns that it computes"),
    ],
)
def test_a_result_that_is_none_is_refused(result, column_, says):
    _, refused = computed(
        lambda n: result, [column("n", "int64")], [column("y", "int64"), column("z", "int64")], n=[0]
    )
    assert [(r.column, r.says) for r in refused] == [(column_, says)]


def test_a_value_error_refuses_its_row_only():
    def f(n):
        if n == 1:
            raise ValueError("no  such\nnumber")
        if n == 2:
            raise KeyError("k")
        return {"y": n}

    got, refused = computed(f, [column("n", "int64")], [column("y", "int64")], n=[0, 1, 2, 3])
    assert got == [[0, None, None, 3]]
    assert [(r.row, r.column, r.says, r.failed) for r in refused] == [
        (1, "y", "f() refuses it: no such number", False),
        (2, "", "f() failed: KeyError: 'k'", True),
    ]


def test_no_log_shows_a_private_value(capfd):
    def f(n):
        raise KeyError(n)

    _, refused = computed(f, [column("n", "string")], [column("y", "int64")], private=True, n=["geheim"])
    assert refused[0].says == "f() failed: KeyError"
    said = capfd.readouterr().err
    assert "KeyError in" in said and "geheim" not in said


def test_a_moment_that_python_lacks_is_refused():
    columns = [column("t", "timestamp")]
    far = pa.array([2**62], pa.int64()).cast(pa.timestamp("us"))
    rows = RowFunction(lambda t: {"y": 1}, "f()", columns, [column("y", "int64")], {})
    _, refused = rows.compute(pa.table({"t": far}))
    assert "which Python does not have" in refused[0].says


@pytest.mark.parametrize(
    ("function", "args", "says"),
    [
        (lambda n, m: {}, {}, "missing a required argument: 'm'"),
        (lambda n: {}, {"k": 1}, "unexpected keyword argument 'k'"),
        (lambda n: {}, {"n": 1}, "n is both a column and an argument"),
    ],
)
def test_a_function_that_cannot_be_called(function, args, says):
    with pytest.raises(StepError, match=says):
        RowFunction(function, "f()", [column("n", "int64")], [column("y", "int64")], args)


def checked(function, most=1000):
    columns = [column("n", "int64")]
    rows = RowFunction(function, "f()", columns, [column("y", "float64")], {})
    data = table(columns, n=list(range(50)))
    arrays, refused = rows.compute(data)
    assert not refused
    rows.check(data, arrays, 0, most)


def test_a_function_of_its_row_alone_passes_the_check():
    checked(lambda n: {"y": math.nan if n == 3 else n / 2})


def test_a_function_that_keeps_something_of_other_rows_does_not():
    seen = []

    def f(n):
        seen.append(n)
        return {"y": float(len(seen))}

    with pytest.raises(
        StepError,
        match=r"does not depend on its row alone: in row 50, y is 50.0, and when it is computed again 51.0",
    ):
        checked(f)


def test_a_function_with_random_numbers_does_not():
    with pytest.raises(StepError, match="no random numbers"):
        checked(lambda n: {"y": np.random.default_rng().random()}, 10)
