"""A process that the plane asks for the predictions of a model in Python.

`tenon-serve` starts it as `python tenon_worker.py FOLDER`, with the document of its own step. FOLDER is a
private copy of the model, whose digest the plane has checked: the artifact itself is never loaded here.
Descriptor 3 is a socket. A frame is its length, a little-endian uint32, and that many bytes.

1. The plane sends the schema of the model's columns, a message of Arrow IPC.
2. The worker loads the model and sends JSON: the classes, each as JSON, their names, and whether there are
   probabilities.
3. The plane sends rows, a record batch of Arrow IPC, and the worker answers: the byte OK and the numbers of
   each row (see `numbers`) as little-endian float64, or the byte REFUSED and JSON, {"row", "column", "says"},
   or the byte FAILED if the model failed, which the log explains.

It asks the model from one thread, for one batch at a time. It ends when the plane closes the socket. SIGTERM
does not end it, so that the plane gets answers while it drains.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
import traceback
from typing import TYPE_CHECKING, Any

import tenon_step
from tenon_step import Step, StepError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    import tenon_model

SOCKET = 3
OK, REFUSED, FAILED = b"\0", b"\1", b"\2"


def main(step: Step) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    # One batch runs on one thread: a pool in each worker would only make them wait for each other.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    import pyarrow as pa

    import tenon_model

    os.set_inheritable(SOCKET, False)
    plane = socket.socket(fileno=SOCKET)
    model = tenon_model.load(sys.argv[1])
    schema = tenon_step.arrow_schema(model.signature.input)
    first = receive(plane)
    if first is None:
        return
    if not pa.ipc.read_schema(first).equals(schema):
        raise StepError("the plane sends other columns than those of the model")
    send(plane, json.dumps(about(model)).encode())
    while (message := receive(plane)) is not None:
        batch = pa.ipc.read_record_batch(pa.ipc.read_message(message), schema)
        send(plane, answer(model, pa.Table.from_batches([batch])))


def about(model: tenon_model.Model) -> dict[str, Any]:
    """What the plane has to know of a model, besides its signature."""
    import tenon_model

    return {
        "classes": [json.dumps(c, ensure_ascii=False) for c in model.classes],
        "names": [json.dumps(tenon_model.label_name(c), ensure_ascii=False) for c in model.classes],
        "probabilities": model.classification and hasattr(model.predictor, "predict_proba"),
    }


def answer(model: tenon_model.Model, table: pa.Table) -> bytes:
    """The answer to a batch."""
    import numpy as np

    import tenon_model

    try:
        found = numbers(model, model.features(table))
        return OK + np.ascontiguousarray(found, dtype="<f8").tobytes()
    except tenon_model.RefusedValueError as e:
        return refusal(e.row, e.column, e.says)
    except tenon_model.NoPredictionError as e:
        return refusal(e.row, "", f"the model has no prediction: {e.says}")
    except Exception:
        tenon_step.log(traceback.format_exc())
        return FAILED


def numbers(model: tenon_model.Model, features: pd.DataFrame) -> np.ndarray:
    """What a model predicts, a row of numbers for each row.

    They are the predicted number; or the probabilities of all classes, if the model has any, and the index of
    the predicted class.
    """
    import numpy as np

    if not model.classification:
        return model.outcome(features)[["prediction"]].to_numpy()
    best, p = model.classify(features)
    return np.column_stack([best] if p is None else [p, best])


def refusal(row: int, column: str, says: str) -> bytes:
    return REFUSED + json.dumps({"row": row, "column": column, "says": says}).encode()


# --- Frames ---


def receive(sock: socket.socket) -> pa.Buffer | None:
    """The next frame; None once the other side has closed the socket."""
    import pyarrow as pa

    head = bytearray(4)
    if not fill(sock, memoryview(head)):
        return None
    # Arrow aligns its own memory.
    frame = pa.allocate_buffer(struct.unpack("<I", head)[0])
    return frame if fill(sock, memoryview(frame).cast("B")) else None


def fill(sock: socket.socket, into: memoryview) -> bool:
    while into:
        try:
            count = sock.recv_into(into)
        except ConnectionError:
            return False
        if not count:
            return False
        into = into[count:]
    return True


def send(sock: socket.socket, frame: bytes) -> None:
    try:
        sock.sendall(struct.pack("<I", len(frame)))
        sock.sendall(frame)
    except ConnectionError:  # the plane is gone
        sys.exit(0)


if __name__ == "__main__":
    tenon_step.run(main)
