"""Where jobs run, and what a process that computes asks of its allocator."""

from netmorph.workers.allocator import keep_freed_memory

__all__ = ["keep_freed_memory"]
