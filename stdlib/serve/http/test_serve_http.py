"""serve.http: a real server on loopback; its schema, its answers and its metrics.

Tests run on the service in Python and on the plane in Go. If the model needs no Python, they run on the plane
twice: once with the exported model, and once with workers.
"""

import json
import os
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pandas as pd
import pyarrow as pa
import pytest

import tenon_model
from conftest import col, model_out
from testing_services import INSTANCE, for_workers, model_port, predict, service


@pytest.fixture(scope="module")
def late(shared, served, program):
    inputs = {"model": served["late"], "report": served["report"]}
    params = {"max_instances": 5, "max_bytes": 2000, "latency_buckets": [0.01, 0.1]}
    with service(shared, inputs, program=program, **params) as (_, url):
        yield url


def model_of(served, program):
    return for_workers(served["late"]) if program == "worker" else served["late"]


@pytest.fixture(scope="module")
def plain(shared, served, program):
    with service(shared, {"model": served["late"]}, instance="plain", program=program) as (_, url):
        yield url


def test_answers_are_the_models(late, served, program):
    answer = predict(late, INSTANCE, INSTANCE | {"carrier": "never seen", "origin": "LGA", "hour": 1})
    model = tenon_model.load(served["late"]["path"])
    frame = pd.DataFrame([INSTANCE, INSTANCE | {"carrier": "never seen", "origin": "LGA", "hour": 1}])
    want = model.predict(frame.assign(at=pd.to_datetime(frame["at"])))
    assert answer.status_code == 200
    assert answer.json() == {
        "predictions": want.to_dict("records"),
        "model": {"name": "api", "version": 4, "digest": model_of(served, program)["digest"]},
    }
    assert [p["prediction"] for p in answer.json()["predictions"]] == [True, False]


def test_probabilities_on_demand(late):
    answer = httpx.post(f"{late}/predict?probabilities=true", json={"instances": [INSTANCE]}).json()[
        "predictions"
    ][0]
    assert answer["probabilities"]["true"] == answer["probability"]
    assert set(answer["probabilities"]) == {"true", "false"}


def test_nullable_fields_may_be_left_out(late):
    assert predict(late, {"at": INSTANCE["at"], "origin": "JFK", "hour": 3}).status_code == 200


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"hour": "12"}, "hour", "valid integer"),
        ({"hour": 12.0}, "hour", "valid integer"),
        ({"hour": True}, "hour", "valid integer"),
        ({"hour": 24}, "hour", "less than or equal to 23"),
        ({"hour": None}, "hour", "valid integer"),
        ({"wind": "strong"}, "wind", "valid number"),
        ({"wind": True}, "wind", "valid number"),
        ({"wind": 2**53 + 1}, "wind", "does not hold it exactly"),
        ({"wind": 2**64 + 1}, "wind", "does not hold it exactly"),
        ({"wind": -(10**23) - 1}, "wind", "does not hold it exactly"),
        ({"origin": "SFO"}, "origin", "'EWR', 'JFK' or 'LGA'"),
        ({"at": 1700000000}, "at", "ISO 8601"),
        ({"at": "1700000000"}, "at", "ISO 8601"),
        ({"at": "2024-05-17T13:37:00Z"}, "at", "should not have timezone info"),
        ({"hours": 3}, "hours", "Extra inputs are not permitted"),
    ],
)
def test_a_bad_value_is_422_and_names_its_field(late, change, field, says):
    answer = predict(late, INSTANCE | change)
    assert answer.status_code == 422
    [detail] = answer.json()["detail"]
    assert detail["loc"] == ["body", "instances", 0, field]
    assert says in detail["msg"]


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("12.5", "NaN", "wind"),
        ("12.5", "-Infinity", "wind"),
        ("12.5", "1e400", "wind"),
        ("12.5", "1" + "0" * 400, "wind"),
        ("12.5", "9007199254740993.0", "wind"),
        ("12.5", "-9007199254740993.000", "wind"),
        ("12.5", "1" * 40 + ".0", "wind"),
        ("20,", "20.0000000000000000001,", "hour"),
        ("20,", "20.0,", "hour"),
        ("20,", "9" * 5000 + ",", None),
        ("20,", "9223372036854775808" + ",", "hour"),
        ("20,", "[1]" + ",", "hour"),
        ("20,", "[" * 20_000, None),
        ("20,", '{"a":' * 90 + "1" + "}" * 90 + ",", "hour"),
        ('"AA"', '"\\ud83d"', None),
        ('"AA"', '"AA", "\\ud83d": 1', None),
        ('"AA"', '"AA", "other": NaN', "other"),
        ('"AA"', '"AA", "' + "x" * 3000 + '": 1', "x" * 100),
        ('"hour": 20', '"hour": 20, "hour": 20', None),
        ('"2024-05-17T13:37:00"', '"2024-05-17T13:37:00.1234567"', "at"),
        ('"2024-05-17T13:37:00"', '"0000-00-00T00:00:00"', "at"),
        ('"AA"', '"AA', None),
        ('"AA"', b'"\xff"', None),
        ('{"instances"', "\ufeff{", None),
        ('"instances"', '"rows"', None),
        ('[{"at"', '{"at"', None),
        ('{"at"', '1, {"at"', 0),
    ],
)
def test_no_body_is_an_error_of_the_service(plain, old, new, field):
    new = new if isinstance(new, bytes) else new.encode()
    body = json.dumps({"instances": [INSTANCE]}).encode()
    assert old.encode() in body
    answer = httpx.post(f"{plain}/predict", content=body.replace(old.encode(), new))
    assert answer.status_code == 422, answer.text
    detail = answer.json()["detail"]
    assert [d["loc"][-1] for d in detail] == [field or "body"] if field != 0 else detail[0]["loc"][-1] == 0
    assert all(set(d) == {"type", "loc", "msg"} for d in detail), "no value of the request"
    assert len(answer.content) < 1000


