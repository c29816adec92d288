// One series: its curve, its parts, its anomalies.
import { ask, badge, byId, choose, empty, keep, make, number, onTheme, put, signed, subject, subjects, table, time, when } from "./page.js";
import { drawCurve, drawParts, move } from "./chart.js";

let name = subject();
let span = new URLSearchParams(location.search).get("span") ?? "24h", until = new URLSearchParams(location.search).get("until"), answer = null;

function words() {
  byId("name").textContent = `${answer.metric} of ${answer.entity_type} ${answer.entity_id}`;
  document.title = `${answer.metric} of ${answer.entity_id} · Tidewatch`;
  const last = answer.points.findLast((point) => point.mean !== null);
  put(byId("summary"), last
    ? `${time(last.timestamp)}: ${number(last.mean)}${last.expected === null ? ", not scored" : ` where ${number(last.expected)} was expected, z ${signed(last.z_score)}`} (${last.state}).`
    : "Nothing was seen of it in this span.");
  const model = answer.model;
  byId("parts-note").textContent = !model ? "There is no model of this series yet: only what was seen is shown."
    : `Seen = trend + seasonal + residual. Seasonal is what the newest model (${model.method}, ${model.buckets} buckets until ${time(model.trained_until)}) knows of this time of day; trend is what else was expected.`;
}

function lists() {
  const anomalies = [...answer.anomalies].reverse();
  put(byId("anomalies"), anomalies.length ? table("Anomalies in this span", ["Bucket", "Severity", "Seen", "Expected", "z", "Status"], anomalies.map((one) => [
    [when(one.timestamp), {}], badge(one.severity, one.status === "provisional"), number(one.actual_value), number(one.expected_value), signed(one.z_score),
    [[one.status, one.revision > 1 ? `, revision ${one.revision}` : "", one.withdrawn_reason ? make("small", {}, `: ${one.withdrawn_reason}`) : null], {}]])) : empty("None: everything was as expected."));
  put(byId("values"), table("All values", ["Time", "Seen", "Expected", "Sigma", "z", "State"], [...answer.points].reverse().map((point) => [
    [when(point.timestamp), {}], number(point.mean), number(point.expected), number(point.sigma), signed(point.z_score), point.state]), { class: "high-table", table: "" }));
}

async function draw() {
  if (!answer) return;
  if (!answer.points.length) return put(byId("curve"), empty("Nothing was seen of it in this span."));
  await drawCurve(byId("curve"), answer, `${name} ${span}`);
  await drawParts(byId("parts"), answer);
}

/** Dashboards know an entity and a metric, and not of what kind the entity is. */
async function resolve() {
  const [entity, metric, more] = subjects();
  if (metric === undefined || more !== undefined) return;
  const found = (await ask("series")).series.find((one) => one.entity_id === entity && one.metric === metric);
  if (!found) return;
  name = found.series;
  window.history.replaceState(null, "", `/series/${encodeURIComponent(name)}${location.search}`);
}

const again = keep(async () => {
  try {
    await resolve();
    answer = await ask(`series/${encodeURIComponent(name)}?span=${span}${until ? `&until=${encodeURIComponent(until)}` : ""}`);
  } catch (error) {
    byId("name").textContent = name;
    return put(byId("curve"), empty(error.message));
  }
  words(); lists();
  await draw();
}, 5000);
for (const button of byId("spans").querySelectorAll("button")) button.setAttribute("aria-pressed", button.dataset.span === span);
choose(byId("spans"), "span", (chosen) => { span = chosen; until = null; again(); });
document.querySelector(".zoom").addEventListener("click", (event) => { if (event.target.dataset.move && answer?.points.length) move(byId("curve"), event.target.dataset.move, answer); });
onTheme(draw);
