"""A clip whose every frame carries its own number, as black and white squares to be read back."""

from pathlib import Path

import numpy as np

FRAMES_PER_S = 24
WIDTH, HEIGHT = 320, 180

# The number's bits, lowest first, as squares along the top: large enough to survive any encoder.
BITS = 16
SQUARE = WIDTH // BITS

# A keyframe every two seconds, as films on the web have.
KEYFRAME_S = 2


def make_frame_clip(path: Path, seconds: float, *, bits_per_s: int = 700_000) -> None:
    """Write an H.264 video without sound; its container follows the file's suffix."""
    import av  # noqa: PLC0415 - an optional extra

    codec = {".avi": "mpeg4"}.get(path.suffix, "libx264")
    noise = np.random.default_rng(7).integers(40, 200, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=FRAMES_PER_S)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate = bits_per_s
        stream.codec_context.gop_size = KEYFRAME_S * FRAMES_PER_S
        stream.codec_context.thread_count = 1
        if codec == "libx264":
            stream.options = {"preset": "ultrafast"}
        for number in range(round(seconds * FRAMES_PER_S)):
            picture = np.roll(noise, number * 3, axis=1)
            bits = [255 if number >> bit & 1 else 0 for bit in range(BITS)]
            picture[:SQUARE] = np.repeat(bits, SQUARE)[None, :, None]
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                out.mux(packet)
        for packet in stream.encode():
            out.mux(packet)


# In a page: resolves to the number in the frame that is shown next, and that frame's own time. Both
# are of one VideoFrame: a busy page draws a later picture than the callback was told of.
READ_FRAME = """() => new Promise((resolve, reject) => {
  const video = document.querySelector('video');
  setTimeout(() => reject(new Error('no frame was shown for 10 s')), 10000);
  video.requestVideoFrameCallback(() => {
    const frame = new VideoFrame(video);
    const canvas = new OffscreenCanvas(BITS, 1);
    const pen = canvas.getContext('2d');
    const step = video.videoWidth / BITS;
    const height = video.videoHeight / 18;
    for (let bit = 0; bit < BITS; bit += 1)
      pen.drawImage(frame, (bit + 0.5) * step, height, 1, 1, bit, 0, 1, 1);
    const pixels = pen.getImageData(0, 0, BITS, 1).data;
    let number = 0;
    for (let bit = 0; bit < BITS; bit += 1) if (pixels[4 * bit] > 127) number += 1 << bit;
    resolve([number, frame.timestamp / 1e6]);
    frame.close();
  });
})""".replace("BITS", str(BITS))
