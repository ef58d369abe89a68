"""What goes wrong with banks of detached layers."""

from netmorph.errors import NetmorphError


class BankError(NetmorphError):
    """A bank is missing, empty or no bank; or it cannot do what it was asked."""


class CutError(BankError):
    """A network cannot be cut into layers."""


class EntryError(BankError):
    """An entry of a bank is unknown, or its file is gone or damaged."""


class CannotAttach(BankError):
    """Nothing of the bank takes these features, not even with a stitch."""
