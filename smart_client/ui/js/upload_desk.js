// Sends files to the gateway, piece by piece; what was sent survives a reload, for the gateway counts.

import { ApiError, ask, errorOf, under } from "./api.js";

// Large enough that a round trip a piece costs nothing, small enough that a lost one costs little.
const PIECE_BYTES = 8 * 1024 * 1024;
const RETRY_MS = [500, 1000, 2000, 5000];
// A rate is the average of about this long: shorter jumps, longer lags behind a change of network.
const RATE_WINDOW_MS = 4000;
export const SUFFIXES = ["mp4", "avi", "mov", "mkv", "webm", "flv"];
const LADDER_KEY = "evenflow.upload-choices";

/** "My Film (1).mkv" -> "My Film (1)": only what a name may hold, see the wire's rules. */
export function nameOf(fileName) {
  const stem = fileName.replace(/\.[^.]*$/, "").normalize("NFC");
  const plain = stem.replace(/[^\p{L}\p{N}_ .,@+()[\]'!&=-]+/gu, " ").replace(/\s+/g, " ");
  return plain.replace(/^[^\p{L}\p{N}]+/u, "").trim().slice(0, 200) || "video";
}

/** Whether a file's name says that it is a video we take. */
export const isVideo = (fileName) => SUFFIXES.includes(fileName.split(".").pop().toLowerCase());

/** One file on its way to the gateway. state: sending, waiting, cancelled, failed or sent. */
class Sending {
  constructor(file, id, offset) {
    Object.assign(this, { file, id, offset, state: "sending", error: null, rate: null, request: null });
    this.marks = [];
  }

  /** Note how far it is; keep a moving average. */
  mark(offset) {
    const now = performance.now();
    this.offset = offset;
    this.marks.push([now, offset]);
    while (this.marks.length > 2 && now - this.marks[0][0] > RATE_WINDOW_MS) this.marks.shift();
    const [then, before] = this.marks[0];
    this.rate = now - then > 300 ? ((offset - before) * 1000) / (now - then) : null;
  }
}

class UploadDesk extends EventTarget {
  /** Upload id -> Sending, for files this page holds. */
  sendings = new Map();
  /** Files that were not accepted: `{name, error}`. */
  refused = [];

  get isSending() {
    return [...this.sendings.values()].some((each) => each.state === "sending" || each.state === "waiting");
  }

  get choices() {
    const kept = JSON.parse(localStorage.getItem(LADDER_KEY) ?? "{}");
    return { redundancy: "auto", ladder: [], ...kept };
  }

  set choices(value) {
    localStorage.setItem(LADDER_KEY, JSON.stringify(value));
  }

  /** Announce files, one by one; they are sent at the same time. */
  async add(files) {
    for (const file of files) {
      if (!isVideo(file.name)) this.#refuse(file, new ApiError({ message: `${file.name} is not one of ${SUFFIXES.join(", ")}.` }));
      else if (!file.size) this.#refuse(file, new ApiError({ message: `${file.name} is empty.` }));
      else await this.#begin(file);
    }
  }

  async #begin(file) {
    const { redundancy, ladder } = this.choices;
    try {
      const status = await ask("POST", "/api/v1/uploads", { name: nameOf(file.name), size: file.size, file_name: file.name, redundancy, ladder });
      const running = this.sendings.get(status.id);
      if (running && ["sending", "waiting"].includes(running.state)) return;
      const sending = new Sending(file, status.id, status.offset);
      this.sendings.set(status.id, sending);
      this.#changed();
      this.#send(sending);
    } catch (error) {
      this.#refuse(file, error);
    }
  }

  #refuse(file, error) {
    this.refused.push({ name: file.name, error });
    this.#changed();
  }

  /** Forget a refusal that was read. */
  dismiss(line) {
    this.refused = this.refused.filter((each) => each !== line);
    this.#changed();
  }

  /** Have the gateway try again what failed; it says from where on it needs the file. */
  async again({ name, size, redundancy, ladder }) {
    try {
      await ask("POST", "/api/v1/uploads", { name, size, redundancy, ladder });
    } catch (error) {
      this.#refuse({ name }, error);
    }
  }

  /** Stop an upload and have the gateway drop what it got. */
  async cancel(id) {
    const sending = this.sendings.get(id);
    if (sending) {
      sending.state = "cancelled";
      sending.request?.abort();
    }
    await ask("DELETE", under("/api/v1/uploads", id));
    this.sendings.delete(id);
    this.#changed();
  }

  async #send(sending) {
    let tries = 0;
    while (sending.offset < sending.file.size && sending.state !== "cancelled") {
      try {
        const status = await this.#sendPiece(sending);
        sending.mark(status.offset);
        sending.state = "sending";
        tries = 0;
      } catch (error) {
        if (sending.state === "cancelled") return;
        const truth = await this.#trueOffset(sending.id);
        if (truth?.gone || (error.status >= 400 && error.status < 500 && error.status !== 409)) return this.#fail(sending, error);
        if (truth) sending.mark(truth.offset);
        sending.state = "waiting";
        sending.error = error;
        this.#changed();
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS[Math.min(tries++, RETRY_MS.length - 1)]));
      }
      this.#changed();
    }
    if (sending.state !== "cancelled") sending.state = "sent";
    this.#changed();
  }

  #fail(sending, error) {
    sending.state = "failed";
    sending.error = error;
    this.#changed();
  }

  async #trueOffset(id) {
    try {
      return await ask("GET", under("/api/v1/uploads", id), undefined, { timeoutMs: 5000 });
    } catch (error) {
      return error.status === 404 ? { gone: true } : null;
    }
  }

  /** XMLHttpRequest, because fetch does not tell how much of a body has gone. */
  #sendPiece(sending) {
    const from = sending.offset;
    const piece = sending.file.slice(from, from + PIECE_BYTES);
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      sending.request = request;
      request.open("PUT", `${under("/api/v1/uploads", sending.id)}?offset=${from}`);
      request.setRequestHeader("Content-Type", "application/octet-stream");
      request.upload.onprogress = (event) => {
        sending.mark(from + event.loaded);
        this.#changed();
      };
      request.onload = () => (request.status < 300 ? resolve(JSON.parse(request.responseText)) : reject(errorOf(request.status, request.responseText)));
      request.onerror = () => reject(new ApiError({ code: "GATEWAY_AWAY", message: "The gateway does not answer." }));
      request.onabort = () => reject(new ApiError({ code: "CANCELLED", message: "Cancelled." }));
      request.send(piece);
    });
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

export const uploads = new UploadDesk();
