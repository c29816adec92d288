// Silences: listed, declared, removed.
import { ask, byId, change, empty, make, onBeat, put, table, when } from "./page.js";

/** Where a silence comes from an incident, the way there. */
function reason(text) {
  const parts = /^(.*)\b([0-9a-f]{16})$/.exec(text);
  return parts ? [parts[1], make("a", { href: `/incidents/${parts[2]}` }, parts[2])] : text || "–";
}

async function load() {
  let list;
  try { list = (await ask("silences")).silences; } catch (error) { return put(byId("silences"), empty(error.message)); }
  put(byId("silences"), list.length ? table("Silences", ["Entity", "Metric", "From", "To", "Reason", "Now", ""], list.map((one) => {
    const remove = make("button", { type: "button", "aria-label": `Remove the silence of ${one.entity}` }, "Remove");
    remove.addEventListener("click", async () => {
      try { await change("DELETE", `silences/${one.silence_id}`); } catch (error) { byId("said").textContent = error.message; }
      load();
    });
    return [one.entity, one.metric ?? "all", [when(one.from), {}], [when(one.until), {}], [reason(one.reason), {}], one.holds ? "holds" : "–", [remove, {}]];
  })) : empty("No silences: whatever deviates is told."));
}

/** From now, by the clock of the run, for an hour: most silences are about that. */
let now = null;
function propose() {
  const text = (at) => new Date(at).toISOString().slice(0, 16), { from, until } = byId("add").elements;
  if (now && !from.value && !until.value) [from.value, until.value] = [text(now), text(now + 3600e3)];
}
onBeat((beat) => {
  if (now || !beat.watermark) return;
  now = Date.parse(beat.watermark);
  propose();
});

byId("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  const given = Object.fromEntries(new FormData(event.target));
  try {
    const done = await change("POST", "silences", { ...given, metric: given.metric || null, from: `${given.from}:00Z`, until: `${given.until}:00Z` });
    byId("said").textContent = `Declared; ${done.incidents_withdrawn} settled incidents were withdrawn.`;
    event.target.reset();
    propose();
  } catch (error) { byId("said").textContent = error.message; }
  load();
});
load();
