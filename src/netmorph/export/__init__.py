"""A network leaves netmorph: as plain Python code, as a `torch.export` program, or as ONNX."""

from netmorph.export.errors import ExportError
from netmorph.export.program import exported, onnx, write_exported
from netmorph.export.source import code, write_code

__all__ = ["ExportError", "code", "exported", "onnx", "write_code", "write_exported"]
