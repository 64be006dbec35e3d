"""A module run once more beside the one that the program uses.

Tables are built while a module is imported, before any test begins: only what is built anew
inside a test shows that test whether the building is right.
"""

from __future__ import annotations

import importlib.util
from types import ModuleType


def imported_anew(name: str) -> ModuleType:
    """A second instance of the module `name`; the first stays the one that is imported."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
