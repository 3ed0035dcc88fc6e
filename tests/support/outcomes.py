"""Outcomes of sessions that were never played, for what only counts them."""

from smart_client.simulator.simulate import Outcome


def outcome(
    startup_s: float, stalled_s: float = 0.0, *, ended: bool = True, extra_share: float = 0.01
) -> Outcome:
    return Outcome(
        ended=ended,
        startup_s=startup_s,
        stalls=0,
        stalled_s=stalled_s,
        waiting_s=startup_s + stalled_s,
        extra_share=extra_share,
        footer_share=0.0,
        delivered_bytes=1,
        node_bytes=(1,),
        pieces=1,
        takeovers=0,
        reissues=0,
    )
