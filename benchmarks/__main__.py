"""Run every benchmark of this package that takes minutes on a CPU, or those named on the command line."""

import importlib
import pkgutil
import sys

import benchmarks

# They need a GPU, files of weights, a quiet machine for long, or hours.
APART = {
    "store",  # which simulate runs
    "chain_agents",
    "chain_speed",
    "chains",
    "draw",
    "edit_efficientnet",
    "eyes",
    "faults",
    "gpu",
    "growth_gpt",
    "growth_images",
    "growth_inception",
    "growth_short",
    "imagenet_layout",
    "mutants",
    "narrowing",
    "random_networks",
    "rank_study",
    "refit",
    "shrink",
    "shrink_efficientnet",
    "shrink_resnet56",
    "small_validation",
    "soak",
    "solve",
    "strangers",
    "tables",
    "traced",
    "zoo",
}


def main(names: list[str]) -> None:
    found = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__))
    for name in names or [name for name in found if not name.startswith("_") and name not in APART]:
        print(f"== {name}", flush=True)
        importlib.import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main(sys.argv[1:])
