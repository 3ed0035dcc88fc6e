// Agreement: who decides what the catalogue says, what it costs in messages, and the messages live.

import { ask, poll } from "../api.js";
import { h, keyed, s, setText, show } from "../dom.js";
import { number, span, UNKNOWN, wallClock } from "../format.js";
import { sentences, unknownCard } from "../words.js";

const ASK_MS = 1000;
const TRACE_WAIT_S = 2;
const TRACE_RETRY_MS = 3000;
const EVENTS_KEPT = 400;
const EVENTS_SHOWN = 60;

export const title = () => "Agreement";

const KINDS = {
  sqlite: "The catalogue is one SQLite file beside the coordinator. A write is durable before it is answered; there is nobody to agree with, so there are no messages. While that coordinator is away players go on from the manifests they hold, and uploads wait. To have the nodes themselves decide, start coordinators with `--catalogue nodes:URL,URL,…` (ChunkPaxos).",
  memory: "The catalogue is in one coordinator’s memory and gone when it ends: for tests.",
  etcd: "Coordinators write by compare-and-set to etcd, whose members agree by Raft: one leader orders every write. Its messages are etcd’s own to tell.",
  chunkpaxos: "Every key is a register of its own (one CASPaxos register a key), so keys never wait for each other and there is no leader to lose. A proposer asks the nodes to promise, then to accept; a node is durable before it answers; a majority decides. A proposer that wrote last may skip the promise: a fast round.",
};

export function open(root) {
  const box = h("div", { class: "stack" });
  root.append(h("div", { class: "page-head" }, h("div", {}, h("h1", { text: "Agreement" }), h("p", { class: "lead", text: "Who decides what the catalogue says, and what that costs." }))), box);
  const parts = agreementParts();
  const asking = poll("/api/v1/consensus", ASK_MS, ({ value, error, sinceMs }) => {
    const kind = error ? `trouble ${sinceMs}` : "facts";
    if (box.dataset.kind !== kind) show(box, error ? unknownCard(error, sinceMs) : parts.element);
    box.dataset.kind = kind;
    if (!value) return;
    parts.update(value);
    stopTrace ??= followTrace((events, missed) => parts.trace(events, missed));
  });
  let stopTrace = null;
  return () => {
    asking.stop();
    stopTrace?.();
  };
}

/** Read what is said as it is said; quiet where nothing is told. */
function followTrace(tell) {
  const control = new AbortController();
  const round = async (after) => {
    let next = after;
    let pauseMs = 0;
    try {
      const query = after === null ? "" : `?after=${after}&wait=${TRACE_WAIT_S}`;
      const signal = AbortSignal.any([control.signal, AbortSignal.timeout((TRACE_WAIT_S + 10) * 1000)]);
      const told = await ask("GET", `/api/v1/consensus/trace${query}`, undefined, { signal });
      if (!control.signal.aborted) tell(told.events, told.missed);
      next = told.next;
      pauseMs = after === null ? 0 : 200;
    } catch (error) {
      if (error.status === 404) return;
      pauseMs = TRACE_RETRY_MS;
      next = null;
    }
    if (!control.signal.aborted) setTimeout(() => round(next), pauseMs);
  };
  round(null);
  return () => control.abort();
}

