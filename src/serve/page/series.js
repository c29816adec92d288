// One series: its curve, its parts, its anomalies.
import { absent, ask, badge, byId, choose, count, empty, keep, make, number, onTheme, put, several, signed, standing, subject, subjects, table, time, when } from "./page.js";
import { drawCurve, drawParts, follow, move } from "./chart.js";

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
  byId("parts-note").textContent = answer.points.some((point) => point.trend !== null)
    ? `Seen = trend + seasonal + residual, by STL over the two weeks before ${time(answer.until)}.${model ? ` What was expected comes from the model: ${model.method}, ${model.buckets} buckets until ${time(model.trained_until)}.` : ""}`
    : "STL needs two days of buckets; there are fewer yet.";
}

/** Buckets in which another metric of the entity speaks for this one, and which does. */
function beside() {
  const { buckets, speakers } = answer.accompanying;
  if (!buckets) return null;
  const told = speakers.flatMap((one, place) => [place ? ", " : "", make("a", { href: `/series/${encodeURIComponent(one.series)}${location.search}` }, one.metric), speakers.length > 1 ? ` (${count(one.buckets)})` : ""]);
  const speaks = told.length ? [...told, ` ${speakers.length > 1 ? "speak" : "speaks"} for ${buckets === 1 ? "it" : "them"}`] : ["another metric of the entity spoke for them"];
  return make("p", { class: "note", id: "beside" }, `${several(buckets, "accompanying bucket")}; `, speaks);
}

/** Why there is no anomaly. */
function none() {
  if (answer.accompanying.buckets) return "None of its own.";
  return answer.points.some((point) => point.expected !== null) ? "None: everything was as expected." : "None: nothing was scored.";
}

function lists() {
  const anomalies = [...answer.anomalies].reverse();
  put(byId("anomalies"), ...[beside()].filter(Boolean), anomalies.length ? table("Anomalies in this span", ["Bucket", "Severity", "Seen", "Expected", "z", "Status"], anomalies.map((one) => [
    [when(one.timestamp), {}], badge(one.severity, one.status === "provisional"), number(one.actual_value), number(one.expected_value), signed(one.z_score),
    [[standing(one), one.revision > 1 ? `, revision ${one.revision}` : "", one.withdrawn_reason ? make("small", {}, `: ${one.withdrawn_reason}`) : null], {}]])) : empty(none()));
  put(byId("values"), table("All values", ["Time", "Seen", "Expected", "Sigma", "z", "State"], [...answer.points].reverse().map((point) => [
    [when(point.timestamp), {}], number(point.mean), number(point.expected), number(point.sigma), signed(point.z_score), point.state]), { class: "high-table", table: "" }));
}

async function draw() {
  if (!answer) return;
  if (!answer.points.length) {
    for (const id of ["curve", "parts"]) put(byId(id), empty("Nothing was seen of it in this span."));
    return;
  }
  await drawCurve(byId("curve"), answer, `${name} ${span}`);
  await drawParts(byId("parts"), answer, byId("curve"));
  await follow(byId("curve"), byId("parts"));
}

/** Dashboards know an entity and a metric, and not of what kind the entity is. */
async function resolve() {
  const [entity, metric, more] = subjects();
  if (metric === undefined || more !== undefined) return;
  const found = (await ask("series")).series.find((one) => one.entity_id === entity && one.metric === metric);
  if (!found) throw Object.assign(new Error(`there is no ${metric} of ${entity}`), { status: 404 });
  name = found.series;
  window.history.replaceState(null, "", `/series/${encodeURIComponent(name)}${location.search}`);
}

const again = keep(async () => {
  try {
    await resolve();
    answer = await ask(`series/${encodeURIComponent(name)}?span=${span}${until ? `&until=${encodeURIComponent(until)}` : ""}`);
  } catch (error) {
    if (error.status === 404 || error.status === 400) return absent("There is no such series", error.message);
    if (!answer) put(byId("curve"), empty(error.message));
    return;
  }
  words(); lists();
  await draw();
}, 5000);
for (const button of byId("spans").querySelectorAll("button")) button.setAttribute("aria-pressed", button.dataset.span === span);
/** The address says what is seen, so that it can be sent to somebody. */
function turn() {
  const asked = new URLSearchParams({ ...(span === "24h" ? {} : { span }), ...(until ? { until } : {}) }).toString();
  window.history.replaceState(null, "", `${location.pathname}${asked ? `?${asked}` : ""}`);
  byId("now").hidden = !until;
  again();
}
byId("now").hidden = !until;
choose(byId("spans"), "span", (chosen) => { if (chosen) { span = chosen; turn(); } });
byId("now").addEventListener("click", (event) => { event.stopPropagation(); until = null; turn(); });
document.querySelector(".zoom").addEventListener("click", (event) => { if (event.target.dataset.move && answer?.points.length) move(byId("curve"), event.target.dataset.move, answer); });
onTheme(draw);
