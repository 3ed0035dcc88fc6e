"""From a file to a stored video: probe, cut, encode, upload, commit."""
