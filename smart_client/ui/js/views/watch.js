// The player: the film, the keys, and beside it what the session does to keep it going.

import { ask, under } from "../api.js";
import { copyLine, h, icon, setText, show } from "../dom.js";
import { clock, size } from "../format.js";
import { live } from "../live.js";
import { KEYS, listen } from "../player/keys.js";
import { sessionPanel } from "../player/session_panel.js";
import { choicesOf, Source } from "../player/source.js";
import { PlayerTruth } from "../player/truth.js";
import { healthOf, isFilm, layoutText, unknownCard } from "../words.js";

const FIGURES_MS = 500;
// Names carry no suffix; a file on a disk is opened by one.
const SUFFIXES = { "video/mp4": ".mp4", "video/webm": ".webm", "video/quicktime": ".mov", "video/x-matroska": ".mkv", "video/x-msvideo": ".avi", "video/x-flv": ".flv", "audio/mpeg": ".mp3" };

export const title = ({ argument }) => argument || "Player";

export function open(root, { argument: name, query }) {
  const film = h("video", { class: "film", controls: true, playsinline: true, preload: "auto", "aria-label": name });
  const facts = h("p", { class: "lead" });
  const stage = h("div", { class: "stage" }, film);
  const notice = h("div", { "aria-live": "polite" });
  const bar = h("div", { class: "film-bar" });
  const panel = sessionPanel(() => bitrate);
  const keyList = keysPart();
  const others = othersPart(name);
  root.append(
    h("div", { class: "page-head" }, h("div", {}, h("a", { class: "back", href: "#/library" }, icon("back"), "Library"), h("h1", { text: name }), facts)),
    h("div", { class: "watch" }, h("div", { class: "watch-film" }, stage, notice, bar, others.element, keyList.element), panel.side),
    panel.below,
  );
  panel.none("opening …");
  const source = new Source(film);
  let bitrate = null;
  let truth = null;
  const closers = [() => source.close(), () => panel.close(), listen(film, keyList.toggle)];

  load(name).then(
    (details) => {
      if (!root.isConnected) return;
      const record = details.record;
      const video = details.video ?? openOnly(name);
      // Its health is told as it is now, not as it was when the page was opened.
      closers.push(live.watch(["videos", "cluster", "link"], () => setText(facts, factsText(details, name))));
      others.tell(video);
      bitrate = video.duration_s ? video.size / video.duration_s : null;
      truth = new PlayerTruth(film, name);
      closers.push(() => truth.close(), follow(name, film, truth, panel));
      play({ film, source, video, record, truth, notice, bar, query });
    },
    (error) => {
      show(stage);
      show(notice, unknownCard(error, null));
      if (error.status === 404) others.element.remove(); // there is no address to open elsewhere
      panel.none("no session");
    },
  );
  return () => closers.forEach((close) => close());
}

/** Ask for a video; with the coordinator away, an open session still has its manifest and plays. */
async function load(name) {
  try {
    return await ask("GET", under("/api/v1/videos", name));
  } catch (error) {
    if (error.status !== 503) throw error;
    const session = live.sessions?.find((each) => each.video === name);
    if (!session) throw error;
    return { video: null, record: null, session };
  }
}

/** What is known of a video whose catalogue is away: that its bytes are at this address. */
const openOnly = (name) => ({ name, urls: { original: under("/v", name), hls: "" }, renditions: ["original"], playable_in_browser: true });

function factsText({ video, record, session }, name) {
  const now = live.videos?.find((each) => each.name === name);
  if (!video) return `${clock(session.snapshot.end_s)} · ${session.layout} · the coordinator is away; it plays on from its manifest`;
  return `${clock(video.duration_s)} · ${size(video.size)} · ${codecs(record)} · stored as ${layoutText((now ?? video).layout)}, ${now ? healthOf(now).text : live.videos ? "deleted since; what is fetched already plays on" : "its health is not known now"}`;
}

function codecs(record) {
  const media = record.media;
  const picture = media.width ? `${media.width} × ${media.height}` : "";
  return [picture, media.video_codec, media.audio_codec].filter(Boolean).join(" ") || "unknown container";
}

