"""tenon_export and tenon_lower: graphs of exported models, SQL with nulls and NaN, and what is refused."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

import tenon_export
import tenon_onnx
from tenon_lower import NotLoweredError
from tenon_step import StepError

EXPORTED = Path(__file__).parents[2] / "serve" / "plane" / "model" / "_testdata"
GRAPHS = Path(__file__).parents[2] / "serve" / "plane" / "onnx" / "testdata"


def signature(classes):
    kind = "float64"
    if classes:
        kind = {bool: "bool", str: "string"}.get(type(classes[0]), "int64")
    return SimpleNamespace(output=SimpleNamespace(type=kind))


def run(export, rows):
    session = onnxruntime.InferenceSession(export.model.SerializeToString(), tenon_onnx.options())
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(None, export.feed(rows)), strict=True))


@pytest.mark.parametrize("name", ["hist", "hist_regression", "forest", "extra_trees", "lightgbm", "xgboost"])
def test_trees_predict_what_the_model_predicts(name):
    kept = json.loads((EXPORTED / f"{name}.json").read_text())
    document, rows, want = kept["document"], kept["request"]["instances"], kept["predictions"]
    found = run(tenon_export.Export(None, document, signature(document.get("classes"))), rows)
    for key in ("probability", "prediction"):
        if key == "probability" and key not in want[0]:
            continue
        wanted = [p[key] for p in want]
        if isinstance(wanted[0], float):
            np.testing.assert_allclose(found[key], wanted, rtol=1e-6, atol=1e-6)
        else:
            assert found[key].tolist() == wanted


@pytest.mark.parametrize(
    ("rule", "side", "want"),
    [
        ("xgboost", "right", [2, 1, 2, 2]),
        ("sklearn", "left", [1, 2, 1, 1]),
        ("lightgbm", "none", [1, 2, 2, 2]),
    ],
)
def test_categories_beyond_those_of_a_set(rule, side, want):
    tree = {"feature": [0], "threshold": [0.0], "left": [-1], "right": [-2], "missing": [side]}
    tree |= {"categories": [[2]], "values": [1.0, 2.0]}
    trees = {"features": 1, "rule": rule, "outputs": 1, "link": "identity", "trees": [tree]}
    document = {
        "columns": [{"name": "k", "type": "string", "nullable": True}],
        "features": [{"column": 0, "as": "category", "categories": [f"k{i}" for i in range(40)]}],
        "trees": trees,
    }
    rows = [{"k": k} for k in ("k1", "k35", None, "never seen")]
    assert run(tenon_export.Export(None, document, signature(None)), rows)["prediction"].tolist() == want


@pytest.mark.parametrize("name", ["classification", "regression"])
def test_a_graph_of_a_network_is_merged(name):
    document = json.loads((GRAPHS / name / "plane.json").read_text())
    graph = (GRAPHS / name / "model.onnx").read_bytes()
    export = tenon_export.Export(None, document, signature(document.get("classes")), graph)
    names = [c["name"] for c in document["columns"]]
    rows = [dict(zip(names, r, strict=True)) for r in document["check"]["rows"]]
    want = tenon_export.parse_floats(document["check"]["outputs"])
    export.prove(rows, want)
    want[7] += 1
    with pytest.raises(StepError, match=rf"something else for 1 of {len(rows)} rows; row 8: wanted"):
        export.prove(rows, want)


def test_a_graph_that_needs_single_rows_is_refused():
    document = json.loads((GRAPHS / "quantized" / "plane.json").read_text())
    graph = (GRAPHS / "quantized" / "model.onnx").read_bytes()
    with pytest.raises(NotLoweredError, match="depends on the other rows"):
        tenon_export.Export(None, document, signature(document["classes"]), graph)


# --- SQL: x and y are doubles, n and m integers, s a text, at a timestamp; y, m and s may be null ---

COLUMNS = [
    {"name": "x", "type": "float64"},
    {"name": "y", "type": "float64", "nullable": True},
    {"name": "n", "type": "int64", "min": -100, "max": 100},
    {"name": "m", "type": "int64", "nullable": True, "min": -100, "max": 100},
    {"name": "s", "type": "string", "nullable": True},
    {"name": "at", "type": "timestamp"},
    {"name": "big", "type": "int64"},
]
TYPES = ["DOUBLE", "DOUBLE", "BIGINT", "BIGINT", "VARCHAR", "TIMESTAMP", "BIGINT"]
X, Y, N, M, S, AT, BIG = ({"op": "slot", "type": t, "index": i} for i, t in enumerate(TYPES))
ROWS = [
    {"x": 2.5, "y": None, "n": 7, "m": 2, "s": "a", "at": "2024-02-29T13:45:00", "big": 1},
    {"x": -2.5, "y": 4.0, "n": -7, "m": 2, "s": None, "at": "1969-12-31T23:59:59.999999", "big": 2},
    {"x": 0.49999999999999994, "y": -1.0, "n": 7, "m": 0, "s": "b", "at": "1600-03-01T00:00:00", "big": 3},
    {"x": 0.0, "y": 0.0, "n": 7, "m": None, "s": "", "at": "9999-12-31T12:00:00", "big": 4},
]


def number(value, kind="BIGINT"):
    return {"op": "constant", "type": kind, "value": str(value)}


def call(name, *args, type=None):
    return {"op": "call", "name": name, "type": type or args[0]["type"], "args": list(args)}


def of(op, *args, type="BOOLEAN", **more):
    return {"op": op, "type": type, "args": list(args), "at": 3, **more}


def compare(how, a, b):
    return of("compare", a, b, name=how)


def computed(expr, columns=COLUMNS):
    """The number that a model reads if this expression is its only input: the weights are 1 and 0."""
    kind = {"DOUBLE": "float64", "FLOAT": "float32", "BOOLEAN": "bool", "VARCHAR": "string"}
    kind = kind.get(expr["type"], "int64")
    plan = {
        "request": {"columns": [{"name": c["name"], "type": t} for c, t in zip(COLUMNS, TYPES, strict=True)]},
        "outputs": [{"name": "v", "type": expr["type"], "expr": expr}],
    }
    plane = {
        "columns": [{"name": "v", "type": kind, "nullable": True}],
        "features": [{"column": 0, "as": "number"}],
        "linear": {"weights": [[1.0]], "intercepts": [0.0], "link": "identity"},
    }
    return tenon_export.Export({"columns": columns, "plans": [plan]}, plane, signature(None))


null = math.nan


@pytest.mark.parametrize(
    ("expr", "want"),
    [
        (call("+", X, Y), [null, 1.5, -0.5, 0]),
        (call("/", X, Y), [null, -0.625, -0.49999999999999994, null]),
        (call("*", N, M), [14, -14, 0, null]),
        (call("//", N, M), [3, -3, null, null]),
        (call("%", N, M), [1, -1, null, null]),
        (call("round", X), [3, -3, 0, 0]),
        (call("trunc", X), [2, -2, 0, 0]),
        (call("abs", N), [7, 7, 7, 7]),
        (call("greatest", N, M), [7, 2, 7, 7]),
        (call("least", N, M), [2, -7, 0, 7]),
        (of("coalesce", Y, X, type="DOUBLE"), [2.5, 4, -1, 0]),
        (of("is null", Y), [1, 0, 0, 0]),
        (compare("<", Y, X), [null, 0, 1, 0]),
        (compare(">=", N, M), [1, 0, 1, null]),
        (compare("is distinct from", M, number(2)), [0, 0, 1, 1]),
        (of("and", compare("<", Y, X), compare("=", N, number(7))), [null, 0, 1, 0]),
        (of("or", compare("<", Y, X), compare("=", N, number(7))), [1, 0, 1, 1]),
        (of("not", compare("<", Y, X)), [null, 1, 0, 1]),
        (of("in", S, number("a", "VARCHAR"), number("b", "VARCHAR")), [1, null, 1, 0]),
        (of("case", of("is null", S), number(-1), N, type="BIGINT"), [7, -1, 7, 7]),
        (call("+", call("abs", X), of("cast", number(5, "DECIMAL(2,1)"), type="DOUBLE")), [3, 3, 1, 0.5]),
        (of("cast", compare("=", N, number(7)), type="BIGINT"), [1, 0, 1, 1]),
        (call("year", AT, type="BIGINT"), [2024, 1969, 1600, 9999]),
        (call("month", AT, type="BIGINT"), [2, 12, 3, 12]),
        (call("day", AT, type="BIGINT"), [29, 31, 1, 31]),
        (call("hour", AT, type="BIGINT"), [13, 23, 0, 12]),
        (call("minute", AT, type="BIGINT"), [45, 59, 0, 0]),
        (call("isodow", AT, type="BIGINT"), [4, 3, 3, 5]),
    ],
)
def test_sql(expr, want):
    found = run(computed(expr), ROWS)["prediction"]
    np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize(
    ("expr", "says"),
    [
        (call("+", BIG, N), r"\+ of BIGINT, which may overflow: declare min and max"),
        (call("*", call("*", call("*", BIG, N), N), N), "may overflow"),
        (of("cast", X, type="BIGINT"), "a cast from DOUBLE to BIGINT"),
        (of("cast", BIG, type="INTEGER"), "a cast to INTEGER that may overflow"),
        (call("lower", S), "the function lower of VARCHAR"),
        (compare("<", S, number("a", "VARCHAR")), "an order of texts"),
        ({"op": "lookup", "type": "DOUBLE"}, "a table that is looked up"),
        ({"op": "duckdb", "type": "DOUBLE", "name": "f"}, "duckdb f"),
    ],
)
def test_sql_without_an_exact_form_is_refused_with_its_column(expr, says):
    with pytest.raises(NotLoweredError, match=says) as e:
        computed(expr)
    assert (e.value.plan, e.value.column) == (0, "v")
    assert e.value.word == (expr["name"] if expr["op"] == "call" else "")


def test_columns_may_have_any_name():
    columns = [{**c, "name": {"x": "t0", "y": "c0"}.get(c["name"], c["name"])} for c in COLUMNS]
    plan = {
        "request": {"columns": [{"name": c["name"], "type": t} for c, t in zip(columns, TYPES, strict=True)]},
        "outputs": [{"name": "v", "type": "DOUBLE", "expr": call("+", call("*", X, X), Y)}],
    }
    plane = {
        "columns": [{"name": "v", "type": "float64", "nullable": True}],
        "features": [{"column": 0, "as": "number"}],
        "linear": {"weights": [[1.0]], "intercepts": [0.0], "link": "identity"},
    }
    export = tenon_export.Export({"columns": columns, "plans": [plan]}, plane, signature(None))
    found = run(export, [{"t0": 2.0, "c0": 0.5}, {"t0": 3.0, "c0": None}])["prediction"]
    np.testing.assert_array_equal(found, [4.5, null])


def test_the_nulls_of_a_column_have_a_name_of_their_own():
    columns = [*COLUMNS, {"name": "m.null", "type": "string"}]
    with pytest.raises(NotLoweredError, match=r"called m\.null, as the nulls of m are"):
        computed(call("abs", M), columns)


@pytest.mark.parametrize(("kind", "most"), [("DOUBLE", 2**53), ("FLOAT", 2**24)])
def test_decimals_that_would_be_rounded_twice_are_refused(kind, most):
    def of_digits(n):
        expr = of("cast", number(n, "DECIMAL(18,1)"), type=kind)
        return computed(of("case", of("is null", Y), expr, expr, type=kind))

    want = np.float32(most / 10) if kind == "FLOAT" else most / 10
    assert run(of_digits(most), ROWS)["prediction"][0] == want
    with pytest.raises(NotLoweredError, match=r"DECIMAL\(18,1\)"):
        of_digits(most + 1)


def test_conditions_on_rows_are_refused():
    expr = call("+", X, Y)
    plan = {"request": {"columns": []}, "steps": [{"filter": compare("<", X, Y)}], "outputs": []}
    with pytest.raises(NotLoweredError, match="a condition on rows"):
        tenon_export.Export({"columns": COLUMNS, "plans": [plan]}, {"columns": []}, signature(None))
    assert computed(expr).inputs.keys() == {"x", "y"}
