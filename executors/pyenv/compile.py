# Compiles one part of the modules of a tree to bytecode, in a fixed order.
import os
import py_compile
import sys

root, at, part, parts = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
files = sorted(os.path.join(d, f) for d, _, names in os.walk(root) for f in names if f.endswith(".py"))
for path in files[part::parts]:
    try:
        py_compile.compile(path, dfile=at + path[len(root) :], doraise=True, invalidation_mode=mode)
    except (py_compile.PyCompileError, UnicodeError, ValueError):
        pass  # a template, or for another Python: nobody imports it
