"""The service of serve.http in Python, which is the reference of the plane in Go.

`tenon-serve` does not start it. Tests compare the answers of the plane with its, and `make bench` the speed;
`tenon predict` asks its application, tenon_http.py.

Parameters, all optional: `model` (its name), `latency_buckets` (seconds), `max_instances` (per request,
default 1000), `max_bytes` (of a request, default 8 MiB), `drain_seconds` (default 0.5).
Inputs: `model`; `report`, optional, whose metrics are shown at /metrics. A service, see docs/step.md, in one
process; what it answers is said in tenon_http.py.

A new version starts beside the old one on the same port (SO_REUSEPORT) and listens only once it can answer.
SIGTERM closes the listening socket, answers what has been sent, asks clients to reconnect, and exits with 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import tenon_step
from tenon_step import Step, StepError

if TYPE_CHECKING:
    from tenon_http import Service


def main(step: Step) -> None:
    if not step.endpoint.get("port"):
        raise StepError("the step has no endpoint: serve.http is a service")
    # One request runs on one thread: a pool in each would only make them wait for each other.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    listener = bind(step)

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


if __name__ == "__main__":
    tenon_step.run(main)
