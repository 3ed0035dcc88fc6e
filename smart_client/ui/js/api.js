// Requests to the gateway. Every failure is an ApiError that says what happened and what to do.

const TIMEOUT_MS = 20_000;

export class ApiError extends Error {
  constructor({ status = 0, code = "UNEXPECTED", message, hint = "", detail = {} }) {
    super(message);
    Object.assign(this, { status, code, hint, detail });
  }

  /** Whether nothing answered at all. */
  get isGatewayAway() {
    return this.code === "GATEWAY_AWAY";
  }
}

export const GATEWAY_HINT = "Start it again: `smart-client serve --coordinator URL`. This page goes on by itself";

/** Ask the gateway; return what its JSON says. Raises ApiError. */
export async function ask(method, path, body, options = {}) {
  const init = { method, headers: {}, signal: options.signal ?? AbortSignal.timeout(options.timeoutMs ?? TIMEOUT_MS), keepalive: options.keepalive ?? false };
  if (body !== undefined) {
    init.headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, init);
  } catch (error) {
    throw new ApiError({ code: "GATEWAY_AWAY", message: "The gateway does not answer.", hint: GATEWAY_HINT, detail: { cause: error.name } });
  }
  const text = await answer.text();
  if (answer.ok) return text ? JSON.parse(text) : null;
  throw errorOf(answer.status, text);
}

/** Return the error a body tells of. */
export function errorOf(status, text) {
  try {
    return new ApiError({ status, ...JSON.parse(text).error });
  } catch {
    return new ApiError({ status, message: `The gateway answered ${status} without a reason.` });
  }
}

/** The path of a video under a prefix. */
export const under = (prefix, name) => `${prefix}/${encodeURIComponent(name)}`;

/**
 * Ask again and again while the page is looked at. `tell({value, error, sinceMs})`: exactly one of
 * value and error; `sinceMs` is when the answers ceased. Returns `{stop, now}`.
 */
export function poll(path, everyMs, tell) {
  let timer = 0;
  let stopped = false;
  let sinceMs = 0;
  const control = new AbortController();
  const round = async () => {
    clearTimeout(timer);
    try {
      const value = await ask("GET", path, undefined, { signal: AbortSignal.any([control.signal, AbortSignal.timeout(TIMEOUT_MS)]) });
      sinceMs = 0;
      if (!stopped) tell({ value });
    } catch (error) {
      sinceMs ||= Date.now();
      if (!stopped) tell({ error, sinceMs });
    }
    if (!stopped) timer = setTimeout(round, everyMs);
  };
  round();
  return {
    now: round,
    stop() {
      stopped = true;
      clearTimeout(timer);
      control.abort();
    },
  };
}
