import numpy as np


class Share:
    """Predicts by the hour alone, with the share of late flights as the probability."""

    def __init__(self, share):
        self.share = share

    def predict(self, features):
        return features["hour"].to_numpy() > 12

    def predict_proba(self, features):
        return np.tile([1 - self.share, self.share], (len(features), 1))


def train(features, labels, scale):
    return Share(float(labels.mean()) * scale if len(labels) else 0.5)
