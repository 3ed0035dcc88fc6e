"""The session core: pure decisions; events and instants in, commands out."""
