// The live session beside the film: buffer, nodes, matrix, curves, events; all as the gateway tells.

import { h, keyed, s, setText, setVars, show } from "../dom.js";
import { clock, count, number, percent, rate, size, span, UNKNOWN, wholeSpan } from "../format.js";
import { live } from "../live.js";
import { nodeWords } from "../words.js";
import { chartPart } from "./charts.js";
import { matrixPart } from "./matrix.js";
import { bufferedAhead } from "./truth.js";

const SPARK_SAMPLES = 40;
const EVENTS_SHOWN = 60;
// A wait is told while it lasts; shorter ones are over before anybody has read it.
const WAIT_TOLD_MS = 1000;

/** What the nodes brought since the last sample, by the counters of a video's sessions. */
class Rates {
  #before = new Map();
  #seconds = null;

  /** Return node id -> bytes per second, and the total; null at the first sample. */
  sample(sessions, now_s) {
    const elapsed = this.#seconds === null ? 0 : now_s - this.#seconds;
    const rates = new Map();
    let total = 0;
    for (const session of sessions) {
      for (const node of session.snapshot.nodes) {
        const key = `${session.id} ${node.id}`;
        const gained = node.received_bytes - (this.#before.get(key) ?? 0);
        this.#before.set(key, node.received_bytes);
        if (elapsed <= 0) continue;
        rates.set(node.id, (rates.get(node.id) ?? 0) + gained / elapsed);
        total += gained / elapsed;
      }
    }
    this.#seconds = now_s;
    return elapsed > 0 ? { rates, total } : null;
  }
}

/**
 * Return the panel: `{side, below, update(session, video, meter, beside), none(text), close}`;
 * `beside`: the other sessions of the same film, of its sound and of other renditions.
 */
export function sessionPanel(bitrateOf) {
  const buffer = bufferPart();
  const nodes = nodesPart();
  const matrix = matrixPart();
  const events = eventsPart();
  const buffered = chartPart({ name: "Buffered", unit: "s", lines: [{ label: "ready in all", colour: "--accent", fill: "--accent-soft" }, { label: "in the browser", colour: "--calm" }] });
  const flow = chartPart({ name: "From the nodes", unit: "Mbit/s", lines: [{ label: "from the nodes", colour: "--good", fill: "--good-soft" }, { label: "the film needs", colour: "--ink-3", dash: [5, 4] }] });
  const state = h("p", { class: "session-state muted", role: "status" });
  const figures = h("dl", { class: "figures" });
  const side = h("section", { class: "card session-side", "aria-label": "Live session" }, h("div", { class: "card-head" }, h("h2", { text: "Live session" }), state), buffer.element, figures, nodes.element);
  const key = ([cls, text]) => h("span", { class: `chart-key ${cls}`, text });
  const chartCard = (head, keys, chart) => h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", { text: head }), h("span", { class: "aside" }, keys.map(key))), chart.element);
  const below = h(
    "div",
    { class: "session-below stack" },
    h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", { text: "Node × chunk" }), h("span", { class: "aside", text: "who brought which chunk" })), matrix.element),
    h("div", { class: "grid-2" }, chartCard("Buffer, seconds", [["ready", "ready in all"], ["browser", "in the browser"]], buffered), chartCard("Throughput, Mbit/s", [["nodes", "from all nodes"], ["needs", "the film needs"]], flow)),
    h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", { text: "What happened" }), h("span", { class: "aside", text: "newest first" })), events.element),
  );
  const rates = new Rates();
  let of = "";
  const parts = [buffer.element, figures, nodes.element];
  return {
    side,
    below,
    update(session, video, meter, beside) {
      const all = [session, ...beside];
      const now_s = performance.now() / 1000;
      const shot = session.snapshot;
      if (of !== session.id) {
        of = session.id;
        events.reset();
      }
      parts.forEach((part) => (part.hidden = false));
      below.hidden = false;
      const ahead = aheadOf(session, video);
      const lacksData = !video.paused && video.readyState < HTMLMediaElement.HAVE_FUTURE_DATA;
      const waitedMs = lacksData ? meter.waitingMs(performance.now()) : 0;
      setText(state, waitedMs > WAIT_TOLD_MS ? waitText(session, waitedMs) : stateText(session));
      state.classList.toggle("bad-text", waitedMs > WAIT_TOLD_MS);
      buffer.update(ahead, shot, video);
      const flowing = rates.sample(all, now_s);
      drawFigures(figures, all, meter, waitedMs);
      nodes.update(shot.nodes, flowing?.rates);
      matrix.update(session.matrix);
      events.update(session.notices, session);
      buffered.push(now_s, [ahead.total_s, ahead.browser_s]);
      if (flowing) flow.push(now_s, [(flowing.total * 8) / 1e6, bitrateOf() === null ? null : (bitrateOf() * 8) / 1e6]);
    },
    none(text) {
      state.classList.remove("bad-text");
      setText(state, text);
      parts.forEach((part) => (part.hidden = true));
      below.hidden = true;
    },
    close() {
      buffered.close();
      flow.close();
    },
  };
}

/** Seconds ahead of the picture: in the browser, and in all, with what the gateway has ready. */
function aheadOf({ snapshot: shot, matrix }, video) {
  const browser_s = bufferedAhead(video);
  const left_s = (video.duration || shot.end_s) - video.currentTime;
  if (!/[^y]/.test(matrix.ready.slice(matrix.playhead))) return { browser_s, total_s: Math.max(0, left_s) };
  const ready_s = shot.position_s + shot.buffered_s - video.currentTime;
  return { browser_s, total_s: Math.max(browser_s, Math.min(ready_s, left_s)) };
}

function stateText(session) {
  const others = session.players.filter((player) => player.report_age_s < 5).length - 1;
  return [session.rendition, session.layout, others > 0 && `${others} more watching`].filter(Boolean).join(" · ");
}

/** Whom a picture that stands still waits for. */
function waitText(session, waitedMs) {
  const nodes = session.snapshot.nodes;
  const answering = nodes.filter((node) => node.state !== "suspect").length;
  const layout = live.videos?.find((video) => video.name === session.video)?.layout;
  const needed = layout && answering < layout.k ? `, ${layout.k} are needed` : "";
  return `waiting for ${wholeSpan(waitedMs / 1000)}: ${answering} of ${count(nodes.length, "node")} answer${needed}`;
}

function bufferPart() {
  const bar = h("div", { class: "buffer-bar" }, h("i", { class: "ready" }), h("i", { class: "browser" }));
  const value = h("strong", { class: "buffer-value" });
  const note = h("span", { class: "muted small" });
  const element = h("div", { class: "buffer" }, h("div", { class: "buffer-head" }, h("span", { text: "Buffer" }), value, note), bar);
  return {
    element,
    update({ browser_s, total_s }, shot, video) {
      const left = (video.duration || shot.end_s) - video.currentTime;
      const goal = Math.max(1, Math.min(shot.window_s, left));
      const isAmple = total_s >= left - 0.5 || total_s >= Math.min(5, goal / 2);
      const tone = isAmple ? "accent" : total_s >= 2 ? "warn" : "bad";
      setText(value, span(Math.max(0, total_s)));
      setText(note, total_s >= left - 0.5 ? "ready to the end" : `${total_s > goal ? "more than the" : "of"} ${span(goal)} aimed at; ${span(browser_s)} in the browser`);
      setVars(bar, { "--ready": Math.min(1, total_s / goal), "--browser": Math.min(1, browser_s / goal), "--tone": `var(--${tone})` });
    },
  };
}

function drawFigures(list, sessions, meter, waitedMs) {
  const nowMs = performance.now();
  const sum = (of) => sessions.reduce((total, session) => total + of(session), 0);
  const cached = sum((session) => session.cached_bytes);
  const stalled = meter.stalledMs(nowMs);
  const stalls = meter.startupMs === null ? UNKNOWN : meter.stalls.length ? `${meter.stalls.length} (${span(stalled / 1000)})` : "none";
  const waits = waitedMs > WAIT_TOLD_MS;
  const soFar = `${span(waitedMs / 1000)} so far`;
  const isSeeking = waits && meter.startupMs !== null && meter.state === "seeking";
  const seek = isSeeking ? soFar : meter.seeks.length ? span(meter.seeks.at(-1) / 1000) : UNKNOWN;
  const start = meter.startupMs !== null ? span(meter.startupMs / 1000) : waits ? soFar : UNKNOWN;
  const lines = [
    ["Start", start, "until the picture moved, by the video element", waits && meter.startupMs === null ? "bad-text" : ""],
    ["Stalls", stalls, "as the video element reports them", meter.stalls.length ? "bad-text" : "good-text"],
    ["Last seek", seek, "until the picture moved again", isSeeking ? "bad-text" : ""],
    ["From nodes", `${size(sum((session) => session.node_bytes))}${cached ? ` + ${size(cached)} kept` : ""}`, "what came from nodes, and what was still on this disk"],
    ["To players", size(sum((session) => session.player_bytes)), "everything that went to players"],
    ["Taken over", number(sum((session) => session.snapshot.takeovers)), "late pieces an idle node finished"],
  ];
  if (!list.children.length) show(list, lines.map(([name, , hint]) => h("div", { title: hint }, h("dt", { text: name }), h("dd"))));
  lines.forEach(([, value, , cls], place) => {
    const dd = list.children[place].lastChild;
    setText(dd, value);
    dd.className = value === UNKNOWN ? "" : (cls ?? "");
  });
}

function nodesPart() {
  const body = h("tbody");
  const names = ["Node", "Round trip", "Rate", "", "Share", "In flight", "Failures"];
  const table = h("table", { class: "table session-nodes" }, h("caption", { class: "visually-hidden", text: "Nodes in this session" }), h("thead", {}, h("tr", {}, names.map((name, place) => h("th", { scope: "col", class: place ? "number" : "", text: name })))), body);
  const rows = keyed(body, (row) => row.node.id, nodeRow);
  return {
    element: h("div", { class: "table-box", "data-scrolls": true, tabindex: "0", role: "region", "aria-label": "Nodes in this session" }, table),
    update(nodes, rates) {
      const records = nodes.map((node) => ({ node, now: rates?.get(node.id) ?? null }));
      rows(records);
    },
  };
}

function nodeRow({ node: first }) {
  const dot = h("span", { class: "dot" });
  const word = h("span", { class: "visually-hidden" });
  const cells = Array.from({ length: 6 }, () => h("td", { class: "number" }));
  const spark = s("polyline", { fill: "none" });
  cells[2].append(s("svg", { class: "spark", viewBox: "0 0 60 16", preserveAspectRatio: "none", "aria-hidden": "true" }, spark));
  const history = [];
  const element = h("tr", {}, h("th", { scope: "row" }, h("span", { class: "node-name" }, dot, h("span", { text: first.id }), word)), cells);
  return {
    element,
    update({ node, now }) {
      const { tone, text } = node.state === "suspect" ? { tone: "bad", text: "silent" } : nodeWords(node.state);
      dot.className = `dot ${tone}`;
      setText(word, ` ${text}`);
      element.classList.toggle("is-away", node.state === "suspect");
      setText(cells[0], node.rtt_s > 0 ? span(node.rtt_s) : UNKNOWN);
      setText(cells[1], node.state === "suspect" ? "silent" : node.bytes_per_s > 0 ? rate(node.bytes_per_s).replace("bit/s", "") : UNKNOWN);
      setText(cells[3], node.received_bytes ? percent(node.share) : UNKNOWN);
      setText(cells[4], number(node.in_flight));
      setText(cells[5], number(node.failures));
      cells[5].classList.toggle("bad-text", node.failures > 0);
      if (now === null) return;
      history.push(now);
      if (history.length > SPARK_SAMPLES) history.shift();
      const top = Math.max(...history, 1);
      spark.setAttribute("points", history.map((value, place) => `${60 - ((history.length - 1 - place) * 60) / (SPARK_SAMPLES - 1)},${(15 - (value / top) * 14).toFixed(1)}`).join(" "));
    },
  };
}

const TONES = { stall: "bad", trouble: "bad", corrupt: "bad", unplayable: "bad", returned: "good", started: "good" };
// Screen readers are told of these as they come.
const SPOKEN = ["stall", "trouble", "returned", "unplayable"];

function eventsPart() {
  const list = h("ol", { class: "events" });
  const none = h("p", { class: "muted", text: "Nothing out of the ordinary so far." });
  const spoken = h("p", { class: "visually-hidden", role: "status" });
  let newest = -1;
  return {
    element: h("div", { class: "events-box", "data-scrolls": true, tabindex: "0", role: "region", "aria-label": "What happened" }, spoken, none, list),
    reset() {
      newest = -1;
      show(list);
    },
    update(notices) {
      for (const notice of notices) {
        if (notice.id <= newest) continue;
        newest = notice.id;
        list.prepend(eventLine(notice));
        if (SPOKEN.includes(notice.kind)) setText(spoken, notice.text);
      }
      while (list.children.length > EVENTS_SHOWN) list.lastChild.remove();
      none.hidden = list.children.length > 0;
    },
  };
}

function eventLine(notice) {
  const text = h("span", { text: notice.text });
  const more = notice.lines.length ? h("ul", { class: "reasons" }, notice.lines.map((line) => h("li", { text: line }))) : null;
  return h("li", { class: TONES[notice.kind] ?? "" }, h("time", { text: clock(notice.t_s) }), h("div", {}, text, more));
}
