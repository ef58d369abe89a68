"""The error of all exports."""

from netmorph.errors import NetmorphError


class ExportError(NetmorphError):
    """A network cannot be written in the form that was asked for."""
