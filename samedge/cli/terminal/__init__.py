"""What commands print: results, progress, and the live line of a stream."""
