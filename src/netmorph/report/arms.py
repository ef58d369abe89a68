"""How the report names and draws the arms of a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from netmorph.run.names import ArmName
from netmorph.run.rows import NetworkRecord

# Okabe and Ito's colours, which colour-blind readers tell apart; markers differ as well.
ACCENT, ORANGE, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
YELLOW, SKY = "#e69f00", "#56b4e9"


@dataclass(frozen=True)
class Look:
    """One arm.

    Attributes:
        title: at the head of a line.
        phrase: within a sentence.
        marker: matplotlib's.
    """

    title: str
    phrase: str
    colour: str
    marker: str


LOOKS: dict[str, Look] = {
    ArmName.EVOLVE: Look("Evolution", "the evolution", ACCENT, "o"),
    ArmName.RANDOM: Look("Random search", "random search without inheritance", ORANGE, "^"),
    ArmName.ALONE: Look("Start network trained on alone", "the start network trained on alone", GREEN, "s"),
    ArmName.LOCAL: Look("Local search", "local search", YELLOW, "D"),
    ArmName.DESIGNED: Look("Designed network from scratch", "the designed network from scratch", SKY, "P"),
}


def look(arm: str) -> Look:
    """Of an arm; further ones go by their names."""
    return LOOKS.get(arm) or Look(arm.capitalize(), arm, PURPLE, "v")


def arms_of(networks: Iterable[NetworkRecord]) -> list[str]:
    """The arms that have networks: those that come along, then further ones."""
    found = dict.fromkeys(network.arm for network in networks)
    return [*(arm for arm in LOOKS if arm in found), *(arm for arm in found if arm not in LOOKS)]
