"""serve.http: the plane in Go answers what the service in Python answers, request by request."""

import itertools
import json
import random

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from conftest import FEATURES, mixed
from test_random_bodies import BODIES, SEEDS, body
from testing_services import for_workers, service

# A model and what serves it: the plane itself, or its workers.
MODELS = [(name, "go") for name in ("late", "kind", "minutes", "boosted", "piped")]
MODELS += [(name, "worker") for name in ("late", "kind", "boosted", "linear", "neighbors", "votes")]


@pytest.fixture(scope="module", params=MODELS, ids="-".join)
def both(request, shared, served):
    """Clients of the two services, which serve the same model."""
    name, plane = request.param
    request_columns = [{"name": "wind", "type": "float64", "unit": "m/s", "description": "at the origin <b>"}]
    response = [{"name": "prediction", "type": "string", "description": "what will happen"}]
    outputs = {"endpoint": {"kind": "endpoint", "request": request_columns, "response": response}}
    model = for_workers(served[name]) if plane == "worker" else served[name]
    inputs = {"model": model, "report": served["report"]}
    with (
        service(
            shared, inputs, instance="p", program="python", outputs=outputs, system="s", deployment="d"
        ) as (_, a),
        service(shared, inputs, instance="g", program="go", outputs=outputs, system="s", deployment="d") as (
            _,
            b,
        ),
        httpx.Client(base_url=a, timeout=60) as python,
        httpx.Client(base_url=b, timeout=60) as go,
    ):
        yield python, go


# Of a body with several of these faults, Python may name another one than Go.
UNREADABLE = (
    "the body is no JSON",
    "half of a surrogate pair",
    "a field is there twice",
    "a number has too many digits",
    "the body is nested too deeply",
)


def said(answer):
    """Status and body, without the words for a body that cannot be read."""
    doc = answer.json()
    if answer.status_code == 422:
        for error in doc["detail"]:
            if error["msg"].startswith(UNREADABLE):
                error["msg"] = "the body cannot be read"
    return answer.status_code, doc


def ask_both(both, method, path, **more):
    python, go = (client.request(method, path, **more) for client in both)
    if "content" in more:
        assert said(go) == said(python), more["content"][:2000]
    else:
        assert said(go) == said(python), path
    return python, go


def rows(count):
    frame, _ = mixed()
    for row in frame[FEATURES].head(count).itertuples():
        values = {name: getattr(row, name) for name in FEATURES}
        values["at"] = values["at"].isoformat()
        yield {name: None if value is None or value != value else value for name, value in values.items()}


@pytest.mark.parametrize("query", ["", "?probabilities=true", "?probabilities=off&probabilities=Yes", "?x=1"])
def test_predictions_are_equal_to_the_last_bit(both, query):
    instances = list(rows(100))
    content = json.dumps({"instances": instances}, default=lambda v: v.item())
    python, go = ask_both(both, "POST", f"/predict{query}", content=content)
    assert python.status_code == 200
    assert go.content == python.content, "and in the same order, as the same numbers"


@pytest.mark.parametrize("wind", ["1e300", "-1e300", "3.4e38", "1e-300"])
def test_large_numbers_are_answered_alike(both, wind):
    [row] = rows(1)
    content = json.dumps({"instances": [row | {"wind": 12345}]}, default=lambda v: v.item()).replace(
        "12345", wind
    )
    ask_both(both, "POST", "/predict", content=content)


@pytest.mark.parametrize("carrier", ["ZZ", "", "\u00e9\U0001f4a7"])
def test_unknown_values_are_answered_alike(both, carrier):
    instances = [*rows(2), *({**row, "carrier": carrier} for row in rows(2))]
    content = json.dumps({"instances": instances}, default=lambda v: v.item())
    ask_both(both, "POST", "/predict", content=content)


def test_a_bad_query_is_refused_alike(both):
    python, _ = ask_both(both, "POST", "/predict?probabilities=maybe", content=b"x")
    assert python.status_code == 422