function agreementParts() {
  const verdict = h("p", { class: "verdict" });
  const prose = h("p", { class: "prose" });
  const tiles = h("dl", { class: "tiles" });
  const members = membersTable();
  const course = h("section", { class: "card", hidden: true });
  const log = logPart();
  const lastDrawn = { key: "" };
  let events = [];
  let memberNames = [];
  const messages = h("section", { class: "card", hidden: true }, h("div", { class: "card-head" }, h("h2", { text: "Messages, live" }), h("span", { class: "aside", text: "as this coordinator sent and heard them; newest first" })), log.element);
  return {
    element: h("div", { class: "stack" }, verdict, tiles, h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", { text: "Who keeps the catalogue" }), h("span", { class: "aside", text: "asked a moment ago" })), members.element, h("div", { class: "below-table" }, prose)), course, messages),
    update(told) {
      drawVerdict(verdict, told);
      if (prose.dataset.of !== told.catalogue) show(prose, sentences(KINDS[told.catalogue] ?? ""));
      prose.dataset.of = told.catalogue;
      drawTiles(tiles, told);
      members.update(told.members);
      memberNames = told.members.map((member) => member.name);
      messages.hidden = told.catalogue !== "chunkpaxos" && !events.length;
    },
    trace(fresh, missed) {
      events = [...events, ...fresh].slice(-EVENTS_KEPT);
      if (fresh.length || missed) log.update(events, missed);
      messages.hidden &&= !events.length;
      drawCourse(course, events, memberNames, lastDrawn);
    },
  };
}

function drawVerdict(line, { members, quorum, failures_survived, summary, coordinator, catalogue }) {
  const up = members.filter((member) => member.state === "up").length;
  const alone = members.length <= 1;
  const tone = up < quorum ? "bad" : alone ? "" : up < members.length || !failures_survived ? "warn" : "good";
  const word = up < quorum ? "NO MAJORITY" : alone ? "ALONE" : up < members.length ? "DEGRADED" : "AGREED";
  const key = `${tone}${word}${summary}${coordinator}`;
  if (line.dataset.key === key) return;
  line.dataset.key = key;
  line.className = `verdict ${tone}`;
  show(line, h("span", { class: "word", text: word }), h("strong", { text: summary.replace(/^./, (letter) => letter.toUpperCase()) + "." }), h("span", { class: "aside", text: `${catalogue}, as coordinator ${coordinator} tells` }));
}

function drawTiles(list, told) {
  const since = `since ${wallClock(Date.now() / 1000 - told.measured_s)}`;
  const took = (quantiles) => (quantiles.count ? span(quantiles.p50) : UNKNOWN);
  const tail = (quantiles) => (quantiles.count ? `p95 ${span(quantiles.p95)}, of the last ${number(quantiles.count)}` : "none measured yet");
  const tiles = [
    ["Decisions", number(told.decisions), since],
    ["Conflicts", number(told.conflicts), "somebody else was first; read again, tried again"],
    ["A write takes", took(told.writing), tail(told.writing)],
    ["A read takes", took(told.reading), tail(told.reading)],
    told.unknown || told.failed ? ["Without an answer", number(told.unknown + told.failed), `${number(told.unknown)} unknown, ${number(told.failed)} refused`] : null,
  ];
  if (told.requests !== null && told.requests !== undefined) {
    tiles.push(["Requests a decision", told.requests_per_decision ? number(told.requests_per_decision, 1) : UNKNOWN, `one way, to ${told.members.length} members; writes alone`]);
    tiles.push(["Fast rounds", number(told.fast_rounds), `${number(told.slow_rounds)} took a prepare first, ${number(told.attempts_failed)} attempts were overtaken`]);
    tiles.push(["Requests in all", number(told.requests), `in ${number(told.frames)} frames, reads included`]);
  }
  const wanted = tiles.filter(Boolean);
  if (list.children.length !== wanted.length) show(list, wanted.map(([name]) => h("div", { class: "tile" }, h("dt", { text: name }), h("dd"), h("dd"))));
  wanted.forEach(([, value, note], place) => {
    setText(list.children[place].children[1], value);
    setText(list.children[place].children[2], note);
  });
}

const STATES = { up: ["good", "answers"], silent: ["bad", "does not answer"], refuses: ["warn", "takes no part"] };

function membersTable() {
  const body = h("tbody");
  const names = ["Member", "State", "Role", "Answered in", "Facts"];
  const element = h("div", { class: "table-box" }, h("table", { class: "table folds" }, h("caption", { class: "visually-hidden", text: "Members" }), h("thead", {}, h("tr", {}, names.map((name, place) => h("th", { scope: "col", class: place === 3 ? "number" : "", text: name })))), body));
  const make = (first) => {
    const cell = (label, cls = "") => h("td", { "data-label": label, class: cls });
    const [state, role, took, facts] = [cell("State"), cell("Role"), cell("Answered in", "number"), cell("Facts")];
    const dot = h("span", { class: "dot" });
    const word = h("span");
    state.append(h("span", { class: "node-name" }, dot, word));
    return {
      element: h("tr", {}, h("th", { scope: "row", text: first.name }), state, role, took, facts),
      update(member) {
        const [tone, text] = STATES[member.state] ?? ["", member.state];
        dot.className = `dot ${tone}`;
        setText(word, text);
        setText(role, member.role || UNKNOWN);
        setText(took, member.answer_s === null ? UNKNOWN : span(member.answer_s));
        setText(facts, [member.detail, ...Object.entries(member.facts).map(([name, value]) => `${name} ${value}`)].filter(Boolean).join(" · ") || UNKNOWN);
      },
    };
  };
  return { element, update: keyed(body, (member) => member.name + member.url, make) };
}

/** The latest write that was decided, with all that was said for it. */
function lastDecision(events) {
  for (let place = events.length - 1; place >= 0; place -= 1) {
    const outcome = events[place];
    if (outcome.kind !== "outcome" || outcome.what !== "decided") continue;
    const from = outcome.at_s - (outcome.took_s ?? 0) - 0.002;
    const said = events.filter((event) => event.kind !== "outcome" && event.key === outcome.key && event.at_s >= from && event.seq < outcome.seq && ["prepare", "promise", "accept", "accepted", "nack"].includes(event.what));
    if (said.some((event) => event.kind === "request")) return { outcome, said, from: Math.min(from, ...said.map((event) => event.at_s)) };
  }
  return null;
}

const LANE = 30;
const LEFT = 110;
const WIDE = 760;

/** Draw who was asked and who answered, on the time it took. */
function drawCourse(card, events, memberNames, lastDrawn) {
  const found = lastDecision(events);
  if (!found || lastDrawn.key === found.outcome.seq) return;
  lastDrawn.key = found.outcome.seq;
  card.hidden = false;
  const { outcome, said, from } = found;
  const names = [...new Set([...memberNames, ...said.map((event) => event.member)])].filter((name) => said.some((event) => event.member === name));
  const took = Math.max(outcome.at_s - from, 1e-4);
  const x = (at) => LEFT + ((at - from) / took) * (WIDE - LEFT - 90);
  const high = names.length * LANE + 30;
  const lanes = names.flatMap((name, lane) => {
    const y = lane * LANE + 22;
    const mine = said.filter((event) => event.member === name);
    return [s("text", { x: 0, y: y + 4 }, name), s("line", { class: "axis", x1: LEFT, x2: WIDE - 86, y1: y, y2: y }), ...mine.filter((event) => event.kind === "request").flatMap((request) => exchange(request, mine, outcome, x, y))];
  });
  const end = x(outcome.at_s);
  const picture = s("svg", { class: "plot course", viewBox: `0 0 ${WIDE} ${high}`, role: "img", "aria-label": `${said.length} messages with ${names.length} nodes, decided in ${span(took)}` }, lanes, s("line", { class: "best", x1: end, x2: end, y1: 6, y2: high - 14 }), s("text", { class: "soft", x: end + 6, y: 16 }, "decided"), s("text", { class: "soft", x: LEFT, y: high - 2 }, "0"), s("text", { class: "soft", x: end, y: high - 2, "text-anchor": "middle" }, span(took)));
  const requests = said.filter((event) => event.kind === "request").length;
  show(card, h("div", { class: "card-head" }, h("h2", { text: "The last decision" }), h("span", { class: "aside mono", text: `${outcome.key} → version ${outcome.version ?? "?"}` })), h("div", { class: "table-scroll" }, picture), h("p", { class: "small muted", text: `${requests} requests and ${said.length - requests} replies before it was decided; a reply that comes later decides nothing any more.` }));
}

/** A request and its reply in a member's lane: open where no reply came in time. */
function exchange(request, mine, outcome, x, y) {
  const reply = mine.find((event) => event.kind === "reply" && event.number === request.number && event.seq > request.seq);
  const phase = request.what === "prepare" ? "prepare" : "accept";
  const tone = !reply ? "open" : reply.what === "nack" ? "nack" : phase;
  const end = x(reply ? reply.at_s : outcome.at_s);
  const begin = x(request.at_s);
  return [s("rect", { class: `exchange ${tone}`, x: begin, y: y - 7, width: Math.max(3, end - begin), height: 14, rx: 3 }, s("title", {}, `${request.what} → ${reply ? reply.what : "no reply in time"}`)), end - begin > 62 ? s("text", { class: "inside", x: begin + 7, y: y + 4 }, phase) : ""];
}

function logPart() {
  const body = h("tbody");
  const note = h("p", { class: "small muted", text: "Nothing was said since this page was opened. Upload or delete a video, and it fills." });
  const names = ["When", "What", "Register", "Member", "Ballot", "Version", "Took", "Note"];
  const table = h("table", { class: "table log-table" }, h("caption", { class: "visually-hidden", text: "Messages" }), h("thead", {}, h("tr", {}, names.map((name) => h("th", { scope: "col", text: name })))), body);
  const scroll = h("div", { class: "table-box log-box", "data-scrolls": true, tabindex: "0", role: "region", "aria-label": "Messages", hidden: true }, table);
  const rows = keyed(body, (event) => event.seq, logRow);
  return {
    element: h("div", {}, note, scroll),
    update(events, missed) {
      scroll.hidden = !events.length;
      setText(note, missed ? `${number(missed)} messages passed faster than this page reads.` : "");
      rows(events.slice(-EVENTS_SHOWN).reverse());
    },
  };
}

const ARROWS = { request: "→ ", reply: "← ", outcome: "● " };

function logRow(event) {
  const tone = event.kind === "outcome" ? (event.what === "decided" ? "good-text" : ["conflict", "unknown", "failed"].includes(event.what) ? "bad-text" : "") : event.what === "nack" ? "warn-text" : "";
  const texts = [wallClock(event.at_s), `${ARROWS[event.kind] ?? ""}${event.what}`, event.key ?? "", event.member ?? "", event.ballot ?? "", event.version ?? "", event.took_s === undefined ? "" : span(event.took_s), event.note ?? ""];
  return { element: h("tr", { class: event.kind === "outcome" ? "outcome" : "" }, texts.map((text, place) => h("td", { class: place === 1 ? tone : [2, 4].includes(place) ? "mono" : "", text }))), update() {} };
}
