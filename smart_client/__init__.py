"""Everything that reads and writes videos."""
