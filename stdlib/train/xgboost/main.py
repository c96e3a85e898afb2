"""train.xgboost: gradient boosted trees by XGBoost.

Parameters: `params` (XGBoost's own names), `rounds` (default 100), `early_stopping` ({rounds, fraction}: stop
after so many rounds without improvement on a random fraction of the rows, held out), `class_weight` (see
`tenon_weights`; rows that are held out are weighed, too).
Input: `train`, a table with the columns of the model's signature. Output: `model`, with `model.ubj`.

The objective follows from the task unless it is given. Strings are categories, natively; missing values stay
missing. The features are c0, c1 and so on in the model, in the order of `encoding` in model.json. Parameters
name columns, as in `monotone_constraints: {age: 1}` and `interaction_constraints: [["age", "income"]]`.
"""

import re
import warnings

import tenon_step
from tenon_step import Step, StepError


def main(step: Step) -> None:
    import xgboost

    import tenon_boosting
    import tenon_model
    import tenon_plane

    data = tenon_boosting.read(step, ["scale_pos_weight"])
    params = {
        "seed": step.seed32,
        "tree_method": "hist",
        **objective(data.classes),
        **tenon_boosting.with_codes(step.params.get("params") or {}, data.signature, "c{}".format),
    }
    callbacks: list = [Progress(step)]
    if data.stop_after:
        callbacks.append(xgboost.callback.EarlyStopping(rounds=data.stop_after, save_best=True))
    try:
        train = xgboost.DMatrix(data.train, data.train_y, weight=data.train_weight, enable_categorical=True)
        evals = []
        if data.stop_after:
            held = xgboost.DMatrix(data.held, data.held_y, weight=data.held_weight, enable_categorical=True)
            evals = [(held, "held_out")]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            booster = xgboost.train(
                params, train, data.rounds, evals=evals, callbacks=callbacks, verbose_eval=False
            )
    except xgboost.core.XGBoostError as e:
        tenon_model.refuse_large(data.features, e, "input train")
        text = re.sub(r"^\[[\d:]+\] \S+: ?", "", str(e).partition("\nStack trace")[0])
        candidates = re.findall(r"candidate: (\S+)", text)
        wrong = str(params.get("objective"))
        raise StepError(
            "xgboost: "
            + text.partition("\n")[0]
            + (tenon_step.nearest(wrong, candidates) if candidates else "")
        ) from e
    said = "\n".join(str(w.message) for w in caught)
    unused = re.findall(r'"([^"]+)"', "".join(re.findall(r"Parameters: \{(.*?)\}", said)))
    tenon_boosting.reject_unknown("xgboost", unused, xgboost.XGBModel().get_params())
    rounds = booster.num_boosted_rounds()
    tenon_boosting.note_early(rounds, data.rounds)
    data.save("xgboost", step, rounds)
    booster.save_model(data.port.path / "model.ubj")
    tenon_plane.write(data.port.path, step.lazy("train"))


def objective(classes: int) -> dict:
    if classes > 2:
        return {"objective": "multi:softprob", "num_class": classes}
    return {"objective": "binary:logistic" if classes else "reg:squarederror"}


def Progress(step: Step):  # noqa: N802, a class made late, since XGBoost is imported late
    import xgboost

    import tenon_boosting

    class Reporter(xgboost.callback.TrainingCallback):
        def after_iteration(self, model, epoch: int, evals_log) -> bool:
            newest = {name: values[-1] for name, values in evals_log.get("held_out", {}).items()}
            tenon_boosting.report(step, epoch + 1, step.params.get("rounds") or 100, newest)
            return False

    return Reporter()


if __name__ == "__main__":
    tenon_step.run(main)
