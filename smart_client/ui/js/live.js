// What the gateway says by server-sent events: the newest value of each topic, and since when silent.

const RETRY_MS = [500, 1000, 2000, 4000];
// Figures come at least this often while a cluster answers; if not, the connection itself is asked.
const SILENCE_MS = 12_000;

/** Topics: videos, uploads, sessions, cluster; `link` is the connection. */
class Live extends EventTarget {
  #source = null;
  #tries = 0;
  #timer = 0;
  #heardMs = Date.now();
  videos = null;
  uploads = null;
  sessions = null;
  cluster = null;
  /** state: opening, live or away; sinceMs: of this state. */
  link = { state: "opening", sinceMs: Date.now() };
  clusterAtMs = 0;

  start() {
    this.#open();
    setInterval(() => this.#check(), 4000);
    addEventListener("online", () => this.#reopen());
    addEventListener("pagehide", () => this.#source?.close());
    addEventListener("pageshow", (event) => event.persisted && this.#reopen());
  }

  /** Call back now and whenever one of the topics changes; returns what ends it. */
  watch(topics, tell) {
    for (const topic of topics) this.addEventListener(topic, tell);
    tell();
    return () => topics.forEach((topic) => this.removeEventListener(topic, tell));
  }

  #open() {
    const source = new EventSource("/events");
    this.#source = source;
    source.addEventListener("snapshot", (event) => {
      const all = JSON.parse(event.data);
      this.#tries = 0;
      this.#setLink("live");
      for (const topic of ["videos", "uploads", "sessions", "cluster"]) this.#take(topic, all[topic]);
    });
    for (const topic of ["videos", "uploads", "sessions", "cluster"]) {
      source.addEventListener(topic, (event) => this.#take(topic, JSON.parse(event.data)));
    }
    source.onerror = () => this.#lost();
  }

  #take(topic, value) {
    this.#heardMs = Date.now();
    if (topic === "cluster") this.clusterAtMs = this.#heardMs;
    this[topic] = value;
    this.dispatchEvent(new Event(topic));
  }

  #lost() {
    this.#source?.close();
    if (this.link.state === "live" || this.#tries >= 1) this.#setAway();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), RETRY_MS[Math.min(this.#tries, RETRY_MS.length - 1)]);
    this.#tries += 1;
  }

  #reopen() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#open();
  }

  /** Old figures are dropped at once: a page never shows them as present ones. */
  #setAway() {
    if (this.link.state === "away") return;
    this.#setLink("away");
    for (const topic of ["videos", "uploads", "sessions", "cluster"]) {
      this[topic] = null;
      this.dispatchEvent(new Event(topic));
    }
  }

  #setLink(state) {
    if (this.link.state !== state) this.link = { state, sinceMs: Date.now() };
    this.dispatchEvent(new Event("link"));
  }

  async #check() {
    if (this.link.state !== "live" || Date.now() - this.#heardMs < SILENCE_MS) return;
    try {
      await fetch("/healthz", { signal: AbortSignal.timeout(3000), cache: "no-store" });
      this.#heardMs = Date.now();
    } catch {
      this.#lost();
    }
  }
}

export const live = new Live();

/** Why the coordinator's part is not known: `{message, hint, sinceMs}`, or null if it answers. */
export function clusterTrouble() {
  const cluster = live.cluster;
  if (!cluster?.error) return null;
  return { ...cluster.error, sinceMs: cluster.away_since_ts ? cluster.away_since_ts * 1000 : null };
}
