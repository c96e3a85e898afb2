"""train.sklearn: any estimator with scikit-learn's interface.

Parameters: `estimator` (import path), `params`, `class_weight` (see `tenon_weights`; the estimator's own
parameter, or weights of the rows for its fit), `preprocess` ("auto" or "none"), and `pipeline`, a list of
{transformer: import path, params, name?, columns?}. A transformer with `columns` runs before the automatic
preprocessing, on those columns; one without runs after it, on everything. One that takes no table, such as
TfidfVectorizer, is fitted to each of its `columns`, and runs beside the automatic preprocessing. A matrix
stays sparse as far as the steps take one.
Input: `train`, a table with the columns of the model's signature. Output: `model`.

The automatic preprocessing makes dates and timestamps years since 2000, times seconds, and strings categories
that HistGradientBoosting* takes natively and other estimators get as one-hot columns. Missing numbers become
the median where the estimator takes no NaN. Values never seen in training never fail. "none" hands over what
`tenon_model.prepare` makes.
"""

import tenon_step
from tenon_step import Step, StepError


def main(step: Step) -> None:
    import tenon_model
    import tenon_plane
    import tenon_sklearn

    port = step.output("model", "model")
    if port.signature is None:
        raise StepError("output model has no signature")
    if not step.params.get("estimator"):
        raise StepError("parameter estimator is not set")
    frame, y = tenon_model.training_data(step, port.signature)
    fitted = tenon_sklearn.fit(step.params, frame, y, port.signature, step.seed32, step.threads)
    fitted.save(port.path)
    tenon_plane.write(port.path, step.lazy("train"))
    step.metrics(rows=len(frame), features=frame.shape[1])


if __name__ == "__main__":
    tenon_step.run(main)
