"""The package behind the notebooks: data, training loops, figures, exercises, and the machine they run on."""

import importlib
import os
import sys
from types import ModuleType

__all__ = ["data", "exercises", "judge", "plots", "progress", "runtime", "train"]

# GNU OpenMP, which torch computes with on Linux, reads this as torch is loaded: how often a thread looks whether there
# is work before it lets others compute. By default it looks for milliseconds, and beside another program all wait.
if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def __getattr__(name: str) -> ModuleType:
    """Import a submodule when it is first asked for, so that `import coursekit` costs nothing."""
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
