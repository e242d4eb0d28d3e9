"""From sources to sinks: `job.segment` for files, `live.stream.LiveStream` for what is live.

    source -> frame -> session -> sinks

`job` checks everything and starts the engine, `segmenting` is the loop, `options` says what goes
together, `classes` which classes are written, `sink` what a sink is, `summary` and `sampling` keep
numbers of a source without growing; `sinks/` holds what comes out. `live/` is the same for frames
that come when they come, `viewer/` the page that shows them.
"""
