// Two curves over the last minutes, by uPlot: what is buffered, and what comes from the nodes.

import { h } from "../dom.js";
import { loadScript } from "./source.js";

const SPAN_S = 90;
const HEIGHT = 150;

let loading = null;

/** Return a chart: `{element, push(t_s, values), close}`; `lines`: `{label, colour, fill, dash}`. */
export function chartPart({ name, unit, lines }) {
  const element = h("div", { class: "chart", role: "img", "aria-label": name });
  const data = [[], ...lines.map(() => [])];
  let plot = null;
  let isClosed = false;
  const make = () => {
    plot?.destroy();
    plot = new globalThis.uPlot(options(element, unit, lines), data, element);
  };
  (loading ??= loadScript("vendor/uPlot.iife.min.js")).then(() => !isClosed && make());
  const watcher = new ResizeObserver(() => plot?.setSize({ width: element.clientWidth, height: HEIGHT }));
  watcher.observe(element);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const recolour = () => plot && make();
  scheme.addEventListener("change", recolour);
  return {
    element,
    push(t_s, values) {
      if (t_s <= (data[0].at(-1) ?? -Infinity)) return;
      data[0].push(t_s);
      values.forEach((value, place) => data[place + 1].push(value));
      while (data[0].length && t_s - data[0][0] > SPAN_S) data.forEach((column) => column.shift());
      plot?.setData(data);
      const last = values.map((value, place) => (value === null ? "" : `${lines[place].label} ${value.toFixed(1)} ${unit}`)).filter(Boolean);
      element.setAttribute("aria-label", `${name}: ${last.join(", ")}`);
    },
    close() {
      isClosed = true;
      watcher.disconnect();
      scheme.removeEventListener("change", recolour);
      plot?.destroy();
    },
  };
}

function options(element, unit, lines) {
  const style = getComputedStyle(element);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour("--ink-3"), font: `11px ${style.fontFamily}`, grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
  return {
    width: element.clientWidth,
    height: HEIGHT,
    padding: [8, 8, 0, 0],
    cursor: { show: false },
    legend: { show: false },
    scales: {
      x: { time: false, range: (_, low, high) => [(high ?? 0) - SPAN_S, high ?? 0] },
      y: { range: (_, low, high) => [0, Math.max(1, (high ?? 0) * 1.1)] },
    },
    axes: [
      { ...axis, size: 24, space: 70, values: (plot, splits) => splits.map((value) => `${Math.round(value - plot.scales.x.max)} s`), splits: (plot) => [90, 60, 30, 0].map((back) => plot.scales.x.max - back) },
      { ...axis, size: 42, space: 34, values: (_, splits) => splits.map((value) => String(value)) },
    ],
    series: [{}, ...lines.map((line) => ({ label: `${line.label} (${unit})`, stroke: colour(line.colour), width: 2, dash: line.dash, fill: line.fill && colour(line.fill), points: { show: false }, spanGaps: false }))],
  };
}
