"""vimmon knows at any minute which clouds (VIMs) can be reached.

`from vimmon import Registry` is the way in for a program; it is loaded when asked for, so that an executor, which only
needs `vimmon.actions`, does not load a database library.
"""

from typing import TYPE_CHECKING

from vimmon.version import VERSION

if TYPE_CHECKING:
    from vimmon.registry.registry import Registry

__version__ = VERSION
__all__ = ["Registry", "__version__"]


def __getattr__(name: str) -> object:
    if name == "Registry":
        from vimmon.registry.registry import Registry

        return Registry
    raise AttributeError(f"module 'vimmon' has no attribute {name!r}")
