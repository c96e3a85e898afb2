"""train.pytorch: a network of the user's, trained with PyTorch and exported for ONNX Runtime.

Parameters: `script`, `function` (default "network"), `args` (further keyword arguments), `optimizer`,
`learning_rate`, `weight_decay`, `batch_size`, `epochs`, `early_stopping` ({rounds, fraction}: stop after so
many epochs without a lower loss on a random fraction of the rows, held out), `class_weight` (see
`tenon_weights`; weighs both losses), `quantize` ("int8" or "none").
Input: `train`, a table with the columns of the model's signature. Output: `model`, with `model.onnx`, and
`float.onnx` if that is quantized.

The function is called as `network(inputs, outputs, **args)`, and gets `columns`, the names of the inputs, if
it has a parameter of this name. `tenon_onnx` says what the numbers are that become inputs. They are scaled in
float64 to mean 0 and deviation 1, but those of categories stay 0 and 1. The loss is the cross entropy, or the
squared error of the label, scaled too. The same data, parameters, seed and cores make the same bytes.
"""

import inspect
import random

import tenon_step
from tenon_step import Step, StepError


def main(step: Step) -> None:
    import numpy as np
    import tenon_network
    import torch

    import tenon_early
    import tenon_model
    import tenon_onnx
    import tenon_plane
    import tenon_weights

    port = step.output("model", "model")
    if port.signature is None:
        raise StepError("output model has no signature")
    if not port.signature.input:
        raise StepError(tenon_model.NO_INPUTS)
    options = tenon_network.Options.of(step)
    frame, y = tenon_model.training_data(step, port.signature)
    label = tenon_model.describe(y, port.signature)
    classes = label.get("classes", [])
    if classes:
        y = np.searchsorted(np.array(classes, dtype=y.dtype), y)
    held, patience = tenon_early.hold_out(step, y, len(classes))
    encoding = tenon_model.Encoding.fit(frame, port.signature, native=False)
    encoded = encoding.apply(frame)
    tensor = tenon_onnx.fit(encoding.columns, encoded)
    numbers = tenon_onnx.numbers(tensor, encoded)

    random.seed(step.seed32)
    np.random.seed(step.seed32)
    torch.manual_seed(step.seed32)
    torch.set_num_threads(step.threads or 1)
    torch.use_deterministic_algorithms(True)
    net = network(step, tenon_onnx.names(tensor, encoding.columns), len(classes) or 1)
    scaled = tenon_network.Scaled(net, numbers, [f["as"] == "onehot" for f in tensor], y, bool(classes))
    weights = tenon_weights.class_weights(step.params.get("class_weight"), classes, y)
    epochs = tenon_network.train(scaled, numbers, y, weights, held, patience, options, step)
    graph = tenon_network.export(scaled, numbers)
    tenon_network.prove(graph, scaled, numbers)

    info = {
        "flavour": "onnx",
        "estimator": f"{step.params['script']}:{step.params.get('function') or 'network'}",
        "params": step.params.get("args") or {},
        "epochs": epochs,
        "seed": step.seed32,
        "rows": len(frame),
        "encoding": list(encoding.columns),
        "tensor": tensor,
        "scale": max(1.0, scaled.label_scale),
        "quantize": options.quantize,
        **label,
    }
    tenon_model.save(port.path, port.signature, info)
    if options.quantize == "int8":
        (port.path / tenon_onnx.FLOAT).write_bytes(graph)
        before, graph = len(graph), tenon_network.quantize(graph)
        tenon_step.log(f"int8: {len(graph)} bytes instead of {before}")
    (port.path / tenon_onnx.FILE).write_bytes(graph)
    tenon_plane.write(port.path, step.lazy("train"))
    step.metrics(rows=len(frame), features=frame.shape[1], epochs=epochs)


def network(step: Step, columns: list[str], outputs: int):
    """What the user's function returns."""
    import torch

    script, name = step.params.get("script"), step.params.get("function") or "network"
    function = tenon_step.user_function(step, script, name)
    where = f"{script}: {name}()"
    takes = inspect.signature(function).parameters
    args = dict(step.params.get("args") or {})
    if "columns" in takes:
        args = {"columns": columns, **args}
    try:
        inspect.signature(function).bind(len(columns), outputs, **args)
    except TypeError as e:
        given = "".join(f", {a}" for a in args)
        raise StepError(f"{where}: {e}; it is called with (inputs, outputs{given})") from None
    net = function(len(columns), outputs, **args)
    if not isinstance(net, torch.nn.Module):
        raise StepError(f"{where} returned {type(net).__name__}, wanted a torch.nn.Module")
    if not any(p.requires_grad for p in net.parameters()):
        raise StepError(f"{where} returned a network without parameters to train")
    if any(p.dtype != torch.float32 for p in net.parameters()):
        raise StepError(f"{where} returned a network with parameters that are not float32")
    net.eval()
    try:
        with torch.no_grad():
            found = net(torch.zeros(2, len(columns)))
    except Exception as e:
        raise StepError(f"{where}: the network fails for a tensor of shape (2, {len(columns)}): {e}") from e
    if not isinstance(found, torch.Tensor) or tuple(found.shape) != (2, outputs):
        shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise StepError(
            f"{where}: for a tensor of shape (2, {len(columns)}) the network gives {shape}, "
            f"wanted (2, {outputs})"
        )
    return net


if __name__ == "__main__":
    tenon_step.run(main)
