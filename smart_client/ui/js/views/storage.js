// Storage efficiency and policy: what each video takes, why it is stored so, what the model expects.

import { poll, under } from "../api.js";
import { h, keyed, setText, setVars, show } from "../dom.js";
import { count, number, percent, size, UNKNOWN } from "../format.js";
import { live } from "../live.js";
import { layoutText, lossWords, unknownCard } from "../words.js";

const ASK_MS = 4000;
const COPIES = 3;

export const title = () => "Storage";

export function open(root) {
  const box = h("div", { class: "stack" });
  const tiles = h("dl", { class: "tiles" });
  const table = storageTable();
  const outlooks = h("section", { class: "card" });
  const model = h("p", { class: "small muted" });
  const parts = [tiles, h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", { text: "Every video" }), h("span", { class: "aside", text: "what it has, and what the policy would have" })), table.element, h("div", { class: "below-table" }, model)), outlooks];
  const lead = h("p", { class: "lead", text: "What redundancy costs, what it brings, and why each video is stored the way it is." });
  root.append(h("div", { class: "page-head" }, h("div", {}, h("h1", { text: "Storage" }), lead)), box);
  show(box, h("p", { class: "muted", text: "Asking the gateway …" }));
  let troubleMs = null;
  const draw = ({ value: report, error, sinceMs }) => {
    if (error) {
      if (troubleMs !== sinceMs) show(box, unknownCard(error, sinceMs));
      troubleMs = sinceMs;
      return;
    }
    troubleMs = null;
    if (!report.videos.length) return show(box, h("div", { class: "card empty" }, h("h2", { text: "Nothing is stored yet" }), h("p", {}, "Upload a video in the ", h("a", { href: "#/library", text: "library" }), "; then this page says what its redundancy costs and brings.")));
    if (box.firstChild !== tiles) show(box, parts);
    drawTiles(tiles, report);
    table.update(report.videos);
    setText(model, `Lost in a year and failed reads are computed, not measured, by the ${modelText(report)}`);
    drawOutlooks(outlooks, report);
  };
  const asking = poll("/api/v1/storage", ASK_MS, draw);
  let known = live.videos;
  const end = live.watch(["videos"], () => {
    if (live.videos !== known) asking.now();
    known = live.videos;
  });
  return () => {
    end();
    asking.stop();
  };
}

function modelText({ model, nodes, node_availability, availabilities_measured }) {
  const measured = availabilities_measured ? `measured of ${availabilities_measured} of ${count(nodes, "node")}, assumed of the others` : "assumed, for no node was watched long enough";
  return `${model} model. Nodes answer ${percent(node_availability, 1)} of the time (${measured}).`;
}

function drawTiles(list, report) {
  const share = report.three_copies_bytes ? report.saved_bytes / report.three_copies_bytes : null;
  const overhead = report.video_bytes ? report.stored_bytes / report.video_bytes : null;
  const waiting = report.videos.filter((video) => ["now", "later", "moving"].includes(video.advice.state)).length;
  const budget = report.budget_bytes_per_day ? `${size(report.budget_spent_bytes)} of ${size(report.budget_bytes_per_day)} moved today` : "";
  const policyNote = report.policy === "off" ? "layouts change only when somebody asks" : [waiting ? `another layout for ${count(waiting, "video")}` : "every video is as it wishes", budget].filter(Boolean).join("; ");
  const tiles = [
    ["Stored", size(report.stored_bytes), `for ${size(report.video_bytes)} of film in ${count(report.videos.length, "video")}`],
    ["Saved against 3 copies", report.saved_bytes >= 0 ? size(report.saved_bytes) : `${size(-report.saved_bytes)} more`, share === null ? "" : `${percent(share)} of ${size(report.three_copies_bytes)}; ${number(overhead, 2)} × the films’ own size`],
    ["Nines", number(report.nines, 1), `a video is lost in a year with probability ${probability(report.annual_loss)}, by the model below`],
    ["Failed reads", probability(report.failed_reads), "share of reads at a random instant, by the model below"],
    ["Policy", report.policy, policyNote],
  ];
  if (list.children.length !== tiles.length) show(list, tiles.map(([name]) => h("div", { class: "tile" }, h("dt", { text: name }), h("dd"), h("dd"))));
  tiles.forEach(([, value, note], place) => {
    setText(list.children[place].children[1], value);
    setText(list.children[place].children[2], note);
  });
}

/** 0.00012 -> "1.2 × 10⁻⁴". */
export function probability(value) {
  if (value === null || value === undefined) return UNKNOWN;
  if (value === 0) return "0";
  if (value >= 0.01) return percent(value, 1);
  const power = Math.floor(Math.log10(value));
  const digits = [...String(-power)].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(digit)]).join("");
  return `${number(value / 10 ** power, 1)} × 10⁻${digits}`;
}

