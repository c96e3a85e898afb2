"""train.onnx: a graph of the user's as a model.

Parameters: `file`, `inputs` ({input: column, or list of columns}), `missing` ({column: value for null}),
`output` (default: the only one with floats), `classes` (in the order of the output; default false, true) and
`gives` ("probabilities" or "scores"). Input: `train`, a table with the columns of the model's signature.
Output: `model`, with `model.onnx`.

The graph is put between what turns the numbers of a row into its inputs, and what makes probabilities of its
output. For all rows of the input it has to predict, bit for bit, what it predicts as it is.
"""

import numpy as np

import tenon_step
from tenon_step import Step, StepError


def main(step: Step) -> None:
    import tenon_graph

    import tenon_model
    import tenon_onnx
    import tenon_plane

    port = step.output("model", "model")
    if port.signature is None:
        raise StepError("output model has no signature")
    if not port.signature.input:
        raise StepError(tenon_model.NO_INPUTS)
    frame, y = tenon_model.training_data(step, port.signature)
    classes, label = labels(step, y, port.signature)
    graph = tenon_graph.Graph(step, port.signature, classes)
    encoding = tenon_model.Encoding(graph.encoding)
    encoded = encoding.apply(frame)
    numbers = tenon_onnx.numbers(graph.tensor, encoded)
    wrapped = graph.wrapped()
    alone = graph.prove(wrapped, numbers, frame)

    info = {
        "flavour": "onnx",
        "estimator": step.params["file"],
        "params": {},
        "seed": step.seed32,
        "rows": len(frame),
        "encoding": graph.encoding,
        "tensor": graph.tensor,
        "alone": alone,
        **label,
    }
    if not classes:
        info["scale"] = max(1.0, float(y.std()))
    tenon_model.save(port.path, port.signature, info)
    (port.path / tenon_onnx.FILE).write_bytes(wrapped)
    tenon_plane.write(port.path, step.lazy("train"))
    step.metrics(rows=len(frame), features=frame.shape[1])


def labels(step: Step, y: np.ndarray, signature: tenon_step.Signature) -> tuple[list, dict]:
    """The classes in the order of the output, and what model.json keeps of the labels."""
    import tenon_model

    if signature.task != "classification":
        return [], tenon_model.describe(y, signature)
    classes = step.params.get("classes") or [False, True]
    if len(set(classes)) != len(classes) or len({type(c) for c in classes}) != 1:
        raise StepError(f"classes are {classes}: each has to be there once, and all have to be of one type")
    unknown = sorted({v.item() if hasattr(v, "item") else v for v in np.unique(y)} - set(classes))
    if unknown:
        raise StepError(f"label {signature.output.name}: {unknown[0]!r} is not one of the classes {classes}")
    return classes, {"classes": sorted(classes)}


if __name__ == "__main__":
    tenon_step.run(main)
