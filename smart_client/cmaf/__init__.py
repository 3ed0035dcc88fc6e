"""The bytes of CMAF: boxes, samples, segments and their index. Pure."""
