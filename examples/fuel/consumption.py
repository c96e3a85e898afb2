"""The model of examples/fuel: a forest on the gallons a car takes for a mile, which is nearer to linear."""

import numpy as np
import pandas as pd
from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder


def train(features: pd.DataFrame, labels: pd.Series, *, seed: int, trees: int, **_):
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")),
        (SimpleImputer(), make_column_selector(dtype_include="number")),
    )
    forest = RandomForestRegressor(n_estimators=trees, random_state=seed)
    model = TransformedTargetRegressor(make_pipeline(columns, forest), func=np.reciprocal, inverse_func=np.reciprocal)
    return model.fit(features, labels)
