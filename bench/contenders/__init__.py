"""What is measured: sessions, libsamedge, streams, encoders, and what one has without samedge.

Each is an `Entry`: a contender that was shown to compute the right thing, and what a report says of
it.
"""
