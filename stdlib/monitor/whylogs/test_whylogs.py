"""monitor.whylogs: a profile reads back with the counts of the rows."""

from datetime import UTC, datetime

from conftest import col

SCHEMA = [
    col("hour", "int64", nullable=True),
    col("wind", "float64", nullable=True),
    col("origin", "string", nullable=True),
    col("holiday", "bool", nullable=True),
    col("at", "timestamp"),
    col("key", "bytes"),
]
ROWS = {
    "hour": [1, 2, None, 2**60 + 1],
    "wind": [0.5, None, float("inf"), 2.5],
    "origin": ["EWR", "", None, "JFK"],
    "holiday": [True, None, None, False],
    "at": [datetime(2024, 1, i) for i in range(1, 5)],
    "key": [b"x"] * 4,
}
OUT = {"requests": {"kind": "file"}, "reference": {"kind": "file"}}


def test_counts_are_those_of_the_rows(lab):
    from whylogs.core import DatasetProfileView

    many = {name: values * 500 for name, values in ROWS.items()}
    inputs = {"requests": lab.table(many, SCHEMA), "reference": lab.table(ROWS, SCHEMA)}
    made = [
        lab.inside(
            "monitor.whylogs",
            inputs=inputs,
            outputs=OUT,
            params={"exclude": [], "at": "2024-12-31T12:00:00Z"},
        )
        for _ in range(2)
    ]
    assert made[0].files("reference") == made[1].files("reference")
    for name, rows in (("requests", many), ("reference", ROWS)):
        view = DatasetProfileView.read(str(made[0].path(name)))
        assert view.dataset_timestamp == datetime(2024, 12, 31, 12, tzinfo=UTC)
        columns = view.get_columns()
        assert set(columns) == {"hour", "wind", "origin", "holiday", "at"}
        for column, kind in (
            ("hour", "integral"),
            ("wind", "fractional"),
            ("origin", "string"),
            ("holiday", "boolean"),
        ):
            summary = columns[column].to_summary_dict()
            filled = sum(x is not None for x in rows[column])
            assert summary["counts/n"] == len(rows[column]), column
            assert summary["counts/null"] == len(rows[column]) - filled, column
            assert summary[f"types/{kind}"] == filled, column
