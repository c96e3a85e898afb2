"""serve.http: what only the plane in Go speaks, with the libraries that clients use."""

import io

import httpx
import pandas as pd
import pyarrow as pa
import pytest

from testing_services import INSTANCE, service

ARROW = {"Content-Type": "application/vnd.apache.arrow.stream"}
ROWS = [INSTANCE, INSTANCE | {"carrier": None, "origin": "LGA", "hour": 1, "wind": None}]


@pytest.fixture(scope="module", params=["late", "kind", "minutes"])
def plane(request, shared, served):
    with service(shared, {"model": served[request.param]}, program="go", max_bytes=20000) as (_, url):
        yield url


@pytest.fixture(scope="module")
def predictions(plane):
    return httpx.post(f"{plane}/predict", json={"instances": ROWS}).json()["predictions"]


def stream(table):
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def frame():
    return pd.DataFrame(ROWS).assign(at=pd.to_datetime([r["at"] for r in ROWS]))


@pytest.mark.parametrize("categories", [False, True])
def test_arrow_streams_of_pandas(plane, predictions, categories):
    df = frame()
    if categories:
        df = df.assign(origin=df["origin"].astype("category"))
    table = pa.Table.from_pandas(df.astype({"holiday": "boolean"}), preserve_index=False)
    answer = httpx.post(f"{plane}/predict", content=stream(table), headers=ARROW)
    assert answer.status_code == 200, answer.text
    assert pa.ipc.open_stream(answer.content).read_all().to_pylist() == predictions


def test_a_value_in_arrow_is_refused_with_its_place(plane):
    table = pa.Table.from_pandas(frame().assign(hour=[1, 24]), preserve_index=False)
    answer = httpx.post(f"{plane}/predict", content=stream(table), headers=ARROW)
    [error] = answer.json()["detail"]
    assert (answer.status_code, error["loc"]) == (422, ["body", "instances", 1, "hour"])


def test_tensors(plane, predictions):
    model = httpx.get(f"{plane}/openapi.json").json()["info"]["title"]
    metadata = httpx.get(f"{plane}/v2/models/{model}").json()
    inputs = [
        {
            "name": t["name"],
            "datatype": t["datatype"],
            "shape": [2, 1],
            "data": [[r[t["name"]]] for r in ROWS],
        }
        for t in metadata["inputs"]
    ]
    answer = httpx.post(f"{plane}/v2/models/{model}/infer", json={"id": "1", "inputs": inputs})
    assert answer.status_code == 200, answer.text
    outputs = {o["name"]: o["data"] for o in answer.json()["outputs"]}
    assert [
        dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)
    ] == predictions


def test_a_request_that_is_too_late(plane):
    answer = httpx.post(f"{plane}/predict", json={"instances": ROWS}, headers={"Request-Timeout": "1e-9"})
    assert (answer.status_code, answer.json()) == (
        504,
        {"detail": "the request was not computed within its timeout"},
    )
