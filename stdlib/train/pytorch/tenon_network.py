"""Training, export and proof of a network, for train.pytorch."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import logging
import math
import random
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import tenon_onnx
from tenon_step import Step, StepError, log, nearest

OPSET = 20
ALONE = 50  # rows that are tried by themselves
OPTIMIZERS = ("Adam", "AdamW", "SGD")


@dataclass(frozen=True)
class Options:
    optimizer: str
    learning_rate: float
    weight_decay: float
    batch_size: int
    epochs: int
    quantize: str  # "int8" or "none"

    @classmethod
    def of(cls, step: Step) -> Options:
        p = step.params
        found = cls(
            p.get("optimizer") or "Adam",
            p.get("learning_rate") or 0.001,
            p.get("weight_decay") or 0,
            p.get("batch_size") or 64,
            p.get("epochs") or 50,
            p.get("quantize") or "none",
        )
        if found.optimizer not in OPTIMIZERS:
            raise StepError(
                f"there is no optimizer {found.optimizer}{nearest(found.optimizer, OPTIMIZERS, 'there are')}"
            )
        if found.quantize not in ("none", "int8"):
            raise StepError(f'quantize is {found.quantize!r}, wanted "int8" or "none"')
        return found


class Scaled(torch.nn.Module):
    """A network between raw numbers and predictions, both float64. This is what is exported."""

    def __init__(
        self, net: torch.nn.Module, numbers: np.ndarray, categories: list[bool], y: np.ndarray, classes: bool
    ) -> None:
        super().__init__()
        self.net, self.classes = net, classes
        mean, deviation = numbers.mean(axis=0), numbers.std(axis=0)
        mean[categories], deviation[categories] = 0, 1
        deviation[~(deviation > 0)] = 1
        if not (np.isfinite(mean).all() and np.isfinite(deviation).all()):
            raise StepError("input train has numbers that are infinite, or too large to be scaled")
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64))
        self.register_buffer("deviation", torch.tensor(deviation, dtype=torch.float64))
        self.label_mean = 0.0 if classes else float(y.mean())
        self.label_scale = 1.0 if classes else float(y.std()) or 1.0

    def scaled(self, numbers: torch.Tensor) -> torch.Tensor:
        return ((numbers - self.mean) / self.deviation).float()

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        found = self.net(self.scaled(numbers)).double()
        if self.classes:
            return torch.softmax(found, dim=1)
        return found * self.label_scale + self.label_mean

    def target(self, y: np.ndarray) -> torch.Tensor:
        """Labels as the loss takes them."""
        if self.classes:
            return torch.tensor(y, dtype=torch.int64)
        scaled = (y.astype(np.float64) - self.label_mean) / self.label_scale
        return torch.tensor(scaled, dtype=torch.float32).reshape(-1, 1)


def train(
    model: Scaled,
    numbers: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray | None,
    held: np.ndarray,
    patience: int | None,
    options: Options,
    step: Step,
) -> int:
    """Fits the network, which is in evaluation mode afterwards. Returns the number of epochs that it kept.

    `weights` are those of the classes in the loss.
    """
    loss_of = torch.nn.functional.cross_entropy if model.classes else torch.nn.functional.mse_loss
    if weights is not None:
        loss_of = functools.partial(loss_of, weight=torch.tensor(weights, dtype=torch.float32))
    inputs, target = model.scaled(torch.tensor(numbers)), model.target(y)
    if not torch.isfinite(inputs).all():
        raise StepError("input train has a number that no float32 is, even scaled; leave its row out")
    seen, kept_out = torch.tensor(np.flatnonzero(~held)), torch.tensor(np.flatnonzero(held))
    if len(seen) < 2:
        raise StepError("input train has only one row to train on")
    net = model.net
    optimizer = getattr(torch.optim, options.optimizer)(
        [p for p in net.parameters() if p.requires_grad],
        lr=options.learning_rate,
        weight_decay=options.weight_decay,
    )
    order = torch.Generator().manual_seed(step.seed32)
    done, lowest, kept, best = 0, math.inf, 0, None
    if found := step.restore():
        done = found.number
        lowest, kept, best = restore(found.path, net, optimizer, order)
    for epoch in range(done + 1, options.epochs + 1):
        net.train()
        total = 0.0
        batches = seen[torch.randperm(len(seen), generator=order)].split(options.batch_size)
        for batch, rows in enumerate(batches, 1):
            if len(rows) == 1:
                continue  # of one row, batch normalization has no deviation
            optimizer.zero_grad()
            loss = loss_of(net(inputs[rows]), target[rows])
            loss.backward()
            optimizer.step()
            value = loss.item()
            if not math.isfinite(value):
                step.log(loss=value, step=epoch)
                raise StepError(
                    f"the loss is {value} in epoch {epoch}, batch {batch} of {len(batches)}; "
                    "a lower learning_rate may help"
                )
            total += value * len(rows)
        says = f"epoch {epoch}: loss {total / len(seen):.4g}"
        losses = {"loss": total / len(seen)}
        net.eval()
        if patience:
            with torch.no_grad():
                found = loss_of(net(inputs[kept_out]), target[kept_out]).item()
            says += f", of the rows held out {found:.4g}"
            losses["held_out_loss"] = found
            if found < lowest:
                lowest, kept, best = found, epoch, copy.deepcopy(net.state_dict())
        step.log(losses, step=epoch)
        step.progress(epoch, options.epochs, says)
        if patience and epoch - kept >= patience:
            break
        so_far = (lowest, kept, best)
        step.checkpoint(epoch, lambda folder, so_far=so_far: save(folder, net, optimizer, order, so_far))
    if not patience:
        return options.epochs
    if best is None:
        raise StepError("the loss of the rows held out is no number; a lower learning_rate may help")
    net.load_state_dict(best)
    if kept < options.epochs:
        log(f"stopped early: {kept} of {options.epochs} epochs kept")
    return kept


STATE = "training.pt"


def save(
    folder: Path,
    net: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    order: torch.Generator,
    so_far: tuple[float, int, dict[str, torch.Tensor] | None],
) -> None:
    """Saves all that the epochs which follow depend on."""
    numpy = np.random.get_state(legacy=False)
    state = {
        "net": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "order": order.get_state(),
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        # As integers, because what is loaded may hold no other objects than tensors and plain values.
        "numpy": {**numpy, "state": {**numpy["state"], "key": numpy["state"]["key"].tolist()}},
        "so_far": so_far,
    }
    torch.save(state, folder / STATE)


def restore(
    folder: Path, net: torch.nn.Module, optimizer: torch.optim.Optimizer, order: torch.Generator
) -> tuple[float, int, dict[str, torch.Tensor] | None]:
    """Continues where `save` was called, and returns its `so_far`."""
    state = torch.load(folder / STATE, weights_only=True)
    net.load_state_dict(state["net"])
    optimizer.load_state_dict(state["optimizer"])
    order.set_state(state["order"])
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    key = np.array(state["numpy"]["state"]["key"], dtype=np.uint32)
    np.random.set_state({**state["numpy"], "state": {**state["numpy"]["state"], "key": key}})
    return state["so_far"]


def export(model: Scaled, numbers: np.ndarray) -> bytes:
    """The graph, for any number of rows."""
    import onnx

    rows = torch.tensor(np.concatenate([numbers[:3]] * 2)[:3])
    # The exporter reports each of its stages, and packages that it would know more of.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    said = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                model,
                (rows,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[tenon_onnx.INPUT],
                output_names=[tenon_onnx.OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("rows")},),
            )
    except Exception as e:
        cause = str(e.__cause__ or e).strip().partition("\n")[0]
        raise StepError(f"the network cannot be exported for ONNX Runtime: {cause}") from e
    graph = program.model_proto
    # Where the code is on this machine is not a part of the model.
    for part in (graph.graph, *graph.functions):
        del part.metadata_props[:]
        for node in part.node:
            node.doc_string = ""
            del node.metadata_props[:]
        for value in (*getattr(part, "value_info", ()), *getattr(part, "initializer", ())):
            value.doc_string = ""
            del value.metadata_props[:]
    for value in (*graph.graph.input, *graph.graph.output):
        del value.metadata_props[:]
    del graph.metadata_props[:]
    onnx.checker.check_model(graph)
    return graph.SerializeToString(deterministic=True)


def prove(graph: bytes, model: Scaled, numbers: np.ndarray) -> None:
    """StepError unless the graph predicts for all rows, and for some alone, what the network predicts."""
    found = tenon_onnx.Session(graph, tenon_onnx.ROWS).run(numbers)
    with torch.no_grad():
        want = torch.cat([model(part) for part in torch.tensor(numbers).split(4096)]).numpy()
    if found.shape != want.shape:
        raise StepError(f"the exported graph gives numbers of shape {found.shape}, the network {want.shape}")
    alone = tenon_onnx.Session(graph, 1).run(numbers[:ALONE])
    found, want = np.concatenate([found, alone]), np.concatenate([want, want[:ALONE]])
    scale = max(1.0, model.label_scale)
    allowed = tenon_onnx.TOLERANCE * np.maximum(scale, np.abs(want))
    wrong = ~(np.abs(found - want) <= allowed)
    if wrong.any():
        n, i = np.argwhere(wrong)[0]
        row = n if n < len(numbers) else n - len(numbers)
        raise StepError(
            f"the exported graph predicts something else than the network: for row {row + 1} of the training "
            f"data {found[n, i]}, not {want[n, i]}. Its operations may depend on other rows, or their number"
        )


def quantize(graph: bytes) -> bytes:
    """The graph with weights of 8 bits. Numbers between layers become such too, one row at a time."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.getLogger().setLevel(logging.ERROR)  # it recommends to prepare the graph
    with tempfile.TemporaryDirectory() as work:
        to = Path(work, "int8.onnx")
        # With weights of 7 bits, sums do not overflow on processors without VNNI, and all compute the same.
        quantize_dynamic(onnx.load_from_string(graph), to, weight_type=QuantType.QInt8, reduce_range=True)
        found = onnx.load(to)
    if not any(node.op_type == "DynamicQuantizeLinear" for node in found.graph.node):
        raise StepError("the network has no weights that can be quantized: leave out quantize")
    return found.SerializeToString(deterministic=True)
