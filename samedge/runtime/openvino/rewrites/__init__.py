"""Rewrites of encoders for OpenVINO's CPU plugin: the same numbers from cheaper operations."""

# Part of every engine's key in the cache: a graph rewritten by other code is another engine. Raise
# it whenever the graphs that are compiled change; a test holds it against the rewrites' source.
REWRITES_VERSION = 2
