"""The table of docs/data.md, for what programs give: results of Python, and of databases by way of Arrow.

Each value is exact in the declared type, or refused by column. What the table refuses is refused here, and
what it allows is taken, but for text: programs have types, so text stays text and nothing else becomes it.
"""

import datetime as dt
import uuid
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tenon_step import Column, StepError, conform

TYPES = {
    "bool": "bool", "int8": "int", "int64": "int", "uint64": "int", "float32": "float", "float64": "float",
    "string": "string", "bytes": "bytes", "date": "date", "time": "time", "timestamp": "timestamp",
    "timestamptz": "timestamptz",
}  # fmt: skip


def rules() -> dict[str, dict[str, str]]:
    """What the documentation says of each kind that is found and each that is declared: exact, if or no."""
    page = Path(__file__).parents[3] / "docs" / "data.md"
    rows = [line.strip("| \n").split(" | ") for line in page.read_text().splitlines() if line.startswith("|")]
    head = next(r for r in rows if r[0] == "found")
    return {
        r[0]: {d: c.split(" ")[0] for d, c in zip(head, r, strict=True)} for r in rows if len(r) == len(head)
    }


RULES = rules()


def raw(type, value, size):
    """An Arrow array of a type with any number in it."""
    return pa.Array.from_buffers(type, 1, [None, pa.py_buffer(np.array([value], dtype=size))])


def stored(name, value, storage):
    return pa.ExtensionArray.from_storage(getattr(pa, name)(), pa.array([value], storage))


UTC = dt.UTC
BROKEN = pa.Array.from_buffers(
    pa.string(), 1, [None, pa.py_buffer(np.array([0, 1], "i4")), pa.py_buffer(b"\xff")]
)
DAY, NOON = dt.date(2024, 2, 29), dt.datetime(2024, 2, 29, 12)
ANY = dict.fromkeys(TYPES)  # null, whatever is declared


def ints(value, *types):
    return {t: float(value) if t.startswith("float") else value for t in types}


