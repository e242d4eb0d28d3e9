"""OpenIGTLink, the protocol between PLUS, 3D Slicer and others: messages as bytes, and back.

`crc64`, `stamps`, `header`, `image` and `messages` are the codec, without sockets, written after
the protocol's description (version 3; headers of version 1 and 2). `markups` makes points in mm to
points in px. `address`, `sockets` and `connection` are the network, for the source and the sink of
live streams.
"""

PORT_IN = 18944  # where PLUS serves
PORT_OUT = 18945  # where others look for what was computed from it
