"""The ladder of a scenario: which renditions its video has."""

from itertools import pairwise
from typing import Annotated

import msgspec

# Sizes of units follow what is in the picture; more than this beside the mean is cut.
SIZE_FACTOR_MIN, SIZE_FACTOR_MAX = 0.5, 1.8


class LadderPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Renditions beside the video itself, which is the highest. Units are the video's chunks."""

    mbit_per_s: Annotated[tuple[float, ...], msgspec.Meta(min_length=1)]
    # Lognormal spread of unit sizes, the same factor in every rendition of a unit: a hard scene is
    # hard in all of them.
    size_sigma: Annotated[float, msgspec.Meta(ge=0)] = 0.0

    def __post_init__(self) -> None:
        if self.mbit_per_s[0] <= 0 or any(low >= high for low, high in pairwise(self.mbit_per_s)):
            raise ValueError("a ladder's bitrates are above 0 and rise")

    @property
    def top(self) -> float:
        """The highest bitrate, in Mbit/s."""
        return self.mbit_per_s[-1]
