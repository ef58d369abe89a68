"""`python -m netmorph.cli`."""

from netmorph.cli import main

main()
