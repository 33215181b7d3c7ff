"use strict";
document.documentElement.classList.add("scripted");
const DASHES = [[], [8, 4], [2, 3], [8, 3, 2, 3], [12, 2], [2, 6], [6, 6], [10, 6]];
const CURVES = DASHES.length;
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

function drawChart(figure, chart) {
  const plot = document.createElement("div");
  plot.className = "plot";
  plot.tabIndex = 0;
  plot.setAttribute("role", "group");
  plot.setAttribute("aria-label", `${chart.title}: ${chart.y} by ${chart.x}`);
  figure.append(plot);
  figure.classList.add("drawn");
  const image = figure.querySelector("img, p");
  image.style.display = "none";
  const data = uPlot.join(chart.curves.map((curve) => [curve.x, curve.y]));
  const whole = data[0].every(Number.isInteger) ? { incrs: [1, 2, 5].flatMap((n) => [...Array(9).keys()].map((e) => n * 10 ** e)).sort((a, b) => a - b) } : {};
  const tick = (value) => value == null ? "" : chart.log ? value.toExponential(0) : String(Number(value.toPrecision(10)));
  const ticks = (u, values) => values.map(tick);
  const wide = (u, texts) => Math.max(70, 24 + 7 * Math.max(0, ...(texts ?? []).map((text) => text.length)));
  const axis = (label) => ({
    label, stroke: () => color("--ink"), grid: { stroke: () => color("--line") },
    ticks: { stroke: () => color("--line") },
  });
  const number = (value) => value == null ? "–" : String(Number(value.toPrecision(7)));
  const options = {
    width: plot.clientWidth, height: 300,
    scales: { x: { time: false, range: (u, min, max) => data[0].length > 1 ? [min, max] : [data[0][0] - 0.5, data[0][0] + 0.5] }, y: { distr: chart.log ? 3 : 1 } },
    axes: [{ ...axis(chart.x), ...whole }, { ...axis(chart.y), values: ticks, size: wide }],
    series: [{ label: chart.x, value: (u, value) => number(value) }].concat(chart.curves.map((curve) => {
      const style = curve.style % CURVES;
      const stroke = () => color(`--curve-${style}`);
      const points = { show: curve.marks || curve.x.length < 30, size: curve.style ? 5 : 8, stroke, fill: stroke };
      const paths = curve.marks ? () => null : undefined;
      return {
        label: curve.label, stroke, points, paths, dash: DASHES[style],
        width: curve.style ? 1.5 : 4, value: (u, value) => number(value),
      };
    })),
  };
  const drawn = new uPlot(options, data, plot);
  const [first, last] = [data[0][0], data[0][data[0].length - 1]];
  if (first === last) drawn.setScale("x", { min: first, max: last }); // else uPlot shows from 0 to twice the place
  plot.addEventListener("keydown", (event) => {
    const { min, max } = drawn.scales.x;
    const [width, middle] = [max - min, (min + max) / 2];
    const ranges = {
      "+": [middle - width / 4, middle + width / 4], "-": [middle - width, middle + width],
      "ArrowLeft": [min - width / 4, max - width / 4], "ArrowRight": [min + width / 4, max + width / 4],
      "0": [first, last],
    };
    const range = ranges[event.key];
    if (!range) return;
    event.preventDefault();
    drawn.setScale("x", { min: range[0], max: range[1] });
  });
  const fit = () => plot.clientWidth && drawn.setSize({ width: plot.clientWidth, height: 300 });
  new ResizeObserver(() => requestAnimationFrame(fit)).observe(figure);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.redraw(false));
}

function makeSortable(table) {
  const body = table.tBodies[0];
  const key = (row, index) => row.cells[index].dataset.key ?? row.cells[index].textContent.trim();
  [...table.tHead.rows[0].cells].forEach((cell, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...cell.childNodes);
    cell.append(button);
    button.addEventListener("click", () => {
      const up = cell.getAttribute("aria-sort") !== "ascending";
      [...table.tHead.rows[0].cells].forEach((other) => other.removeAttribute("aria-sort"));
      cell.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...body.rows].sort((a, b) => key(a, index).localeCompare(key(b, index), "en", { numeric: true }));
      body.append(...(up ? rows : rows.reverse()));
    });
  });
}

function makeFilter(table) {
  const input = document.createElement("input");
  input.type = "search";
  input.placeholder = "filter, such as resnet or failed";
  input.setAttribute("aria-label", "Show the rows that contain");
  input.addEventListener("input", () => {
    for (const row of table.tBodies[0].rows) {
      row.hidden = !row.textContent.toLowerCase().includes(input.value.toLowerCase());
    }
  });
  table.parentElement.before(input);
}

const found = document.getElementById("charts");
const charts = found ? JSON.parse(found.textContent) : [];
document.querySelectorAll("figure[data-chart]").forEach((figure) => {
  const chart = charts[figure.dataset.chart];
  if (chart.curves.length) drawChart(figure, chart);
});
document.querySelectorAll("table.sortable").forEach((table) => { makeSortable(table); makeFilter(table); });
