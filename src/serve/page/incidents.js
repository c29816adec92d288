// All incidents of a span, to be looked through: the latest first, of one status or of all.
import { ask, byId, choose, count, empty, incidentTable, keep, put } from "./page.js";

const asked = new URLSearchParams(location.search);
let span = asked.get("span") ?? "24h", status = asked.get("status") ?? "", shown = "";

const again = keep(async () => {
  let answer;
  try { answer = await ask(`incidents?span=${encodeURIComponent(span)}${status ? `&status=${encodeURIComponent(status)}` : ""}`); } catch (error) {
    // What is shown already stays while the server is away.
    if (!shown || error.status === 400) put(byId("incidents"), empty(error.message));
    return;
  }
  const list = answer.incidents, now = JSON.stringify([span, status, answer]);
  if (now === shown) return;
  shown = now;
  const which = [status, answer.total === 1 ? "incident" : "incidents"].filter(Boolean).join(" ");
  byId("count").textContent = `${count(answer.total)} ${which} with evidence of the last ${span.replace("h", " h").replace("d", " d")}, the latest first${answer.total > list.length ? `; ${list.length} are shown` : ""}`;
  put(byId("incidents"), list.length ? incidentTable("Incidents, the latest first", list) : empty("None in this span."));
}, 5000);

/** The address says what is seen, so that it can be sent to somebody. */
function turn() {
  const address = new URLSearchParams({ span, ...(status ? { status } : {}) });
  window.history.replaceState(null, "", `${location.pathname}?${address}`);
  again();
}
for (const [group, name, chosen] of [["spans", "span", span], ["statuses", "status", status]]) {
  for (const button of byId(group).querySelectorAll("button")) button.setAttribute("aria-pressed", button.dataset[name] === chosen);
}
choose(byId("spans"), "span", (chosen) => { span = chosen; turn(); });
choose(byId("statuses"), "status", (chosen) => { status = chosen; turn(); });
