// The frame of all pages: navigation, the state of the connection, one view at a time.

import { h, icon, setText, show } from "./dom.js";
import { GATEWAY_HINT } from "./api.js";
import { clusterTrouble, live } from "./live.js";
import { troubleNotice } from "./words.js";
import { uploads } from "./upload_desk.js";

const PAGES = [
  ["library", "Library"],
  ["cluster", "Cluster"],
  ["storage", "Storage"],
  ["agreement", "Agreement"],
  ["compare", "Compare"],
];
const VIEWS = {
  library: () => import("./views/library.js"),
  watch: () => import("./views/watch.js"),
  cluster: () => import("./views/cluster.js"),
  storage: () => import("./views/storage.js"),
  agreement: () => import("./views/agreement.js"),
  compare: () => import("./views/compare.js"),
};

const main = document.getElementById("main");
let leave = null;
let turn = 0;

/** Addresses are `#/PAGE/ARGUMENT?QUERY`. */
function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [page, argument = ""] = path.split("/");
  return { page: VIEWS[page] ? page : "library", argument: decodeURIComponent(argument), query: new URLSearchParams(query) };
}

async function route(isFirst) {
  const here = place();
  const mine = ++turn;
  const view = await VIEWS[here.page]();
  if (mine !== turn) return; // somebody went on while it loaded
  leave?.();
  for (const link of document.querySelectorAll(".site-nav a")) {
    const isHere = link.dataset.page === here.page || (here.page === "watch" && link.dataset.page === "library");
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const root = h("div", { class: `view view-${here.page}` });
  leave = view.open(root, here) ?? null;
  show(main, root);
  document.title = `${view.title(here)} · Evenflow`;
  if (isFirst) return;
  scrollTo(0, 0);
  const heading = main.querySelector("h1");
  heading?.setAttribute("tabindex", "-1");
  heading?.focus({ preventScroll: true });
}

function drawNavigation() {
  const links = PAGES.map(([page, name]) => h("a", { href: `#/${page}`, "data-page": page }, icon(page), h("span", { text: name })));
  show(document.getElementById("nav"), links);
}

let bannerOf = "";

/** Say at once, on every page, what does not answer, since when, and what to do. */
function drawConnection() {
  const state = document.getElementById("link-state");
  const trouble = clusterTrouble();
  const kind = live.link.state === "away" ? "away" : trouble ? "part" : live.link.state;
  state.dataset.state = kind;
  setText(state, { away: "not connected", part: "no coordinator", live: "live", opening: "connecting" }[kind]);
  const banner = document.getElementById("banner");
  const wanted = kind === "away" ? `away ${live.link.sinceMs}` : trouble ? `part ${trouble.sinceMs}` : "";
  if (wanted === bannerOf) return;
  bannerOf = wanted;
  if (kind === "away") {
    show(banner, troubleNotice({ message: "The gateway does not answer, so nothing here is known.", hint: GATEWAY_HINT }, live.link.sinceMs));
  } else if (trouble) {
    const more = "Videos that are open play on; uploads under way wait, new ones are refused";
    show(banner, troubleNotice({ ...trouble, more }, trouble.sinceMs));
  } else show(banner);
}

drawNavigation();
live.watch(["link", "cluster"], drawConnection);
addEventListener("hashchange", () => route(false));
addEventListener("beforeunload", (event) => {
  if (uploads.isSending) event.preventDefault();
});
live.start();
route(true);
