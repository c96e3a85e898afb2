"""serve.http: how a service comes and goes, and what happens to its replicas."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

import tenon_step
from conftest import STDLIB
from tenon_step import StepError
from testing_services import INSTANCE, command, free_port, predict, service, wait


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
        ("python", "python", 1),
        ("python", "python", 2),
        ("python", "go", 2),
        ("go", "python", 1),
        ("go", "go", 2),
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


def test_a_model_that_needs_python_is_served_by_python(lab, served):
    with service(lab, {"model": served["neighbors"]}, program="go") as (process, url):
        assert predict(url, INSTANCE).status_code == 200
        assert "python_info" in httpx.get(f"{url}/metrics").text
        process.terminate()
        assert process.wait(20) == 0


def children(process):
    listed = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True)
    return [int(pid) for pid in listed.stdout.split()]


# A single one is started again by its executor, as any service.
def test_a_replica_that_is_killed_is_started_again(lab, served):
    with service(lab, {"model": served["late"]}, replicas=2) as (process, url):
        before = children(process)
        assert len(before) == 2
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        wait(url, "one", process, lab.root / "one.log")
        assert predict(url, INSTANCE).status_code == 200
        assert not set(before) & set(children(process))
        assert "a replica was killed by SIGKILL; starting another" in (lab.root / "one.log").read_text()
        process.terminate()
        assert process.wait(20) == 0


def test_a_single_replica_has_no_keeper(lab, served, program):
    with service(lab, {"model": served["late"]}, program=program) as (process, _):
        assert children(process) == []
        process.kill()
        assert process.wait(20) == -signal.SIGKILL


@pytest.fixture
def main(monkeypatch):
    """The module main.py, of this test's own."""
    path = STDLIB / "serve" / "http" / "main.py"
    spec = importlib.util.spec_from_file_location("serve_http_main", path)
    found = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, found)
    spec.loader.exec_module(found)
    return found


@pytest.fixture
def replica(main, monkeypatch):
    """A replica of a keeper, and a function that lets it live for so many seconds."""
    clock = [1000.0]
    monkeypatch.setattr(main.time, "monotonic", lambda: clock[0])
    it = main.Replica()

    def lives(seconds, status):
        it.since, it.starts = clock[0], it.starts + 1
        clock[0] += seconds
        return it.ended(status)

    return lives


def test_the_pause_grows_with_short_lives_and_ends_with_a_failure(replica):
    assert [replica(1, -9) for _ in range(4)] == [0.5, 1, 2, 4]
    with pytest.raises(StepError, match="a replica was killed by SIGKILL"):
        replica(1, -9)


def test_a_long_life_makes_up_for_short_ones(replica):
    assert [replica(life, -9) for life in (1, 59, 1, 61, 1)] == [0.5, 1, 2, 0, 0.5]
    assert replica(61, 3) == 0


def test_a_replica_that_ends_by_itself_soon_after_its_first_start_is_not_started_again(replica):
    with pytest.raises(SystemExit) as end:
        replica(1, 3)
    assert end.value.code == 3


def test_a_replica_that_ends_by_itself_later_is_started_again(replica):
    assert [replica(1, -9), replica(1, 3), replica(1, 0), replica(1, 137)] == [0.5, 1, 2, 4]
    with pytest.raises(StepError, match="a replica ended with status 0"):
        replica(1, 0)


@pytest.fixture
def keeper(main, monkeypatch, tmp_path):
    """A keeper of two replicas that are this program, with short pauses."""

    def keep(program):
        monkeypatch.setattr(main, "__file__", str(tmp_path / "replica.py"))
        (tmp_path / "replica.py").write_text(program)
        monkeypatch.setattr(main, "PAUSE", 0.01)
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            doc = {
                "scratch": str(tmp_path),
                "endpoint": {"port": free_port()},
                "lives": str(tmp_path / "lives"),
            }
            main.keep(tenon_step.Step(doc), 2)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    return keep


def test_a_replica_that_is_killed_again_and_again_fails_the_service(keeper, tmp_path, capfd):
    started = f"open({str(tmp_path / 'starts')!r}, 'a').write('x')\n"
    (tmp_path / "lives").write_text("9 1 of an earlier keeper\n")
    with pytest.raises(StepError, match="a replica was killed by SIGKILL"):
        keeper(f"import os, time\n{started}time.sleep(0.2)\nos.kill(os.getpid(), 9)")
    # Two replicas, of which the first to end for the fifth time ends the service.
    assert 9 <= len((tmp_path / "starts").read_text()) <= 10
    assert "a replica was killed by SIGKILL; starting another in 0.08 s" in capfd.readouterr().err
    starts, _, why = (tmp_path / "lives").read_text().split(" ", 2)
    assert 8 <= int(starts) <= 9, "one more than the replicas that were started again"
    assert why == "was killed by SIGKILL\n"


def test_a_replica_that_ends_at_once_fails_the_service(keeper):
    with pytest.raises(SystemExit) as end:
        keeper("import sys; sys.exit(3)")
    assert end.value.code == 3


def test_replicas_share_their_metrics_and_end_with_their_keeper(lab, served):
    with service(lab, {"model": served["late"], "report": served["report"]}, replicas=2) as (process, url):
        for _ in range(20):
            predict(url, INSTANCE)
        for _ in range(4):
            text = httpx.get(f"{url}/metrics").text
            assert '\ntenon_predictions_total{deployment="api"} 20.0' in text
            assert 'tenon_model_evaluation{deployment="api",metric="roc_auc"} 0.75' in text
        left = [Path("/proc") / str(pid) / "cmdline" for pid in children(process)]
        assert len(left) == 2
        process.send_signal(signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 10
        while any(c.exists() and c.read_bytes() for c in left):
            assert time.monotonic() < deadline
            time.sleep(0.1)