function play({ film, source, video, record, truth, notice, bar, query }) {
  const choices = choicesOf(video, record, query.get("engine"));
  let choice = choices.find((each) => each.id === query.get("quality")) ?? choices[0];
  const cannot = (why) => show(notice, cannotPlay(video, record, why));
  const use = (next) => {
    choice = next;
    show(notice);
    source.use(next, (why) => fallBack(why));
  };
  // What native HLS cannot play hls.js may, and the original is always there.
  const fallBack = (why) => {
    if (choice.engine === "native") use({ ...choice, engine: "hls.js" });
    else if (choice.engine === "hls.js") use(choices.at(-1));
    else cannot(why);
  };
  const quality = h("select", { class: "input", "aria-label": "Quality" }, choices.map((each) => h("option", { value: each.id, text: each.label, selected: each === choice })));
  quality.addEventListener("change", () => {
    truth.reopened();
    use(choices.find((each) => each.id === quality.value));
  });
  const shown = h("span", { class: "chip", hidden: true });
  film.addEventListener("resize", () => {
    shown.hidden = !film.videoHeight;
    setText(shown, `${film.videoHeight}p shown`);
  });
  film.addEventListener("error", () => film.getAttribute("src") && fallBack(film.error?.message));
  film.addEventListener("loadedmetadata", () => {
    if (!film.videoWidth && record?.media.video_codec) cannot(`It plays the sound, but not ${record.media.video_codec} pictures.`);
  });
  show(bar, choices.length > 1 && h("label", { class: "quality" }, h("span", { class: "muted", text: "Quality" }), quality), shown);
  if (!video.playable_in_browser) cannot("");
  use(choice);
  film.play().catch(() => {}); // where the browser wants a click first, the controls are there
}

function cannotPlay(video, record, why) {
  const kind = record?.media.container || video.name;
  const address = new URL(video.urls.original, location.href).href;
  if (record && !isFilm(record.media)) {
    return h(
      "div",
      { class: "notice warn cannot" },
      h("h3", { text: "No picture or sound was found in it" }),
      h("p", { text: `The file is kept as it was uploaded; it is fetched back, byte for byte, at this address. ${why ?? ""}` }),
      copyLine("the address", address),
    );
  }
  return h(
    "div",
    { class: "notice warn cannot" },
    h("h3", { text: "This browser may not play it; mpv and VLC will" }),
    h("p", { text: `The file is kept as it was uploaded (${kind}${record?.media.video_codec ? `, ${record.media.video_codec}` : ""}). ${why ?? ""}` }),
    copyLine("the command for mpv", `mpv ${address}`),
    copyLine("the command for VLC", `vlc ${address}`),
  );
}

/** Keep the panel up to date: the figures by request, twice a second while the page is seen. */
function follow(name, film, truth, panel) {
  let stopped = false;
  let timer = 0;
  const round = async () => {
    const hasSession = live.sessions?.some((session) => session.video === name);
    if (!hasSession) panel.none(live.link.state === "away" ? "the gateway does not answer" : "no session yet");
    else if (!document.hidden) {
      try {
        const session = await ask("GET", under("/api/v1/sessions/by-video", name), undefined, { timeoutMs: 5000 });
        const isLadder = live.sessions?.some((each) => each.video === name && each.id !== session.id);
        const open = isLadder ? await ask("GET", "/api/v1/sessions", undefined, { timeoutMs: 5000 }) : [];
        const beside = open.filter((each) => each.video === name && each.id !== session.id);
        if (!stopped) panel.update(session, film, truth.meter, beside);
      } catch (error) {
        if (!stopped) panel.none(error.isGatewayAway ? "the gateway does not answer" : "no session yet");
      }
    }
    if (!stopped) timer = setTimeout(round, FIGURES_MS);
  };
  round();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

function othersPart(name) {
  const address = new URL(under("/v", name), location.href).href;
  const more = h("div", { class: "stack-small" });
  const lines = h("div", { class: "stack-small" }, copyLine("the address", address), copyLine("the command for mpv", `mpv ${address}`), copyLine("the command for VLC", `vlc ${address}`), more);
  return {
    element: h("details", { class: "fold" }, h("summary", { text: "Open in another player, or download" }), lines),
    tell(video) {
      const whole = (path) => new URL(path, location.href).href;
      show(
        more,
        video.urls.hls && copyLine("the ladder as HLS", whole(video.urls.hls)),
        video.urls.dash && copyLine("the ladder as DASH", whole(video.urls.dash)),
        h("p", {}, h("a", { href: address, download: `${name}${SUFFIXES[video.mime] ?? ""}`, text: "Download the original" })),
      );
    },
  };
}

function keysPart() {
  const element = h("details", { class: "fold keys" }, h("summary", { text: "Keys" }), h("dl", {}, KEYS.map(([key, text]) => h("div", {}, h("dt", {}, h("kbd", { text: key })), h("dd", { text })))));
  return { element, toggle: () => (element.open = !element.open) };
}
