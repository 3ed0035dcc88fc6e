// Uploading: a place to drop files, choices of redundancy and ladder, one line per upload.

import { h, icon, keyed, setText, setVars, show, toast } from "../dom.js";
import { percent, rate, size, span } from "../format.js";
import { live } from "../live.js";
import { SUFFIXES, uploads } from "../upload_desk.js";
import { inWords } from "../words.js";

const REDUNDANCY = [
  ["auto", "Automatic: the policy decides"],
  ["rs:3+2", "Any 3 of 5: two nodes may fail, 1.67 × the size"],
  ["rs:2+1", "Any 2 of 3: one node may fail, 1.5 × the size"],
  ["rep:3", "3 whole copies: two nodes may fail, 3 × the size"],
  ["rep:2", "2 whole copies: one node may fail, 2 × the size"],
];
const HEIGHTS = [720, 480, 360];

export function uploadPanel() {
  const input = h("input", { type: "file", multiple: true, class: "visually-hidden", id: "files", accept: SUFFIXES.map((suffix) => `.${suffix}`).concat("video/*").join(","), tabindex: "-1" });
  const pick = h("button", { class: "button primary", type: "button", onclick: () => input.click() }, icon("upload"), "Choose files");
  const opener = h("button", { class: "button primary", type: "button", "aria-expanded": "false", "aria-controls": "upload-panel", onclick: () => toggle() }, icon("upload"), "Upload");
  const drop = h(
    "div",
    { class: "drop" },
    h("div", { class: "drop-call" }, h("strong", { text: "Drop films here" }), h("span", { class: "muted", text: `${SUFFIXES.join(" ")} · several at once` })),
    pick,
    input,
  );
  const lines = h("ul", { class: "upload-lines", "aria-label": "Uploads" });
  const element = h("section", { class: "card upload-panel", id: "upload-panel", "aria-label": "Upload", hidden: true }, h("div", { class: "upload-open" }, choices(), drop), lines);
  const spoken = h("p", { class: "visually-hidden", role: "status" });
  element.append(spoken);

  let isOpen = false;
  const toggle = (wanted = !isOpen) => {
    isOpen = wanted;
    opener.setAttribute("aria-expanded", String(isOpen));
    draw();
    if (isOpen && document.activeElement === opener) pick.focus();
  };
  input.addEventListener("change", () => {
    uploads.add([...input.files]);
    input.value = "";
  });
  const endDrops = takeDrops(drop, () => toggle(true));
  const drawLines = keyed(lines, (line) => line.key, uploadLine);
  const draw = () => {
    const records = linesOf(live.uploads);
    drawLines(records);
    element.hidden = !isOpen && !records.length;
    element.querySelector(".upload-open").hidden = !isOpen;
    lines.hidden = !records.length;
    tellMilestones(records, spoken);
  };
  uploads.addEventListener("change", draw);
  const end = live.watch(["uploads"], draw);
  return {
    element,
    opener,
    expand: () => !isOpen && toggle(true),
    close() {
      end();
      endDrops();
      uploads.removeEventListener("change", draw);
    },
  };
}

function choices() {
  const kept = uploads.choices;
  const select = h("select", { class: "input" }, REDUNDANCY.map(([value, text]) => h("option", { value, text, selected: value === kept.redundancy })));
  const boxes = HEIGHTS.map((height) => h("input", { type: "checkbox", value: height, checked: kept.ladder.includes(height) }));
  const keep = () => {
    uploads.choices = { redundancy: select.value, ladder: boxes.filter((box) => box.checked).map((box) => Number(box.value)) };
  };
  for (const control of [select, ...boxes]) control.addEventListener("change", keep);
  return h(
    "div",
    { class: "upload-choices" },
    h("label", { class: "field" }, h("span", { text: "Redundancy" }), select),
    h("fieldset", { class: "checks" }, h("legend", { text: "Also encode" }), boxes.map((box, place) => h("label", {}, box, `${HEIGHTS[place]}p`))),
    h("p", { class: "muted small", text: "An upload starts as soon as a file is chosen or dropped: choose these first. Extra renditions let a slow link play without stalls; they take encoding time and disk." }),
  );
}

/** Files may be dropped anywhere on the page. */
function takeDrops(drop, expand) {
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  const over = (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    expand();
    drop.classList.add("over");
  };
  const out = (event) => event.relatedTarget === null && drop.classList.remove("over");
  const take = (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    drop.classList.remove("over");
    uploads.add([...event.dataTransfer.files]);
  };
  const pairs = [["dragover", over], ["dragleave", out], ["drop", take]];
  for (const [kind, handler] of pairs) addEventListener(kind, handler);
  return () => pairs.forEach(([kind, handler]) => removeEventListener(kind, handler));
}

// Uploads that were under way while this page looked: only of these is the end worth a line.
const seenUnderWay = new Set();

// What was stored stays stored: it is shown on while the gateway does not answer.
let stored = [];

/** One line per upload under way, or ended before our eyes, and per file that was not taken. */
function linesOf(told) {
  if (told) stored = told.filter((status) => status.state === "done");
  const statuses = told ?? stored;
  for (const status of statuses) if (status.state !== "done") seenUnderWay.add(status.id);
  const known = new Set(statuses.map((status) => status.id));
  const fresh = [...uploads.sendings.values()].filter((sending) => !known.has(sending.id) && sending.state !== "cancelled");
  return [
    ...uploads.refused.map((refusal, place) => ({ key: `refused ${refusal.name} ${place}`, refusal })),
    ...fresh.map((sending) => ({ key: sending.id, sending, status: { id: sending.id, name: sending.file.name, size: sending.file.size, offset: sending.offset, state: sending.state === "sent" ? "sent" : "receiving", nodes: {} } })),
    ...statuses.filter((status) => seenUnderWay.has(status.id) || uploads.sendings.has(status.id)).map((status) => ({ key: status.id, status, sending: uploads.sendings.get(status.id) })),
  ];
}

