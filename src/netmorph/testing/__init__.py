"""Checkers for edits, op rules and networks of your own: do they keep what netmorph promises?"""

from netmorph.testing.attributes import check_attributes
from netmorph.testing.compare import CheckError
from netmorph.testing.edits import check_edit
from netmorph.testing.gradients import check_gradients
from netmorph.testing.masked import masked_outputs, over_kept
from netmorph.testing.rules import check_groups, check_rule

__all__ = [
    "CheckError",
    "check_attributes",
    "check_edit",
    "check_gradients",
    "check_groups",
    "check_rule",
    "masked_outputs",
    "over_kept",
]
