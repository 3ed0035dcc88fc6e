"""The tier that holds fragments: nodes, coordinators and the catalogue."""
