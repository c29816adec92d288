// All series, to be looked through.
import { ask, byId, count, empty, make, onBeat, put, seriesLink, table, waiting } from "./page.js";

/** So many are shown at first, and so many more each time that somebody asks. */
const SHOWN = 200;
let series = [], most = SHOWN;

function show() {
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = series.filter((one) => words.every((word) => `${one.series} ${one.rack} ${one.zone}`.toLowerCase().includes(word)));
  byId("count").textContent = series.length ? `${count(found.length)} of ${count(series.length)} series${found.length > most ? `, the first ${count(most)} shown` : ""}` : "";
  if (!series.length) return;
  put(byId("names"), found.length ? table("Series", ["Series", "Entity", "Rack", "Zone"], found.slice(0, most).map((one) => [
    [seriesLink(one.series, one.metric), {}], one.entity_id, one.rack || "–", one.zone || "–"])) : empty("No series fits these words."),
    found.length > most ? make("button", { type: "button", id: "more" }, `Show ${count(Math.min(SHOWN, found.length - most))} more`) : "");
}

async function load(beat) {
  try { series = (await ask("series")).series; } catch (error) { if (error.status !== 503) throw error; }
  if (series.length) show();
  else put(byId("names"), empty((beat && waiting(beat)) ?? "No series yet: the first appear with the first bucket."));
}
byId("filter").addEventListener("input", () => { most = SHOWN; show(); });
byId("names").addEventListener("click", (event) => {
  if (!event.target.closest("#more")) return;
  most += SHOWN;
  show();
});
byId("search").addEventListener("submit", (event) => event.preventDefault());
load();
onBeat((beat) => { if (!series.length) load(beat); });
