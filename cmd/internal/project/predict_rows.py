"""Answers one request as serve.http does.

The parameters name two files: `request` has the body of the request, `answer` gets that of the answer.
`query` is the query of its address.
"""

import asyncio
import json
from pathlib import Path

import tenon_http
import tenon_step


async def ask(app, body, query):
    """The status and the body of the answer to POST /predict."""
    parts = [{"type": "http.request", "body": body}]
    status, answer = 0, b""

    async def receive():
        return parts.pop() if parts else {"type": "http.disconnect"}

    async def send(message):
        nonlocal status, answer
        status = message.get("status", status)
        answer += message.get("body", b"")

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/predict",
        "raw_path": b"/predict",
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(b"content-type", b"application/json")],
        "client": None,
        "server": None,
    }
    await app(scope, receive, send)
    return status, answer


def says(detail):
    """One line for what a request is refused with."""
    if not isinstance(detail, list):
        return str(detail)
    lines = []
    for error in detail:
        loc = error["loc"][1:]
        where = []
        if loc[:1] == ["instances"]:
            where = [f"row {n + 1}" if i == 0 else f"column {n}" for i, n in enumerate(loc[1:])]
        lines.append(": ".join([*where, error["msg"]]))
    return "; ".join(lines)


def main(step):
    service = tenon_http.Service(step)
    body = Path(step.params["request"]).read_bytes()
    status, answer = asyncio.run(ask(service.asgi, body, step.params["query"]))
    if status != 200:
        raise tenon_step.StepError(says(json.loads(answer)["detail"]))
    Path(step.params["answer"]).write_bytes(answer)


if __name__ == "__main__":
    tenon_step.run(main)
