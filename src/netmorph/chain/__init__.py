"""Networks made of detached layers: an agent chains layers of a bank until it picks an end."""

from netmorph.chain.agents import AGENTS
from netmorph.chain.assembling import Link, assembled, assembled_and_learnt, lineage
from netmorph.chain.detached import DetachedLayers
from netmorph.chain.errors import ChainError, MemoryLimit
from netmorph.chain.features import FeatureCache
from netmorph.chain.gradients import Gradients
from netmorph.chain.heads import Pooled
from netmorph.chain.learning import ActorWithCritic, Reinforce
from netmorph.chain.learnt import Kept, Learnt, network_of
from netmorph.chain.lessons import LESSON, LOOK, Steps, in_turn, looking, seen_in, teaching
from netmorph.chain.modes import MODES, Mode, everything, stitches_and_head
from netmorph.chain.ppo import MaskablePPO, as_environment
from netmorph.chain.problem import EMPTY, Problem
from netmorph.chain.rewards import REWARDS, at_the_end, by_layer
from netmorph.chain.states import STATES, Named, Place, Seen
from netmorph.chain.tree import TreeSearch
from netmorph.chain.trials import Agent, Enough, Trials, cheap, search
from netmorph.chain.values import SOLVED, Chain, Lesson, Outcome, Prefix, Record
from netmorph.chain.walks import Beam, LocalSearch, prior, random_chains

__all__ = [
    "AGENTS",
    "EMPTY",
    "LESSON",
    "LOOK",
    "MODES",
    "REWARDS",
    "SOLVED",
    "STATES",
    "ActorWithCritic",
    "Agent",
    "Beam",
    "Chain",
    "ChainError",
    "DetachedLayers",
    "Enough",
    "FeatureCache",
    "Gradients",
    "Kept",
    "Learnt",
    "Lesson",
    "Link",
    "LocalSearch",
    "MaskablePPO",
    "MemoryLimit",
    "Mode",
    "Named",
    "Outcome",
    "Place",
    "Pooled",
    "Prefix",
    "Problem",
    "Record",
    "Reinforce",
    "Seen",
    "Steps",
    "TreeSearch",
    "Trials",
    "as_environment",
    "assembled",
    "assembled_and_learnt",
    "at_the_end",
    "by_layer",
    "cheap",
    "everything",
    "in_turn",
    "lineage",
    "looking",
    "network_of",
    "prior",
    "random_chains",
    "search",
    "seen_in",
    "stitches_and_head",
    "teaching",
]
