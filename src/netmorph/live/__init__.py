"""A run as a local page that follows it: what records say, as JSON; a small server; the page."""

from netmorph.live.server import ServerError, serving

__all__ = ["ServerError", "serving"]
