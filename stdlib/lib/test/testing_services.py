"""What the tests of serve.http share: models, and a service that runs."""

import contextlib
import json
import socket
import subprocess
import time

import httpx
import pytest

from conftest import features, mixed, model_out

INSTANCE = {
    "at": "2024-05-17T13:37:00",
    "carrier": "AA",
    "origin": "EWR",
    "hour": 20,
    "wind": 12.5,
    "holiday": None,
}


@pytest.fixture(scope="module")
def served(shared):
    frame, schema = mixed()
    table = shared.table(frame, schema)

    def model(label, estimator):
        task = "regression" if label == "delay" else "classification"
        output = next(c for c in schema if c["name"] == label)
        got = shared.ok(
            "train.sklearn",
            params={"estimator": estimator},
            inputs={"train": table},
            outputs=model_out(task, features(schema), output),
        )
        about = {"version": 4, "digest": "sha256:abc", "created": "2024-05-17T13:37:00.123456789Z"}
        return {"kind": "model", "path": str(got.path("model")), **about}

    report = shared.root / "report"
    report.mkdir()
    (report / "report.json").write_text(json.dumps({"metrics": {"roc_auc": 0.75}}))
    return {
        "late": model("late", "sklearn.ensemble.HistGradientBoostingClassifier"),
        "delay": model("delay", "sklearn.linear_model.Ridge"),
        "report": {"kind": "report", "path": str(report)},
    }


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def service(lab, inputs, port=None, instance="one", replicas=1, outputs=None, **params):
    """A running service: its process and its address, once it is ready."""
    port = port or free_port()
    endpoint = {"host": "127.0.0.1", "port": port, "ready": "/readyz", "replicas": replicas}
    doc = lab.build(
        "serve.http",
        params=params,
        inputs=inputs,
        outputs=outputs or {},
        endpoint=endpoint,
        instance=instance,
        unit="deployments/api",
    )
    log = lab.root / f"{instance}.log"
    process = subprocess.Popen(**lab.command(doc), stdout=log.open("w"), stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        wait(url, instance, process, log)
        yield process, url
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(20)


def wait(url, instance, process, log):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.get(f"{url}/readyz")
            if answer.status_code == 200 and answer.headers["X-Tenon-Instance"] == instance:
                return
        time.sleep(0.05)
    raise AssertionError(f"not ready: {log.read_text()}")


def predict(url, *instances, **more):
    return httpx.post(f"{url}/predict", json={"instances": list(instances), **more})
