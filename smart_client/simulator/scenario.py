"""A scenario: what kind of worlds sessions are judged in, as a frozen record read from TOML.

A scenario and a seed give one world (``world.make_world``). Every table and key may be left out.
"""

import tomllib
from math import inf
from typing import Annotated

import msgspec

from redundancy.errors import InvalidScheme
from redundancy.rows import CHUNK_BYTES_MAX
from redundancy.scheme import Layout
from smart_client.core.state import SessionConfig
from smart_client.errors import InvalidRequest
from smart_client.simulator.ladder_plan import LadderPlan
from smart_client.simulator.node_model import Fault, FaultKind

Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Load = Annotated[float, msgspec.Meta(gt=0, le=100)]
Sigma = Annotated[float, msgspec.Meta(ge=0, le=5)]  # of a lognormal: e^5 is 148-fold
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

# Names of layouts as tables print them. Anything ``Layout.parse`` reads will do as well.
LAYOUT_NAMES = {"rep3": "rep:3", "3of5": "rs:3+2", "4of6": "rs:4+2"}


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A misspelt key is an error, never a silent default."""


class VideoPlan(_Table, frozen=True, kw_only=True):
    """The video: constant rate, equal chunks."""

    mbit_per_s: Positive = 1.6
    duration_s: Positive = 300.0
    chunk_s: Positive = 10.0
    layout: str = "3of5"

    def __post_init__(self) -> None:
        size_bytes = self.mbit_per_s * 1e6 / 8 * self.chunk_s
        if not 1 <= size_bytes <= CHUNK_BYTES_MAX:
            raise ValueError(f"a chunk of {size_bytes:.0f} bytes: 1 to {CHUNK_BYTES_MAX} may be")
        if self.duration_s > 24 * 3600:
            raise ValueError("a video of more than a day")
        try:
            self.to_layout()
        except InvalidScheme as error:
            raise ValueError(f"{error.message}: {error.hint}") from error

    @property
    def bytes_per_s(self) -> float:
        """Bytes of the video in a second of it."""
        return self.mbit_per_s * 1e6 / 8

    def to_layout(self) -> Layout:
        """Return the layout of its chunks."""
        return Layout.parse(LAYOUT_NAMES.get(self.layout, self.layout))


class PlaybackPlan(_Table, frozen=True, kw_only=True):
    """The rules of the buffer; see ``SessionConfig``."""

    start_buffer_s: NotNegative = 2.0
    resume_buffer_s: NotNegative = 2.0
    window_s: Positive = 120.0

    def to_config(self) -> SessionConfig:
        """Return what the session is told."""
        return SessionConfig(
            window_s=self.window_s,
            start_buffer_s=self.start_buffer_s,
            resume_buffer_s=self.resume_buffer_s,
        )


class Seek(_Table, frozen=True, kw_only=True):
    """At an instant the viewer jumps to a media time."""

    at_s: NotNegative
    to_s: NotNegative


class ViewerPlan(_Table, frozen=True, kw_only=True):
    """One viewer of the session."""

    opened_s: NotNegative = 0.0
    from_s: NotNegative = 0.0  # the media time it begins with
    seeks: tuple[Seek, ...] = ()


class NodePlan(_Table, frozen=True, kw_only=True):
    """The nodes and their links."""

    count: Annotated[int, msgspec.Meta(ge=1, le=256)] = 6
    load: Annotated[float, msgspec.Meta(gt=0, le=100)] = (
        0.3  # links are scaled so that the video's rate is this share of their sum
    )
    # ... or they keep their own rates, and are drawn anew until the share is at most ``load_max``.
    unscaled: bool = False
    load_max: Load = 0.8
    weight_sigma: Sigma = 0.7  # lognormal spread of capacities
    families: tuple[str, ...] = ()  # of traces to draw from; empty: all
    rtt_min_s: Positive = 0.010
    rtt_max_s: Positive = 0.120

    def __post_init__(self) -> None:
        if self.rtt_min_s > self.rtt_max_s:
            raise ValueError("rtt_min_s is above rtt_max_s")


class ThinkPlan(_Table, frozen=True, kw_only=True):
    """How long nodes think before they answer; see ``ThinkTimes``."""

    floor_s: NotNegative = 0.003
    mean_s: NotNegative = 0.004
    tail_share: Share = 0.01
    tail_start_s: Positive = 0.05
    tail_max_s: Positive = 2.0


class SpellPlan(_Table, frozen=True, kw_only=True):
    """Something that comes over a node again and again: exponential gaps and lengths."""

    every_s: Positive = inf  # mean time from one's end to the next one's start
    lasting_s: Positive = 60.0  # mean
    nodes_share: Share = 0.5  # of the nodes, hit at once (common spells only)
    refused_share: Share = 0.5  # of the spells: the process is gone; otherwise it is frozen


class DegradationPlan(_Table, frozen=True, kw_only=True):
    """Capacity that falls for all nodes alike."""

    diurnal_depth: Share = 0.0  # at the worst hour this share of every capacity is gone
    diurnal_period_s: Positive = 86_400.0
    common_sigma: Annotated[float, msgspec.Meta(ge=0, le=5)] = (
        0.0  # lognormal AR(1) process that multiplies all capacities
    )
    common_half_life_s: Positive = 20.0


class FaultPlan(_Table, frozen=True, kw_only=True):
    """One fault at a given instant."""

    node: Annotated[int, msgspec.Meta(ge=0)]
    kind: FaultKind
    at_s: NotNegative
    lasting_s: Positive = inf

    def to_fault(self) -> Fault:
        """Return the fault as the network model knows it."""
        return Fault(self.kind, self.at_s, self.at_s + self.lasting_s)


class ClientPlan(_Table, frozen=True, kw_only=True):
    """The viewer's own link."""

    link_factor: Positive = inf  # its capacity as a multiple of the video's rate


