"""<<.Component>>: the nearest neighbors of scikit-learn.

Parameters: `neighbors`.
Input: `train`, a table with the columns of the model's signature. Output: `model`.
"""

import tenon_step
from tenon_step import Step, StepError


def main(step: Step) -> None:
    import tenon_model
    import tenon_sklearn

    signature = step.output("model", "model").signature
    frame, labels = tenon_model.training_data(step, signature)
    neighbors = step.params["neighbors"]
    if len(frame) < neighbors:
        raise StepError(f"input train has {len(frame)} rows, wanted at least {neighbors} (neighbors)")
    kind = "Classifier" if signature.task == "classification" else "Regressor"
    params = {"estimator": f"sklearn.neighbors.KNeighbors{kind}", "params": {"n_neighbors": neighbors}}
    step.progress(0, 1, f"fitting {len(frame)} rows")
    fitted = tenon_sklearn.fit(params, frame, labels, signature, step.seed32, step.threads)
    fitted.save(step.output("model").path)
    step.progress(1, 1)
    step.metrics(rows=len(frame), features=frame.shape[1])


if __name__ == "__main__":
    tenon_step.run(main)
