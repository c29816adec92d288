// The charts: a curve with its band and anomalies, and its parts below. Plotly comes from the server's own binary.
import { number, time } from "./page.js";

let library = null;
function load() {
  library ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = "/assets/plotly.js";
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => reject(new Error("the charts cannot be loaded"));
    document.head.append(script);
  });
  return library;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const config = { responsive: true, doubleClick: "reset", displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "toImage"] };

function layout(more) {
  const axis = { gridcolor: colour("line"), zerolinecolor: colour("line"), linecolor: colour("line") };
  return {
    paper_bgcolor: "transparent", plot_bgcolor: "transparent", font: { color: colour("ink"), size: 12, family: "system-ui, sans-serif" },
    margin: { l: 56, r: 14, t: 30, b: 36 }, hovermode: "x unified", hoverlabel: { bgcolor: colour("card"), font: { color: colour("ink") } },
    showlegend: false, dragmode: "zoom", modebar: { bgcolor: "transparent", color: colour("faint"), activecolor: colour("accent") },
    ...more, xaxis: { type: "date", ...axis, ...more.xaxis }, yaxis: { ...axis, ...more.yaxis },
    ...Object.fromEntries(["yaxis2", "yaxis3"].filter((name) => more[name]).map((name) => [name, { ...axis, ...more[name] }])),
  };
}

/** Time and one value per point, with a gap where points are missing. */
function line(points, step, value) {
  const x = [], y = [];
  let last = null;
  for (const point of points) {
    const at = Date.parse(point.timestamp);
    if (last !== null && at - last > 1.5 * step) { x.push(new Date(last + step).toISOString()); y.push(null); }
    last = at;
    x.push(point.timestamp);
    y.push(value(point));
  }
  return { x, y };
}

function marks(answer) {
  const severities = ["low", "medium", "high", "critical"];
  const groups = [];
  for (const severity of severities) {
    const of = answer.anomalies.filter((one) => one.severity === severity && one.status !== "withdrawn" && one.actual_value !== null);
    groups.push([severity, of, colour(severity)]);
  }
  groups.push(["withdrawn", answer.anomalies.filter((one) => one.status === "withdrawn" && one.actual_value !== null), colour("faint")]);
  const beside = answer.points.filter((point) => point.state === "accompanying");
  const quiet = beside.length ? [{
    name: "accompanying", type: "scatter", mode: "markers", x: beside.map((point) => point.timestamp), y: beside.map((point) => point.mean),
    text: beside.map((point) => `z ${number(point.z_score)}: another metric of the entity speaks for it`), hovertemplate: "%{y:.4~g} %{text}<extra></extra>",
    marker: { color: colour("faint"), size: 7, symbol: "circle-open", line: { width: 2, color: colour("faint") } },
  }] : [];
  return quiet.concat(groups.filter(([, of]) => of.length).map(([name, of, shade]) => ({
    name, type: "scatter", mode: "markers", x: of.map((one) => one.timestamp), y: of.map((one) => one.actual_value),
    text: of.map((one) => `${one.severity}, z ${number(one.z_score)}${one.status === "provisional" ? ", provisional" : ""}${one.revision > 1 ? `, revision ${one.revision}` : ""}${one.withdrawn_reason ? `: ${one.withdrawn_reason}` : ""}`),
    hovertemplate: "%{y:.4~g} %{text}<extra></extra>",
    marker: {
      color: shade, opacity: 1, size: of.map((one) => (one.revision > 1 ? 11 : 9)), line: { width: 2, color: shade },
      symbol: of.map((one) => (one.status === "withdrawn" ? "x-thin" : one.status === "provisional" ? "circle-open" : one.revision > 1 ? "diamond" : "circle")),
    },
  })));
}

/** The values to make room for: what was seen and expected, and as much of the band as does not dwarf them. Sigma may be very large for a while. */
function extent(answer) {
  const values = answer.points.flatMap((point) => [point.mean, point.expected, ...(answer.step_seconds > 300 ? [point.min, point.max] : [])])
    .concat(answer.anomalies.map((one) => one.actual_value)).filter((value) => value !== null && Number.isFinite(value));
  if (!values.length) return null;
  const least = values.reduce((one, other) => Math.min(one, other)), most = values.reduce((one, other) => Math.max(one, other));
  const bands = [...halves(answer).values()].filter((half) => half > 0).sort((one, other) => one - other);
  const size = most - least || Math.abs(most) || 1, usual = bands[Math.floor(bands.length / 2)] ?? 0;
  const room = Math.max(0.08 * size, Math.min(usual, size / 2));
  return [least - room, most + room];
}

/** The half width of the band at each point. A method other than that of STL may divide by quite another sigma in each bucket: the band is what is usual about then. */
function halves(answer) {
  const exact = answer.model?.method === "stl_zscore";
  return new Map(answer.points.map((point) => [point, point.sigma === null ? null : answer.threshold * (exact ? point.sigma : point.usual_sigma ?? point.sigma)]));
}

const views = new WeakMap();
const moment = (value) => Date.parse(typeof value === "string" && !value.endsWith("Z") ? `${value.replace(" ", "T")}Z` : value);
const same = (one, other) => one.every((value, place) => Math.abs(moment(value) - moment(other[place])) < 1000);

