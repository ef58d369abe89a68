"""`python -m netmorph`."""

from netmorph.cli import main

main()
