"""What the tests of serve.http share: models, and a service that runs in Python or in Go.

Go's program is $TENON_SERVE, or is built.
"""

import contextlib
import functools
import hashlib
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from conftest import STDLIB, features, mixed, model_out

INSTANCE = {
    "at": "2024-05-17T13:37:00",
    "carrier": "AA",
    "origin": "EWR",
    "hour": 20,
    "wind": 12.5,
    "holiday": None,
}


# What serves: the service in Python, the plane in Go, which is to answer the same, and the plane with workers
# in Python, which it also starts for a model that Go can evaluate if the model is not exported.
PROGRAMS = ["python", "go", "worker"]


@pytest.fixture(scope="module", params=PROGRAMS)
def program(request):
    return request.param


@functools.cache
def tenon_serve():
    """The path of the program that serves models without Python."""
    if path := os.environ.get("TENON_SERVE"):
        return path
    path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tenon" / "test-tenon-serve"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Tests of other folders may build it at the same time.
    built = path.with_suffix(f".{os.getpid()}")
    done = subprocess.run(
        ["go", "build", "-o", built, "./cmd/tenon-serve"], cwd=STDLIB.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    built.replace(path)
    return str(path)


def command(lab, doc, program="python"):
    """The arguments of subprocess for a service."""
    found = lab.command(doc)
    if program != "python":
        interpreter, main = found["args"]
        found["args"] = [tenon_serve(), interpreter, str(Path(main).with_name("tenon_worker.py"))]
    return found


def digest(folder):
    """The digest of an artifact that is a folder, as Go's package artifact computes it."""
    lines = []

    def look(at):
        for path in sorted(at.iterdir(), key=lambda p: p.name.encode()):
            name = json.dumps(path.relative_to(folder).as_posix(), ensure_ascii=False)
            if path.is_dir():
                lines.append(f"d 0 - {name}\n")
                look(path)
                continue
            content = path.read_bytes()
            kind = "x" if path.stat().st_mode & 0o111 else "f"
            lines.append(f"{kind} {len(content)} sha256:{hashlib.sha256(content).hexdigest()} {name}\n")

    look(folder)
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def model_port(path, **about):
    """An input port with a model, as Tenon gives it to a step."""
    return {"kind": "model", "path": str(path), "version": 4, "digest": digest(Path(path)), **about}


def for_workers(port):
    """The same model, but not exported."""
    copy = Path(f"{port['path']}-not-exported")
    if not copy.exists():
        shutil.copytree(port["path"], copy, ignore=shutil.ignore_patterns("plane.json"))
    return port | {"path": str(copy), "digest": digest(copy)}


# Models of the mixed table: the label, what is trained, and steps before it. Neighbors and votes are not
# exported. The last one has no probabilities.
MODELS = {
    "late": ("late", "sklearn.ensemble.HistGradientBoostingClassifier"),
    "minutes": ("delay", "sklearn.ensemble.HistGradientBoostingRegressor"),
    "kind": ("kind", "sklearn.ensemble.RandomForestClassifier"),
    "boosted": ("late", "xgboost"),
    "piped": (
        "late",
        "sklearn.ensemble.HistGradientBoostingClassifier",
        [
            {"transformer": "sklearn.preprocessing.TargetEncoder", "columns": ["origin"]},
            {"transformer": "sklearn.preprocessing.OneHotEncoder", "columns": ["carrier"]},
            {"transformer": "sklearn.preprocessing.StandardScaler"},
        ],
    ),
    "neighbors": ("delay", "sklearn.neighbors.KNeighborsRegressor"),
    "linear": ("delay", "sklearn.linear_model.Ridge"),
    "votes": ("kind", "sklearn.linear_model.RidgeClassifier"),
}


class Served(dict):
    """Input ports: models, which are trained when a test asks for them, and a report."""

    def __init__(self, train):
        super().__init__()
        self.train = train

    def __missing__(self, name):
        self[name] = self.train(*MODELS[name])
        return self[name]


@pytest.fixture(scope="module")
def served(shared):
    frame, schema = mixed()
    table = shared.table(frame, schema)

    def train(label, estimator, pipeline=()):
        task = "regression" if label == "delay" else "classification"
        output = next(c for c in schema if c["name"] == label)
        got = shared.ok(
            "train.xgboost" if estimator == "xgboost" else "train.sklearn",
            params={"rounds": 20}
            if estimator == "xgboost"
            else {"estimator": estimator, "pipeline": list(pipeline)},
            inputs={"train": table},
            outputs=model_out(task, features(schema), output),
        )
        return model_port(got.path("model"), created="2024-05-17T13:37:00.123456789Z")

    report = shared.root / "report"
    report.mkdir()
    (report / "report.json").write_text(json.dumps({"metrics": {"roc_auc": 0.75}}))
    found = Served(train)
    found["report"] = {"kind": "report", "path": str(report)}
    return found


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def service(
    lab,
    inputs,
    port=None,
    instance="one",
    replicas=1,
    outputs=None,
    program="python",
    unit="deployments/api",
    lives="",
    scale=None,
    **params,
):
    """A running service: its process and its address, once it is ready."""
    port = port or free_port()
    if program == "worker":
        inputs = inputs | {"model": for_workers(inputs["model"])}
    endpoint = {"host": "127.0.0.1", "port": port, "ready": "/readyz", "replicas": replicas}
    if scale:
        endpoint["scale"] = scale
    doc = lab.build(
        "serve.http",
        params=params,
        inputs=inputs,
        outputs=outputs or {},
        endpoint=endpoint,
        instance=instance,
        unit=unit,
        lives=lives,
    )
    log = lab.root / f"{instance}.log"
    process = subprocess.Popen(**command(lab, doc, program), stdout=log.open("w"), stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        wait(url, instance, process, log)
        yield process, url
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(20)
        assert "panic" not in log.read_text(), log.read_text()


def wait(url, instance, process, log):
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.get(f"{url}/readyz")
            if answer.status_code == 200 and answer.headers["X-Tenon-Instance"] == instance:
                return
        time.sleep(0.05)
    raise AssertionError(f"not ready: {log.read_text()}")


def predict(url, *instances, **more):
    return httpx.post(f"{url}/predict", json={"instances": list(instances), **more}, timeout=60)
