"""Adaptive bitrate: which rendition of a ladder each unit is played in; pure."""
