"""The scripts of the tour, which run when they are imported."""
