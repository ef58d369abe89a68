"""What a run is: its config, its budget, and its folder's records and networks."""

from netmorph.run.budget import Budget
from netmorph.run.config import DataConfig, EvolveConfig, TrainConfig
from netmorph.run.records import EpochRecord, NetworkRecord, Records

__all__ = ["Budget", "DataConfig", "EpochRecord", "EvolveConfig", "NetworkRecord", "Records", "TrainConfig"]
