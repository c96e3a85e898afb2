"""train.lightgbm: gradient boosted trees by LightGBM.

Parameters: `params` (LightGBM's own names), `rounds` (default 100), `early_stopping` ({rounds, fraction}:
stop after so many rounds without improvement on a random fraction of the rows, held out), `class_weight`
(see `tenon_weights`; rows that are held out are weighed, too).
Input: `train`, a table with the columns of the model's signature. Output: `model`, with `model.txt`.

The objective follows from the task unless it is given. Strings are categories, natively; missing values stay
missing. The features are c0, c1 and so on in the model, in the order of `encoding` in model.json. Parameters
name columns, as in `monotone_constraints: {age: 1}` and `interaction_constraints: [["age", "income"]]`.
"""

import re

import tenon_step
from tenon_step import Step, StepError


class Log:
    """Takes what LightGBM says: keeps each warning once and drops the rest."""

    def __init__(self) -> None:
        self.unknown: list[str] = []
        self._said: set[str] = set()

    def info(self, message: str) -> None:
        if found := re.search(r"Unknown parameter: (\S+)", message):
            self.unknown.append(found[1])
        elif "[Warning]" in message and message not in self._said:
            self._said.add(message)
            tenon_step.log(message)

    warning = info


def main(step: Step) -> None:
    import lightgbm

    import tenon_boosting
    import tenon_plane

    data = tenon_boosting.read(step, OWN_WEIGHTS)
    # Row-wise histograms are fixed, because the library would choose by measuring.
    fixed = {"seed": step.seed32, "deterministic": True, "force_row_wise": True, "verbosity": 0}
    own = tenon_boosting.with_codes(step.params.get("params") or {}, data.signature, int)
    params = {**fixed, **objective(data.classes), **own}
    train = lightgbm.Dataset(data.train, data.train_y, weight=data.train_weight)
    callbacks: list = [
        lambda env: tenon_boosting.report(
            step, env.iteration + 1, data.rounds, {r[1]: r[2] for r in env.evaluation_result_list or ()}
        )
    ]
    held = None
    if data.stop_after:
        held = [lightgbm.Dataset(data.held, data.held_y, weight=data.held_weight, reference=train)]
        callbacks.append(lightgbm.early_stopping(data.stop_after, verbose=False))
    log = Log()
    lightgbm.register_logger(log)
    try:
        booster = lightgbm.train(params, train, data.rounds, valid_sets=held, callbacks=callbacks)
    except lightgbm.basic.LightGBMError as e:
        raise StepError(f"lightgbm: {e}") from e
    known = lightgbm.LGBMModel().get_params()
    tenon_boosting.reject_unknown("lightgbm", log.unknown, [*known, *ALIASES])
    rounds = (
        booster.best_iteration
        if data.stop_after and booster.best_iteration > 0
        else booster.current_iteration()
    )
    tenon_boosting.note_early(rounds, data.rounds)
    data.save("lightgbm", step, rounds)
    booster.save_model(data.port.path / "model.txt", num_iteration=rounds)
    tenon_plane.write(data.port.path, step.lazy("train"))


# LightGBM's own parameters for the weights of two classes, with their aliases.
OWN_WEIGHTS = ("scale_pos_weight", "is_unbalance", "unbalance", "unbalanced_sets")

# LightGBM's own names that its scikit-learn interface calls otherwise; only for suggestions.
ALIASES = (
    "bagging_fraction",
    "bagging_freq",
    "feature_fraction",
    "lambda_l1",
    "lambda_l2",
    "max_bin",
    "min_data_in_leaf",
)


def objective(classes: int) -> dict:
    if classes > 2:
        return {"objective": "multiclass", "num_class": classes}
    return {"objective": "binary" if classes else "regression"}


if __name__ == "__main__":
    tenon_step.run(main)
