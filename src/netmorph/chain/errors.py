"""What goes wrong when layers are chained."""

from netmorph.errors import NetmorphError


class ChainError(NetmorphError):
    """A chain, a search or its folder is none that can be worked with; the message says why."""


class MemoryLimit(ChainError):
    """The features of a single chain take more memory than the cache may hold."""
