"""Delays the import of modules that a library asks for and that migrator almost never uses."""

from __future__ import annotations

import importlib
import sys
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Later(ModuleType):
    """A stand-in for a module, which imports the module when an attribute of it is used.

    A stand-in is false, because some code looks in `sys.modules` whether a module is in use: from
    Python 3.12 on, `logging` asks asyncio for the current task if asyncio is there.
    """

    def __bool__(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Give stand-ins for some modules to everything that the block imports.

    A module that is imported already is left alone. After the block, an import of one of the
    modules gives the real module again.

    Args:
        names: the names of the modules.
    """
    stand_ins = [_Later(name) for name in names if name not in sys.modules]
    sys.modules.update({stand_in.__name__: stand_in for stand_in in stand_ins})
    try:
        yield
    finally:
        for stand_in in stand_ins:
            if sys.modules.get(stand_in.__name__) is stand_in:
                del sys.modules[stand_in.__name__]
