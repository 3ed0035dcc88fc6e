"""The catalogue: registers changed only by compare-and-set."""
