"""evaluate.classification and evaluate.regression: how good a model is, compared with a baseline and the one
in service.

Parameters: `task` (default: the model's), `metrics` (names that have to be there), `baseline` ({estimator,
params}, default a dummy), `plots` (default true), `segments` (columns of `test`), `intervals` ({level,
resamples}, see `tenon_intervals`), `groups` (the column of `test` whose values the split kept together).
Inputs: `model`; `train` and `test`, tables with the model's columns and label; `incumbent`, optional, another
model.
Output: `report`, a folder with `report.json`, `details.json` (see `tenon_details`) and SVG plots::

    {"metrics": {...}, "baseline": {...}, "serving": {...}, "intervals": {...},
    "higher_is_better": {"f1": true, ...}, "rows": n, "notes": []}

`unquantized` holds the metrics of a quantized model with its float weights, on the same test set.
`serving` holds the incumbent's metrics on the same test set. It is absent if there is none, and if it cannot
be compared, which `incomparable` then says. All metrics that
apply are computed, by scikit-learn, under its names. With two classes the positive one is the second in
sorted order (True of False and True); with more, precision, recall and f1 are macro averages, roc_auc and
average_precision macro averages of one against the rest. A metric that is not defined on the test set is left
out, with a note.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenon_step import LazyTable, Port, Signature, Step, StepError, nearest

if TYPE_CHECKING:
    import numpy as np

    from tenon_model import Model

# Whether a higher value is better.
CLASSIFICATION = {
    "accuracy": True,
    "balanced_accuracy": True,
    "precision": True,
    "recall": True,
    "f1": True,
    "roc_auc": True,
    "average_precision": True,
    "log_loss": False,
    "brier_score_loss": False,
    "matthews_corrcoef": True,
}
REGRESSION = {
    "r2": True,
    "explained_variance": True,
    "mean_absolute_error": False,
    "mean_squared_error": False,
    "root_mean_squared_error": False,
    "median_absolute_error": False,
    "mean_absolute_percentage_error": False,
    "max_error": False,
}
DUMMY = {
    "classification": {"estimator": "sklearn.dummy.DummyClassifier", "params": {"strategy": "prior"}},
    "regression": {"estimator": "sklearn.dummy.DummyRegressor", "params": {"strategy": "mean"}},
}


def main(step: Step) -> None:
    import tenon_details
    import tenon_intervals
    import tenon_model
    import tenon_onnx

    model = tenon_model.load(step.input("model", "model").path)
    task = step.params.get("task") or model.signature.task
    if task != model.signature.task:
        raise StepError(f"task is {task}, but the model's is {model.signature.task}")
    better = CLASSIFICATION if task == "classification" else REGRESSION
    wanted = step.params.get("metrics") or []
    for name in wanted:
        if name not in better:
            raise StepError(f"no metric {name} for {task}{nearest(name, better)}")
    test = step.lazy("test")
    if not len(test):
        raise StepError("input test has no rows")

    notes: list[str] = []
    step.progress(0, 4, "model")
    others: dict[str, Result] = {}
    result = Result(model, test)
    report: dict[str, Any] = {"metrics": result.metrics(notes)}
    if missing := [name for name in wanted if name not in report["metrics"]]:
        raise StepError(f"metric {missing[0]} is requested but not defined here: {'; '.join(notes)}")

    if isinstance(model.predictor, tenon_onnx.ONNXGraph) and (before := model.predictor.unquantized()):
        unquantized = tenon_model.Model(model.signature, model.info, before)
        others["unquantized"] = Result(unquantized, test)
        report["unquantized"] = others["unquantized"].metrics([])

    step.progress(1, 4, "baseline")
    baseline = fit_baseline(step, step.params.get("baseline") or DUMMY[task], model.signature)
    others["baseline"] = Result(baseline, test)
    report["baseline"] = others["baseline"].metrics([])

    step.progress(2, 4, "incumbent")
    if port := step.inputs.get("incumbent"):
        report |= serving(port, model, test, notes, others)

    step.progress(3, 4, "intervals")
    spec, column = step.params.get("intervals") or {}, step.params.get("groups")
    found = tenon_intervals.intervals(spec, result, others, test, column, step.seed32, notes)
    report |= {
        **({"intervals": found} if found else {}),
        "higher_is_better": {name: better[name] for name in report["metrics"]},
        "rows": len(test),
        "notes": notes,
    }
    folder = step.output("report", "report").path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    details = tenon_details.text(result, test, step.params.get("segments") or [])
    (folder / "details.json").write_text(details, encoding="utf-8")
    if step.params.get("plots", True):
        result.plot(folder)
    step.metrics({**report["metrics"], **tenon_intervals.ends(found)})
    step.progress(4, 4, "done")


def fit_baseline(step: Step, spec: Mapping[str, Any], signature: Signature) -> Model:
    """The baseline, fitted to the training data. A dummy looks at no features, so it is given none."""
    import tenon_model
    import tenon_sklearn

    if spec["estimator"].startswith("sklearn.dummy.") and not spec.get("pipeline"):
        spec = {**spec, "preprocess": "none"}
        signature = dataclasses.replace(signature, input=())
    frame, y = tenon_model.training_data(step, signature)
    return tenon_sklearn.fit(spec, frame, y, signature, step.seed32, step.threads).model()


def serving(
    port: Port, model: Model, test: LazyTable, notes: list[str], others: dict[str, Result]
) -> dict[str, Any]:
    """The incumbent's metrics, or why it cannot be compared. Notes say which of its metrics are missing.

    Its result becomes one of `others`.
    """
    import tenon_model

    version = port.version
    name = f"the incumbent, version {version}" if version else "the incumbent"
    lacks: list[str] = []
    try:
        if port.lost:
            raise StepError("its artifact is lost")
        incumbent = tenon_model.load(port.path)
        if incumbent.signature.task != model.signature.task:
            raise StepError(f"its task is {incumbent.signature.task}")
        if incumbent.signature.output.name != model.signature.output.name:
            raise StepError(f"its label is {incumbent.signature.output.name}")
        result = Result(incumbent, test)
        found = result.metrics(lacks)
    except Exception as e:  # a model of another version of the libraries may fail in any way
        why = f"{name}, is not compared: {type(e).__name__ + ': ' if not isinstance(e, StepError) else ''}{e}"
        notes.append(why)
        return {"incomparable": why}
    notes += [f"of {name}, {note}" for note in lacks if note not in notes]
    others["serving"] = result
    return {"serving": found, **({"serving_version": version} if version else {})}


class Result:
    """The predictions of a model for a test set, with the true values."""

    def __init__(self, model: Model, test: LazyTable) -> None:
        import numpy as np

        import tenon_flavours
        import tenon_model

        self.model = model
        truth = tenon_model.labels(test, model.signature, "input test")
        features = model.features(test)
        if not model.classification:
            self.y = truth.astype(np.float64)
            self.predicted = model.outcome(features)["prediction"].to_numpy()
            return
        # Classes become numbers, so that booleans, integers and strings are treated alike.
        seen = set(model.classes)
        self.unseen = sorted({v.item() if hasattr(v, "item") else v for v in np.unique(truth)} - seen)
        self.names = [*model.classes, *self.unseen]
        index = {name: i for i, name in enumerate(self.names)}
        self.y = np.array([index[v] for v in truth.tolist()])
        self.predicted, self.p = model.classify(features)
        self.score = self.p
        if self.p is None and hasattr(model.predictor, "decision_function"):
            self.score = tenon_flavours.two_columns(np.asarray(model.predictor.decision_function(features)))

    def only(self, rows: np.ndarray) -> Result:
        """The result for some of the rows."""
        some = copy.copy(self)
        some.y, some.predicted = self.y[rows], self.predicted[rows]
        if self.model.classification:
            some.p = None if self.p is None else self.p[rows]
            some.score = None if self.score is None else self.score[rows]
        return some

    def metrics(self, notes: list[str]) -> dict[str, float]:
        return self._classification(notes) if self.model.classification else self._regression(notes)

    def _classification(self, notes: list[str]) -> dict[str, float]:
        import numpy as np
        import sklearn.metrics as m

        y, predicted, p, score = self.y, self.predicted, self.p, self.score
        n = len(self.model.classes)
        labels = list(range(n))
        binary = n == 2 and not self.unseen
        average: dict[str, Any] = {"average": "binary" if binary else "macro", "zero_division": 0}
        table: dict[str, Callable[[], float]] = {
            "accuracy": lambda: m.accuracy_score(y, predicted),
            "balanced_accuracy": lambda: m.balanced_accuracy_score(y, predicted),
            "precision": lambda: m.precision_score(y, predicted, **average),
            "recall": lambda: m.recall_score(y, predicted, **average),
            "f1": lambda: m.f1_score(y, predicted, **average),
            "matthews_corrcoef": lambda: m.matthews_corrcoef(y, predicted),
        }
        if self.unseen:
            notes.append(
                "roc_auc, average_precision, log_loss and brier_score_loss are omitted: "
                f"the test set has classes that the training set lacks: {shown(self.unseen)}"
            )
        elif score is not None:
            one = np.eye(n)[y]
            table |= {
                "roc_auc": lambda: (
                    m.roc_auc_score(y, score[:, 1])
                    if binary
                    else m.roc_auc_score(y, score, multi_class="ovr", average="macro", labels=labels)
                ),
                "average_precision": lambda: (
                    m.average_precision_score(y, score[:, 1])
                    if binary
                    else m.average_precision_score(one, score, average="macro")
                ),
            }
            if lacking := [c for i, c in enumerate(self.model.classes) if i not in y]:
                for name in ("roc_auc", "average_precision"):
                    del table[name]
                lacks = f"the test set lacks the class {shown(lacking)}"
                notes.append(f"roc_auc and average_precision are omitted: {lacks}")
        else:
            notes.append("roc_auc and average_precision are omitted: the model does not give scores")
        if p is None:
            notes.append("log_loss and brier_score_loss are omitted: the model predicts none")
        elif not self.unseen:
            table |= {
                "log_loss": lambda: m.log_loss(y, p, labels=labels),
                "brier_score_loss": lambda: m.brier_score_loss(y, p[:, 1] if binary else p, labels=labels),
            }
        return compute(table, CLASSIFICATION, notes)

    def _regression(self, notes: list[str]) -> dict[str, float]:
        import sklearn.metrics as m

        names = {"r2": "r2_score", "explained_variance": "explained_variance_score"}
        table = {
            n: functools.partial(getattr(m, names.get(n, n)), self.y, self.predicted) for n in REGRESSION
        }
        if (self.y == 0).any():
            del table["mean_absolute_percentage_error"]
            notes.append("mean_absolute_percentage_error is omitted: the test set has zeros")
        return compute(table, REGRESSION, notes)

    def plot(self, folder: Path) -> None:
        """Writes the SVGs that apply: roc, calibration, confusion; or predicted and residuals."""
        import matplotlib

        matplotlib.use("Agg")
        # The salt makes the ids in the file, and so its bytes, the same each time.
        matplotlib.rcParams.update(
            {"svg.hashsalt": "tenon", "svg.fonttype": "none", "figure.figsize": (5.5, 4.5)}
        )
        matplotlib.rcParams["text.parse_math"] = False  # a class may have any name
        import sklearn.metrics as m
        from sklearn.calibration import CalibrationDisplay

        if not self.model.classification:
            for name, kind in (("predicted", "actual_vs_predicted"), ("residuals", "residual_vs_predicted")):
                m.PredictionErrorDisplay.from_predictions(
                    self.y,
                    self.predicted,
                    kind=kind,
                    subsample=1000,
                    random_state=0,
                    scatter_kwargs={"alpha": 0.4},
                )
                finish(folder / f"{name}.svg")
            return
        from tenon_model import label_name

        m.ConfusionMatrixDisplay.from_predictions(
            self.y,
            self.predicted,
            labels=range(len(self.names)),
            display_labels=[label_name(c) for c in self.names],
            xticks_rotation="vertical" if len(self.names) > 4 else "horizontal",
            include_values=len(self.names) <= 20,
        )
        finish(folder / "confusion.svg")
        if len(self.names) != 2 or len(set(self.y.tolist())) < 2:
            return
        if self.score is not None:
            m.RocCurveDisplay.from_predictions(self.y, self.score[:, 1], plot_chance_level=True)
            finish(folder / "roc.svg")
        if self.p is not None:
            CalibrationDisplay.from_predictions(self.y, self.p[:, 1], n_bins=10, strategy="quantile")
            finish(folder / "calibration.svg")


def shown(classes: list[Any]) -> str:
    """Some of the classes, as in JSON."""
    from tenon_model import label_name

    return ", ".join(label_name(c) for c in classes[:5]) + (", ..." if len(classes) > 5 else "")


def compute(
    table: Mapping[str, Callable[[], float]], order: Mapping[str, bool], notes: list[str]
) -> dict[str, float]:
    """Computes each metric of `table`, in the given order; an undefined one becomes a note."""
    import numpy as np

    found = {}
    for name in order:
        if name not in table:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                value = float(table[name]())
        except ValueError as e:
            notes.append(f"{name} is omitted: {e}")
            continue
        if np.isfinite(value):
            found[name] = value
        else:
            notes.append(f"{name} is omitted: it is {value}")
    return found


def finish(path: Path) -> None:
    """Saves the current figure."""
    import matplotlib.pyplot as plt

    plt.tight_layout()
    plt.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close("all")
