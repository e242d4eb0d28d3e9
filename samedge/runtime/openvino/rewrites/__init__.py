"""Rewrites of graphs for OpenVINO's CPU plugin: the same numbers from cheaper operations."""
