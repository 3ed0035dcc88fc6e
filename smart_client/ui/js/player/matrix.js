// The node x chunk matrix on a canvas: what each node did for each chunk. Shapes tell, colours help.

import { h, s, setText } from "../dom.js";

const CELL = 16;
const CELL_MAX = 84;
const NAME_WIDTH = 104;
const RULER = 20;

const LEGEND = [
  ["u", "used"],
  ["r", "took over what came too late"],
  ["f", "in flight"],
  ["x", "failed"],
  ["c", "given up"],
];
const WORDS = { ".": "nothing", f: "in flight", u: "used", r: "took over what came too late", c: "given up", x: "failed" };

/** Return the matrix as a part: `{element, update(matrix)}`. */
export function matrixPart() {
  const canvas = h("canvas", { class: "matrix", role: "img" });
  const tip = h("p", { class: "matrix-tip small muted" });
  const box = h("div", { class: "matrix-box" }, canvas);
  const element = h("div", {}, box, h("div", { class: "matrix-foot" }, legend(), tip));
  let matrix = null;
  let view = { first: 0, columns: 0, cell: CELL };
  const redraw = () => {
    if (matrix) view = draw(canvas, box.clientWidth, matrix);
  };
  new ResizeObserver(redraw).observe(box);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  canvas.addEventListener("pointermove", (event) => matrix && setText(tip, under(event, canvas, matrix, view)));
  canvas.addEventListener("pointerleave", () => setText(tip, ""));
  return {
    element,
    update(next) {
      matrix = next;
      redraw();
      canvas.setAttribute("aria-label", summary(matrix));
    },
  };
}

function summary({ nodes, chunks, playhead, rows }) {
  const counted = nodes.map((node, place) => {
    const parts = LEGEND.map(([letter, words]) => [rows[place].split(letter).length - 1, words]).filter(([many]) => many);
    return `${node}: ${parts.map(([many, words]) => `${many} ${words}`).join(", ") || "nothing yet"}`;
  });
  return `What each node did for ${chunks} chunks, the film is at chunk ${playhead}. ${counted.join(". ")}.`;
}

function under(event, canvas, matrix, { first, columns, cell }) {
  const box = canvas.getBoundingClientRect();
  const column = Math.floor((event.clientX - box.left - NAME_WIDTH) / cell);
  const row = Math.floor((event.clientY - box.top - RULER) / CELL) - 1;
  const chunk = first + column;
  if (column < 0 || column >= columns || chunk >= matrix.chunks) return "";
  if (row === -1) return `chunk ${chunk}: ${{ y: "ready to play", p: "partly ready", ".": "not fetched yet" }[matrix.ready[chunk]] ?? ""}`;
  if (row < 0 || row >= matrix.nodes.length) return "";
  return `chunk ${chunk}, ${matrix.nodes[row]}: ${WORDS[matrix.rows[row][chunk]] ?? ""}`;
}

/** Draw; return which columns are shown: they follow the playhead, few chunks get wide cells. */
function draw(canvas, width, matrix) {
  const { nodes, chunks, playhead, rows, ready } = matrix;
  const colours = palette(canvas);
  const room = Math.max(CELL, width - NAME_WIDTH - 4);
  const columns = Math.max(1, Math.min(chunks, Math.floor(room / CELL)));
  const cell = Math.min(CELL_MAX, room / columns);
  const first = Math.max(0, Math.min(playhead - Math.floor(columns / 3), chunks - columns));
  const height = RULER + (nodes.length + 1) * CELL + 4;
  const ratio = devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.font = `500 12px ${colours.font}`;
  pen.textBaseline = "middle";
  for (let column = 0; column < columns; column += 1) {
    const chunk = first + column;
    const left = NAME_WIDTH + column * cell;
    if (chunk === playhead) {
      pen.fillStyle = colours.band;
      pen.fillRect(left, RULER - 2, cell, height - RULER);
    }
    drawReady(pen, colours, ready[chunk], left, cell);
    nodes.forEach((_, row) => drawMark(pen, colours, rows[row][chunk], left + cell / 2, RULER + (row + 1.5) * CELL, cell));
    drawRuler(pen, colours, chunk, chunk === playhead, left, cell);
  }
  pen.fillStyle = colours.soft;
  pen.fillText("ready", 0, RULER + CELL / 2);
  pen.fillStyle = colours.ink;
  nodes.forEach((node, row) => pen.fillText(clip(pen, node), 0, RULER + (row + 1.5) * CELL));
  return { first, columns, cell };
}

