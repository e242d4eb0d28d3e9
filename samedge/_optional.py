"""Optional packages: present, or an error that names the extra which brings them.

A package that cannot work without torch says so in its `__init__`, which runs before any of its
modules:

    require("torch", extra="export", what="samedge.kernels")

and its modules import torch as they import anything else. Where one module of several needs a
package, or where an `__init__` offers its modules' names, the imports stand in a block:

    with importing("torch", extra="export", what="samedge.train"):
        import torch

Inside a function, `require` stands in place of an import that only some commands need.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from samedge.errors import MissingDependencyError


def require(module_name: str, extra: str, what: str) -> ModuleType:
    """Import and return the module `module_name`.

    Args:
        module_name: as in an import statement; its first part is the package to be installed.
        extra: the extra of samedge that lists the package ("export", "stream", ...).
        what: the subject of the message: "samedge.fold", "reading DICOM".

    Raises:
        MissingDependencyError: the package is not installed. An ImportError from inside an
            installed package is passed on as it is: installing the extra would not help.
    """
    with importing(module_name.partition(".")[0], extra, what):
        return import_module(module_name)


@contextmanager
def importing(package: str, extra: str, what: str) -> Iterator[None]:
    """Imports inside the block that do not find `package` become an error that names the extra.

    Of blocks inside one another the outermost gives the message its subject: it is nearest to
    what the user asked for.

    Args:
        package: the package to be installed, by the name that it is imported under.
        extra: the extra of samedge that lists the package ("export", "stream", ...).
        what: the subject of the message: "samedge.fold", "reading DICOM".

    Raises:
        MissingDependencyError: as `require` does.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or package).partition(".")[0] != package:
            raise
        raise MissingDependencyError(package, extra, what) from error
    except MissingDependencyError as error:
        if error.package != package:
            raise
        raise MissingDependencyError(package, extra, what) from error
