"""serve.http: how a service comes and goes, and what happens to its workers."""

import os
import pickle
import re
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from conftest import col, model_out
from testing_services import INSTANCE, command, for_workers, free_port, model_port, predict, service


def test_a_port_in_use_is_one_line(lab, served, program):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        for replicas in (1, 2):
            endpoint = {"host": "127.0.0.1", "port": port, "ready": "/readyz", "replicas": replicas}
            doc = lab.build("serve.http", inputs={"model": served["late"]}, endpoint=endpoint)
            done = subprocess.run(**command(lab, doc, program), capture_output=True, text=True, timeout=60)
            assert done.returncode == 1
            assert done.stderr == f"error: cannot listen on 127.0.0.1:{port}: address already in use\n"


@pytest.mark.parametrize(
    ("before", "after", "replicas"),
    [
        ("python", "go", 1),
        ("go", "go", 2),
        ("go", "worker", 1),
        ("worker", "worker", 2),
    ],
)
def test_a_new_version_takes_over_and_no_request_is_lost(lab, served, before, after, replicas):
    stop = threading.Event()
    failures, answered = [], []

    def ask(url, keep_alive):
        client = httpx.Client()
        headers = {} if keep_alive else {"Connection": "close"}
        while not stop.is_set():
            try:
                answer = client.post(f"{url}/predict", json={"instances": [INSTANCE]}, headers=headers)
                answered.append(answer.json()["model"]["version"])
                if answer.status_code != 200:
                    failures.append(answer.text)
            except Exception as e:
                failures.append(repr(e))

    port = free_port()
    with service(lab, {"model": served["late"]}, port, "old", replicas, program=before) as (old, url):
        threads = [threading.Thread(target=ask, args=(url, keep)) for keep in (True, True, False, False)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 60
        while not answered and time.monotonic() < until:  # the first answer is of the old version
            time.sleep(0.01)
        newer = served["late"] | {"version": 5}
        with service(lab, {"model": newer}, port, "new", replicas, program=after):
            old.terminate()
            assert old.wait(20) == 0
            time.sleep(0.5)
            stop.set()
            for thread in threads:
                thread.join()
    assert failures == []
    assert answered[0] == 4
    assert set(answered[-8:]) == {5}


def children(process):
    listed = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True)
    return [int(pid) for pid in listed.stdout.split()]


def test_only_a_model_that_needs_python_has_workers(lab, served):
    for program, processes in [("go", 0), ("worker", 2)]:
        model = {"model": served["late"]}
        with service(lab, model, program=program, instance=program, replicas=2) as (process, url):
            assert predict(url, INSTANCE).status_code == 200
            assert len(children(process)) == processes
            process.terminate()
            assert process.wait(20) == 0


def ended(pids):
    """Whether all of the processes end soon. A zombie has ended."""
    deadline = time.monotonic() + 10
    left = [Path("/proc") / str(pid) / "cmdline" for pid in pids]
    while any(c.exists() and c.read_bytes() for c in left):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_the_plane(lab, served, number):
    with service(lab, {"model": served["linear"]}, program="worker", replicas=2) as (process, url):
        pids = children(process)
        assert predict(url, INSTANCE).status_code == 200
        process.send_signal(number)
        assert process.wait(20) == (-signal.SIGKILL if number == signal.SIGKILL else 0)
        assert ended(pids)


def test_workers_take_no_part_in_sigterm_while_the_plane_drains(lab, served):
    with service(lab, {"model": served["linear"]}, program="worker", drain_seconds=2) as (process, url):
        client = httpx.Client(timeout=60)
        assert client.get(f"{url}/healthz").status_code == 200
        for pid in [process.pid, *children(process)]:
            os.kill(pid, signal.SIGTERM)
        time.sleep(0.5)
        assert client.post(f"{url}/predict", json={"instances": [INSTANCE]}).status_code == 200
        assert process.wait(20) == 0


