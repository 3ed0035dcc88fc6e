"""How pictures and sound are treated before they are encoded, and how x264 is set. Pure."""

from fractions import Fraction

from smart_client.ingest.ladder.plan import (
    AUDIO_RATE_HZ,
    LadderPlan,
    PictureFacts,
    Rung,
)

Filter = tuple[str, str]  # name, settings

# Below this quality nobody sees a difference; what is easy to encode takes less than its rung may.
QUALITY_CRF = 21

# Four times faster than the default for a tenth more bits.
PRESET = "veryfast"

PICTURES_BETWEEN_RATE_MIN = 22

_TURNS: dict[int, tuple[Filter, ...]] = {
    0: (),
    90: (("transpose", "clock"),),
    180: (("hflip", ""), ("vflip", "")),
    270: (("transpose", "cclock"),),
}


def picture_filters(
    picture: PictureFacts, rung: Rung, rate: Fraction, *, turns: bool = True
) -> tuple[Filter, ...]:
    """Return what makes a source's pictures a rung's: progressive, upright, constant, small."""
    interlaced: tuple[Filter, ...] = (("yadif", "deint=interlaced"),)
    return (
        *(interlaced if picture.is_interlaced else ()),
        *(_TURNS[picture.turn] if turns else ()),
        ("fps", f"fps={rate.numerator}/{rate.denominator}:start_time=0"),
        ("scale", f"w={rung.width}:h={rung.height}:flags=bicubic"),
        ("setsar", "1"),
        ("format", "pix_fmts=yuv420p"),
    )


def sound_filters(channels: int, *, is_first: bool = True) -> tuple[Filter, ...]:
    """Return what makes a source's sound the rendition's: from 0 on, without gaps, 48 kHz.

    Args: is_first: False: the source's form has changed on the way; what follows is not from 0 on.
    """
    layout = "mono" if channels == 1 else "stereo"
    return (
        ("aresample", f"{AUDIO_RATE_HZ}:async=1" + (":first_pts=0" if is_first else "")),
        (
            "aformat",
            f"sample_fmts=fltp:sample_rates={AUDIO_RATE_HZ}:channel_layouts={layout}",
        ),
    )


def x264_options(rung: Rung, plan: LadderPlan) -> dict[str, str]:
    """Return x264's settings: constant quality, never over the rung's rate, equal closed GOPs."""
    every = plan.segment_pictures
    # Pictures that refer to later ones delay all by one. An edit list takes that back, but VLC does
    # not heed it in HLS and DASH: there pictures come that much behind the sound. Up to 45 ms
    # nobody notices (ITU-R BT.1359), so at few pictures a second there are none.
    between = 2 if plan.rate > PICTURES_BETWEEN_RATE_MIN else 0
    return {
        "preset": PRESET,
        "profile": "high",
        "crf": str(QUALITY_CRF),
        "maxrate": str(rung.bits_per_s),
        "bufsize": str(rung.bits_per_s),
        "x264-params": f"keyint={every}:min-keyint={every}:scenecut=0:open-gop=0:force-cfr=1"
        f":bframes={between}:b-pyramid=none",
    }
