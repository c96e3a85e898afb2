"""A model that always says the same, and may do so only where it is not served."""

import pathlib
import sys
import time


def train(features, labels, says, served):
    return Constant(says, served)


class Constant:
    def __init__(self, says, served):
        self.says, self.served = says, served

    def __setstate__(self, state):
        self.__dict__.update(state)
        if pathlib.Path(sys.argv[0]).name == "tenon_worker.py":
            getattr(self, self.served)()

    def predict(self, features):
        return [float(self.says)] * len(features)

    def well(self):
        print(f"the constant is {self.says}", flush=True)

    def crashes(self):
        print("reading the index", flush=True)
        raise RuntimeError("the index is of another release")

    def unready(self):
        """The service does not listen before it is loaded."""
        print("the cache is cold", flush=True)
        time.sleep(3600)
