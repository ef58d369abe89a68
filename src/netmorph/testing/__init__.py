"""Checkers for edits, op rules, proposals, scores and networks of your own: do they keep what netmorph promises?"""

from netmorph.testing.attributes import check_attributes
from netmorph.testing.choices import check_proposal, check_score
from netmorph.testing.compare import CheckError
from netmorph.testing.edits import check_edit
from netmorph.testing.gradients import check_gradients
from netmorph.testing.kept import over_kept
from netmorph.testing.masked import masked_outputs
from netmorph.testing.rules import check_groups, check_rule

__all__ = [
    "CheckError",
    "check_attributes",
    "check_edit",
    "check_gradients",
    "check_groups",
    "check_proposal",
    "check_rule",
    "check_score",
    "masked_outputs",
    "over_kept",
]
