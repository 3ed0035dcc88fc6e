// The library: every video, its health in words, uploading and deleting.

import { ask, under } from "../api.js";
import { confirm, h, icon, keyed, setText, show, toast } from "../dom.js";
import { clock, count, number, size, UNKNOWN } from "../format.js";
import { live } from "../live.js";
import { healthOf, inWords, isFilm, layoutGlyph, layoutText, lossesLeft, verdictOf } from "../words.js";
import { uploadPanel } from "./upload_panel.js";

export const title = () => "Library";

const SORTS = {
  name: ["Name", (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true })],
  newest: ["Newest first", (a, b) => b.created_at_s - a.created_at_s],
  largest: ["Largest first", (a, b) => b.size - a.size],
  longest: ["Longest first", (a, b) => b.duration_s - a.duration_s],
  views: ["Most watched", (a, b) => b.views - a.views],
  health: ["Most endangered first", (a, b) => rank(a) - rank(b)],
};
// Not known sorts after what is known to be safe.
const rank = (video) => lossesLeft(video) ?? 1000;

let wish = { text: "", sort: "name" };

export function open(root) {
  const lead = h("p", { class: "lead" });
  const search = h("input", { class: "input", type: "search", placeholder: "Search by name", "aria-label": "Search by name", value: wish.text });
  const sort = h("select", { class: "input", "aria-label": "Sort by", id: "sort-by" }, Object.entries(SORTS).map(([key, [name]]) => h("option", { value: key, text: name, selected: key === wish.sort })));
  const panel = uploadPanel();
  const verdict = h("p", { class: "verdict", hidden: true });
  const tools = h("div", { class: "library-tools" }, search, h("label", { class: "sort-by", for: "sort-by" }, h("span", { class: "muted", text: "Sort by" }), sort));
  const found = h("p", { class: "visually-hidden", role: "status" });
  const list = h("div", { class: "library-list" });
  const table = libraryTable();
  root.append(
    h("div", { class: "page-head" }, h("div", {}, h("h1", { text: "Library" }), lead), panel.opener),
    verdict,
    panel.element,
    tools,
    found,
    list,
  );

  const draw = () => {
    const videos = live.videos;
    drawVerdict(verdict);
    tools.hidden = !videos?.length;
    if (!videos) {
      setText(lead, live.link.state === "opening" ? "Asking the gateway …" : "What is stored is not known now.");
      show(list, h("div", { class: "card" }, openSessions()));
      return;
    }
    setText(lead, videos.length ? summary(videos) : "Nothing is stored yet.");
    if (!videos.length) {
      panel.expand();
      if (list.firstChild?.dataset?.kind !== "empty") show(list, emptyLibrary());
      return;
    }
    const wanted = videos.filter((video) => video.name.toLowerCase().includes(wish.text.toLowerCase()));
    setText(found, wish.text ? `${count(wanted.length, "video")} found` : "");
    table.update([...wanted].sort(SORTS[wish.sort][1]));
    const nothing = h("p", { class: "empty muted", text: `No name contains “${wish.text}”.` });
    if (!wanted.length) show(list, h("div", { class: "card" }, nothing));
    else if (list.firstChild !== table.element) show(list, table.element);
  };
  search.addEventListener("input", () => {
    wish = { ...wish, text: search.value };
    draw();
  });
  sort.addEventListener("change", () => {
    wish = { ...wish, sort: sort.value };
    draw();
  });
  const end = live.watch(["videos", "cluster", "sessions", "link"], draw);
  return () => {
    end();
    panel.close();
  };
}

function summary(videos) {
  const seconds = videos.reduce((sum, video) => sum + video.duration_s, 0);
  const bytes = videos.reduce((sum, video) => sum + video.size, 0);
  return `${count(videos.length, "video")}, ${clock(seconds)} of film, ${size(bytes)}.`;
}

function drawVerdict(line) {
  const status = live.cluster?.status;
  line.hidden = !status;
  if (!status) return;
  const { tone, word, text } = verdictOf(status, live.videos);
  const playing = live.sessions?.filter((session) => session.readers > 0).length ?? 0;
  if (line.dataset.text === text + playing) return;
  line.dataset.text = text + playing;
  line.className = `verdict ${tone}`;
  show(line, h("span", { class: "word", text: word }), h("strong", { text }), h("a", { class: "aside", href: "#/cluster", text: playing ? `${count(playing, "video")} playing · nodes` : "Nodes" }));
}

