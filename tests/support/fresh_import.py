"""Imports a second instance of a module.

Tables are built when a module is imported, before the first test. A test that imports the module
again covers the code that builds them.
"""

from __future__ import annotations

import importlib.util
from types import ModuleType


def import_fresh(name: str) -> ModuleType:
    """Return a second instance of the module `name`. The first one stays in `sys.modules`."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
