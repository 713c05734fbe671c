"""Stand-ins for modules that a library imports and nobody here needs: imported when used."""

from __future__ import annotations

import importlib
import sys
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Later(ModuleType):
    """Stands for a module until something of it is used.

    It is false, for code that looks in `sys.modules` whether somebody uses the module: `logging`
    asks asyncio for the current task then, from Python 3.12 on.
    """

    def __bool__(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Let an import in the block have stand-ins for some modules that it asks for.

    What is imported already is left alone, and after the block the modules are what they always
    are.

    Args:
        names: the modules.
    """
    modules = [_Later(name) for name in names if name not in sys.modules]
    sys.modules.update({module.__name__: module for module in modules})
    try:
        yield
    finally:
        for module in modules:
            if sys.modules.get(module.__name__) is module:
                del sys.modules[module.__name__]