/** With the catalogue away, what is open plays on: lead there. */
function openSessions() {
  const names = [...new Set((live.sessions ?? []).map((session) => session.video))];
  if (!names.length) return h("p", { class: "muted", text: "The list comes back by itself as soon as somebody answers." });
  return h("div", {}, h("h2", { text: "Open, and playing on" }), h("ul", {}, names.map((name) => h("li", {}, h("a", { href: under("#/watch", name), text: name })))));
}

function emptyLibrary() {
  const step = (head, ...text) => h("li", {}, h("h3", { text: head }), h("p", {}, text));
  return h(
    "div",
    { class: "card empty-library", "data-kind": "empty" },
    h("h2", { text: "How this works" }),
    h(
      "ol",
      { class: "steps" },
      step("Give it a film", "Drop files above, or in a terminal: ", h("code", { class: "nowrap", text: "smart-client put holiday.mkv" }), ". The file is kept byte for byte."),
      step("It is cut, coded and spread", "Chunks of about ten seconds; of each, a few fragments on different nodes. With any 3 of 5, two nodes may be lost, at 1.67 times the size."),
      step("Watch it while nodes fail", "Here, or in mpv and VLC by its address. Pull a plug: the player shows what happens, fragment by fragment."),
    ),
  );
}

function libraryTable() {
  const body = h("tbody");
  const head = ["Video", "Length", "Size", "Stored as", "Health", "Views", ""];
  const element = h(
    "div",
    { class: "card" },
    h(
      "div",
      { class: "table-box flush" },
      h("table", { class: "table folds library-table" }, h("caption", { class: "visually-hidden", text: "Stored videos" }), h("thead", {}, h("tr", {}, head.map((name, place) => h("th", { scope: "col", class: [1, 2, 5].includes(place) ? "number" : "", text: name })))), body),
    ),
  );
  return { element, update: keyed(body, (video) => video.id, videoRow) };
}

function videoRow(first) {
  const cell = (label, cls = "") => h("td", { "data-label": label, class: cls });
  const [length, bytes, layout, health, views] = [cell("Length", "number"), cell("Size", "number"), cell("Stored as"), cell("Health"), cell("Views", "number")];
  const link = h("a", { class: "video-name", href: under("#/watch", first.name) }, h("span", { class: "play-mark" }, icon("play")), h("span", { text: first.name }));
  const note = h("span", { class: "muted small" });
  const remove = h("button", { class: "button quiet small", type: "button", "aria-label": `Delete ${first.name}`, title: "Delete", onclick: () => removeVideo(element.video) }, icon("trash"));
  const element = h("tr", {}, h("th", { scope: "row" }, link, note), length, bytes, layout, health, views, h("td", { class: "row-actions" }, remove));
  let drawn = "";
  return {
    element,
    update(video) {
      element.video = video;
      const { tone, text } = healthOf(video);
      const key = JSON.stringify([video.duration_s, video.size, video.layout, text, video.views, video.weakest_chunk_fragments_up, video.renditions]);
      if (key === drawn) return;
      drawn = key;
      const ladder = video.renditions.filter((name) => !["original", "audio"].includes(name));
      setText(note, [playersText(video, ladder), ladder.length ? `ladder ${ladder.join(", ")}` : ""].filter(Boolean).join(" · "));
      setText(length, video.duration_s ? clock(video.duration_s) : UNKNOWN);
      setText(bytes, size(video.size));
      show(layout, h("span", { class: "layout-cell" }, layoutGlyph(video), h("span", { text: layoutText(video.layout) })));
      show(health, h("span", { class: `chip ${tone}`, text }));
      setText(views, number(video.views));
    },
  };
}

/** Who plays a stored file, where that is not this browser. */
function playersText(video, ladder) {
  if (video.state !== "ready" || video.playable_in_browser) return "";
  if (!isFilm(video.media)) return "no film found in it";
  return ladder.length ? "original for mpv or VLC" : "for mpv or VLC";
}

async function removeVideo(video) {
  const yes = await confirm(`Delete “${video.name}”?`, `Its ${size(video.size)} are dropped from every node. This cannot be undone.`, "Delete it");
  if (!yes) return;
  try {
    await ask("DELETE", under("/api/v1/videos", video.name));
    toast(`“${video.name}” is deleted`);
    document.querySelector("main h1")?.focus();
  } catch (error) {
    toast(`Not deleted: ${inWords(error)}`);
  }
}
