// Silences: listed, declared, removed.
import { ask, byId, change, empty, make, put, table, when } from "./page.js";

async function load() {
  let list;
  try { list = (await ask("silences")).silences; } catch (error) { return put(byId("silences"), empty(error.message)); }
  put(byId("silences"), list.length ? table("Silences", ["Entity", "Metric", "From", "To", "Reason", "Now", ""], list.map((one) => {
    const remove = make("button", { type: "button", "aria-label": `Remove the silence of ${one.entity}` }, "Remove");
    remove.addEventListener("click", async () => {
      try { await change("DELETE", `silences/${one.silence_id}`); } catch (error) { byId("said").textContent = error.message; }
      load();
    });
    return [one.entity, one.metric ?? "all", [when(one.from), {}], [when(one.until), {}], one.reason || "–", one.holds ? "holds" : "–", [remove, {}]];
  })) : empty("No silences: whatever deviates is told."));
}

byId("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  const given = Object.fromEntries(new FormData(event.target));
  try {
    const done = await change("POST", "silences", { ...given, metric: given.metric || null, from: `${given.from}:00Z`, until: `${given.until}:00Z` });
    byId("said").textContent = `Declared; ${done.incidents_withdrawn} settled incidents were withdrawn.`;
    event.target.reset();
  } catch (error) { byId("said").textContent = error.message; }
  load();
});
load();
