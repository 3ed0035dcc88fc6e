"""One node: a superblock store behind ranged HTTP."""
