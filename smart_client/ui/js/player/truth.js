// What the <video> element itself says of starting, stalling and seeking; nothing is modelled.
//
// A stall is a `waiting` after the first `playing` and not while seeking, until `playing`. A seek
// fires `waiting` too, before and after `seeked`; that wait belongs to the seek. A `playing` after
// which the picture did not move before the next `waiting` was none: the start or seek goes on.
// A wait that is over before the next frame is due (UNSEEN_MS) was seen by nobody and is none either.

import { ask, under } from "../api.js";
import { live } from "../live.js";

const PROGRESS_MS = 1000;
// One frame at 24 a second is on the screen for 42 ms. On a busy machine Chromium reports waits of
// some milliseconds, of its own threads and not for data.
const UNSEEN_MS = 50;
// Reports that could not be sent are kept in order, but not for ever.
const QUEUE_MAX = 400;
const RETRY_MS = 1000;

/** Counts what a viewer waits for. Instants in milliseconds, positions in seconds. */
export class StallMeter {
  state = "opening";
  startupMs = null;
  stalls = [];
  seeks = [];
  #openedMs;
  #sinceMs = 0;
  #isStarted = false;

  constructor(openedMs) {
    this.#openedMs = openedMs;
  }

  /** The total waited in stalls so far, a running one included. */
  stalledMs(nowMs) {
    return this.stalls.reduce((sum, stall) => sum + (stall.endMs ?? nowMs) - stall.beganMs, 0);
  }

  /** How long the start, a seek or a stall has been going on by now; 0: none does. */
  waitingMs(nowMs) {
    if (!this.#isStarted) return nowMs - this.#openedMs;
    if (this.state === "seeking") return nowMs - this.#sinceMs;
    return this.state === "stalled" ? nowMs - this.stalls.at(-1).beganMs : 0;
  }

  take(kind, nowMs, positionS) {
    switch (kind) {
      case "playing":
        this.#endWait(nowMs);
        this.startupMs ??= nowMs - this.#openedMs;
        this.#isStarted = true;
        this.state = "playing";
        break;
      case "waiting":
        if (!this.#isStarted || this.state === "seeking" || this.state === "stalled") break;
        this.stalls.push({ beganMs: nowMs, endMs: null, positionS });
        this.state = "stalled";
        break;
      case "seeking":
        this.#endWait(nowMs);
        if (this.state !== "seeking") this.#sinceMs = nowMs;
        this.state = "seeking";
        break;
      case "open":
        // Another source on the way: until it plays, waiting belongs to the change.
        this.#endWait(nowMs);
        if (this.#isStarted) {
          this.#sinceMs = nowMs;
          this.state = "seeking";
        }
        break;
      case "pause":
        if (this.state !== "seeking") this.#become("paused", nowMs);
        break;
      case "ended":
        this.#become("ended", nowMs);
        break;
      case "error":
        this.#become("failed", nowMs);
        break;
      default:
        break;
    }
  }

  #become(state, nowMs) {
    this.#endWait(nowMs);
    this.state = state;
  }

  #endWait(nowMs) {
    const last = this.stalls.at(-1);
    if (last && last.endMs === null) last.endMs = nowMs;
    if (this.state === "seeking") this.seeks.push(nowMs - this.#sinceMs);
  }
}

/** Seconds of media the browser holds ahead of the position. */
export function bufferedAhead(video) {
  const at = video.currentTime;
  for (let index = 0; index < video.buffered.length; index += 1) {
    if (video.buffered.start(index) <= at + 0.1 && video.buffered.end(index) > at) return video.buffered.end(index) - at;
  }
  return 0;
}

/** Follows a <video> element, and tells the gateway's session what it sees. */
export class PlayerTruth {
  id = randomId();
  #video;
  #path;
  #name;
  #unproven = null; // a `playing` whose picture has not moved yet
  #wait = null; // a `waiting` that may be over before anybody sees it
  #queue = [];
  #isSending = false;
  #control = new AbortController();
  #timer;

