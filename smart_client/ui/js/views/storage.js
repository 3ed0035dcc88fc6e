// Storage efficiency and policy: what each video takes, why it is stored so, what it is worth.

import { poll } from "../api.js";
import { h, keyed, setText, setVars, show } from "../dom.js";
import { count, number, percent, size, UNKNOWN } from "../format.js";
import { live } from "../live.js";
import { lossWords, troubleNotice } from "../words.js";

const ASK_MS = 4000;
const COPIES = 3;
let uptime = 0.97;

export const title = () => "Storage";

export function open(root) {
  const box = h("div", { class: "stack" });
  const lead = h("p", { class: "lead", text: "What redundancy costs, what it brings, and why each video is stored the way it is." });
  const tiles = h("dl", { class: "tiles" });
  const table = storageTable();
  const field = h("input", { class: "input", type: "number", min: 50, max: 99.99, step: 0.5, value: uptime * 100, id: "uptime", "aria-describedby": "model" });
  const model = h("p", { class: "small muted", id: "model" });
  const parts = [
    tiles,
    h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", { text: "Every video" }), h("label", { class: "uptime" }, "if each node is up", field, "% of the time")), table.element, h("div", { class: "below-table" }, model)),
  ];
  root.append(h("div", { class: "page-head" }, h("div", {}, h("h1", { text: "Storage" }), lead)), box);
  let told = null;
  const draw = () => {
    if (!told) return show(box, h("p", { class: "muted", text: "Asking the gateway …" }));
    if (told.error) return show(box, troubleNotice(told.error, told.sinceMs));
    const report = told.value;
    if (!report.videos.length) return show(box, h("div", { class: "card empty" }, h("h2", { text: "Nothing is stored yet" }), h("p", {}, "Upload a video in the ", h("a", { href: "#/library", text: "library" }), "; then this page says what its redundancy costs and brings.")));
    if (box.firstChild !== tiles) show(box, parts);
    drawTiles(tiles, report);
    table.update(report.videos);
    setText(model, `Nines: the share of time a video can be read, by the binomial model: n independent nodes, each up ${number(uptime * 100, 1)} % of the time, any k suffice. A model, not a measurement; nodes that fail together do worse.`);
  };
  field.addEventListener("input", () => {
    const value = Number(field.value) / 100;
    if (!(value >= 0.5 && value < 1)) return;
    uptime = value;
    draw();
  });
  const asking = poll("/api/v1/storage", ASK_MS, (answer) => {
    told = answer;
    draw();
  });
  draw();
  const end = live.watch(["videos"], () => told && asking.now());
  return () => {
    end();
    asking.stop();
  };
}

function drawTiles(list, { totals, policy, videos }) {
  const share = totals.three_copies_bytes ? totals.saved_bytes / totals.three_copies_bytes : null;
  const wishes = videos.filter((line) => line.recommended && line.recommended !== line.layout).length;
  const saved = totals.saved_bytes >= 0 ? size(totals.saved_bytes) : `${size(-totals.saved_bytes)} more`;
  const tiles = [
    ["Stored", size(totals.stored_bytes), `for ${size(totals.video_bytes)} of film in ${count(totals.videos, "video")}`],
    ["Saved against 3 copies", saved, share === null ? "" : `${percent(share)} of ${size(totals.three_copies_bytes)}`],
    ["Overhead", totals.video_bytes ? `${number(totals.overhead, 2)} ×` : UNKNOWN, "stored bytes over the film’s own"],
    policy ? ["Policy", policy, wishes ? `wishes another layout for ${count(wishes, "video")}` : "every video is stored as it wishes"] : null,
  ].filter(Boolean);
  const key = JSON.stringify(tiles);
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  show(list, tiles.map(([name, value, note]) => h("div", { class: "tile" }, h("dt", { text: name }), h("dd", { text: value }), h("dd", { text: note }))));
}

/** The share of time at least k of n independent nodes are up. */
export function availability(k, n, up) {
  let sum = 0;
  let ways = 1;
  for (let down = 0; down <= n - k; down += 1) {
    sum += ways * up ** (n - down) * (1 - up) ** down;
    ways = (ways * (n - down)) / (down + 1);
  }
  return sum;
}

/** "rs:3+2" or "rep:3" as k of n; code and whole copies at once are no plain binomial: null. */
export function shapeOf(layout) {
  const coded = /^rs:(\d+)\+(\d+)$/.exec(layout);
  const copies = /^rep:(\d+)$/.exec(layout);
  if (coded) return { k: Number(coded[1]), n: Number(coded[1]) + Number(coded[2]) };
  return copies ? { k: 1, n: Number(copies[1]) } : null;
}

function nines(layout) {
  const shape = shapeOf(layout);
  if (!shape) return UNKNOWN;
  const share = availability(shape.k, shape.n, uptime);
  const many = -Math.log10(Math.max(1e-15, 1 - share));
  return `${number(many, 1)} nines`;
}

function storageTable() {
  const body = h("tbody");
  const names = ["Video", "Layout and why", "Takes", "Overhead", "Views", "Now", "By the model"];
  const element = h("div", { class: "table-box" }, h("table", { class: "table folds storage-table" }, h("caption", { class: "visually-hidden", text: "How every video is stored" }), h("thead", {}, h("tr", {}, names.map((name, place) => h("th", { scope: "col", class: [2, 4, 6].includes(place) ? "number" : "", text: name })))), body));
  return { element, update: keyed(body, (line) => line.name, storageRow) };
}

function storageRow(first) {
  const cell = (label, cls = "") => h("td", { "data-label": label, class: cls });
  const [layout, takes, overhead, views, now, model] = [cell("Layout", "why"), cell("Takes", "number"), cell("Overhead"), cell("Views", "number"), cell("Now"), cell("By the model", "number")];
  const bar = h("div", { class: "bar marked" }, h("i"));
  const factor = h("span");
  overhead.append(h("div", { class: "overhead" }, factor, bar));
  const element = h("tr", {}, h("th", { scope: "row" }, h("a", { href: `#/watch/${encodeURIComponent(first.name)}`, text: first.name })), layout, takes, overhead, views, now, model);
  let drawn = "";
  return {
    element,
    update(line) {
      setText(model, nines(line.layout));
      const key = JSON.stringify(line);
      if (key === drawn) return;
      drawn = key;
      show(layout, h("div", {}, h("strong", { text: line.layout }), line.reason && h("p", { class: "small muted", text: line.reason }), recommendation(line)));
      setText(takes, size(line.stored_bytes));
      setText(factor, line.size ? `${number(line.overhead, 2)} ×` : UNKNOWN);
      setVars(bar, { "--share": Math.min(1, line.overhead / COPIES) });
      bar.title = "against three whole copies";
      setText(views, number(line.views));
      const { tone, text } = lossWords(line.losses_tolerated);
      show(now, h("span", { class: `chip ${tone}`, text }));
    },
  };
}

function recommendation(line) {
  if (!line.recommended) return null;
  const isSame = line.recommended === line.layout;
  const head = isSame ? "The policy agrees" : `The policy wishes ${line.recommended}`;
  if (!line.recommended_why.length) return h("p", { class: `small ${isSame ? "muted" : "warn-text"}`, text: head });
  return h("details", { class: "small" }, h("summary", { text: head }), h("ul", {}, line.recommended_why.map((text) => h("li", { text }))));
}