def test_workers_follow_requests_in_flight(lab, served, tmp_path):
    """64 clients ask. There are more workers soon, and one again when nobody asks; no request is lost."""
    scale = {"max": 3, "cpu": 70, "in_flight": 8, "idle_ns": 2_000_000_000}
    note = tmp_path / "count"
    stop = threading.Event()
    failed, answered = [], [0]

    def ask(url):
        client = httpx.Client(timeout=60)
        while not stop.is_set():
            try:
                answer = client.post(f"{url}/predict", json={"instances": [INSTANCE]})
                answered[0] += 1
                if answer.status_code != 200:
                    failed.append(answer.text)
            except Exception as e:
                failed.append(repr(e))

    def becomes(n):
        deadline = time.monotonic() + 240
        while (len(children(process)), note.read_text()) != (n, f"{n}\n"):
            assert time.monotonic() < deadline, (children(process), note.read_text())
            time.sleep(0.1)

    inputs, lives = {"model": served["late"]}, str(tmp_path / "replicas")
    with service(lab, inputs, program="worker", scale=scale, lives=lives) as (process, url):
        becomes(1)
        with ThreadPoolExecutor(64) as clients:
            for _ in range(64):
                clients.submit(ask, url)
            becomes(3)
            stop.set()
        becomes(1)
        assert predict(url, INSTANCE).status_code == 200
    assert failed == []
    assert answered[0] > 64


def test_no_request_is_lost_when_workers_are_killed(lab, served):
    """64 clients ask while, every second, one of the workers is killed."""
    stop = threading.Event()
    failed, answered = [], [0]

    def ask(client):
        while not stop.is_set():
            try:
                answer = client.post("/predict", json={"instances": [INSTANCE]})
                answered[0] += 1
                if answer.status_code != 200:
                    failed.append(f"{answer.status_code} {answer.text}")
            except Exception as e:
                failed.append(repr(e))

    lives = lab.root / "lives"
    with (
        service(lab, {"model": served["linear"]}, program="worker", replicas=2, lives=str(lives)) as (
            process,
            url,
        ),
        httpx.Client(base_url=url, timeout=60, limits=httpx.Limits(max_connections=64)) as client,
        ThreadPoolExecutor(64) as pool,
    ):
        for _ in range(64):
            pool.submit(ask, client)
        killed = 0
        for n in range(10):
            time.sleep(1)
            if pids := children(process):
                os.kill(pids[n % len(pids)], signal.SIGKILL)
                killed += 1
        time.sleep(1)
        stop.set()
        pool.shutdown()
        text = httpx.get(f"{url}/metrics").text
    assert failed == []
    assert answered[0] > 100
    assert killed >= 5
    [restarts] = re.findall(r'(?m)^tenon_worker_restarts_total{deployment="api"} (\S+)$', text)
    assert float(restarts) >= killed - 2
    starts, _, why = lives.read_text().split(" ", 2)
    assert int(starts) == float(restarts) + 1
    assert why == "was killed by SIGKILL\n"


UNRULY = """
import os, signal, time
class Model:
    def predict(self, features):
        x = features["x"].to_numpy()
        if (x == 1).any(): os.kill(os.getpid(), signal.SIGSEGV)
        if (x == 2).any(): time.sleep(60)
        if (x == 3).any(): raise ValueError("no such thing")
        print("seen")
        return x * 2
def train(features, labels): return Model()
"""


@pytest.fixture(scope="module")
def unruly(shared):
    """A model that ends its process, hangs or fails for some numbers."""
    inputs = [col("x", "float64")]
    table = shared.table({"x": [7.0], "y": [2.0]}, [*inputs, col("y", "float64")])
    got = shared.ok(
        "train.script",
        params={"script": "m.py"},
        scripts={"m.py": UNRULY},
        inputs={"train": table},
        outputs=model_out("regression", inputs, col("y", "float64")),
    )
    return model_port(got.path("model"))


