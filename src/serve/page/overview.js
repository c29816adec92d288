// The overview: health, incidents, what is provisional, and the heat map.
import { ask, badge, byId, choose, count, duration, empty, incidentTable, keep, make, number, onBeat, onTheme, put, several, seriesLink, signed, table, time, waiting, when } from "./page.js";

/** Provisional anomalies shown: the worst. */
const EARLY_MAX = 8;
/** Closed incidents shown below the open ones: the worst. */
const CLOSED_MAX = 6;
// A heat map that was not asked for yet is undefined, one that is not there null.
let beat = null, answer = null, heat, span = "6h", asked = false;
const seen = new Set();
const LATER = "Nothing can be said yet; what is going on stands above.";

const card = (name, value, more, mood) => make("div", { class: mood }, make("dt", {}, name), make("dd", {}, value, more && make("small", {}, more)));

/** `2 critical, 1 low`: of the open incidents. */
function severities(fleet) {
  const open = fleet.incidents.filter((one) => one.status === "open");
  const counts = ["critical", "high", "medium", "low"].map((severity) => [severity, open.filter((one) => one.severity === severity).length]).filter(([, n]) => n);
  return { worst: counts[0]?.[0], words: counts.map(([severity, n]) => `${n} ${severity}`).join(", ") };
}

/** `3 series look off so far, critical at worst`; empty where none does. */
function soFar(fleet) {
  const list = fleet.provisional, worst = ["critical", "high", "medium", "low"].find((severity) => list.some((one) => one.severity === severity));
  return list.length ? `${count(list.length)} series ${list.length === 1 ? "looks" : "look"} off so far, ${worst} at worst` : "";
}

function health() {
  if (!beat) return;
  const fleet = answer?.fleet, states = fleet?.states ?? {};
  const lag = beat.lag_seconds;
  const refused = Object.entries(beat.refused);
  const scored = Object.entries(states).filter(([state]) => !state.startsWith("unscored")).reduce((sum, [, n]) => sum + n, 0);
  const all = Object.values(states).reduce((sum, n) => sum + n, 0);
  const known = fleet && beat.generation, open = known && severities(fleet);
  put(byId("health"),
    card("Open incidents", known ? count(fleet.open) : "–", known ? open.words || soFar(fleet) || "nothing is wrong" : asked ? "nothing is scored yet" : "loading…", open?.worst ? `told ${open.worst}` : null),
    card("Anomalous now", known ? `${count(states.anomalous ?? 0)} series` : "–", !known ? (asked ? "no verdicts yet" : "loading…") : `of ${count(fleet.series)}${fleet.open && !states.anomalous ? ", as what is open goes on as it began" : ""}; ${count(states.accompanying ?? 0)} accompanying, ${count(states.missing ?? 0)} missing, ${count(states.silenced ?? 0)} silenced`),
    card("Records", `${count(beat.records_per_second)}/s`, refused.length ? refused.map(([reason, n]) => `${count(n)} ${reason.replaceAll("_", " ")}`).join(", ") : "none refused"),
    card("Watermark", lag === null ? "–" : lag < -5 ? "ahead" : duration(lag), lag === null ? "nothing committed yet" : lag < -5 ? `simulated time, ${duration(lag)} ahead` : `behind the clock; at ${time(beat.watermark)}`),
    card("Scored", all ? `${Math.round((100 * scored) / all)} %` : "–", beat.generation ? `models #${beat.generation}, until ${time(answer?.trained_until)}` : "no models yet"));
}

