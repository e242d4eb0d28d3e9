"""Masks on frames as they come: `LiveStream` runs a source, a session and sinks, each apart.

    source -> mailbox -> encode -> prompt -> decode -> one outlet per sink

`stream` is the whole and its watch; `reader` the thread of the source, `worker` that of the
session, `outlet` that of a sink, `mailbox` what lies between them. `item` is what sinks get,
`controls` what users say meanwhile, `objects` what is asked about a frame because of it.
"""
