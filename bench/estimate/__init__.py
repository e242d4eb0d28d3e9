"""How fast a device cannot be: bounds from data sheets, for devices that nobody has at hand.

`devices` has the figures and where each is from, `work` counts what a bundle computes, `bound` puts
them together. Nothing here is timed, and nothing predicts a time.
"""
