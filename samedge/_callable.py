"""Lets a package be called like the function of the same name inside it.

`samedge.export(folded, path)` is the public call and `samedge.export` is also a package. Python
binds the package to that name as soon as any of its modules is imported, whatever the parent
says, so the package itself has to answer the call.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        function = getattr(self, self.__name__.rpartition(".")[2])
        return function(*args, **kwargs)


def make_callable(module_name: str) -> None:
    """Make the package `module_name` forward calls to its own function of the same last name."""
    sys.modules[module_name].__class__ = _CallablePackage
