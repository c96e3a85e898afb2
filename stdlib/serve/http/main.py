"""serve.http: a model behind HTTP.

Parameters, all optional: `model` (its name), `latency_buckets` (seconds), `max_instances` (per request,
default 1000), `max_bytes` (of a request, default 8 MiB), `drain_seconds` (default 0.5).
Inputs: `model`; `report`, optional, whose metrics are shown at /metrics. A service, see docs/step.md; what it
answers is said in tenon_http.py.

A new version starts beside the old one on the same port (SO_REUSEPORT) and listens only once it can answer.
SIGTERM closes the listening socket, answers what has been sent, asks clients to reconnect, and exits with 0.
With more than one replica, each is a process of its own, kept by this one, and /metrics shows their sum.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import tenon_step
from tenon_step import Step, StepError

if TYPE_CHECKING:
    from tenon_http import Service

# In the environment of a replica: the descriptor that is at its end once the keeper is gone.
KEEPER = "TENON_SERVE_KEEPER"
# A replica that ends sooner than this (seconds) would end again, so the service fails instead.
SHORT_LIFE = 10


def main(step: Step) -> None:
    if not step.endpoint.get("port"):
        raise StepError("the step has no endpoint: serve.http is a service")
    replicas = step.endpoint.get("replicas") or 1
    if replicas > 1 and KEEPER not in os.environ:
        keep(step, replicas)
        return
    # One request runs on one thread: a pool in each would only make them wait for each other.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    listener = bind(step)
    if KEEPER in os.environ:
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


def keep(step: Step, replicas: int) -> None:
    """Keeps `replicas` processes until SIGTERM. One that ends is started again, unless it was young."""
    reserved = bind(step)  # says at once that the port is taken
    folder = step.scratch / "prometheus"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    watched, held = os.pipe()
    env = os.environ | {KEEPER: str(watched), "PROMETHEUS_MULTIPROC_DIR": str(folder)}

    def start() -> tuple[subprocess.Popen[bytes], float]:
        return subprocess.Popen([sys.executable, __file__], env=env, pass_fds=(watched,)), time.monotonic()

    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    running = [start() for _ in range(replicas)]
    failed = ""
    while not stopping.wait(0.1):
        for i, (process, since) in enumerate(running):
            status = process.poll()
            if status is None or stopping.is_set():
                continue
            if time.monotonic() - since < SHORT_LIFE:
                failed = f"a replica ended with status {status}"
                stopping.set()
            else:
                tenon_step.log(f"a replica ended with status {status}; starting another")
                running[i] = start()
    for process, _ in running:
        if process.poll() is None:
            process.terminate()
    for process, _ in running:
        process.wait()
    os.close(held)
    reserved.close()
    if failed:
        raise StepError(failed)


def end_with_keeper(descriptor: int) -> None:
    """Ends this process as SIGTERM does once the keeper is gone, however it went."""
    with contextlib.suppress(OSError):
        os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    tenon_step.run(main)
