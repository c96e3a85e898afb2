"""evaluate.regression: `tenon_evaluate` says what it reads and writes."""

import tenon_step
from tenon_evaluate import main

if __name__ == "__main__":
    tenon_step.run(main)
