"""serve.http: a model behind HTTP.

Parameters, all optional: `model` (its name), `latency_buckets` (seconds), `max_instances` (per request,
default 1000), `max_bytes` (of a request, default 8 MiB), `drain_seconds` (default 0.5).
Inputs: `model`; `report`, optional, whose metrics are shown at /metrics. A service, see docs/step.md; what it
answers is said in tenon_http.py.

A new version starts beside the old one on the same port (SO_REUSEPORT) and listens only once it can answer.
SIGTERM closes the listening socket, answers what has been sent, asks clients to reconnect, and exits with 0.
With several replicas, each is a process of its own. This one keeps them and starts one again that dies, so
that the others go on; /metrics shows their sum. If this process dies, its executor starts it again, as any
service.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import tenon_step
from tenon_step import Step, StepError

if TYPE_CHECKING:
    from tenon_http import Service

# In the environment of a replica: the descriptor that is at its end once the keeper is gone.
KEEPER = "TENON_SERVE_KEEPER"
# Replicas follow the rules of all services, which package lives of Tenon has and a test compares.
# A replica that lives shorter than this (seconds) is likely to end again.
SHORT_LIFE = 60
# The pause before a replica that lived shortly is started again (seconds). It doubles each time.
PAUSE, LONGEST_PAUSE = 0.5, 8
# After so many short lives in a row the service fails.
MOST_SHORT_LIVES = 5


def main(step: Step) -> None:
    if not step.endpoint.get("port"):
        raise StepError("the step has no endpoint: serve.http is a service")
    replicas = step.endpoint.get("replicas") or 1
    kept = KEEPER in os.environ
    if replicas > 1 and not kept:
        keep(step, replicas)
        return
    # One request runs on one thread: a pool in each would only make them wait for each other.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    listener = bind(step)
    if kept:
        threading.Thread(target=end_with_keeper, args=(int(os.environ[KEEPER]),), daemon=True).start()

    import tenon_http

    service = tenon_http.Service(step)
    service.warm_up()
    serve(step, service, listener)


def bind(step: Step) -> socket.socket:
    """A socket that is bound but does not listen: until it does, the kernel gives it no connections."""
    host, port = step.endpoint.get("host") or "127.0.0.1", step.endpoint["port"]
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
    except OSError as e:
        raise StepError(f"cannot listen on {host}:{port}: {(e.strerror or str(e)).lower()}") from e
    sock.setblocking(False)
    return sock


def serve(step: Step, service: Service, listener: socket.socket) -> None:
    """Serves until SIGTERM or SIGINT."""
    import uvicorn

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            # uvicorn's own raises the signal again afterwards, which would not be exit status 0.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self.handle_exit)
            yield

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            service.draining = True
            # The kernel resets connections that are complete but not accepted when a listening socket is
            # closed.
            accepted = []
            with contextlib.suppress(OSError):
                while True:
                    accepted.append(listener.accept()[0])
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RD)
            for server in self.servers:
                server.close()
            loop = asyncio.get_running_loop()
            for connection in accepted:
                connection.setblocking(False)
                await loop.connect_accepted_socket(self.protocol, connection)
            # Requests under way on open connections get their answer, with the header Connection: close.
            await asyncio.sleep(step.params.get("drain_seconds", 0.5))
            await super().shutdown(sockets)

        def protocol(self) -> asyncio.Protocol:
            return self.config.http_protocol_class(
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state
            )

    config = uvicorn.Config(
        service.asgi,
        log_level="warning",
        access_log=False,
        backlog=2048,
        timeout_graceful_shutdown=30,
        lifespan="off",
    )
    host, port = listener.getsockname()[:2]
    tenon_step.log(
        f"serving {service.about['name']} version {service.about['version']} on http://{host}:{port}"
    )
    Server(config).run(sockets=[listener])
    tenon_step.log("drained")


# --- Replicas ---


@dataclasses.dataclass
class Replica:
    """A replica, which is a process while it runs."""

    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    since: float = 0  # when it was started, or when it may be started again
    short: int = 0  # how many short lives in a row it had

    def ended(self, status: int) -> float:
        """Notes that it has ended, and returns the pause before it is started again."""
        now = time.monotonic()
        self.short = self.short + 1 if now - self.since < SHORT_LIFE else 0
        by_signal = status < 0 or status > 128
        if self.short >= MOST_SHORT_LIVES or (self.short and self.starts == 1 and not by_signal):
            # One that ends by itself soon after its first start would do so again, and has said why.
            if status > 0:
                sys.exit(status)
            raise StepError(f"a replica {how(status)}")
        pause = min(PAUSE * 2 ** (self.short - 1), LONGEST_PAUSE) if self.short else 0
        self.process, self.since = None, now + pause
        return pause


def how(status: int) -> str:
    """How a process ended."""
    if 0 <= status <= 128:
        return f"ended with status {status}"
    number = -status if status < 0 else status - 128
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(number).name}"
    return f"was killed by signal {number}"


def keep(step: Step, replicas: int) -> None:
    """Keeps `replicas` processes until SIGTERM, and starts those again that end."""
    reserved = bind(step)  # says at once that the port is taken
    watched, held = os.pipe()
    env = os.environ | {KEEPER: str(watched)}
    folder = step.scratch / "prometheus"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    env["PROMETHEUS_MULTIPROC_DIR"] = str(folder)

    started_again = 0
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    report_restarts(step, 0)
    all = [Replica() for _ in range(replicas)]
    try:
        while not stopping.is_set():
            for replica in all:
                if replica.process is None:
                    if time.monotonic() >= replica.since:
                        replica.since, replica.starts = time.monotonic(), replica.starts + 1
                        replica.process = subprocess.Popen(
                            [sys.executable, __file__], env=env, pass_fds=(watched,)
                        )
                elif (status := replica.process.poll()) is not None and not stopping.is_set():
                    pause = replica.ended(status)
                    tenon_step.log(f"a replica {how(status)}; starting another in {pause:g} s")
                    started_again += 1
                    report_restarts(step, started_again, how(status))
            stopping.wait(0.1)
    finally:
        running = [replica.process for replica in all if replica.process]
        for process in running:
            if process.poll() is None:
                process.terminate()
        for process in running:
            process.wait()
        os.close(held)
        reserved.close()


def report_restarts(step: Step, started_again: int, why: str = "") -> None:
    """Records how often a replica was started again, and why. Those of an earlier keeper do not count."""
    path = step.doc.get("lives")
    if not path:
        return
    if not started_again:
        Path(path).unlink(missing_ok=True)
        return
    part = Path(f"{path}.part")
    part.write_text(f"{started_again + 1} {time.time_ns()} {why}\n")
    part.replace(path)


def end_with_keeper(descriptor: int) -> None:
    """Ends this process as SIGTERM does once the keeper is gone, however it went."""
    with contextlib.suppress(OSError):
        os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    tenon_step.run(main)