function storageTable() {
  const body = h("tbody");
  const names = ["Video", "Layout and why", "Takes", "Overhead", "Views", "Now", "Lost in a year", "Failed reads"];
  const element = h("div", { class: "table-box" }, h("table", { class: "table folds storage-table" }, h("caption", { class: "visually-hidden", text: "How every video is stored" }), h("thead", {}, h("tr", {}, names.map((name, place) => h("th", { scope: "col", class: [2, 4, 6, 7].includes(place) ? "number" : "", text: name })))), body));
  return { element, update: keyed(body, (video) => video.id, storageRow) };
}

function storageRow(first) {
  const cell = (label, cls = "") => h("td", { "data-label": label, class: cls });
  const [layout, takes, overhead, views, now, loss, fails] = [cell("Layout", "why"), cell("Takes", "number"), cell("Overhead"), cell("Views", "number"), cell("Now"), cell("Lost in a year", "number"), cell("Failed reads", "number")];
  const bar = h("div", { class: "bar marked", title: "against three whole copies" }, h("i"));
  const factor = h("span");
  overhead.append(h("div", { class: "overhead" }, factor, bar));
  const element = h("tr", {}, h("th", { scope: "row" }, h("a", { href: under("#/watch", first.name), text: first.name })), layout, takes, overhead, views, now, loss, fails);
  let drawn = "";
  return {
    element,
    update(video) {
      const key = JSON.stringify(video);
      if (key === drawn) return;
      drawn = key;
      show(layout, h("div", {}, h("strong", { text: layoutText(video.layout) }), !video.is_settled && h("span", { class: "muted", text: " (on its way)" }), video.reason && h("p", { class: "small muted", text: video.is_wish ? `Its owner’s wish: ${video.reason}` : video.reason }), adviceOf(video)));
      setText(takes, size(video.stored_bytes));
      const factorNow = video.size ? video.stored_bytes / video.size : null;
      setText(factor, factorNow === null ? UNKNOWN : `${number(factorNow, 2)} ×`);
      setVars(bar, { "--share": Math.min(1, (factorNow ?? 0) / COPIES) });
      setText(views, count(video.views, "view"));
      const { tone, text } = lossWords(video.losses_survived);
      show(now, h("span", { class: `chip ${tone}`, text }));
      setText(loss, probability(video.annual_loss));
      setText(fails, probability(video.failed_reads));
    },
  };
}

const STATES = {
  keep: () => "The policy agrees",
  moving: (to) => `Chunks are being laid out as ${to}`,
  now: (to) => `The policy would have ${to}, at its next turn`,
  later: (to) => `The policy would have ${to}, later`,
  wish: (to) => `Left to itself the policy would have ${to}`,
};

function adviceOf({ advice, layout }) {
  const to = layoutText(advice.layout);
  const isSame = to === layoutText(layout);
  const head = isSame && advice.state === "wish" ? "The policy agrees" : (STATES[advice.state]?.(to) ?? advice.state);
  const moves = isSame ? null : `It moves ${size(advice.moved_bytes)} and ${advice.stored_bytes_more < 0 ? `frees ${size(-advice.stored_bytes_more)}` : `takes ${size(advice.stored_bytes_more)} more`}.`;
  const lines = [...advice.reasons, advice.waits_for && `Waits for: ${advice.waits_for}`, moves].filter(Boolean);
  return h("details", { class: "advice small" }, h("summary", { text: head }), h("ul", {}, lines.map((text) => h("li", { text }))));
}

/** Where the library would be if a policy's wishes were all done. */
function drawOutlooks(card, report) {
  const key = JSON.stringify(report.outlooks);
  card.hidden = !report.outlooks.length;
  if (card.dataset.key === key) return;
  card.dataset.key = key;
  const names = ["Policy", "What it chose for these nodes", "Would store", "To move", "Nines", "Failed reads"];
  const row = (each) => h("tr", {}, h("th", { scope: "row", text: each.name === report.policy ? `${each.name}, in force` : each.name }), h("td", { "data-label": "Chose", class: "why" }, h("div", {}, each.summary.map((text) => h("p", { class: "small muted", text })))), h("td", { class: "number", "data-label": "Would store", text: size(each.stored_bytes) }), h("td", { class: "number", "data-label": "To move", text: each.moved_bytes ? size(each.moved_bytes) : "nothing" }), h("td", { class: "number", "data-label": "Nines", text: number(each.nines, 1) }), h("td", { class: "number", "data-label": "Failed reads", text: probability(each.failed_reads) }));
  show(card, h("div", { class: "card-head" }, h("h2", { text: "What each policy would do" }), h("span", { class: "aside", text: "computed for your videos and nodes" })), h("div", { class: "table-box" }, h("table", { class: "table folds storage-table" }, h("thead", {}, h("tr", {}, names.map((name, place) => h("th", { scope: "col", class: place > 1 ? "number" : "", text: name })))), h("tbody", {}, report.outlooks.map(row)))));
}
