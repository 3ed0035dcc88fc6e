"""The commands of ``smart-client``: each parses, calls, prints one result, returns a code."""
