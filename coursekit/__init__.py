"""The package behind the notebooks: data, training loops, figures, exercises, and the machine they run on."""

import importlib
from types import ModuleType

__all__ = ["data", "exercises", "plots", "runtime", "train"]


def __getattr__(name: str) -> ModuleType:
    """Import a submodule when it is first asked for, so that `import coursekit` costs nothing."""
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
