// Cluster health: the verdict first, then which box may be unplugged, the nodes, the keeper's work.

import { poll } from "../api.js";
import { h, keyed, setText, setVars, show } from "../dom.js";
import { ago, count, number, percent, size, span, UNKNOWN } from "../format.js";
import { clusterTrouble, live } from "../live.js";
import { nodeWords, unknownCard, verdictOf } from "../words.js";

const EXPOSURE_MS = 5000;
// A node warns at the first and refuses to store at the second.
const DISK_WARN = 0.85;
const DISK_FULL = 0.95;

export const title = () => "Cluster";

export function open(root) {
  const lead = h("p", { class: "lead" });
  const body = h("div", { class: "stack" });
  const verdict = h("p", { class: "verdict", role: "status" });
  const nodes = nodesTable();
  const unplug = h("div", {});
  const keeper = h("div", {});
  const parts = [
    verdict,
    card("Nodes", "as the coordinator sees them now", nodes.element),
    h("div", { class: "grid-2" }, card("Which box may I unplug?", "exact, over every chunk", unplug), card("The keeper", "repairs, moves, lays out anew", keeper)),
  ];
  root.append(h("div", { class: "page-head" }, h("div", {}, h("h1", { text: "Cluster" }), lead)), body);

  let exposure = null;
  let consensus = null;
  const draw = () => {
    const status = live.cluster?.status;
    const trouble = clusterTrouble();
    if (!status) {
      setText(lead, "");
      const kind = `none ${trouble?.sinceMs} ${live.link.state}`;
      const waits = h("div", { class: "card" }, h("p", { class: "muted", text: "Asking the gateway …" }));
      if (body.dataset.kind !== kind) show(body, live.link.state === "opening" ? waits : unknownCard(trouble ?? { code: "GATEWAY_AWAY" }));
      body.dataset.kind = kind;
      return;
    }
    if (body.dataset.kind !== "figures") show(body, parts);
    body.dataset.kind = "figures";
    setText(lead, `${count(status.nodes.length, "node")}, ${count(status.videos, "video")}, ${size(status.stored_bytes)} on disk for ${size(status.video_bytes)} of film. ${coordinatorText(status)}`);
    const words = verdictOf(status, live.videos);
    verdict.className = `verdict ${words.tone}`;
    if (verdict.dataset.text !== words.text) show(verdict, h("span", { class: "word", text: words.word }), h("strong", { text: words.text }));
    verdict.dataset.text = words.text;
    nodes.update(status.nodes);
    drawKeeper(keeper, status);
    drawExposure(unplug, exposure, consensus);
  };
  const asking = poll("/api/v1/exposure", EXPOSURE_MS, ({ value, error, sinceMs }) => {
    exposure = { value, error, sinceMs };
    draw();
  });
  const askingWho = poll("/api/v1/consensus", EXPOSURE_MS, ({ value }) => {
    consensus = value ?? null;
    draw();
  });
  const end = live.watch(["cluster", "videos", "link"], draw);
  const timer = setInterval(() => nodes.tick(), 1000);
  return () => {
    end();
    asking.stop();
    askingWho.stop();
    clearInterval(timer);
  };
}

const card = (head, note, ...content) => h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", { text: head }), h("span", { class: "aside", text: note })), content);

function coordinatorText({ coordinator, catalogue, uptime_s }) {
  return `Coordinator ${coordinator}, catalogue ${catalogue}, up ${span(uptime_s)}.`;
}

function nodesTable() {
  const body = h("tbody");
  const names = ["Node", "State", "Last seen", "Disk", "Used", "Fragments", "Load"];
  const element = h("div", { class: "table-box" }, h("table", { class: "table folds" }, h("caption", { class: "visually-hidden", text: "Nodes" }), h("thead", {}, h("tr", {}, names.map((name, place) => h("th", { scope: "col", class: place > 3 ? "number" : "", text: name })))), body));
  let records = [];
  const rows = keyed(body, (node) => node.record.id, nodeRow);
  return {
    element,
    update(nodes) {
      records = nodes;
      rows(records);
    },
    /** Ages grow between two answers. */
    tick: () => rows(records),
  };
}

