"""What networks are trained for: classes, values, the next token, or a user's own `Task`."""

from netmorph.tasks.classes import classification
from netmorph.tasks.criterion import TOP5, Criterion
from netmorph.tasks.task import LOSS, Constant, Exhibit, Numbers, Objective, Task, TaskError
from netmorph.tasks.tokens import next_token
from netmorph.tasks.values import regression

__all__ = [
    "LOSS",
    "TOP5",
    "Constant",
    "Criterion",
    "Exhibit",
    "Numbers",
    "Objective",
    "Task",
    "TaskError",
    "classification",
    "next_token",
    "regression",
]
