// Where the <video> gets its bytes: the original over Range, or a ladder by native HLS or hls.js.

const HLS_SCRIPT = "vendor/hls.min.js";
const HLS_MIME = "application/vnd.apple.mpegurl";

let loading = null;

/** Load a vendored script once; it leaves a global behind. */
export function loadScript(path) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = path;
    script.onload = resolve;
    script.onerror = () => reject(new Error(`${path} did not load`));
    document.head.append(script);
  });
}

/** What a viewer may choose: `{id, label, url, engine}`; the first is the default. */
export function choicesOf(video, record, engineWish) {
  const height = record?.media?.height;
  const original = { id: "original", label: height ? `Original, ${height}p` : "Original", url: video.urls.original, engine: "file" };
  if (!video.urls.hls) return [original];
  const engine = engineWish ?? (document.createElement("video").canPlayType(HLS_MIME) ? "native" : "hls.js");
  const renditions = heightsOf(video, record);
  return [
    { id: "auto", label: renditions.length ? `Adaptive, up to ${renditions[0]}` : "Adaptive", url: video.urls.hls, engine },
    ...renditions.map((name) => ({ id: name, label: name, url: `${video.urls.hls}?only=${encodeURIComponent(name)}`, engine })),
    original,
  ];
}

/** The renditions with a picture, the tallest first; sound that lies by itself comes with each. */
function heightsOf(video, record) {
  const known = new Map((record?.renditions ?? []).map((each) => [each.name, each]));
  const pictures = video.renditions.filter((name) => name !== "original" && known.get(name)?.kind !== "audio");
  return pictures.sort((a, b) => (known.get(b)?.height ?? 0) - (known.get(a)?.height ?? 0));
}

/** Responsible for what feeds one <video>: `use(choice)` may be called again and again. */
export class Source {
  #video;
  #hls = null;
  #turn = 0;

  constructor(video) {
    this.#video = video;
  }

  /** Play from a choice, going on where the film is. `fail(text)` is told what cannot be played. */
  async use(choice, fail) {
    const turn = ++this.#turn;
    const video = this.#video;
    const at = video.currentTime;
    const plays = !video.paused;
    this.#drop();
    if (choice.engine === "hls.js") {
      await (loading ??= loadScript(HLS_SCRIPT));
      if (turn !== this.#turn) return;
      // Workers come from blobs, which the page's policy does not allow; 2 s segments need none.
      // The lowest rendition first: it starts soonest, and how fast the link is shows on the way.
      this.#hls = new globalThis.Hls({ enableWorker: false, startPosition: at || -1, startLevel: 0, testBandwidth: false, startFragPrefetch: true });
      this.#hls.on(globalThis.Hls.Events.ERROR, (_, data) => data.fatal && fail(`hls.js: ${data.details}`));
      this.#hls.loadSource(choice.url);
      this.#hls.attachMedia(video);
    } else {
      video.src = choice.url;
      if (at) video.addEventListener("loadedmetadata", () => turn === this.#turn && (video.currentTime = at), { once: true });
    }
    if (plays) video.play().catch(() => {});
  }

  close() {
    this.#turn += 1;
    this.#drop();
    this.#video.removeAttribute("src");
    this.#video.load();
  }

  #drop() {
    this.#hls?.destroy();
    this.#hls = null;
  }
}
