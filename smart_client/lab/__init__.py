"""Simulated worlds made real: namespaces, shaped links, real nodes and a real client."""