class Scenario(_Table, frozen=True, kw_only=True):
    """All parameters of a family of worlds."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    summary: str = ""
    video: VideoPlan = VideoPlan()
    playback: PlaybackPlan = PlaybackPlan()
    viewers: tuple[ViewerPlan, ...] = (ViewerPlan(),)
    nodes: NodePlan = NodePlan()
    think: ThinkPlan = ThinkPlan()
    client: ClientPlan = ClientPlan()
    outages: SpellPlan = SpellPlan()
    common_outages: SpellPlan = SpellPlan()
    slowdowns: SpellPlan = SpellPlan()
    degradation: DegradationPlan = DegradationPlan()
    faults: tuple[FaultPlan, ...] = ()
    ladder: LadderPlan | msgspec.UnsetType = msgspec.UNSET  # its top rendition is ``video``

    def __post_init__(self) -> None:
        if self.ladder is not msgspec.UNSET and self.ladder.top != self.video.mbit_per_s:
            raise ValueError("the ladder's last bitrate is that of the video")
        if not self.viewers:
            raise ValueError("a session needs a viewer")
        if self.video.to_layout().fragments_total > self.nodes.count:
            raise ValueError(f"layout {self.video.layout} needs more than {self.nodes.count} nodes")
        if any(fault.node >= self.nodes.count for fault in self.faults):
            raise ValueError(f"a fault of a node beyond the {self.nodes.count} there are")
        self.playback.to_config()

    @classmethod
    def parse(cls, text: str, source: str = "scenario") -> "Scenario":
        """Read a scenario from TOML.

        Raises: InvalidRequest: not TOML, an unknown key, or a value out of range, with its path.
        """
        try:
            return msgspec.convert(tomllib.loads(text), cls)
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            hint = f"kinds: {', '.join(FaultKind)}" if "enum" in str(error) else ""
            raise InvalidRequest(f"{source}: {error}", hint=hint) from error

    def with_layout(self, layout: str) -> "Scenario":
        """Return the same scenario with its chunks stored in another layout.

        Raises: InvalidRequest: no such layout, or one for more nodes than there are.
        """
        try:
            video = msgspec.structs.replace(self.video, layout=layout)
            return msgspec.structs.replace(self, video=video)
        except ValueError as error:
            raise InvalidRequest(f"scenario '{self.name}': {error}") from error

    @property
    def has_one_straight_viewer(self) -> bool:
        """Whether one viewer plays from the start to the end without a jump."""
        return self.viewers == (ViewerPlan(),)