@pytest.mark.parametrize(
    "number", ["9007199254740992.0", "1e23", "100000000000000000000000", "0.1000000000000000000001", "-0.0"]
)
def test_a_number_that_a_float_holds_or_is_next_to_is_taken(plain, number):
    body = json.dumps({"instances": [INSTANCE]}).replace("12.5", number)
    assert httpx.post(f"{plain}/predict", content=body).status_code == 200


def test_a_client_that_leaves_is_no_error_of_the_service(plain):
    address = ("127.0.0.1", int(plain.rpartition(":")[2]))
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"
    for _ in range(3):
        with socket.create_connection(address) as s:
            s.sendall(head)
    deadline = time.monotonic() + 20
    while 'code="499"' not in (text := httpx.get(f"{plain}/metrics").text):
        assert time.monotonic() < deadline, text
        time.sleep(0.05)
    assert 'code="500"' not in text


def test_a_bare_row_is_answered_with_an_example_of_a_body(plain):
    [detail] = httpx.post(f"{plain}/predict", json=INSTANCE).json()["detail"]
    _, _, body = detail["msg"].partition("such as ")
    assert httpx.post(f"{plain}/predict", content=body).status_code == 200


def test_any_text_is_a_category(plain):
    for text in ("é", "\U0001f4a7", "\0", '\\"', ""):
        assert predict(plain, INSTANCE | {"carrier": text}).status_code == 200, text