function palette(canvas) {
  const style = getComputedStyle(canvas);
  const of = (name) => style.getPropertyValue(name).trim();
  return { ink: of("--ink-2"), soft: of("--ink-3"), line: of("--line"), band: of("--accent-soft"), used: of("--good"), rescued: of("--warn"), flight: of("--calm"), failed: of("--bad"), head: of("--accent"), font: style.fontFamily };
}

function clip(pen, text) {
  let short = text;
  while (pen.measureText(short).width > NAME_WIDTH - 12) short = short.slice(0, -1);
  return short === text ? text : `${short.slice(0, -1)}…`;
}

function drawRuler(pen, colours, chunk, isHere, left, cell) {
  if (isHere) {
    pen.fillStyle = colours.head;
    pen.beginPath();
    pen.moveTo(left + cell / 2 - 5, 6);
    pen.lineTo(left + cell / 2 + 5, 6);
    pen.lineTo(left + cell / 2, 14);
    pen.fill();
  } else if (chunk % 10 === 0) {
    pen.fillStyle = colours.soft;
    pen.fillText(String(chunk), left + 1, 10);
  }
}

function drawReady(pen, colours, letter, left, cell) {
  pen.fillStyle = letter === "y" ? colours.head : letter === "p" ? colours.rescued : colours.line;
  const tall = letter === "." ? 2 : 6;
  pen.fillRect(left + 1, RULER + CELL / 2 - tall / 2, cell - 2, tall);
}

function drawMark(pen, colours, letter, x, y, cell) {
  const half = Math.min(5.5, cell / 2 - 1.5);
  pen.lineWidth = 1.8;
  switch (letter) {
    case "u":
      pen.fillStyle = colours.used;
      pen.fillRect(x - half, y - half, 2 * half, 2 * half);
      break;
    case "r":
      pen.fillStyle = colours.rescued;
      pen.beginPath();
      pen.moveTo(x, y - half - 1.5);
      pen.lineTo(x + half + 1.5, y);
      pen.lineTo(x, y + half + 1.5);
      pen.lineTo(x - half - 1.5, y);
      pen.fill();
      break;
    case "f":
      pen.strokeStyle = colours.flight;
      pen.beginPath();
      pen.arc(x, y, half - 0.5, 0, 2 * Math.PI);
      pen.stroke();
      break;
    case "x":
      pen.strokeStyle = colours.failed;
      pen.beginPath();
      pen.moveTo(x - half + 1, y - half + 1);
      pen.lineTo(x + half - 1, y + half - 1);
      pen.moveTo(x + half - 1, y - half + 1);
      pen.lineTo(x - half + 1, y + half - 1);
      pen.stroke();
      break;
    case "c":
      pen.strokeStyle = colours.soft;
      pen.strokeRect(x - half + 1, y - half + 1, 2 * half - 2, 2 * half - 2);
      break;
    default:
      pen.fillStyle = colours.line;
      pen.fillRect(x - 1, y - 1, 2, 2);
  }
}

/** The same shapes as in the matrix, each with its word. */
function legend() {
  const shape = {
    u: s("rect", { x: 2.500, y: 2.500, width: 11, height: 11 }),
    r: s("path", { d: "M8 1l7 7-7 7-7-7z" }),
    f: s("circle", { cx: 8, cy: 8, r: 5 }),
    x: s("path", { d: "M3.500 3.500l9 9M12.500 3.500l-9 9" }),
    c: s("rect", { x: 3.500, y: 3.500, width: 9, height: 9 }),
  };
  return h("ul", { class: "legend" }, LEGEND.map(([letter, words]) => h("li", {}, s("svg", { viewBox: "0 0 16 16", class: `mark-${letter}`, "aria-hidden": "true" }, shape[letter]), words)));
}