function nodeRow(first) {
  const cell = (label, cls = "") => h("td", { "data-label": label, class: cls });
  const [state, seen, disk, used, fragments, load] = [cell("State"), cell("Last seen"), cell("Disk"), cell("Used", "number"), cell("Fragments", "number"), cell("Load", "number")];
  const seenText = h("span");
  const uptime = h("span", { class: "muted small uptime-share" });
  seen.append(h("span", {}, seenText, uptime));
  const dot = h("span", { class: "dot" });
  const word = h("span");
  const zone = h("span", { class: "muted small" });
  state.append(h("span", { class: "node-name" }, dot, word));
  const mark = (at, text) => h("span", { class: "mark", vars: { "--at": at }, title: text });
  const bar = h("div", { class: "bar marked", role: "img" }, h("i"), mark(DISK_WARN, "warns at 85 %"), mark(DISK_FULL, "stores nothing more at 95 %"));
  disk.append(bar);
  const element = h("tr", {}, h("th", { scope: "row" }, h("span", { text: first.record.id }), " ", zone), state, seen, disk, used, fragments, load);
  return {
    element,
    update(node) {
      const { tone, text } = nodeWords(node.state);
      dot.className = `dot ${tone}`;
      setText(word, node.status && node.status !== "ok" && node.state === "up" ? `${text}, ${node.status}` : text);
      setText(zone, node.record.zone ? `zone ${node.record.zone}` : "");
      const sinceAnswer = (Date.now() - live.clusterAtMs) / 1000;
      // Asked once a second or so: a share of less than a minute says nothing.
      setText(uptime, node.uptime === null || node.watched_s < 60 ? "" : `up ${percent(node.uptime, 1)} of ${span(node.watched_s)}`);
      setText(seenText, node.seen_s_ago === null ? "never since the coordinator began" : ago(node.seen_s_ago + sinceAnswer));
      // What others have taken of the disk is not free either: nodes warn by this share.
      const all = node.record.capacity_bytes;
      const isKnown = all > 0 && node.used_bytes + node.free_bytes > 0;
      const share = isKnown ? Math.max(0, 1 - node.free_bytes / all) : 0;
      bar.hidden = !isKnown;
      const diskTone = share >= DISK_FULL ? "bad" : share >= DISK_WARN ? "warn" : "accent";
      setVars(bar, { "--share": share, "--tone": node.state === "up" ? `var(--${diskTone})` : "var(--line-strong)" });
      bar.setAttribute("aria-label", isKnown ? `${percent(share)} of its room taken; it warns at 85 % and stores nothing more at 95 %` : "not known");
      const last = node.state === "up" ? "" : "last: ";
      setText(used, isKnown ? `${last}${size(node.used_bytes)}, ${size(node.free_bytes)} free of ${size(all)}` : UNKNOWN);
      setText(fragments, isKnown || node.fragments ? `${last}${number(node.fragments)}` : UNKNOWN);
      setText(load, node.state === "up" ? (node.requests_in_flight ? count(node.requests_in_flight, "request") : "idle") : UNKNOWN);
    },
  };
}