function incidents() {
  const place = byId("incidents");
  if (!answer) return;
  if (!answer.fleet) return put(place, empty(waiting(beat ?? answer.beat) ? LATER : `History cannot be read now: ${answer.problem}`));
  const all = answer.fleet.incidents, closed = all.filter((one) => one.status !== "open");
  const list = all.filter((one) => one.status === "open").concat(closed.slice(0, CLOSED_MAX));
  const more = closed.length - CLOSED_MAX;
  put(byId("closed-more"), ...(more > 0 ? ["and ", make("a", { href: "/incidents?span=24h&status=closed" }, `${more} more with evidence of the last day that closed`)] : []));
  if (!list.length) return put(place, empty(waiting(answer.beat) ? LATER : (answer.beat.generation ? `${soFar(answer.fleet) ? "No incident yet" : "Nothing is wrong"}: none is open, and none closed in the last day.` : "No incidents: there are no models yet that could find any.")));
  put(place, incidentTable("Incidents: open ones first, and the worst of each first", list, (one) => seen.size > 0 && !seen.has(one.incident_id)));
  all.forEach((one) => seen.add(one.incident_id));
  if (!seen.size) seen.add("");
}

function early() {
  const list = answer?.fleet?.provisional ?? [];
  byId("early-section").hidden = !list.length;
  byId("early-more").textContent = list.length > EARLY_MAX ? `and ${list.length - EARLY_MAX}${list.length === 100 ? " or more" : ""} others` : "";
  put(byId("early"), list.length ? table("Provisional anomalies", ["What", "Severity", "So far", "Since"], list.slice(0, EARLY_MAX).map((one) => [
    [seriesLink(one.series), {}], badge(one.severity, true), `${number(one.actual_value)} instead of ${number(one.expected_value)}, z ${signed(one.z_score)}`, [when(one.timestamp), {}]])) : "");
}

const shade = (cell) => (cell === null ? "hn" : cell === "missing" ? "hm" : Math.abs(cell) < 2 ? "h0" : Math.abs(cell) < 3 ? "h1" : Math.abs(cell) < 4 ? "h2" : Math.abs(cell) < 6 ? "h3" : "h4");

/** A strip in words: how many of its buckets are how far off, and when it was worst. */
function heard(entity) {
  const cells = entity.cells, scores = cells.filter((cell) => typeof cell === "number"), missing = cells.filter((cell) => cell === "missing").length;
  const limit = answer?.threshold ?? 3, beyond = scores.filter((z) => Math.abs(z) > limit).length;
  const said = [scores.length ? `${several(scores.length, "bucket")} with a score, ${beyond || "none"} beyond ${number(limit)}` : "no score"];
  if (missing) said.push(`${missing} missing`);
  if (beyond) {
    const worst = scores.reduce((one, other) => (Math.abs(other) > Math.abs(one) ? other : one));
    said.push(`worst z ${signed(worst)} at ${time(new Date(Date.parse(heat.from) + cells.indexOf(worst) * heat.step_seconds * 1000).toISOString())}`);
  }
  return `${entity.entity_id}: ${said.join("; ")}`;
}

/** The cells of one entity; what each says is shown under the pointer, and the table says the worst. */
function strip(entity) {
  const cells = entity.cells, canvas = make("canvas", { width: Math.max(cells.length, 1) * 4, height: 12, role: "img", "aria-label": heard(entity) });
  const colours = getComputedStyle(document.documentElement), pen = canvas.getContext("2d");
  cells.forEach((cell, place) => {
    const name = shade(cell);
    if (name === "hn") return;
    pen.fillStyle = colours.getPropertyValue(`--${name}`);
    pen.fillRect(place * 4, 0, cells.length > 100 ? 4 : 3.4, 12);
  });
  const at = (event) => Math.min(cells.length - 1, Math.floor((event.offsetX / canvas.clientWidth) * cells.length));
  canvas.addEventListener("mousemove", (event) => {
    const start = new Date(Date.parse(heat.from) + at(event) * heat.step_seconds * 1000).toISOString(), cell = cells[at(event)];
    canvas.title = `${entity.entity_id}, ${time(start)}: ${cell === null ? "no score" : cell === "missing" ? "missing" : `z ${signed(cell)}`}`;
  });
  canvas.addEventListener("click", () => { location.href = address(entity); });
  return canvas;
}

