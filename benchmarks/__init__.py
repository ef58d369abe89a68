"""Benchmarks: each module has a `main` that prints its figures beside a baseline measured in the same run."""
