"""Evolution: networks that have children

The best networks get children, wider or deeper copies that know what their
parents know, and learn on.
To read on: docs/search.md, docs/evolution.md.
"""

# %% All of it is one command, here for few training FLOPs, in the setting
# of docs/evolution.md. All networks of a round train the same weights, of
# which each has its own part. Two rivals get as many FLOPs: the start
# network, trained on alone, and random networks from scratch. What
# searching was worth is told first, whoever wins.
from pathlib import Path

import netmorph
from netmorph import demo
from netmorph.run import Records, Result

command = (
    "netmorph evolve --data digits --weights shared --budget 2.5e10flops "
    "--select best --population 3 --founders 3 --children 4 "
    "--start-epochs 24 --epochs 8 --max-flops 6e4"
)
demo.shell(f"{command} --output run")

# %% How did the best network of the evolution come about? Its parents, and
# the edits that made it.
with Records.open(Path("run")) as records:
    result = Result.from_json(records.meta("result"))
best = result.evolved or result.best
assert best is not None
demo.shell(f"netmorph show run:{best.id}")

# %% It is a network like any other, in Python and in all commands.
model, journal = netmorph.load(f"run:{best.id}")
size = netmorph.measure.parameters(model)
print(f"{size:,} parameters after {len(journal)} edits")
demo.shell(f"netmorph export run:{best.id} --code plain.py")

# %% What it comes to, with the pictures of the run.
finding = demo.evolution(Path("run"), command)
print(finding.verdict)
