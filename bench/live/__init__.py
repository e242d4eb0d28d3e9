"""A whole live stream, from the pixels of a simulated device to programs of other processes.

`rig` is the stream with its sinks and the clients at their ends, `clients` those clients, a process
of their own; `python -m samedge.bench.live` measures the way from source to sinks, and
`python -m samedge.bench.live.soak` looks whether memory and files stay flat for hours.
"""
