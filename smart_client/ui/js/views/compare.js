// Smart against naive: results of real `smart-client compare` runs, and a small new one.

import { ask, poll, under } from "../api.js";
import { h, s, setText, show, toast } from "../dom.js";
import { count, number, percent, span, UNKNOWN, wallClock, wholeSpan } from "../format.js";
import { unknownCard } from "../words.js";

const ASK_MS = 2000;
const OURS = "smart";
const SCENARIOS = [
  ["typical", "typical: six unequal home nodes"],
  ["frozen-node", "one node freezes"],
  ["dripping-node", "one node drips"],
  ["common-outages", "nodes fail together"],
  ["evening", "an evening’s congestion"],
  ["harsh", "harsh: little capacity to spare"],
];

export const title = () => "Compare";

export function open(root) {
  const box = h("div", { class: "stack" });
  const form = startForm(() => asking.now());
  root.append(
    h("div", { class: "page-head" }, h("div", {}, h("h1", { text: "Smart against naive" }), h("p", { class: "lead", text: "The session code that plays your videos and two others, in the same simulated worlds, seed by seed. Waiting is the time to the start plus all stalls; 1.00 is what a scheduler that knows the future could reach at best." }))),
    form.element,
    box,
  );
  let drawn = "";
  const asking = poll("/api/v1/comparisons", ASK_MS, ({ value, error, sinceMs }) => {
    const key = error ? `trouble ${sinceMs}` : JSON.stringify(value.map((each) => [each.id, each.state]));
    if (value) form.update(value);
    if (key === drawn) return;
    drawn = key;
    if (error) return show(box, unknownCard(error, sinceMs));
    const finished = value.filter((each) => each.state === "done");
    const failed = value.filter((each) => each.state === "failed");
    show(box, failed.map(failedCard), finished.length ? finished.map(resultCard) : h("div", { class: "card empty" }, h("h2", { text: "No result yet" }), h("p", {}, "Start a small run above. Larger ones in a terminal: ", h("code", { class: "nowrap", text: "smart-client compare --runs 20" }))));
  });
  return () => asking.stop();
}

function startForm(started) {
  const scenario = h("select", { class: "input" }, SCENARIOS.map(([value, text]) => h("option", { value, text })));
  const runs = h("input", { class: "input", type: "number", min: 1, max: 10, value: 3, required: true });
  const seed = h("input", { class: "input", type: "number", min: 0, max: 1_000_000, value: 0, required: true });
  const start = h("button", { class: "button primary", type: "submit", text: "Start a run" });
  const state = h("p", { class: "small muted", role: "status" });
  const field = (name, control) => h("label", { class: "field" }, h("span", { text: name }), control);
  const element = h("form", { class: "card" }, h("div", { class: "compare-form" }, field("World", scenario), field("Worlds to play", runs), field("First seed", seed), start), state);
  element.addEventListener("submit", async (event) => {
    event.preventDefault();
    start.disabled = true;
    try {
      await ask("POST", "/api/v1/comparisons", { scenario: scenario.value, runs: Number(runs.value), seed: Number(seed.value) });
      started();
    } catch (error) {
      toast(`Not started: ${error.message}`);
      start.disabled = false;
    }
  });
  return {
    element,
    update(comparisons) {
      const running = comparisons.find((each) => each.state === "running");
      start.disabled = Boolean(running);
      setText(state, running ? `Playing since ${wallClock(running.created_ts)}, for ${wholeSpan(Date.now() / 1000 - running.created_ts)} now. It takes one core of this machine.` : "");
    },
  };
}

const failedCard = (each) => h("div", { class: "notice bad" }, h("h3", { text: `The run of ${wallClock(each.created_ts)} failed` }), h("p", { text: each.error }));

function resultCard(result) {
  const groups = new Map();
  for (const cell of result.cells) {
    const name = `${cell.scenario}, ${cell.layout.replace(/^(\d+)of(\d+)$/, "any $1 of $2")}`;
    groups.set(name, [...(groups.get(name) ?? []), cell]);
  }
  const report = `${under("/api/v1/comparisons", result.id)}/report.html`;
  return h(
    "section",
    { class: "card" },
    [...groups].map(([name, cells], place) => h("div", { class: place ? "next-group" : "" }, h("div", { class: "card-head" }, h("h2", { text: name }), place ? "" : h("span", { class: "aside" }, wallClock(result.created_ts), " · ", h("a", { href: report, target: "_blank", rel: "noopener", text: "whole report" }))), h("p", { class: "prose", text: verdict(cells) }), plot(cells), cellsTable(cells))),
  );
}

