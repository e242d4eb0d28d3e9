"""Half precision: graphs, the overflow probe, and the arithmetic emulated on a CPU."""
