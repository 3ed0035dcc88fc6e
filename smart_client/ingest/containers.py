"""Which containers libav may read: those that hold media, never those that name other files.

Others may send us files. A list of files in one that is called ``film.mp4`` (ffconcat, HLS, SDP)
would make libav open what it names, local files among them, or itself until no handle is left.
"""

from collections.abc import Mapping

# As libav calls its demuxers; what is left out is stored as bytes without times.
FILMS = (
    *("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "flv", "live_flv"),
    *("mpegts", "mpegtsraw", "mpeg", "mpegvideo", "ogg", "asf", "asf_o", "rm", "dv", "mxf", "gxf"),
    *("nut", "nuv", "wtv", "pva", "nsv", "gif", "apng", "ivf", "obu", "h261", "h263", "h264"),
    *("hevc", "vvc", "av1", "m4v", "vc1", "vc1test", "mjpeg", "dirac", "cavsvideo", "avs2"),
    *("yuv4mpegpipe", "roq", "smk", "bink", "film_cpk", "4xm", "ty", "vivo", "dhav", "swf"),
)
SOUNDS = (
    *("wav", "w64", "mp3", "flac", "aac", "ac3", "eac3", "dts", "dtshd", "truehd", "mlp", "aiff"),
    *("au", "caf", "amr", "ape", "wv", "tta", "tak", "mpc", "mpc8", "voc", "loas", "dsf", "oma"),
)

ALLOWED = ",".join((*FILMS, *SOUNDS))

# For ``av.open``, and as words before the input of ffmpeg and ffprobe.
AV_OPTIONS: Mapping[str, str] = {"format_whitelist": ALLOWED}
TOOL_WORDS = ("-format_whitelist", ALLOWED)
