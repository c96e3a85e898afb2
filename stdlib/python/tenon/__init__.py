"""Read the results of a Tenon system: in a notebook, or in any program.

    import tenon

    shapes = tenon.table("features.shapes")                 # a DataFrame
    model = tenon.load("models.species")                    # the fitted model
    tenon.predict("models.species", shapes)                 # its predictions, a DataFrame
    tenon.table("features.shapes", revision="@2")           # as it was after revision 2

    iris = tenon.System("~/systems/iris", revision=3)       # the same for one system and revision
    iris.table("features.shapes")

Results are those that are deployed, or those of a revision that `tenon history` lists. Everything is read
through the program `tenon`, which $TENON names or which is in the path. It compares each result with its
digest first.
"""

from __future__ import annotations

from tenon._environment import EnvironmentMismatch
from tenon._program import Error
from tenon._system import System, load, predict, table

__all__ = ["EnvironmentMismatch", "Error", "System", "load", "predict", "table"]
for _c in (EnvironmentMismatch, Error, System):
    _c.__module__ = "tenon"  # so a traceback names what a program catches
__version__ = "0.1.0.dev0"  # that of internal/version, as Python writes it
