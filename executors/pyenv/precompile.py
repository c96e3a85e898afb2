"""Compiles the modules of a folder that are not compiled yet, and prints how far it is: "DONE ALL"."""

import compileall
import importlib.util
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor


def compile_one(path):
    compileall.compile_file(path, quiet=2)


if __name__ == "__main__":
    todo = []
    for folder, _, names in os.walk(sys.argv[1]):
        paths = [os.path.join(folder, name) for name in names if name.endswith(".py")]
        todo += [path for path in paths if not os.path.exists(importlib.util.cache_from_source(path))]
    todo.sort()
    print(0, len(todo), flush=True)
    # A process that forks needs no message, and the pool starts no threads before it does.
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), multiprocessing.get_context("fork")) as pool:
        for done, _ in enumerate(pool.map(compile_one, todo, chunksize=16), 1):
            if done % 50 == 0 or done == len(todo):
                print(done, len(todo), flush=True)
