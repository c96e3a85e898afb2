"""Writes a deployment as an ONNX graph, for `tenon export --format onnx`.

Parameters: `request`, that of the service or null; `sample`, a file with rows of training as the service
computes them, or null; `to` and `answer`, the files to write. The answer has `refused`, or what was written.
"""

import json
from pathlib import Path

import onnx
import tenon_export
import tenon_lower
import tenon_step


def main(step):
    port = step.input("model", "model")
    plane = json.loads((port.path / "plane.json").read_text(encoding="utf-8"))
    doc = json.loads((port.path / "signature.json").read_text(encoding="utf-8"))
    graph = (port.path / plane["onnx"]["file"]).read_bytes() if "onnx" in plane else b""
    answer = Path(step.params["answer"])
    try:
        signature = tenon_step.Signature.parse(doc)
        export = tenon_export.Export(step.params.get("request"), plane, signature, graph)
    except tenon_lower.NotLoweredError as e:
        refused = {"says": e.says, "plan": e.plan, "column": e.column, "word": e.word}
        answer.write_text(json.dumps({"refused": refused}))
        return
    if step.params.get("sample"):
        sample = json.loads(Path(step.params["sample"]).read_text(encoding="utf-8"))["rows"]
        rows, outputs = [r["request"] for r in sample], [r["outputs"] for r in sample]
    else:
        names = [c["name"] for c in plane["columns"]]
        rows = [dict(zip(names, r, strict=True)) for r in plane["check"]["rows"]]
        outputs = plane["check"]["outputs"]
    if not rows:
        raise tenon_step.StepError("there is no row of training to compare the graph with")
    export.prove(rows, tenon_export.parse_floats(outputs))
    Path(step.params["to"]).write_bytes(export.model.SerializeToString(deterministic=True))
    tensors = {"inputs": export.model.graph.input, "outputs": export.model.graph.output}
    made = {
        name: [
            {"name": v.name, "type": onnx.TensorProto.DataType.Name(v.type.tensor_type.elem_type).lower()}
            for v in values
        ]
        for name, values in tensors.items()
    }
    answer.write_text(json.dumps({"rows": len(rows), **made}))


if __name__ == "__main__":
    tenon_step.run(main)
