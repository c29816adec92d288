// Silences: listed, declared, removed.
import { ask, byId, change, empty, make, onBeat, put, several, table, when } from "./page.js";

/** Where a silence comes from an incident, the way there. */
function reason(text) {
  const parts = /^(.*)\b([0-9a-f]{16})$/.exec(text);
  return parts ? [parts[1], make("a", { href: `/incidents/${parts[2]}` }, parts[2])] : text || "–";
}

async function load() {
  let list;
  try { list = (await ask("silences")).silences; } catch (error) { return put(byId("silences"), empty(error.message)); }
  put(byId("silences"), list.length ? table("Silences", ["Entity", "Metric", "From", "To", "Reason", "Now", ""], list.map((one) => {
    const what = `${one.metric ?? "all metrics"} of ${one.entity}`;
    const remove = make("button", { type: "button", "aria-label": `Remove the silence of ${what}` }, "Remove");
    remove.addEventListener("click", async () => {
      const place = [...document.querySelectorAll("#silences button")].indexOf(remove);
      try {
        await change("DELETE", `silences/${one.silence_id}`);
        say(`Removed: ${what}.`);
      } catch (error) { say(error.message); }
      await load();
      // The button is gone: the next one, or else what was said, is where to go on.
      const left = document.querySelectorAll("#silences button");
      (left[Math.min(place, left.length - 1)] ?? byId("said")).focus();
    });
    return [one.entity, one.metric ?? "all", [when(one.from), {}], [when(one.until), {}], [reason(one.reason), {}], one.now, [remove, {}]];
  })) : empty("No silences: whatever deviates is told."));
}

const say = (text) => { byId("said").textContent = text; };

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
    say(`Declared; ${several(done.incidents_withdrawn, "settled incident")} ${done.incidents_withdrawn === 1 ? "was" : "were"} withdrawn.`);
    event.target.reset();
    propose();
  } catch (error) { say(error.message); }
  load();
});
load();
