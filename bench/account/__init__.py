"""What a network starts and moves on a GPU, counted: an engine of our own, the least, and eager.

`python -m samedge.bench.ops --account` prints it. Nothing here is timed.
"""
