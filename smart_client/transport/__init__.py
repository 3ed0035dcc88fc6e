"""The only place that speaks HTTP to nodes and coordinators."""
