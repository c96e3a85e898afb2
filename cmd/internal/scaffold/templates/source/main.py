"""<<.Component>>: the lines of text files.

Files: those of `path`. Each line is a word, a space and a number.
Output: `out`, a table with the columns `word` and `number`.
"""

import tenon_step
from tenon_step import Step, StepError


def main(step: Step) -> None:
    files = sorted(f for found in step.files.values() for f in found)
    if not files:
        raise StepError(f"no file matches {', '.join(step.files)}")
    with step.writer("out") as writer:
        for done, file in enumerate(files, 1):
            writer.write(read(file))
            step.progress(done, len(files), f"{writer.rows} rows")
    step.metrics(rows=writer.rows)


def read(file: str) -> dict[str, list]:
    words, numbers = [], []
    with open(file, encoding="utf-8") as lines:
        for at, line in enumerate(lines, 1):
            word, _, number = line.strip().partition(" ")
            try:
                numbers.append(float(number))
            except ValueError:
                raise StepError(f"{file}:{at}: column number: {number!r} is no number") from None
            words.append(word)
    return {"word": words, "number": numbers}


if __name__ == "__main__":
    tenon_step.run(main)