/** One sentence that is true whoever wins. */
function verdict(cells) {
  const ours = cells.find((cell) => cell.scheduler === OURS);
  const naive = cells.at(-1);
  if (!ours || ours === naive || ours.saved === null) return "";
  const worlds = count(ours.sessions, "world");
  if (ours.saved_low === null) return `Too few worlds to tell more than the figures themselves: ${worlds}.`;
  const interval = `95 % interval ${percent(ours.saved_low)} to ${percent(ours.saved_high)}`;
  if (ours.saved_low > 0) return `Evenflow saves ${percent(ours.saved)} of the waiting of ${naive.scheduler} (${interval}), in ${worlds}.`;
  if (ours.saved_high < 0) return `Evenflow waits longer than ${naive.scheduler} here: ${percent(-ours.saved)} more (${interval}), in ${worlds}.`;
  return `No difference to ${naive.scheduler} that ${worlds} could show (${interval}).`;
}

// On a phone the picture is narrower, not smaller.
const isNarrow = matchMedia("(max-width: 760px)").matches;
const WIDE = isNarrow ? 330 : 820;
const LEFT = isNarrow ? 88 : 130;
const LANE = 34;

/** A session that was cut off waited so much at least. */
function least(cell) {
  return cell.unfinished ? "≥ " : "";
}

/** An interval behind its figure; nothing where too few worlds were played for one. */
function between(low, high, form) {
  return low === null ? "" : `  [${form(low)}, ${form(high)}]`;
}

/** Waiting as a multiple of the optimum, with its interval, on a logarithmic scale. */
function plot(cells) {
  const known = cells.filter((cell) => cell.ratio !== null);
  if (!known.length) return "";
  const top = Math.max(2, ...known.map((cell) => cell.ratio_high ?? cell.ratio)) * 1.15;
  const x = (ratio) => LEFT + (Math.log(Math.max(1, ratio)) / Math.log(top)) * (WIDE - LEFT - 70);
  const ticks = (isNarrow ? [1, 10, 100, 1000] : [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]).filter((tick) => tick <= top);
  const high = cells.length * LANE + 40;
  const rows = cells.map((cell, row) => {
    const y = row * LANE + 24;
    const label = s("text", { x: 0, y: y + 4 }, cell.scheduler);
    if (cell.ratio === null) return s("g", {}, label);
    return s("g", { class: cell.scheduler === OURS ? "ours" : "" }, label, s("line", { class: "range", x1: x(cell.ratio_low ?? cell.ratio), x2: x(cell.ratio_high ?? cell.ratio), y1: y, y2: y }), s("circle", { class: "point", cx: x(cell.ratio), cy: y, r: 6 }), s("text", { x: x(cell.ratio_high ?? cell.ratio) + 12, y: y + 4 }, `${least(cell)}${number(cell.ratio, 2)} ×`));
  });
  const axis = ticks.map((tick) => s("g", {}, s("line", { class: tick === 1 ? "best" : "axis", x1: x(tick), x2: x(tick), y1: 4, y2: high - 22 }), s("text", { class: "soft", x: x(tick), y: high - 6, "text-anchor": "middle" }, tick === 1 ? "optimum" : `${tick} ×`)));
  const words = known.map((cell) => `${cell.scheduler} ${least(cell)}${number(cell.ratio, 2)}${between(cell.ratio_low, cell.ratio_high, (each) => number(each, 2))}`).join("; ");
  return s("svg", { class: "plot", viewBox: `0 0 ${WIDE} ${high}`, role: "img", "aria-label": `Waiting as a multiple of the optimum: ${words}` }, axis, rows);
}

const COLUMNS = [
  ["Scheduler", (cell) => cell.scheduler],
  ["Waiting / optimum", (cell) => (cell.ratio === null ? UNKNOWN : `${least(cell)}${number(cell.ratio, 2)}${between(cell.ratio_low, cell.ratio_high, (each) => number(each, 2))}`)],
  ["Saved", (cell) => (cell.saved === null ? UNKNOWN : cell.saved === 0 && cell.saved_low === cell.saved_high ? "the reference" : `${percent(cell.saved)}${between(cell.saved_low, cell.saved_high, percent)}`)],
  ["Start p50 / p95", (cell) => `${span(cell.startup_s)} / ${span(cell.startup_p95_s)}`],
  ["Stalls an hour", (cell) => `${number(cell.rebuffer_s_per_h, 1)} s`],
  ["Sessions with a stall", (cell) => percent(cell.stalled_share)],
  ["Bytes beyond need", (cell) => percent(cell.extra_share, 1)],
];

function cellsTable(cells) {
  const heads = COLUMNS.map(([name], place) => h("th", { scope: "col", class: place ? "number" : "", text: name }));
  const rows = cells.map((cell) => h("tr", { class: cell.scheduler === OURS ? "ours" : "" }, COLUMNS.map(([name, text], place) => (place ? h("td", { class: "number", "data-label": name, text: text(cell) }) : h("th", { scope: "row", text: text(cell) })))));
  return h("div", { class: "table-box" }, h("table", { class: "table folds compare-table" }, h("caption", { class: "visually-hidden", text: "Schedulers compared" }), h("thead", {}, h("tr", {}, heads)), h("tbody", {}, rows)));
}