  constructor(video, name) {
    this.#video = video;
    this.#name = name;
    this.#path = `${under("/api/v1/sessions/by-video", name)}/player`;
    this.meter = new StallMeter(performance.now());
    const signal = this.#control.signal;
    live.addEventListener("sessions", () => this.#send(), { signal });
    for (const kind of ["playing", "waiting", "seeking", "seeked", "pause", "ended", "error"]) {
      video.addEventListener(kind, () => this.#heard(kind), { signal });
    }
    video.addEventListener("timeupdate", () => this.#prove(), { signal });
    addEventListener("pagehide", () => this.#last(), { signal });
    this.#timer = setInterval(() => !video.paused && !video.ended && !this.#unproven && !this.#wait && this.#note("progress"), PROGRESS_MS);
    this.#note("open");
  }

  /** The video is opened anew, from another source: nothing counted so far is lost. */
  reopened() {
    this.#note("open");
  }

  close() {
    clearInterval(this.#timer);
    this.#forgetShortWait();
    this.#last();
    this.#control.abort();
  }

  #heard(kind) {
    const wasShort = this.#wait && performance.now() - this.#wait.atMs < UNSEEN_MS;
    if (this.#wait && !wasShort && kind !== "waiting") this.#note("waiting", this.#wait.atMs); // its timer is late
    if (this.#forgetShortWait() && wasShort && kind === "playing") return;
    if (kind === "playing") {
      this.#unproven = { atMs: performance.now(), position: this.#video.currentTime };
    } else if (kind === "waiting" && this.#unproven && !this.#hasMoved()) {
      this.#unproven = null;
    } else {
      this.#settle();
      if (kind === "waiting") this.#waits();
      else this.#note(kind);
    }
  }

  #waits() {
    const atMs = performance.now();
    const position = this.#video.currentTime;
    const timer = setTimeout(() => {
      this.#wait = null;
      this.#note("waiting", atMs, position);
    }, UNSEEN_MS);
    this.#wait = { timer, atMs };
  }

  /** Whatever comes next ends a wait that nobody has seen. */
  #forgetShortWait() {
    const wait = this.#wait;
    this.#wait = null;
    if (!wait) return false;
    clearTimeout(wait.timer);
    return true;
  }

  #hasMoved() {
    return this.#video.currentTime > this.#unproven.position;
  }

  #prove() {
    if (this.#unproven && this.#hasMoved()) this.#settle();
  }

  #settle() {
    const playing = this.#unproven;
    this.#unproven = null;
    if (playing) this.#note("playing", playing.atMs, playing.position);
  }

  #note(kind, nowMs = performance.now(), position = this.#video.currentTime) {
    this.meter.take(kind, nowMs, position);
    this.#queue.push(this.#report(kind, nowMs, position));
    if (this.#queue.length > QUEUE_MAX) this.#queue = this.#queue.filter((report, place) => report.event !== "progress" || place > QUEUE_MAX / 2).slice(-QUEUE_MAX);
    this.#send();
  }

  #report(event, nowMs, position = this.#video.currentTime) {
    const video = this.#video;
    const report = { player: this.id, event, position_s: position, buffered_s: bufferedAhead(video), ts_ms: nowMs };
    if (event === "error") report.message = (video.error?.message ?? "").slice(0, 500);
    return report;
  }

  /** Reports wait until there is a session to tell them to; it begins with the first bytes. */
  get #hasSession() {
    return live.sessions?.some((session) => session.video === this.#name) ?? false;
  }

  async #send() {
    if (this.#isSending || !this.#hasSession) return;
    this.#isSending = true;
    while (this.#queue.length && this.#hasSession && !this.#control.signal.aborted) {
      try {
        await ask("POST", this.#path, this.#queue[0]);
        this.#queue.shift();
      } catch (error) {
        if (error.status >= 400 && error.status < 500 && error.status !== 404) this.#queue.shift(); // it will never be taken
        else await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
    this.#isSending = false;
  }

  #last() {
    if (!this.#hasSession || this.#video.ended || this.meter.state === "failed") return;
    ask("POST", this.#path, this.#report("pause", performance.now()), { keepalive: true }).catch(() => {});
  }
}

function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
