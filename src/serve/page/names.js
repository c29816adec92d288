// All series, to be looked through.
import { ask, byId, count, empty, onBeat, put, seriesLink, table, waiting } from "./page.js";

const SHOWN_MAX = 200;
let series = [];

function show() {
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = series.filter((one) => words.every((word) => `${one.series} ${one.rack} ${one.zone}`.toLowerCase().includes(word)));
  byId("count").textContent = series.length ? `${count(found.length)} of ${count(series.length)} series${found.length > SHOWN_MAX ? `, the first ${SHOWN_MAX} shown` : ""}` : "";
  if (!series.length) return;
  put(byId("names"), found.length ? table("Series", ["Series", "Entity", "Rack", "Zone"], found.slice(0, SHOWN_MAX).map((one) => [
    [seriesLink(one.series, one.metric), {}], one.entity_id, one.rack || "–", one.zone || "–"])) : empty("No series fits these words."));
}

async function load(beat) {
  try { series = (await ask("series")).series; } catch (error) { if (error.status !== 503) throw error; }
  if (series.length) show();
  else put(byId("names"), empty((beat && waiting(beat)) ?? "No series yet: the first appear with the first bucket."));
}
byId("filter").addEventListener("input", show);
byId("search").addEventListener("submit", (event) => event.preventDefault());
load();
onBeat((beat) => { if (!series.length) load(beat); });