BODIES = {
    "unknown fields": lambda size: (
        '{"instances":[{' + ",".join(f'"k{i}":1' for i in range(size // 12)) + "}]}"
    ),
    "wrong rows": lambda size: '{"instances":[' + ",".join(['{"hour":"x"}'] * 900) + "]}",
    "lists": lambda size: '{"instances":[' + "[]," * (size // 3) + "1]}",
    "lists in a row": lambda size: '{"instances":[{"hour":[' + "[]," * (size // 3) + "1]}]}",
    "nested": lambda size: "[" * size,
    "quotes": lambda size: '"' + '\\"' * (size // 2),
    "a backslash at the end": lambda size: '"' + '\\"' * (size // 2) + "\\",
    "empty texts": lambda size: "[" + '"",' * (size // 3) + "1]",
    "one text": lambda size: '{"instances":[{"carrier":"' + "x," * (size // 2) + '"}]}',
    "digits": lambda size: '{"instances":[{"hour":' + "9" * size + "}]}",
    "blanks": lambda size: " " * size,
    "escapes": lambda size: '{"instances":[{"carrier":"' + "\\ud83d" * (size // 6) + '"}]}',
}


@pytest.mark.parametrize("kind", list(BODIES))
def test_no_body_costs_more_than_its_size(plain, kind):
    body = BODIES[kind](8_000_000)
    start = time.monotonic()
    answer = httpx.post(f"{plain}/predict", content=body, timeout=60)
    assert answer.status_code == 422
    assert len(answer.json()["detail"]) <= 10
    assert len(answer.content) < 3000
    assert time.monotonic() - start < 20, "it took minutes"


MODEL = """
import time
class Model:
    def predict(self, features):
        self.x = features["x"].to_numpy()
        time.sleep(0.01)
        return self.x * 2 + features["n"].to_numpy() * 0
def train(features, labels): return Model()
"""


# What serves a model that is not exported.
NEEDS_PYTHON = ["python", "worker"]


def serving(shared, program, script, table, inputs, instance, label=None, task="regression"):
    """Trains a script's model on a table with the label `y`, and yields the URL of a service that has it."""
    got = shared.ok(
        "train.script",
        params={"script": "m.py"},
        scripts={"m.py": script},
        inputs={"train": table},
        outputs=model_out(task, inputs, label or col("y", "float64")),
    )
    model = model_port(got.path("model"))
    with service(shared, {"model": model}, instance=instance, program=program) as (_, url):
        yield url


@pytest.fixture(scope="module", params=NEEDS_PYTHON)
def scripted(shared, request):
    """A model that keeps what it is asked while it works, and predicts NaN where `n` is null."""
    inputs = [col("x", "float32"), col("n", "int64", nullable=True), col("t", "time", nullable=True)]
    table = shared.table({"x": [1.0], "n": [1], "t": [None], "y": [2.0]}, [*inputs, col("y", "float64")])
    yield from serving(shared, request.param, MODEL, table, inputs, "s")


def test_each_request_has_its_own_answer(scripted):
    def ask(n):
        answer = predict(scripted, {"x": float(n), "n": 1})
        return answer.json()["predictions"] == [{"prediction": 2.0 * n}]

    with ThreadPoolExecutor(64) as pool:
        assert all(pool.map(ask, range(64)))


def test_a_row_without_a_prediction_is_named(scripted):
    answer = predict(scripted, {"x": 1.0, "n": 1}, {"x": 2.0, "n": None})
    assert answer.status_code == 422
    [detail] = answer.json()["detail"]
    assert detail["loc"] == ["body", "instances", 1]
    assert detail["msg"] == "the model has no prediction: it is nan"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"n": 2**53 + 1}, "n"),
        ({"x": 1e300}, "x"),
        ({"x": 16777217}, "x"),
        ({"x": 16777217.0}, "x"),
        ({"t": "10:00:00Z"}, "t"),
        ({"t": "10:00:00.1234567"}, "t"),
    ],
)
def test_a_value_that_would_become_another_is_refused(scripted, change, field):
    answer = predict(scripted, {"x": 1.0, "n": 1} | change)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "instances", 0, field]
    assert str(next(iter(change.values()))) not in answer.text


@pytest.fixture(scope="module", params=NEEDS_PYTHON)
def improbable(shared, request):
    """A classifier whose probability of "b" is `x`, whatever that is."""
    script = """
import numpy as np
class Model:
    def predict(self, features): return np.where(features["x"] > 0, "b", "a")
    def predict_proba(self, features): return np.column_stack([1 - features["x"], features["x"]])
def train(features, labels): return Model()
"""
    inputs, label = [col("x", "float64")], col("y", "string")
    table = shared.table({"x": [0.5, 0.5], "y": ["a", "b"]}, [*inputs, label])
    yield from serving(shared, request.param, script, table, inputs, "p", label, "classification")


@pytest.mark.parametrize("probabilities", ["true", "false"])
def test_what_is_no_probability_is_refused_for_its_row(improbable, probabilities):
    def ask(*rows):
        body = {"instances": [{"x": x} for x in rows]}
        return httpx.post(f"{improbable}/predict?probabilities={probabilities}", json=body)

    answer = ask(0.5, 1.25)
    assert answer.status_code == 422
    [detail] = answer.json()["detail"]
    assert detail["loc"] == ["body", "instances", 1]
    assert detail["msg"].startswith(
        "the model has no prediction: the probability of the class b is 1.25, not between 0 and 1; correct"
    )
    assert ask(0.5, 1.0).json()["predictions"][1]["probability"] == 1.0


@pytest.fixture(scope="module", params=NEEDS_PYTHON)
def documents(shared, request):
    """A model of JSON documents, which predicts how long they are."""
    inputs = [col("doc", "string", json=True), col("more", "string", json=True, nullable=True)]
    script = """
class Model:
    def predict(self, features): return features["doc"].str.len().to_numpy(dtype="float64")
def train(features, labels): return Model()
"""
    table = shared.table({"doc": ["{}"], "more": ["1"], "y": [2.0]}, [*inputs, col("y", "float64")])
    yield from serving(shared, request.param, script, table, inputs, "d")


def test_a_column_of_json_takes_json(documents):
    for doc in ("{}", "[1, 2]", '"text"', "null", "1e400", '{"a": "\\ud83d\\ude00"}'):
        answer = predict(documents, {"doc": doc, "more": doc})
        assert answer.json().get("predictions") == [{"prediction": float(len(doc))}], doc
    assert predict(documents, {"doc": "1"}).status_code == 200, "null is no text"


@pytest.mark.parametrize("text", ["", "text", "{", "{'a': 1}", "NaN", "[1,]", '"\\ud83d"', "[" * 100_000])
@pytest.mark.parametrize("column", ["doc", "more"])
def test_text_that_is_no_json_is_422_and_names_its_field(documents, column, text):
    answer = predict(documents, {"doc": "1"}, {"doc": "1"} | {column: text})
    assert answer.status_code == 422
    [detail] = answer.json()["detail"]
    assert detail["loc"] == ["body", "instances", 1, column]
    assert "JSON" in detail["msg"]


def test_openapi_says_that_text_is_json(documents):
    schemas = httpx.get(f"{documents}/openapi.json").json()["components"]["schemas"]
    doc, more = (schemas["Instance"]["properties"][c] for c in ("doc", "more"))
    assert (doc["type"], doc["contentMediaType"]) == ("string", "application/json")
    assert more["anyOf"][0] == {"type": "string", "contentMediaType": "application/json"}
    assert predict(documents, *schemas["PredictRequest"]["example"]["instances"]).status_code == 200


def test_a_query_is_not_echoed(plain):
    answer = httpx.post(f"{plain}/predict?probabilities=secret", json={"instances": [INSTANCE]})
    assert answer.status_code == 422
    assert "secret" not in answer.text


def test_limits(late):
    assert predict(late).status_code == 422
    assert predict(late, *[INSTANCE] * 6).status_code == 422
    assert predict(late, INSTANCE, instance={}).status_code == 422
    assert httpx.post(f"{late}/predict", content=b" " * 2001).status_code == 413
    assert httpx.post(f"{late}/predict", content=iter([b" " * 1500] * 2)).status_code == 413
    chunks, json_type = [json.dumps({"instances": [INSTANCE]}).encode()], {"Content-Type": "application/json"}
    assert httpx.post(f"{late}/predict", content=iter(chunks), headers=json_type).status_code == 200
    assert httpx.post(f"{late}/predict", content=b"{").status_code == 422


def test_openapi_is_the_signature(late):
    schemas = httpx.get(f"{late}/openapi.json").json()["components"]["schemas"]
    instance = schemas["Instance"]
    assert instance["required"] == ["at", "origin", "hour"]
    assert instance["additionalProperties"] is False
    assert instance["properties"]["hour"] | {"title": ""} == {
        "type": "integer",
        "minimum": 0,
        "maximum": 23,
        "title": "",
        "description": "int64",
    }
    assert instance["properties"]["origin"]["enum"] == ["EWR", "JFK", "LGA"]
    assert instance["properties"]["at"]["format"] == "date-time"
    assert schemas["Prediction"]["properties"]["prediction"]["type"] == "boolean"
    example = schemas["PredictRequest"]["example"]["instances"]
    assert predict(late, *example).status_code == 200
    page = httpx.get(f"{late}/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    assert "/openapi.json" in page.text


def test_openapi_shows_units_and_descriptions(shared, served, program):
    request = [
        {"name": "wind", "type": "float64", "unit": "m/s", "description": "at the origin"},
        {"name": "hour", "type": "int64", "unit": "h"},
        {"name": "origin", "type": "string", "description": "the airport"},
    ]
    response = [{"name": "prediction", "type": "float64", "unit": "min", "description": "late by"}]
    outputs = {"endpoint": {"kind": "endpoint", "request": request, "response": response}}
    with service(shared, {"model": served["minutes"]}, outputs=outputs, program=program) as (_, url):
        schemas = httpx.get(f"{url}/openapi.json").json()["components"]["schemas"]
        assert predict(url, INSTANCE).status_code == 200
    columns = schemas["Instance"]["properties"]
    said = {name: (c["description"], c.get("x-unit")) for name, c in columns.items()}
    assert said["wind"] == ("at the origin (m/s)", "m/s")
    assert said["hour"] == ("int64 (h)", "h")
    assert said["origin"] == ("the airport", None)
    assert said["carrier"] == ("string", None)
    prediction = schemas["Prediction"]["properties"]["prediction"]
    assert (prediction["description"], prediction["x-unit"]) == ("late by (min)", "min")


def test_metrics(late, served, program):
    def value(name):
        found = re.search(rf"^{re.escape(name)} (\S+)$", httpx.get(f"{late}/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    ok, bad = (
        'tenon_http_requests_total{code="200",deployment="api",path="/predict"}',
        'tenon_http_requests_total{code="422",deployment="api",path="/predict"}',
    )
    before = [
        value(n)
        for n in (
            ok,
            bad,
            'tenon_predictions_total{deployment="api"}',
            'tenon_prediction_class_total{class="true",deployment="api"}',
        )
    ]
    predict(late, INSTANCE, INSTANCE)
    predict(late, {})
    httpx.get(f"{late}/nowhere/{os.getpid()}")
    after = [
        value(n)
        for n in (
            ok,
            bad,
            'tenon_predictions_total{deployment="api"}',
            'tenon_prediction_class_total{class="true",deployment="api"}',
        )
    ]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 2, 2]
    assert value('tenon_http_requests_total{code="404",deployment="api",path="other"}') == 1
    assert value('tenon_http_request_duration_seconds_bucket{deployment="api",le="+Inf",path="/predict"}') > 0
    assert (
        value('tenon_http_request_duration_seconds_bucket{deployment="api",le="0.01",path="/predict"}') >= 0
    )
    assert value('tenon_model_evaluation{deployment="api",metric="roc_auc"}') == 0.75
    digest = model_of(served, program)["digest"]
    assert value(f'tenon_model_info{{deployment="api",digest="{digest}",name="api",version="4"}}') == 1
    assert value('tenon_model_created_timestamp_seconds{deployment="api"}') == pytest.approx(
        1715953020.123456
    )
    assert value('tenon_prediction_probability_count{deployment="api"}') == value(
        'tenon_predictions_total{deployment="api"}'
    )


@pytest.mark.parametrize("program", NEEDS_PYTHON)
def test_every_type_of_column(lab, program):
    types = {
        "date": "2024-05-17",
        "time": "13:37:00",
        "timestamptz": "2024-05-17T13:37:00+02:00",
        "bytes": "AAE=",
    }
    script = """
class Model:
    def predict(self, f): return [len(f["bytes"][i]) + f["timestamptz"].dt.hour[i] for i in range(len(f))]
def train(features, labels): return Model()
"""
    inputs = [col(t, t) for t in types] + [col("schema", "uint8"), col("model_x", "float32")]
    rows = {
        "date": ["2024-05-17"],
        "time": [36000],
        "timestamptz": ["2024-05-17"],
        "bytes": [b"a"],
        "schema": [1],
        "model_x": [1.0],
        "y": [1.0],
    }
    rows["date"], rows["timestamptz"] = (
        pd.to_datetime(rows["date"]),
        pd.to_datetime(rows["timestamptz"], utc=True),
    )
    rows["time"] = pa.array([36_000_000_000], pa.time64("us"))
    table = lab.table(rows, [*inputs, col("y", "float64")])
    outputs = model_out("regression", inputs, col("y", "float64"))
    got = lab.ok(
        "train.script",
        params={"script": "m.py"},
        scripts={"m.py": script},
        inputs={"train": table},
        outputs=outputs,
    )
    with service(lab, {"model": model_port(got.path("model"))}, program=program) as (_, url):
        instance = {**types, "schema": 255, "model_x": 1}
        assert predict(url, instance).json()["predictions"] == [{"prediction": 2.0 + 11}]
        for bad in (
            {"date": "17.5.2024"},
            {"time": 3},
            {"timestamptz": "2024-05-17T13:37:00"},
            {"bytes": "?"},
            {"schema": 256},
        ):
            assert predict(url, instance | bad).status_code == 422, bad
        assert 'tenon_prediction_value_count{deployment="api"} 1.0' in httpx.get(f"{url}/metrics").text