/** What to show of a chart: all of it, or what somebody has zoomed into. Plotly keeps that by itself only while its whole span stands still. */
function kept(place, key, all) {
  const last = views.get(place), now = place.layout?.xaxis?.range;
  const zoomed = last && now && last.key === key && (last.zoomed || !same(now, last.x));
  const y = zoomed && place.layout.yaxis.autorange === false ? place.layout.yaxis.range : null;
  const view = { key, zoomed: Boolean(zoomed), x: zoomed ? [...now] : all, y };
  views.set(place, view);
  return view;
}

/** Draws the curve, its band and its anomalies; what was zoomed into stays. */
export async function drawCurve(place, answer, keepView = answer.series, focus = [answer.from, answer.until]) {
  const plotly = await load();
  const step = answer.step_seconds * 1000;
  const trace = (name, value, more) => ({ name, type: "scatter", mode: "lines", hovertemplate: "%{y:.4~g}", connectgaps: false, ...line(answer.points, step, value), ...more });
  const half = halves(answer), edge = (sign) => (point) => (point.expected === null ? null : point.expected + sign * half.get(point));
  const extremes = answer.step_seconds > 300 ? [
    trace("most", (point) => point.max, { line: { width: 0 }, hoverinfo: "skip", hovertemplate: undefined }),
    trace("least", (point) => point.min, { line: { width: 0 }, fill: "tonexty", fillcolor: shade(colour("faint"), 0.28), hoverinfo: "skip", hovertemplate: undefined }),
  ] : [];
  const traces = [
    ...extremes,
    trace("upper", edge(1), { line: { width: 0 }, hoverinfo: "skip", hovertemplate: undefined }),
    trace("lower", edge(-1), { line: { width: 0 }, fill: "tonexty", fillcolor: shade(colour("accent"), 0.18), hoverinfo: "skip", hovertemplate: undefined }),
    trace("expected", (point) => point.expected, { line: { color: colour("accent"), width: 1.4, dash: "dot" } }),
    trace("seen", (point) => point.mean, { line: { color: colour("ink"), width: 1.6 } }),
    ...marks(answer),
  ];
  const band = document.getElementById("band");
  if (band) band.textContent = `expected ± ${number(answer.threshold)} sigma${answer.model?.method === "stl_zscore" ? "" : ", as is usual about then"}${extremes.length ? "; grey: least to most of the hour" : ""}`;
  if (place.querySelector(".empty")) place.replaceChildren();
  const view = kept(place, keepView, focus);
  const shown = layout({ uirevision: keepView, xaxis: { range: view.x }, yaxis: { ...(view.y ?? extent(answer) ? { range: view.y ?? extent(answer) } : {}), title: { text: plain(answer.metric), font: { size: 11 } } } });
  await plotly.react(place, traces, shown, config);
  return plotly;
}

/** A stranger's text for Plotly, which would take tags in it for its own. */
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

/** A colour as rgba, which is what Plotly reads. */
function shade(hex, alpha) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  return `rgba(${red},${green},${blue},${alpha})`;
}

/** Lets one chart follow what somebody has zoomed into in another. */
export async function follow(leader, place) {
  const plotly = await load();
  if (leader.follower) return;
  leader.follower = place;
  leader.on("plotly_relayout", () => {
    const range = leader.layout.xaxis.range;
    if (place.layout && !same(range, place.layout.xaxis.range)) plotly.relayout(place, { "xaxis.range": [...range] });
  });
}

/** Draws trend, seasonal part and residual. */
export async function drawParts(place, answer, leader) {
  const plotly = await load();
  const step = answer.step_seconds * 1000;
  const residual = (point) => (point.trend === null || point.mean === null ? null : point.mean - point.trend - point.seasonal);
  const trace = (name, value, axis, ink) => ({ name, type: "scatter", mode: "lines", yaxis: axis, hovertemplate: "%{y:.4~g}", line: { color: colour(ink), width: 1.3 }, ...line(answer.points, step, value) });
  const traces = [
    trace("trend", (point) => point.trend, "y3", "ink"),
    trace("seasonal", (point) => point.seasonal, "y2", "accent"),
    trace("residual", residual, "y", "high"),
  ];
  const title = (text) => ({ title: { text, font: { size: 11 } } });
  const shown = layout({
    uirevision: answer.series, xaxis: { range: leader.layout?.xaxis?.range ?? [answer.from, answer.until], anchor: "y" },
    yaxis: { domain: [0, 0.4], ...title("residual") }, yaxis2: { domain: [0.44, 0.72], ...title("seasonal") }, yaxis3: { domain: [0.76, 1], ...title("trend") },
  });
  if (place.querySelector(".empty")) place.replaceChildren();
  await plotly.react(place, traces, shown, config);
}

/** Moves in a chart by its buttons: for those without a mouse. */
export async function move(place, how, answer) {
  const plotly = await load();
  if (how === "all") views.delete(place);
  if (how === "all") return plotly.relayout(place, { "xaxis.range": [answer.from, answer.until], "yaxis.range": extent(answer) });
  const [from, until] = place.layout.xaxis.range.map(moment);
  const width = until - from, middle = (from + until) / 2;
  const [start, end] = { in: [middle - width / 4, middle + width / 4], out: [middle - width, middle + width], left: [from - width / 2, until - width / 2], right: [from + width / 2, until + width / 2] }[how];
  return plotly.relayout(place, { "xaxis.range": [new Date(start).toISOString(), new Date(end).toISOString()] });
}

export const said = (answer) => `${answer.points.length} values from ${time(answer.from)} to ${time(answer.until)}`;
