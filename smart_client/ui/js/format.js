// Numbers as people read them. What is not known is "unknown", never 0.

export const UNKNOWN = "–";

/** 1234567 -> "1.2 MB". */
export function size(bytes) {
  if (bytes === null || bytes === undefined) return UNKNOWN;
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let value = Math.abs(bytes);
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const text = unit === 0 || value >= 99.5 ? value.toFixed(0) : value >= 9.95 ? value.toFixed(1) : value.toFixed(unit > 1 ? 2 : 1);
  return `${bytes < 0 ? "−" : ""}${text} ${units[unit]}`;
}

/** Bytes per second as bits: "12.3 Mbit/s". */
export function rate(bytesPerS) {
  if (bytesPerS === null || bytesPerS === undefined) return UNKNOWN;
  const mbit = (bytesPerS * 8) / 1e6;
  if (mbit < 0.0995) return `${(mbit * 1000).toFixed(0)} kbit/s`;
  return `${mbit >= 99.5 ? mbit.toFixed(0) : mbit.toFixed(1)} Mbit/s`;
}

/** A time in a film: 1:05, 1:02:05. */
export function clock(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return UNKNOWN;
  const whole = Math.max(0, Math.floor(seconds));
  const minutes = Math.floor(whole / 60) % 60;
  const hours = Math.floor(whole / 3600);
  const two = (value) => String(value).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** A span of time: "230 ms", "1.4 s", "12 min", "3 h 20 min", "5 days". */
export function span(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return UNKNOWN;
  if (seconds > 0 && seconds < 0.0005) return "< 1 ms";
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 119.5) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 && hours < 10 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.round(hours / 24)} days`;
}

/** A span in whole seconds, for what is counted up before one's eyes: "7 s", "12 min". */
export function wholeSpan(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return whole < 10 ? `${whole} s` : span(whole);
}

/** An age: "just now", "12 s ago". */
export function ago(seconds) {
  if (seconds === null || seconds === undefined) return "never";
  return seconds < 2 ? "just now" : `${wholeSpan(seconds)} ago`;
}

/** A share as "12 %". */
export function percent(share, digits = 0) {
  if (share === null || share === undefined || !Number.isFinite(share)) return UNKNOWN;
  return `${(100 * share).toFixed(digits).replace(/^-(?=[0.]*$)/, "").replace("-", "−")} %`;
}

/** A plain number, or what stands for an unknown one. */
export function number(value, digits = 0) {
  if (value === null || value === undefined || !Number.isFinite(value)) return UNKNOWN;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** "1 video", "3 videos". */
export function count(value, one, many = `${one}s`) {
  return `${number(value)} ${value === 1 ? one : many}`;
}

/** A Unix time as the clock on the wall, with the date if it is another day. */
export function wallClock(ts) {
  const date = new Date(ts * 1000);
  const time = date.toLocaleTimeString("en-GB");
  return date.toDateString() === new Date().toDateString() ? time : `${date.toLocaleDateString("en-CA")} ${time}`;
}