ALL = ("int8", "int64", "uint64", "float32", "float64")
# The kind of a value, one column of it, and what it becomes in each declared type that takes it.
SAMPLES = [
    ("text", ["12"], {"string": "12"}),
    ("text", pa.array(["a"], pa.large_string()), {"string": "a"}),
    ("text", pa.array(["a"], pa.string_view()), {"string": "a"}),
    ("text", pa.array(["a"]).dictionary_encode(), {"string": "a"}),
    ("text", pd.Series(["a"], dtype="category"), {"string": "a"}),
    ("text", pd.Series(["a"], dtype="string"), {"string": "a"}),
    ("text", stored("json_", "{}", pa.string()), {"string": "{}"}),
    ("text", ["\0"], {"string": "\0"}),
    ("text", BROKEN, {}),
    ("bool", [True], {"bool": True}),
    ("bool", pd.Series([True], dtype="boolean"), {"bool": True}),
    ("bool", stored("bool8", 1, pa.int8()), {"bool": True}),
    ("int", [1], ints(1, *ALL)),
    ("int", [-129], ints(-129, "int64", "float32", "float64")),
    ("int", [2**53 + 1], ints(2**53 + 1, "int64", "uint64")),
    ("int", [2**64 - 1], {"uint64": 2**64 - 1}),
    ("int", [2**70], {}),
    ("int", pa.array([2**24 + 1], pa.uint32()), ints(2**24 + 1, "int64", "uint64", "float64")),
    ("int", pd.Series([1], dtype="Int64"), ints(1, *ALL)),
    ("int", pd.Series([1], dtype="category"), ints(1, *ALL)),
    ("int", np.array([1], dtype=">i8"), ints(1, *ALL)),
    ("float", [2.0], ints(2, *ALL)),
    ("float", [-0.0], {"float32": -0.0, "float64": -0.0} | ints(0, "int8", "int64", "uint64")),
    ("float", [0.1], {"float64": 0.1}),
    ("float", [2.0**63], ints(2**63, "float32", "float64")),
    ("float", [1e300], {"float64": 1e300}),
    ("float", [1e-46], {"float64": 1e-46}),
    ("float", [float("-inf")], {"float32": float("-inf"), "float64": float("-inf")}),
    ("float", pa.array([np.float16(0.1)]), {t: float(np.float16(0.1)) for t in ("float32", "float64")}),
    ("float", np.array([0.1], dtype="longdouble"), {}),
    ("float", [float("nan")], ANY),
    ("decimal", [Decimal("7.00")], ints(7, *ALL)),
    ("decimal", [Decimal("0.10")], {"float32": float(np.float32(0.1)), "float64": 0.1}),
    ("decimal", [Decimal("0.00001")], {"float32": float(np.float32(1e-5)), "float64": 1e-5}),
    ("decimal", [Decimal("0.10000000000000001")], {}),
    ("decimal", [Decimal("1234567890123456789.5")], {}),
    ("decimal", [Decimal(2**64 - 1)], {"uint64": 2**64 - 1}),
    ("decimal", pa.array([Decimal("1.5")], pa.decimal256(60, 2)), {"float32": 1.5, "float64": 1.5}),
    ("decimal", [Decimal("Infinity")], {}),
    ("bytes", [b"\xff"], {"bytes": b"\xff"}),
    ("bytes", pa.array([b"ab"], pa.binary(2)), {"bytes": b"ab"}),
    ("bytes", [b"a", "a"], {}),
    ("date", [DAY], {"date": DAY, "timestamp": dt.datetime(2024, 2, 29)}),
    ("date", pa.array([DAY], pa.date64()), {"date": DAY, "timestamp": dt.datetime(2024, 2, 29)}),
    ("date", raw(pa.date32(), 2**31 - 1, "i4"), {}),
    ("timestamp", raw(pa.date64(), 86_400_001, "i8"), {"timestamp": dt.datetime(1970, 1, 2, 0, 0, 0, 1000)}),
    ("time", [dt.time(12)], {"time": dt.time(12)}),
    ("time", [dt.time(12, tzinfo=UTC)], {}),
    ("time", raw(pa.time64("ns"), 1, "i8"), {}),
    ("time", raw(pa.time64("us"), -1, "i8"), {}),
    ("time", raw(pa.time64("us"), 86_400_000_000, "i8"), {}),
    ("timestamp", [NOON], {"timestamp": NOON}),
    ("timestamp", [dt.datetime(2024, 2, 29)], {"timestamp": dt.datetime(2024, 2, 29), "date": DAY}),
    ("timestamp", pa.array([1], pa.timestamp("s")), {"timestamp": dt.datetime(1970, 1, 1, 0, 0, 1)}),
    ("timestamp", pa.array([1], pa.timestamp("ns")), {}),
    ("timestamp", raw(pa.timestamp("us"), 2**63 - 1, "i8"), {}),
    ("timestamp", raw(pa.timestamp("us"), -(2**63), "i8"), {}),
    ("timestamp", raw(pa.timestamp("s"), 2**60, "i8"), {}),
    ("timestamp", [np.datetime64("2024-02", "M")], {}),
    ("timestamp", pd.Series([pd.NaT]), ANY),
    ("timestamptz", [NOON.replace(tzinfo=UTC)], {"timestamptz": NOON.replace(tzinfo=UTC)}),
    ("timestamptz", pd.Series([pd.Timestamp("2024-02-29 13:00", tz="Europe/Zurich")]),
     {"timestamptz": NOON.replace(tzinfo=UTC)}),
    ("timestamptz", pa.array([1], pa.timestamp("ns", "UTC")), {}),
    ("uuid", [uuid.UUID(int=1)], {"string": str(uuid.UUID(int=1))}),
    ("nested", [[1]], {}),
    ("nested", [{"a": 1}], {}),
    ("nested", np.array([[1]]), {}),
    ("anything else", [dt.timedelta(1)], {}),
    ("anything else", [1j], {}),
    ("anything else", [object()], {}),
    ("anything else", "text", {}),
    ("anything else", pd.Series(pd.period_range("2024-01", periods=1, freq="M")), {}),
    ("anything else", pd.Series(pd.interval_range(0, 1)), {}),
    ("anything else", [True, 1], {}),
    ("anything else", [1.5, True], {}),
    ("anything else", [np.bool_(True), 1], {}),
    ("anything else", [1, "a"], {}),
    ("anything else", [None], ANY),
    ("anything else", pa.nulls(1), ANY),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "values", "becomes"),
    [pytest.param(*s, id=f"{i}-{s[0]}") for i, s in enumerate(SAMPLES)],
)
@pytest.mark.parametrize("declared", TYPES)
def test_every_value_is_exact_or_refused(kind, values, becomes, declared):
    rule = RULES[kind][TYPES[declared]]
    column = Column("v", declared, nullable=True)
    try:
        got = conform({"v": values}, [column], "out", exact=True).column(0)
    except StepError as e:
        assert declared not in becomes, e
        assert "column v" in str(e)
        # A value that becomes nothing is none of its kind, such as infinity among dates.
        narrower = not becomes or kind == "text" or declared in ("string", "bytes")
        assert rule != "exact" or narrower, f"the table says that it is exact: {e}"
        return
    assert declared in becomes, f"it became {got}"
    assert repr(got.to_pylist()) == repr([becomes[declared]]) or got.to_pylist() == [becomes[declared]]
    assert rule != "no" or becomes[declared] is None, "the table refuses it"


def test_rows_are_counted_from_the_first_of_a_table():
    with pytest.raises(StepError, match="that does not fit: 1.5 in row 12"):
        conform({"v": [1.0, 1.5]}, [Column("v", "int64")], before=10)
    with pytest.raises(StepError, match="found values of mixed type: int, then str in row 12"):
        conform({"v": [1, "a"]}, [Column("v", "int64")], before=10)
    with pytest.raises(StepError, match="such as row 12"):
        conform({"v": [1, None]}, [Column("v", "int64")], before=10)


def test_a_step_may_round_to_float32():
    assert conform({"v": [0.1]}, [Column("v", "float32")]).column(0).to_pylist() == [float(np.float32(0.1))]
    with pytest.raises(StepError, match="that a float does not hold exactly: 0.1 in row 1"):
        conform({"v": [0.1]}, [Column("v", "float32")], exact=True)