function drawKeeper(box, { keeper, deleting }) {
  if (!keeper) return show(box, h("p", { class: "muted", text: "This coordinator does not say what its keeper does." }));
  if (!keeper.is_keeper) return show(box, h("p", { class: "muted", text: "Another coordinator is the keeper." }));
  const done = Object.entries(keeper.done).map(([what, many]) => `${number(many)} ${{ repair: "repaired", move: "moved", migrate: "laid out anew", trim: "trimmed" }[what] ?? what}`);
  const lines = [
    ["To do", keeper.groups_left ? `${count(keeper.groups_left, "group")} of up to 64 chunks` : "nothing"],
    ["Lost on nodes that are up", keeper.fragments_missing ? `${count(keeper.fragments_missing, "fragment")} to be made again` : "no fragment"],
    ["Done since its start", done.length ? `chunks: ${done.join(", ")}` : "nothing was needed"],
    ["Moved between nodes", size(keeper.received_bytes)],
    ["Failed", keeper.failed ? number(keeper.failed) : "none"],
    ["Being dropped", deleting ? count(deleting, "deleted video") : "nothing"],
    keeper.resting.length ? ["Given a rest, they play", keeper.resting.join(", ")] : null,
    keeper.trouble ? ["Trouble", keeper.trouble] : null,
  ].filter(Boolean);
  const key = JSON.stringify([lines, keeper.stuck]);
  if (box.dataset.key === key) return;
  box.dataset.key = key;
  const stuck = keeper.stuck.length ? h("div", { class: "notice warn" }, h("h3", { text: `${count(keeper.stuck.length, "chunk")} cannot be mended now` }), h("ul", {}, keeper.stuck.slice(0, 5).map((text) => h("li", { text })))) : null;
  show(box, h("dl", { class: "facts" }, lines.map(([name, text]) => h("div", {}, h("dt", { text: name }), h("dd", { text })))), stuck);
}

/** From the coordinator's exact report over every chunk and every set of missing nodes. */
function drawExposure(box, told, consensus) {
  if (!told) return show(box, h("p", { class: "muted", text: "Looking at every chunk …" }));
  const kept = keptText(consensus);
  const key = told.error ? `trouble ${told.sinceMs}` : `${JSON.stringify(told.value)} ${kept}`;
  if (box.dataset.key === key) return;
  box.dataset.key = key;
  if (told.error) return show(box, unknownCard(told.error, told.sinceMs));
  const report = told.value;
  if (!report.videos) return show(box, h("p", { class: "muted", text: "Any of them: nothing is stored yet." }));
  show(box, h("ul", { class: "unplug" }, report.nodes.map(unplugLine)), h("p", { class: "small muted", text: report.combined.map(combinedText).join(" ") }), kept && h("p", { class: "small muted", text: kept }));
}

/** Which of the nodes are needed for the catalogue, where nodes keep it. */
function keptText(consensus) {
  if (consensus?.catalogue !== "chunkpaxos") return "";
  const { members, quorum } = consensus;
  const spare = members.filter((member) => member.state === "up").length - quorum;
  const who = `The catalogue is kept by ${members.map((member) => member.name).sort().join(", ")}: ${quorum} of them must be up.`;
  if (spare < 0) return `${who} They are not: nothing can be opened, stored or changed until more are back.`;
  return `${who} ${spare ? `Now ${number(spare)} of them may be away at once.` : "None of them may be unplugged now."}`;
}

const naming = (names) => `${count(names.length, "video")}: ${names.slice(0, 3).join(", ")}${names.length > 3 ? ` and ${names.length - 3} more` : ""}`;

function unplugLine({ id, state, harm }) {
  const { stopped, lost } = harm;
  const text = stopped.length ? `no, it would stop ${naming(stopped)}` : state === "up" ? "yes, everything plays on" : `it is away, and everything plays on`;
  const gone = lost.length ? h("span", { class: "small bad-text", text: `without its disk, lost: ${naming(lost)}` }) : null;
  return h("li", {}, h("span", { class: `dot ${stopped.length ? "bad" : "good"}` }), h("strong", { text: id }), h("span", { class: stopped.length ? "bad-text" : "", text }), gone);
}

function combinedText({ missing, combinations, stopping, losing, worst }) {
  if (!stopping) return `Any ${missing} at once: everything plays on.`;
  const example = worst.length ? `, such as ${worst[0].nodes.join(" + ")}` : "";
  const loses = losing === 1 ? "One" : number(losing);
  const data = losing ? ` ${losing === combinations ? `Each such set of ${missing} would` : `${loses} such ${losing === 1 ? "set" : "sets"} would`} lose data if its disks were gone.` : "";
  return `${stopping === combinations ? `Any ${missing} at once stop something` : `${number(stopping)} of ${number(combinations)} sets of ${missing} stop something${example}`}.${data}`;
}
