"""Optional packages: present, or an error that names the extra which brings them.

    require("torch", extra="export", what="samedge.fold")

stands at the top of a package that cannot work without torch, before its imports. Inside a
function it replaces an import that only some commands need.
"""

from __future__ import annotations

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
    package = module_name.partition(".")[0]
    try:
        return import_module(module_name)
    except ModuleNotFoundError as error:
        if (error.name or package).partition(".")[0] != package:
            raise
        raise MissingDependencyError(package, extra, what) from error
