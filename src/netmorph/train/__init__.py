"""Train a network, or many at once; go on where a training stopped; ask what a network has learned."""

from netmorph.train.editing import InLoop
from netmorph.train.evaluation import evaluate, evaluate_constant, predict
from netmorph.train.frozen import Frozen
from netmorph.train.generation import generate
from netmorph.train.history import Epoch, History
from netmorph.train.loop import train
from netmorph.train.lr_finder import RangeTest, find_learning_rate
from netmorph.train.means import Metrics
from netmorph.train.muon import Muon
from netmorph.train.optimizers import OPTIMIZERS, build_optimizer
from netmorph.train.pace import LearningRatePolicy, Pace
from netmorph.train.parallel import World, joined
from netmorph.train.recipe import Recipe
from netmorph.train.schedules import SCHEDULES
from netmorph.train.stacked.many import train_many

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "Epoch",
    "Frozen",
    "History",
    "InLoop",
    "LearningRatePolicy",
    "Metrics",
    "Muon",
    "Pace",
    "RangeTest",
    "Recipe",
    "World",
    "build_optimizer",
    "evaluate",
    "evaluate_constant",
    "find_learning_rate",
    "generate",
    "joined",
    "predict",
    "train",
    "train_many",
]
