// One incident: how far it reaches, its worst curve, how it grew, why, and what was taken back.
import { absent, arithmetic, ask, badge, byId, change, count, duration, empty, keep, make, number, onTheme, put, several, seriesLink, signed, subject, table, time, when } from "./page.js";
import { drawCurve } from "./chart.js";

const id = subject();
let answer = null, curve = null, focus = null;

/** The worst episode that holds, or the worst of all. */
function worst() {
  const distance = (one) => Math.abs(one.peak?.z_score ?? 0) + (one.status === "withdrawn" ? -1e9 : 0);
  return [...answer.episodes].sort((one, other) => distance(other) - distance(one))[0];
}

/** Why it is no more: of one that is part of another by now, where to read on. */
function withdrawn() {
  if (answer.joined_id) return [make("strong", {}, " Part of ", make("a", { href: `/incidents/${answer.joined_id}` }, `incident ${answer.joined_id}`), " now.")];
  return answer.withdrawn_reason ? [make("strong", {}, ` Withdrawn: ${answer.withdrawn_reason}.`)] : [];
}

function head() {
  document.title = `${answer.reach} · Tidewatch`;
  put(byId("title"), badge(answer.severity), ` ${answer.reach}`);
  const called = (word, text) => (text.toLowerCase().startsWith(word) ? text : `${word} ${text}`);
  const place = [answer.rack && called("rack", answer.rack), answer.zone && called("zone", answer.zone)].filter(Boolean).join(", ");
  const lasted = duration((Date.parse(answer.until) - Date.parse(answer.opened)) / 1000), { peak, furthest, unmoved_since: since, latest: now } = answer;
  const further = furthest && furthest.timestamp !== now?.timestamp ? ` It was furthest at ${time(furthest.timestamp)}: ${number(furthest.mean)} where ${number(furthest.expected)} was expected.` : "";
  put(byId("worst"), peak ? `${peak.metric} of ${peak.entity_id} was ${number(peak.mean)} at ${time(peak.timestamp)} where ${number(peak.expected)} was expected: z ${signed(peak.z_score)}.${since ? ` It had not moved since ${time(since)}.` : ""}${further}${now ? ` By ${time(now.timestamp)} it has come to ${number(now.mean)}, where ${number(now.expected)} was expected.` : ""}` : "No samples come, though others have some.");
  put(byId("summary"), `${{ open: "Open", closed: "Closed", withdrawn: "Withdrawn" }[answer.status] ?? answer.status}; evidence from `, when(answer.opened), " to ", when(answer.until),
    ` (${lasted}${answer.status === "open" ? " so far" : ""}). It shows in ${answer.metrics.join(", ")}: ${several(answer.anomalous, "deviating bucket")} and ${count(answer.missing)} missing${place ? `, first in ${place}` : ""}.`,
    ...withdrawn());
  byId("actions").hidden = Boolean(answer.joined_id);
  byId("expected").disabled = answer.status === "withdrawn";
  for (const button of byId("actions").querySelectorAll("[data-label]")) button.setAttribute("aria-pressed", button.dataset.label === answer.label);
}

/** Why a series belongs to it: in a line, with the arithmetic behind. */
function why(one) {
  const words = one.peak ? `${number(one.peak.mean)} instead of ${number(one.peak.expected)}, z ${signed(one.peak.z_score)}` : "no samples";
  return one.arithmetic ? make("details", {}, make("summary", {}, words), make("dl", { class: "words" }, arithmetic(one.arithmetic))) : words;
}

function lists() {
  const grown = answer.growth;
  put(byId("growth"), grown.length ? table("How it grew", ["From", "Entities", "Series", "New"], grown.map((step) => [
    [when(step.timestamp), {}], step.entities, step.series, [step.new.slice(0, 6).flatMap((name, place) => [place ? ", " : "", seriesLink(name)]).concat(step.new.length > 6 ? [` and ${step.new.length - 6} more`] : []), {}]])) : empty(answer.joined_id ? "It grew into the other incident." : "Nothing of it holds any more."));
  put(byId("episodes"), !answer.episodes.length ? empty(answer.joined_id ? "They belong to the other incident now." : "Nothing of it holds any more.") : table("Episodes", ["Series", "Severity", "From", "To", "Status", "Why"], answer.episodes.map((one) => [
    [seriesLink(one.series), {}], badge(one.severity), [when(one.opened), {}], [when(one.until), {}], one.status, [why(one), {}]])));
  put(byId("withdrawn"), answer.withdrawn.length ? table("Withdrawn anomalies", ["Bucket", "Series", "Was", "Why"], answer.withdrawn.map((one) => [
    [when(one.timestamp), {}], [seriesLink(one.series), {}], `${number(one.actual_value)} instead of ${number(one.expected_value)}, z ${signed(one.z_score)}`, one.withdrawn_reason ?? "–"])) : empty("No anomaly was taken back."));
}

async function draw() {
  const episode = worst();
  if (!episode) {
    put(byId("curve"), empty(answer.joined_id ? "All of it belongs to the other incident, which shows its curves." : "Nothing of it holds any more."));
    put(byId("arithmetic"));
    return;
  }
  put(byId("arithmetic"), ...arithmetic(episode.arithmetic ?? "verdict   its bucket is not in history any more"));
  const more = byId("more");
  const hour = 3600e3, opened = Date.parse(answer.opened), last = Date.parse(answer.until);
  const until = new Date(last + 3 * hour).toISOString();
  more.hidden = false;
  more.href = `/series/${encodeURIComponent(episode.series)}${answer.status === "open" ? "" : `?until=${encodeURIComponent(until)}`}`;
  curve = await ask(`series/${encodeURIComponent(episode.series)}?span=24h${answer.status === "open" ? "" : `&until=${encodeURIComponent(until)}`}`);
  // The episode, and as much before it as shows what was usual; a day at most was asked for.
  const around = Math.max(3 * hour, last - opened);
  focus = [Math.max(Date.parse(curve.from), opened - around), Math.min(Date.parse(curve.until), last + hour)].map((at) => new Date(at).toISOString());
  await redraw();
}
const redraw = () => curve && drawCurve(byId("curve"), curve, curve.series, focus);

const opened = () => [...document.querySelectorAll("#episodes details")].map((one) => one.open);
let shown = "";
const again = keep(async () => {
  try { answer = await ask(`incidents/${id}`); } catch (error) {
    // What is shown already stays while the server is away.
    if (error.status === 404 || error.status === 400) absent("There is no such incident", error.message);
    else if (!answer) byId("title").textContent = `This incident cannot be read now: ${error.message}`;
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
    // The button will be disabled, which would leave the keyboard nowhere.
    byId("said").focus();
    again();
  } catch (error) { say(error.message); }
});
byId("actions").addEventListener("click", async (event) => {
  const label = event.target.dataset.label;
  if (!label) return;
  try {
    await change("PUT", `incidents/${id}/label`, { label: answer.label === label ? null : label });
    const noted = { useful: "Noted: the next training leaves its buckets out.", not_useful: "Noted: the next training takes its buckets for usual." };
    say(answer.label === label ? "Taken back." : noted[label]);
    again();
  } catch (error) { say(error.message); }
});
onTheme(redraw);