def test_a_request_that_the_model_cannot_survive_is_answered(lab, unruly):
    python = {"timeout": "500ms"}
    with service(lab, {"model": unruly}, program="go", python=python) as (process, url):
        for x, status, says in [
            (1.0, 500, "the model failed; the log of the service says why"),
            (2.0, 504, "the model did not answer in time"),
            (3.0, 500, "the model failed; the log of the service says why"),
        ]:
            answer = predict(url, {"x": x})
            assert (answer.status_code, answer.json()) == (status, {"detail": says}), x
            assert predict(url, {"x": 5.0}).json()["predictions"] == [{"prediction": 10.0}]
        log = (lab.root / "one.log").read_text()
        assert "a worker was killed by SIGSEGV; starting another" in log
        assert "ValueError: no such thing" in log
        assert "seen" in log


def test_requests_that_wait_are_predicted_together(lab, unruly):
    python = {"batch_rows": 16, "batch_delay": "20ms"}
    with (
        service(lab, {"model": unruly}, program="go", python=python) as (_, url),
        httpx.Client(timeout=60) as client,
    ):

        def ask(x):
            return client.post(f"{url}/predict", json={"instances": [{"x": x}]})

        with ThreadPoolExecutor(16) as pool:
            numbers = [float(n) for n in range(10, 90)]
            answers = list(pool.map(ask, [*numbers, 3.0]))
        assert [a.status_code for a in answers] == [200] * 80 + [500], "one that fails spoils no other"
        assert [a.json()["predictions"] for a in answers[:80]] == [[{"prediction": 2 * n}] for n in numbers]
        text = httpx.get(f"{url}/metrics").text
        [alone] = re.findall(r'tenon_worker_batch_rows_bucket{deployment="api",le="1.0"} (\S+)', text)
        [all] = re.findall(r'tenon_worker_batch_rows_count{deployment="api"} (\S+)', text)
        assert float(all) < 60
        assert float(alone) < float(all)


def test_a_pickle_that_was_replaced_is_not_loaded(lab, served, tmp_path):
    """Whoever can write to the store could otherwise run anything in the service."""

    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    model = for_workers(served["linear"])
    pickled = Path(model["path"]) / "model.joblib"
    before = pickled.read_bytes()
    pickled.chmod(0o644)
    pickled.write_bytes(pickle.dumps(Harmful()))
    try:
        endpoint = {"host": "127.0.0.1", "port": free_port(), "ready": "/readyz", "replicas": 1}
        doc = lab.build("serve.http", inputs={"model": model}, endpoint=endpoint)
        done = subprocess.run(**command(lab, doc, "go"), capture_output=True, text=True, timeout=60)
    finally:
        pickled.write_bytes(before)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: the model at {model['path']} has the digest sha256:")
    assert "it was changed after it was made, and is not loaded" in done.stderr
    assert not (tmp_path / "harm").exists()


def test_what_happens_to_the_model_later_does_not_matter(lab, served):
    """A worker that is started again loads the bytes that were checked."""
    model = for_workers(served["linear"])
    with service(lab, {"model": model}, program="go") as (process, url):
        want = predict(url, INSTANCE).content
        pickled = Path(model["path"]) / "model.joblib"
        before = pickled.read_bytes()
        pickled.chmod(0o644)
        pickled.write_bytes(b"")
        try:
            [pid] = children(process)
            os.kill(pid, signal.SIGKILL)
            assert predict(url, INSTANCE).content == want
            assert children(process) != [pid]
        finally:
            pickled.write_bytes(before)


def test_a_model_that_cannot_be_loaded_is_an_error(lab, served, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("signature.json", "model.json"):
        text = (Path(served["linear"]["path"]) / name).read_text()
        (folder / name).write_text(text.replace('"flavour": "sklearn"', '"flavour": "magic"'))
    endpoint = {"host": "127.0.0.1", "port": free_port(), "ready": "/readyz", "replicas": 2}
    doc = lab.build("serve.http", inputs={"model": model_port(folder)}, endpoint=endpoint)
    done = subprocess.run(**command(lab, doc, "go"), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "unknown flavour magic" in done.stderr
    assert "error: a worker ended with status 1" in done.stderr
