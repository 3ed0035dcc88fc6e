"""How bytes become fragments, how many, and where they go."""

__version__ = "0.1.0"
