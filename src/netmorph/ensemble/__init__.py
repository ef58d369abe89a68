"""Networks that answer together: which of them, how they come about cheaply, and one network that learns from all."""

from netmorph.ensemble.answering import Ensemble, outputs_of
from netmorph.ensemble.combining import Combiner, combine, concatenated, headless, summed
from netmorph.ensemble.cycles import snapshots
from netmorph.ensemble.distilling import Softened, distilled
from netmorph.ensemble.ending import tuning
from netmorph.ensemble.hatching import Mutated, Widened, core_widths, hatch
from netmorph.ensemble.selection import EnsembleError, combined, greedy

__all__ = [
    "Combiner",
    "Ensemble",
    "EnsembleError",
    "Mutated",
    "Softened",
    "Widened",
    "combine",
    "combined",
    "concatenated",
    "core_widths",
    "distilled",
    "greedy",
    "hatch",
    "headless",
    "outputs_of",
    "snapshots",
    "summed",
    "tuning",
]
