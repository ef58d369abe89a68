"""Pictures of networks: what they are made of, and what differs between two of them."""

from netmorph.draw.boxes import Box, Change, Edge
from netmorph.draw.diagram import Diagram, DrawError
from netmorph.draw.differing import difference, edits
from netmorph.draw.networks import architecture, module_tree

__all__ = ["Box", "Change", "Diagram", "DrawError", "Edge", "architecture", "difference", "edits", "module_tree"]
