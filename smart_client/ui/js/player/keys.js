// Keys of the player. They work wherever the focus is, but for fields one types in.

export const KEYS = [
  ["Space, K", "play or pause"],
  ["← →", "5 seconds back or on"],
  ["J L", "10 seconds back or on"],
  ["0 – 9", "to that tenth of the film"],
  ["↑ ↓", "louder or quieter (on the video)"],
  ["M", "mute"],
  ["F", "full screen"],
  ["?", "this list"],
];

/** Listen; returns what ends it. */
export function listen(video, help) {
  const jump = (seconds) => {
    video.currentTime = Math.max(0, Math.min((video.duration || 0) - 0.05, video.currentTime + seconds));
  };
  const actions = {
    " ": () => (video.paused ? video.play() : video.pause()),
    k: () => (video.paused ? video.play() : video.pause()),
    ArrowLeft: () => jump(-5),
    ArrowRight: () => jump(5),
    j: () => jump(-10),
    l: () => jump(10),
    m: () => (video.muted = !video.muted),
    f: () => (document.fullscreenElement ? document.exitFullscreen() : video.requestFullscreen()),
    "?": help,
  };
  const handler = (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const at = event.target;
    if (at.closest("input, select, textarea, dialog")) return;
    // Space presses what has the focus; arrows scroll what can scroll.
    if (event.key === " " && at.closest("button, a, summary")) return;
    if (event.key.startsWith("Arrow") && at.closest("[data-scrolls]")) return;
    const action = /^[0-9]$/.test(event.key)
      ? () => (video.currentTime = ((video.duration || 0) * Number(event.key)) / 10)
      : actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    Promise.resolve(action()).catch?.(() => {});
  };
  // Capturing, so that the element's own keys do not act a second time.
  addEventListener("keydown", handler, true);
  return () => removeEventListener("keydown", handler, true);
}
