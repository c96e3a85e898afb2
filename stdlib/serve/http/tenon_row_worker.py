"""A process that the plane asks for columns that a function of the user's computes row by row.

`tenon-serve` starts it as `python tenon_row_worker.py CALL`, in the environment of the feature and with the
document of its own step. CALL is JSON: "feature", "script", "function" and "args"; "columns", which it is
sent, and "makes", which it returns; "private" if no log may show a value. Frames are those of `tenon_worker`.

1. The plane sends the schema of the columns, a message of Arrow IPC.
2. The worker imports the script and sends {}.
3. The plane sends rows, a record batch of Arrow IPC, and the worker answers: the byte OK, the length of a
   JSON list as a little-endian uint32, the list, and a stream of Arrow IPC with a batch of the columns. The
   list has the rows that are refused, {"row", "column", "says", "failed"}; their columns are null.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
from typing import Any

import tenon_step
from tenon_step import Column, Step, StepError
from tenon_worker import FAILED, OK, SOCKET, receive, send


def main(step: Step) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    import pyarrow as pa

    import tenon_rows

    os.set_inheritable(SOCKET, False)
    plane = socket.socket(fileno=SOCKET)
    call = json.loads(sys.argv[1])
    columns = [Column.parse(c) for c in call["columns"]]
    makes = [Column.parse(c) for c in call["makes"]]
    function = tenon_step.user_function(step, call["script"], call["function"])
    rows = tenon_rows.RowFunction(
        function,
        f"{call['feature']}: {call['function']}()",
        columns,
        makes,
        call.get("args") or {},
        call.get("private", False),
    )
    schema = tenon_step.arrow_schema(columns)
    first = receive(plane)
    if first is None:
        return
    if not pa.ipc.read_schema(first).equals(schema):
        raise StepError("the plane sends other columns than those of the function")
    send(plane, b"{}")
    result = tenon_step.arrow_schema(makes)
    while (message := receive(plane)) is not None:
        batch = pa.ipc.read_record_batch(pa.ipc.read_message(message), schema)
        send(plane, answer(rows, batch, result))


def answer(rows: Any, batch: Any, schema: Any) -> bytes:
    """The answer to a batch."""
    import pyarrow as pa

    try:
        arrays, refused = rows.compute(batch)
        said = json.dumps(
            [{"row": r.row, "column": r.column, "says": r.says, "failed": r.failed} for r in refused]
        ).encode()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema) as writer:
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
        return b"".join((OK, struct.pack("<I", len(said)), said, sink.getvalue()))
    except Exception as e:  # of this program: what the function raises is a refusal
        tenon_step.log(f"error: {e!r}")
        return FAILED


if __name__ == "__main__":
    tenon_step.run(main)
