"""What stands below the options in each command's ``--help``: examples first."""

from redundancy.terminal import EXIT_CODES

TOP = (
    """\
examples:
  smart-client demo                        the whole thing on this machine, nothing to set up
  smart-client put holiday.mkv             store a video on the cluster
  smart-client play holiday                watch it in mpv, VLC or ffplay
  smart-client play holiday --player none  measure playback without a screen
  smart-client explain run.jsonl           why a session (play --record run.jsonl) went so
  smart-client get holiday -o copy.mkv     fetch it back, byte for byte
  smart-client serve                       http://127.0.0.1:8480/v/NAME for any player or browser
  smart-client status                      is everything safe?

"""
    + EXIT_CODES
)

DEMO = """\
examples:
  smart-client demo                           a clip of its own, two faults, about two minutes
  smart-client demo holiday.mkv --chaos kill
  smart-client demo --no-compare --keep       leave the cluster and the pages running

Starts a coordinator and five node processes on loopback, each with a different upload cap, stores a
clip erasure-coded (any 3 of 5 fragments suffice), and plays it in real time with the measuring
player while one node is frozen (SIGSTOP) and another killed; then the same again with round-robin.
Every figure it prints was measured in this run. Cleans up after itself, also on ctrl-C.
"""

EXPLAIN = """\
examples:
  smart-client play holiday --record run.jsonl
  smart-client explain run.jsonl             every stall, takeover and silent node, and why
  smart-client explain run.jsonl --at 12:31  what the scheduler believed at that moment

Replays the recording with the same code that played it, so it names what was known at the time.
T counts from the session's start, as the times in the output do.
"""

DASHBOARD = """\
examples:
  smart-client dashboard --replay run.jsonl
  smart-client dashboard --replay run.jsonl --speed 8

Without a terminal it prints a line an event, at once unless --speed is given.
keys: q quit, space pause, + and - speed, s save the picture, ? help
"""

COMPARE = """\
examples:
  smart-client compare                        20 worlds, ours beside two others
  smart-client compare --scenario harsh --layout rep3,3of5 --runs 100 --out harsh
  smart-client compare --schedulers smart,hedge-p95,segmented --assert
  smart-client compare --own mine.py --schedulers smart,mine --scenario my-network.toml

Every scheduler plays the same simulated worlds, seed by seed: unequal links that follow traces,
round trips, slow answers, nodes that die, freeze or drip. W is the waiting (start + stalls), W*
what one who knows the future would wait at best (needs scipy: pip install 'evenflow[sim]').
Writes runs.jsonl, summary.json, scenarios.json, waiting.svg and report.html; run again to add
worlds. Nothing is played twice unless the code, the scenario or the traces are others by their
digests. Same seed, same bytes. Traces: --traces DIR or $EVENFLOW_TRACES, else synthetic ones.

Schedulers, scenarios and traces of your own, and what the figures mean: smart_client/COMPARING.md
"""

PUT = """\
examples:
  smart-client put holiday.mkv
  smart-client put talk.mp4 --name keynote --redundancy rs:6+3
  smart-client put film.mkv --ladder 720,480,360   smaller renditions too, for slow links

The file is cut into chunks of at most 10 s and about 2 MiB; each is coded, its fragments go to
different nodes in parallel, and the video appears when every chunk survives the loss of a node.
Interrupted? Run the same command again: what is stored is not sent twice.

A ladder is encoded after that (by PyAV: pip install 'evenflow[video]'), the smallest rendition
first, each playable as soon as it is stored; players find it at /hls/NAME/master.m3u8 and
/dash/NAME/manifest.mpd of `smart-client serve`. Nothing is enlarged. It can be added later, too:
run put again with the same file.
"""

SERVE = """\
examples:
  smart-client serve                             pages on http://127.0.0.1:8480/
  smart-client serve --listen 127.0.0.1:0        on any free port
  smart-client serve --strm ~/films              for Jellyfin or Kodi: one .strm a video
  smart-client serve --cache 20GiB               what was watched is not fetched again
  mpv http://127.0.0.1:8480/v/holiday            any player; seeking works

/openapi.json describes the API, /metrics is for Prometheus, /events tells what changes. Nobody has
to log in, so addresses that other machines reach need --insecure. While no coordinator answers,
videos that were played here before still play.
"""

PLAY = """\
examples:
  smart-client play holiday                   the first of mpv, vlc, ffplay
  smart-client play holiday --player "mpv --fs {url}"
  smart-client play holiday --player none --fail-on-rebuffer --json
  smart-client play holiday --events | jq -c 'select(.type == "stalled")'

Start and stalls in the receipt are the player's own (qoe_source): mpv tells over its IPC, the
measuring player (none) measures; with others nothing is claimed. --events writes one JSON object a
line: v, ts (Unix time), t (seconds since the start), type, and, where they apply, node, reader,
chunk, fragment, seconds, bytes, reason; the last line has type "result" and the session.
Types: playing stalled resumed ended seek node_suspect node_up takeover reissued corrupt unplayable
chunk_ready chunk_recalled relocated misplaced.
keys in the dashboard: q quit, space pause (with --player none), s save the picture, ? help
"""

GET = """\
examples:
  smart-client get holiday                    into ./holiday, verified by its SHA-256
  smart-client get holiday -o copy.mkv
  smart-client get holiday -o - --range 0-65535 | file -

Until everything is right the bytes are in FILE.part.
"""

CAT = """\
examples:
  smart-client cat holiday | mpv -
  smart-client cat holiday --range 0-1023 | xxd | head
"""

LS = """\
examples:
  smart-client ls                             size, length, layout, views, health
  smart-client ls 'holiday*' --names          for scripts: one name a line
"""

INFO = """\
examples:
  smart-client info holiday                   layout and why, health, what the policy would have
  smart-client info holiday --chunks          and which node holds what
"""

RM = """\
examples:
  smart-client rm holiday --dry-run           what it would free
  smart-client rm holiday old-clip --yes
"""

STATUS = """\
examples:
  smart-client status                         exit 0: all is well, 3: degraded, 6: unplayable,
                                              5: no nodes yet, or no coordinator
  smart-client status --watch
  smart-client status --json | jq .verdict

If a gateway runs here, it also says what it fetches for each byte it plays.
"""

DOCTOR = """\
examples:
  smart-client doctor                         python, codec, players, disk, coordinator, each node
  smart-client doctor --coordinator http://10.0.0.2:8400
"""

CONFIG = """\
examples:
  smart-client config show --origin           every setting and where it comes from
  smart-client config init                    as `smart-client init`
"""

INIT = """\
examples:
  smart-client init                                       ~/.config/smart-client/config.toml
  smart-client init --coordinator http://10.0.0.2:8400    with your coordinator set
  smart-client init --file smart-client.toml              for this directory alone
"""
