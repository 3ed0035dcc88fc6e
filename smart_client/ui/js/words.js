// The cluster and its videos in words. One place, so that every page says the same.

import { h } from "./dom.js";
import { count, wholeSpan } from "./format.js";

/** "RS 3+2", "3 copies", as commands write it. */
export function layoutText({ k, n, copies }) {
  const coded = k === 1 ? count(n, "whole copy", "whole copies") : `any ${k} of ${n}`;
  return copies ? `${coded} + ${count(copies, "copy", "copies")}` : coded;
}

/** How many more nodes a video's weakest chunk may lose; null: not known. */
export function lossesLeft(video) {
  const up = video.weakest_chunk_fragments_up;
  if (up === null || up === undefined) return null;
  return up - video.layout.k;
}

/** A video's health as words and a tone. */
export function healthOf(video) {
  if (video.state !== "ready") return { tone: "calm", text: video.state === "uploading" ? "being uploaded" : "a name without a file" };
  return lossWords(lossesLeft(video));
}

/** Whether a picture or sound was found in a file when it was stored, or nobody could look. */
export const isFilm = (media) => media.container !== "none";

/** What a number of tolerated losses means. */
export function lossWords(left) {
  if (left === null || left === undefined) return { tone: "", text: "not known now" };
  if (left < 0) return { tone: "bad", text: "cannot be played now" };
  if (left === 0) return { tone: "warn", text: "no more node may fail" };
  return { tone: "good", text: left === 1 ? "any 1 node may fail" : `any ${left} nodes may fail` };
}

/** A layout as bars: one per fragment of the weakest chunk, filled where it can be read now. */
export function layoutGlyph(video) {
  const { k, n, copies } = video.layout;
  const up = video.weakest_chunk_fragments_up;
  const bars = [];
  for (let index = 0; index < n + (copies ?? 0); index += 1) {
    const known = up !== null && up !== undefined;
    const shape = k === 1 || index >= n ? "whole " : "";
    bars.push(h("i", { class: shape + (!known ? "" : index >= up ? "gone" : index < k ? "up" : "spare") }));
  }
  return h("span", { class: "glyph", "aria-hidden": "true" }, bars);
}

/** How many more losses every video survives, in words; `videos` may not be known yet. */
function survivedText(videos) {
  const left = (videos ?? []).map(lossesLeft).filter((each) => each !== null);
  const least = left.length ? Math.min(...left) : 1;
  return least > 1 ? `any ${least} more losses` : "one more loss";
}

/** The cluster's verdict: `{tone, word, text, aside}`. */
export function verdictOf(status, known = null) {
  const away = status.nodes.filter((node) => node.state !== "up").map((node) => node.record.id);
  const videos = count(status.videos, "video");
  const list = (names) => names.slice(0, 4).join(", ") + (names.length > 4 ? ` and ${names.length - 4} more` : "");
  if (!status.nodes.length) return { tone: "warn", word: "EMPTY", text: "No nodes yet. Start one: storage-server node --data DIR --coordinator URL" };
  if (status.unplayable.length) {
    return { tone: "bad", word: "BROKEN", text: `${status.unplayable.length} of ${videos} cannot be played now: ${list(status.unplayable)}. Bring ${list(away) || "the missing nodes"} back.` };
  }
  const safe = status.videos - status.fragile.length;
  if (status.fragile.length) {
    return { tone: "warn", word: "FRAGILE", text: `${safe} of ${videos} survive one more loss; ${list(status.fragile)} would stop. Bring ${list(away) || "the missing nodes"} back.` };
  }
  const cut = status.nodes.filter((node) => node.state === "up" && node.status === "cut off");
  if (cut.length) {
    return { tone: "warn", word: "DEGRADED", text: `${list(cut.map((node) => node.record.id))} cut off from the coordinator: ${cut[0].reason}. smart-client doctor says more.` };
  }
  const keeper = status.keeper;
  if (keeper?.trouble) return { tone: "warn", word: "DEGRADED", text: inWords({ message: keeper.trouble }) };
  if (away.length) {
    const all = status.videos ? `${status.videos === 1 ? "the one video plays and survives" : `all ${videos} play and survive`} ${survivedText(known)}` : "nothing is stored yet";
    return { tone: "warn", word: "DEGRADED", text: `${list(away)} ${away.length === 1 ? "is" : "are"} not up; ${all}.` };
  }
  const nodes = count(status.nodes.length, "node");
  if (keeper?.fragments_missing || keeper?.stuck.length) return { tone: "warn", word: "DEGRADED", text: `${nodes} up, ${videos}; some chunks lack fragments.` };
  return { tone: "good", word: status.videos ? "SAFE" : "READY", text: status.videos ? `${nodes} up. ${status.videos === 1 ? "The one video survives" : `All ${videos} survive`} ${survivedText(known)}.` : `${nodes} up, nothing stored yet.` };
}

/** A node's state as words, a tone and what it means. */
export function nodeWords(state) {
  return (
    {
      up: { tone: "good", text: "up" },
      suspect: { tone: "bad", text: "does not answer" },
      lost: { tone: "bad", text: "given up" },
      unknown: { tone: "", text: "not heard yet" },
    }[state] ?? { tone: "", text: state }
  );
}

/** A message as a sentence of its own: a capital first, a full stop last, `commands` marked. */
export function sentences(text) {
  const whole = text.trim().replace(/^\p{Ll}/u, (letter) => letter.toUpperCase());
  const parts = (/[.!?]$/.test(whole) ? whole : `${whole}.`).split(/`([^`]*)`/);
  return parts.map((part, place) => (place % 2 ? h("code", { class: "nowrap", text: part }) : part));
}

/** What went wrong and what to do, as plain text. */
export function inWords({ message, hint }) {
  const plain = (text) => sentences(text).map((part) => part.textContent ?? part).join("");
  return [message, hint].filter(Boolean).map(plain).join(" ");
}

/** The notice that stands where figures would be. */
export function troubleNotice(error, sinceMs) {
  const since = h("p", { class: "since" });
  const tick = () => {
    since.textContent = sinceMs ? `Since ${new Date(sinceMs).toLocaleTimeString("en-GB")}, for ${wholeSpan((Date.now() - sinceMs) / 1000)} now.` : "";
  };
  tick();
  const timer = setInterval(() => (since.isConnected ? tick() : clearInterval(timer)), 1000);
  const hints = [error.hint || "`smart-client doctor` checks each step", error.more].filter(Boolean);
  return h("div", { class: "notice bad trouble" }, h("h3", {}, sentences(error.message)), since, h("p", {}, hints.flatMap((hint) => [...sentences(hint), " "])));
}

/**
 * What a page shows in place of figures. Where the notice above all pages says already who does not
 * answer, since when and what to do, it is not said twice.
 */
export function unknownCard(error, sinceMs) {
  if (error.code !== "COORDINATOR_UNREACHABLE" && error.code !== "GATEWAY_AWAY") return troubleNotice(error, sinceMs);
  return h("div", { class: "card" }, h("p", { class: "muted", text: "Nothing is known now. Figures come back by themselves as soon as somebody answers." }));
}
