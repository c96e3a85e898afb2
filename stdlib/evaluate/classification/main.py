"""evaluate.classification: `tenon_evaluate` says what it reads and writes."""

import tenon_evaluate
import tenon_step

if __name__ == "__main__":
    tenon_step.run(tenon_evaluate.main)
