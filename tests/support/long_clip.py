"""A long film at the price of a short one: the same pictures over and over, times shifted."""

from pathlib import Path

import av  # only where a test asks for a clip, which needs it too


def looped(short: Path, out: Path, times: int) -> None:
    """Write the pictures of ``short`` so many times in a row; the index stands first."""
    with av.open(str(short)) as source:
        stream = source.streams.video[0]
        packets = [packet for packet in source.demux(stream) if packet.dts is not None]
        options = {"movflags": "+faststart"}
        with av.open(str(out), "w", format="mp4", options=options) as target:
            made = target.add_stream_from_template(stream)
            turn = packets[-1].dts + packets[-1].duration - packets[0].dts
            for number in range(times):
                for each in packets:
                    packet = av.Packet(bytes(each))
                    packet.pts, packet.dts = each.pts + number * turn, each.dts + number * turn
                    packet.duration, packet.time_base = each.duration, each.time_base
                    packet.is_keyframe = each.is_keyframe
                    packet.stream = made
                    target.mux(packet)
