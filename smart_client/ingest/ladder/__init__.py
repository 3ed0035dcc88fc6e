"""A ladder: smaller renditions of a video, encoded and stored beside the original."""
