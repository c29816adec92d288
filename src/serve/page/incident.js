// One incident: how far it reaches, its worst curve, how it grew, why, and what was taken back.
import { ask, badge, byId, change, duration, empty, keep, make, number, onTheme, put, seriesLink, signed, subject, table, time, when } from "./page.js";
import { drawCurve } from "./chart.js";

const id = subject();
let answer = null, curve = null;

/** The worst episode that holds, or the worst of all. */
function worst() {
  const distance = (one) => Math.abs(one.peak?.z_score ?? 0) + (one.status === "withdrawn" ? -1e9 : 0);
  return [...answer.episodes].sort((one, other) => distance(other) - distance(one))[0];
}

function head() {
  document.title = `${answer.reach} · Tidewatch`;
  put(byId("title"), badge(answer.severity), ` ${answer.reach}`);
  const place = [answer.rack && `rack ${answer.rack}`, answer.zone && `zone ${answer.zone}`].filter(Boolean).join(", ");
  const lasted = (Date.parse(answer.last) - Date.parse(answer.opened)) / 1000 + 300;
  put(byId("summary"), answer.status === "open" ? "Open since " : answer.status === "closed" ? "Closed; it began " : "Withdrawn; it began ", when(answer.opened),
    `, ${duration(lasted)} so far. ${answer.metrics.join(", ")}. ${answer.anomalous} anomalous and ${answer.missing} missing buckets${place ? `, first in ${place}` : ""}.`,
    answer.withdrawn_reason ? make("strong", {}, ` Withdrawn: ${answer.withdrawn_reason}.`) : "");
  byId("actions").hidden = false;
  byId("expected").disabled = answer.status === "withdrawn";
  for (const button of byId("actions").querySelectorAll("[data-label]")) button.setAttribute("aria-pressed", button.dataset.label === answer.label);
}

function lists() {
  const grown = answer.growth;
  put(byId("growth"), grown.length ? table("How it grew", ["From", "Entities", "Series", "New"], grown.map((step) => [
    [when(step.timestamp), {}], step.entities, step.series, [step.new.slice(0, 6).flatMap((name, place) => [place ? ", " : "", seriesLink(name)]).concat(step.new.length > 6 ? [` and ${step.new.length - 6} more`] : []), {}]])) : empty("Nothing of it holds any more."));
  put(byId("episodes"), table("Episodes", ["Series", "Severity", "Worst", "From", "To", "Why"], answer.episodes.map((one) => [
    [seriesLink(one.series, one.series), {}], badge(one.severity), one.peak ? `${number(one.peak.mean)} instead of ${number(one.peak.expected)}, z ${signed(one.peak.z_score)}` : "no samples",
    [when(one.opened), {}], [when(one.last), {}],
    [one.arithmetic ? make("details", {}, make("summary", {}, one.status === "open" ? "arithmetic" : `${one.status}; arithmetic`), make("pre", { class: "words" }, one.arithmetic)) : one.status, {}]])));
  put(byId("withdrawn"), answer.withdrawn.length ? table("Withdrawn anomalies", ["Bucket", "Series", "Was", "Why"], answer.withdrawn.map((one) => [
    [when(one.timestamp), {}], [seriesLink(one.series), {}], `${number(one.actual_value)} instead of ${number(one.expected_value)}, z ${signed(one.z_score)}`, one.withdrawn_reason ?? "–"])) : empty("Nothing was taken back."));
}

async function draw() {
  const episode = worst();
  if (!episode) return;
  byId("arithmetic").textContent = episode.arithmetic ?? "";
  const more = byId("more");
  const until = new Date(Math.min(Date.now() + 1e12, Date.parse(answer.last) + 3 * 3600e3)).toISOString();
  more.hidden = false;
  more.href = `/series/${encodeURIComponent(episode.series)}${answer.status === "open" ? "" : `?until=${encodeURIComponent(until)}`}`;
  curve = await ask(`series/${encodeURIComponent(episode.series)}?span=24h${answer.status === "open" ? "" : `&until=${encodeURIComponent(until)}`}`);
  await redraw();
}
const redraw = () => curve && drawCurve(byId("curve"), curve);

const opened = () => [...document.querySelectorAll("#episodes details")].map((one) => one.open);
let shown = "";
const again = keep(async () => {
  try { answer = await ask(`incidents/${id}`); } catch (error) {
    byId("title").textContent = error.status === 404 ? "There is no such incident" : "This incident cannot be read now";
    put(byId("curve"), empty(error.message));
    return;
  }
  head();
  // What somebody has unfolded stays so while nothing changes.
  const now = JSON.stringify(answer);
  if (now !== shown) {
    const open = opened();
    lists();
    document.querySelectorAll("#episodes details").forEach((one, place) => { one.open = open[place] ?? false; });
    shown = now;
  }
  await draw();
}, 5000);

const say = (text) => { byId("said").textContent = text; };
byId("expected").addEventListener("click", async () => {
  try {
    const done = await change("POST", `incidents/${id}/expected`, { hours: Number(byId("hours").value), reason: `expected, said of incident ${id}` });
    say(`${done.silences} series are silenced until ${time(done.until)}; the run obeys within seconds.`);
    again();
  } catch (error) { say(error.message); }
});
byId("actions").addEventListener("click", async (event) => {
  const label = event.target.dataset.label;
  if (!label) return;
  try {
    await change("PUT", `incidents/${id}/label`, { label: answer.label === label ? null : label });
    say(answer.label === label ? "Taken back." : "Noted.");
    again();
  } catch (error) { say(error.message); }
});
onTheme(redraw);
