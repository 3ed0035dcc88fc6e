// Elements without markup in strings: what comes from outside is only ever text.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element. `props`: attributes; `on…` handlers; `text`; `vars`: CSS custom properties. */
export function h(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** Make an SVG element. */
export function s(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name === "vars") setVars(element, value);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Set CSS custom properties (allowed under a policy that forbids inline style). */
export function setVars(element, vars) {
  for (const [name, value] of Object.entries(vars)) element.style.setProperty(name, value);
}

/** Change an element's text only where it differs, so that screen readers are not told twice. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Replace an element's children. */
export function show(element, ...children) {
  element.replaceChildren(...children.flat().filter(Boolean));
}

/**
 * Keep one element per record: rows are updated in place, so focus and selection survive.
 * `make(record)` returns `{element, update(record)}`.
 */
export function keyed(parent, keyOf, make) {
  const rows = new Map();
  return (records) => {
    const wanted = new Set(records.map(keyOf));
    for (const [key, row] of rows) {
      if (wanted.has(key)) continue;
      row.element.remove();
      row.close?.();
      rows.delete(key);
    }
    let before = parent.firstElementChild;
    for (const record of records) {
      const key = keyOf(record);
      if (!rows.has(key)) rows.set(key, make(record));
      const row = rows.get(key);
      row.update(record);
      if (row.element === before) before = before.nextElementSibling;
      else parent.insertBefore(row.element, before);
    }
  };
}

const ICONS = {
  library: ["M4 5h16v14H4z", "M9 5v14M4 10h5M4 14h5"],
  cluster: ["M4 4h16v6H4zM4 14h16v6H4z", "M8 7h.01M8 17h.01"],
  storage: ["M12 3a9 9 0 1 0 9 9h-9z", "M15 3.500A9 9 0 0 1 20.500 9H15z"],
  agreement: ["M6 8a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM18 8a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM12 20a2 2 0 1 0 0-4 2 2 0 0 0 0 4z", "M8 6h8M7 8l4 8M17 8l-4 8"],
  compare: ["M4 20V4M4 20h16", "M8 15l4-5 3 3 5-7"],
  upload: ["M12 16V4M7 9l5-5 5 5", "M4 16v4h16v-4"],
  play: ["M7 4l13 8-13 8z"],
  trash: ["M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13"],
  copy: ["M8 8h12v12H8z", "M16 8V4H4v12h4"],
  close: ["M6 6l12 12M18 6L6 18"],
  back: ["M15 5l-7 7 7 7"],
};

/** Return an icon, hidden from screen readers: the text beside it says what it is. */
export function icon(name) {
  return s("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, ...ICONS[name].map((d) => s("path", { d })));
}

/** Tell something for a moment, to eyes and to screen readers. */
export function toast(text) {
  const line = h("p", { class: "toast", text });
  document.getElementById("toasts").append(line);
  setTimeout(() => line.remove(), 6000);
}

/** Copy text; where the clipboard is closed (no secure context) select it instead. */
export async function copyText(text, source) {
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied");
  } catch {
    getSelection().selectAllChildren(source);
    toast("Press Ctrl+C to copy the marked text");
  }
}

/** A line of text to copy, with its button. */
export function copyLine(label, text) {
  const code = h("code", { text });
  const button = h("button", { class: "button small", type: "button", "aria-label": `Copy: ${label}`, onclick: () => copyText(text, code) }, icon("copy"), "Copy");
  return h("div", { class: "copy-line" }, code, button);
}

/** Ask before something is done that cannot be undone. Resolves to true when it is confirmed. */
export function confirm(title, text, verb) {
  return new Promise((resolve) => {
    const cancel = h("button", { class: "button", type: "button", text: "Keep it", onclick: () => dialog.close("no") });
    const go = h("button", { class: "button danger solid", type: "button", text: verb, onclick: () => dialog.close("yes") });
    const heading = h("h2", { id: "dialog-title", text: title });
    const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, heading, h("p", { text }), h("div", { class: "actions" }, cancel, go));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
    cancel.focus();
  });
}
