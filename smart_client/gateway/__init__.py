"""The local HTTP server that any player can open."""