@pytest.mark.parametrize("seed", range(100, 100 + SEEDS))
def test_random_bodies_are_answered_alike(both, seed):
    r = random.Random(seed)
    for _ in range(BODIES):
        ask_both(both, "POST", "/predict", content=body(r))


PATHS = [
    "/",
    "/predict",
    "/predict/",
    "/healthz",
    "/readyz",
    "/readyz//",
    "/nowhere",
    "/nowhere/",
    "/Predict",
    "/docs/",
]


def test_other_paths_and_methods_are_answered_alike(both):
    for method, path in itertools.product(["GET", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"], PATHS):
        python, go = (client.request(method, path) for client in both)
        said = f"{method} {path}"
        assert go.status_code == python.status_code, said
        assert go.content == python.content, said
        for header in ("Content-Type", "Allow"):
            assert go.headers.get(header) == python.headers.get(header), said
        assert ("Location" in go.headers) == ("Location" in python.headers), said
        assert ("X-Tenon-Instance" in go.headers) == ("X-Tenon-Instance" in python.headers), said
        if "Location" in go.headers:
            assert (
                go.headers["Location"].partition("//")[2].partition("/")[2]
                == python.headers["Location"].partition("//")[2].partition("/")[2]
            )


def test_openapi_is_the_same_document(both):
    python, go = (client.get("/openapi.json").json() for client in both)
    # Only the plane has these.
    arrow, predict = "application/vnd.apache.arrow.stream", go["paths"]["/predict"]["post"]
    assert predict["requestBody"]["content"].pop(arrow)
    assert predict["responses"]["200"]["content"].pop(arrow)
    assert predict["parameters"].pop()["name"] == "Request-Timeout"
    more = {path: go["paths"].pop(path) for path in list(go["paths"]) if path.startswith("/v2")}
    assert f"/v2/models/{go['info']['title']}/infer" in more
    assert go == python


def test_the_page_for_people_needs_no_internet(both):
    _, page = (client.get("/docs").text for client in both)
    assert "http://" not in page
    assert "https://" not in page
    assert "at the origin &lt;b&gt; (m/s)" in page
    for name in FEATURES:
        assert f"<code>{name}</code>" in page


def test_metrics_have_the_same_names_labels_and_help(both):
    content = json.dumps({"instances": list(rows(3))}, default=lambda v: v.item())
    for method, path, more in [
        ("POST", "/predict", {"content": content}),
        ("POST", "/predict", {"content": b"{}"}),
        ("GET", "/predict", {}),
        ("GET", "/nowhere", {}),
        ("GET", "/healthz", {}),
        ("GET", "/readyz", {}),
        ("GET", "/docs", {}),
        ("GET", "/openapi.json", {}),
        ("GET", "/metrics", {}),
    ]:
        for client in both:
            client.request(method, path, **more)
    python, go = (
        {
            f.name: f
            for f in text_string_to_metric_families(client.get("/metrics").text)
            if not f.name.startswith(
                ("python_", "tenon_worker_", "tenon_http_idle_", "tenon_http_in_flight_")
            )
        }
        for client in both
    )
    assert list(go) == list(python)
    for name, family in python.items():
        other = go[name]
        assert (other.type, other.documentation) == (family.type, family.documentation)
        a, b = ({(s.name, frozenset(s.labels.items())): s.value for s in f.samples} for f in (family, other))
        assert set(b) == set(a), name
        if name.startswith("tenon_") and not name.endswith("_created") and "duration" not in name:
            # Requests of earlier tests count alike, too; only how long each took to start differs.
            assert {k: v for k, v in b.items() if ("path", "/readyz") not in k[1]} == {
                k: v for k, v in a.items() if ("path", "/readyz") not in k[1]
            }, name
    assert both[0].get("/metrics").headers["Content-Type"] == both[1].get("/metrics").headers["Content-Type"]
