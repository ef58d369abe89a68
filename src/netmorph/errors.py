"""What goes wrong because of what the user gave: every message says what was given and what to do."""

import difflib
import importlib
from collections.abc import Iterable, Mapping
from types import ModuleType


class NetmorphError(ValueError):
    """Base of netmorph's own errors; the command line prints them without a traceback."""


class EditError(NetmorphError):
    """An edit cannot be made; the network is as it was."""


class MissingExtra(NetmorphError):
    """An optional dependency is not installed."""


def suggest(name: str, known: Iterable[str]) -> str:
    """' (did you mean ...?)' for a message about an unknown name, or nothing."""
    close = difflib.get_close_matches(str(name), filter(None, known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or say which extra of netmorph installs it.

    Raises:
        MissingExtra: `module` is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"this needs the package {module.split('.')[0]!r}, which is not installed; "
            f"run: pip install 'netmorph[{extra}]'"
        ) from error


def require_all(modules: Mapping[str, str]) -> None:
    """Refuse before hours of work what would lack at their end.

    Args:
        modules: optional dependencies, each with the extra of netmorph that installs it.

    Raises:
        MissingExtra: one is not installed.
    """
    for module, extra in modules.items():
        require(module, extra)
