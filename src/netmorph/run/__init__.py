"""What a run is: its config, its budget, its folder's records and networks, and what it has found."""

from netmorph.run.budget import Budget
from netmorph.run.config import DataConfig, EvolveConfig, TrainConfig
from netmorph.run.names import ArmName, Stage, State, Status
from netmorph.run.opening import survivors
from netmorph.run.ranking import spent
from netmorph.run.records import Records
from netmorph.run.result import Result
from netmorph.run.rows import EpochRecord, NetworkRecord
from netmorph.run.store import NetworkStore

__all__ = [
    "ArmName",
    "Budget",
    "DataConfig",
    "EpochRecord",
    "EvolveConfig",
    "NetworkRecord",
    "NetworkStore",
    "Records",
    "Result",
    "Stage",
    "State",
    "Status",
    "TrainConfig",
    "spent",
    "survivors",
]