/** What a line says: `{share, text, tone, isOver}`. */
function progressOf({ status, sending }) {
  switch (status.state) {
    case "receiving": {
      const offset = Math.max(status.offset, sending?.offset ?? 0);
      const share = status.size ? offset / status.size : 0;
      const done = `${percent(share)} of ${size(status.size)}`;
      if (!sending) return { share, tone: "warn", text: `${done} is here. Choose the same file again and it goes on from there.` };
      if (sending.state === "failed") return { share, tone: "bad", text: `Stopped at ${done}: ${sending.error.message}` };
      if (sending.state === "waiting") return { share, tone: "warn", text: `Waiting at ${done}: ${sending.error.message} It goes on by itself.` };
      const speed = sending.rate ?? null;
      const left = speed ? `, ${span((status.size - offset) / speed)} left` : "";
      return { share, tone: "", text: `Sending: ${done}${speed ? `, ${size(speed)}/s` : ""}${left}` };
    }
    case "sent":
      if (live.link.state === "live") return { share: 1, tone: "", text: `Sent: ${size(status.size)}, about to be stored` };
      return { share: 1, tone: "warn", text: `Sent: ${size(status.size)}. How far it is stored is not known now.` };
    case "storing":
    case "ladder": {
      const share = status.total_bytes ? status.stored_bytes / status.total_bytes : 0;
      const what = (status.stage || (status.state === "ladder" ? "encoding" : "storing on nodes")).replace(/^./, (letter) => letter.toUpperCase());
      const speed = status.rate_bytes_per_s ? `, ${size(status.rate_bytes_per_s)}/s` : "";
      const left = status.eta_s >= 1 ? `, ${span(status.eta_s)} left` : "";
      return { share, tone: "", text: `${what}: ${percent(share)}${status.total_bytes ? ` of ${size(status.total_bytes)}` : ""}${speed}${left}` };
    }
    case "done":
      return { share: 1, tone: "good", isOver: true, text: `Stored${status.layout ? ` as ${status.layout}` : ""}: ${size(status.size)}` };
    default:
      return { share: 0, tone: "bad", isOver: true, text: status.error ? inWords(status.error) : "It failed." };
  }
}

function uploadLine(first) {
  if (first.refusal) return refusedLine(first.refusal);
  const name = h("strong", { class: "upload-name" });
  const text = h("span", { class: "upload-text" });
  const bar = h("div", { class: "bar", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100", "aria-label": `Upload of ${first.status.name}` }, h("i"));
  const ticks = h("ul", { class: "ticks", "aria-label": "Nodes" });
  const end = h("button", { class: "button quiet small", type: "button" }, icon("close"), h("span", { text: "Cancel" }));
  const again = h("button", { class: "button small", type: "button", text: "Try again", hidden: true, onclick: () => uploads.again(element.status) });
  const play = h("a", { class: "button small", hidden: true }, icon("play"), "Play");
  const element = h("li", { class: "upload-line" }, h("div", { class: "upload-head" }, name, text, play, again, end), bar, ticks);
  end.addEventListener("click", async () => {
    try {
      await uploads.cancel(first.status.id);
    } catch (error) {
      toast(`Not cancelled: ${error.message}`);
    }
  });
  let tickKey = "";
  return {
    element,
    update(record) {
      const { share, text: words, tone, isOver } = progressOf(record);
      setText(name, record.status.name);
      setText(text, words);
      text.className = `upload-text ${tone ? `${tone}-text` : ""}`;
      setVars(bar, { "--share": share, "--tone": tone ? `var(--${tone})` : "var(--accent)" });
      bar.setAttribute("aria-valuenow", Math.round(share * 100));
      element.status = record.status;
      end.hidden = record.status.state === "sent"; // there is nobody to tell
      again.hidden = record.status.state !== "failed";
      play.hidden = record.status.state !== "done";
      play.href = `#/watch/${encodeURIComponent(record.status.name)}`;
      setText(end.lastChild, isOver ? "Dismiss" : "Cancel");
      end.setAttribute("aria-label", `${isOver ? "Dismiss" : "Cancel"} the upload of ${record.status.name}`);
      const nodes = Object.entries(record.status.nodes ?? {});
      const key = JSON.stringify(nodes);
      if (key === tickKey) return;
      tickKey = key;
      show(ticks, nodes.map(([node, state]) => tick(node, state)));
    },
  };
}

function tick(node, state) {
  return h("li", { class: "tick" }, h("span", { "aria-hidden": "true", text: "●" }), h("strong", { text: node }), ` ${state}`);
}

function refusedLine(refusal) {
  const dismiss = h("button", { class: "button quiet small", type: "button", onclick: () => uploads.dismiss(refusal) }, icon("close"), "Dismiss");
  const text = inWords(refusal.error);
  return { element: h("li", { class: "upload-line" }, h("div", { class: "upload-head" }, h("strong", { class: "upload-name", text: refusal.name }), h("span", { class: "upload-text bad-text", text }), dismiss)), update() {} };
}

const told = new Map();

/** Screen readers hear every quarter and the end, not every per cent. */
function tellMilestones(records, spoken) {
  for (const record of records.filter((each) => each.status)) {
    const { share, text } = progressOf(record);
    const step = `${record.status.state} ${Math.floor(share * 4)}`;
    if (told.get(record.key) === step) continue;
    if (told.has(record.key) || record.sending) setText(spoken, `${record.status.name}: ${text}`);
    told.set(record.key, step);
  }
}
