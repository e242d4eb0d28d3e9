"""Cameras, grabbers and servers in the network, read by PyAV in a thread of their own."""
