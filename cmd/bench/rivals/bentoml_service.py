"""The model of examples/flights behind BentoML: rows of features become probabilities."""

import bentoml
import joblib
import pandas as pd


@bentoml.service(workers=1, metrics={"enabled": False})
class Late:
    def __init__(self) -> None:
        self.model = joblib.load("model.joblib")

    @bentoml.api(route="/predict")
    def predict(self, rows: pd.DataFrame) -> list[list[float]]:
        return self.model.predict_proba(rows).tolist()
