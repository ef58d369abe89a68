"""Callbacks that edit a network inside other libraries' training loops; each needs its extra."""