const address = (entity) => `/series/${encodeURIComponent(`${entity.entity_type}:${entity.entity_id}:${entity.metric}`)}`;

function heatMap() {
  const place = byId("heat");
  if (heat === undefined && (!asked || answer?.fleet)) return put(place, empty("Loading…"));
  const said = heat?.zones.some((zone) => zone.racks.some((rack) => rack.rows.some((entity) => entity.cells.some((cell) => cell !== null))));
  if (!said) return put(place, empty(beat && waiting(beat) ? LATER : "Nothing was scored in this span yet: a bucket is, once it is over and has a model."));
  const only = byId("only").checked, limit = answer?.threshold ?? 3;
  const shown = heat.zones.flatMap((zone) => zone.racks.map((rack) => rackMap(zone, rack, rack.rows.filter((entity) => !only || entity.worst > limit || entity.cells.includes("missing"))))).filter(Boolean);
  put(place, shown.length ? make("div", { class: "racks" }, shown) : empty(`Nobody was beyond ${number(limit)} in this span.`));
}

/** The entities of one rack, a strip each, over one axis of time. */
function rackMap(zone, rack, entities) {
  if (!entities.length) return null;
  const called = (word, text) => (text.toLowerCase().startsWith(word) ? text : `${word} ${text}`);
  const name = [zone.zone && called("zone", zone.zone), rack.rack ? called("rack", rack.rack) : `${entities[0].entity_type}s`].filter(Boolean).join(", ");
  const rows = entities.map((entity) => make("tr", {}, make("th", { scope: "row" }, make("a", { href: address(entity), title: `${entity.metric} of ${entity.entity_id}` }, entity.entity_id)), make("td", {}, strip(entity)),
    make("td", { class: entity.worst > (answer?.threshold ?? 3) ? "n beyond" : "n", title: entity.metric }, entity.cells.some((cell) => typeof cell === "number") ? entity.worst.toFixed(1) : entity.cells.includes("missing") ? "missing" : "–")));
  const hour = (share) => new Date(Date.parse(heat.from) * (1 - share) + Date.parse(heat.until) * share).toISOString().slice(11, 16);
  const axis = make("tr", { class: "axis", "aria-hidden": "true" }, make("td"), make("td", {}, make("span", {}, hour(0)), make("span", {}, hour(0.5)), make("span", {}, hour(1))), make("td", { class: "n" }, "max |z|"));
  return make("table", { class: "heat" }, make("caption", {}, name, make("span", { class: "quiet" }, `: worst |z| of each entity from ${time(heat.from)} to ${time(heat.until)}; the last column says the largest`)),
    make("colgroup", {}, make("col", { class: "name" }), make("col"), make("col", { class: "worst" })), make("tbody", {}, rows, axis));
}

// The address says what is seen, so that it can be sent to somebody.
const wanted = byId("spans").querySelector(`[data-span="${CSS.escape(new URLSearchParams(location.search).get("span") ?? "")}"]`);
if (wanted) {
  span = wanted.dataset.span;
  for (const button of byId("spans").querySelectorAll("button")) button.setAttribute("aria-pressed", button === wanted);
}

const loadHeat = async () => {
  // Before there is a history, the answer would be an error.
  if (!answer?.fleet) return heatMap();
  try { heat = await ask(`heatmap?span=${span}`); } catch (error) { if (error.status !== 503) throw error; heat = null; }
  heatMap();
};
keep(async () => {
  try { answer = await ask("overview"); } catch (error) { if (error.status) answer = null; return; }
  asked = true;
  health(); incidents(); early();
  if (answer?.fleet && !heat) againHeat();
});
const againHeat = keep(loadHeat, 10000);
onBeat((now) => { beat = now; health(); if (!answer?.fleet) incidents(); });
byId("only").addEventListener("change", heatMap);
choose(byId("spans"), "span", (chosen) => {
  span = chosen;
  window.history.replaceState(null, "", `${location.pathname}?span=${span}`);
  againHeat();
});
onTheme(() => heatMap());
