"""Plain tables for the terminal, under the name the commands here know."""

from redundancy.tables import table

__all__ = ["table"]
