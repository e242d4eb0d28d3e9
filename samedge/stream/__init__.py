"""From sources to sinks: `job.segment` is the one call, for Python and the command line.

    source -> frame -> session -> sinks

`job` checks everything and starts the engine, `segmenting` is the loop, `options` says what goes
together, `classes` which classes are written, `sink` what a sink is, `summary` and `sampling` keep
numbers of a source without growing; `sinks/` holds what comes out.
"""
