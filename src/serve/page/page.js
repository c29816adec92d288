// What all pages share: the beat of the run, light and dark, words for numbers and times, and elements made safely from text.

/** An element with attributes and children; text is text, never HTML. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(key, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);
export const put = (element, ...children) => element.replaceChildren(...children);
export const empty = (text) => make("p", { class: "empty" }, text);

/** A value with about four digits that count. */
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const digits = value === 0 ? 0 : Math.floor(Math.log10(Math.abs(value)));
  const decimals = Math.min(12, Math.max(0, 3 - digits));
  const text = value.toFixed(decimals);
  return text.includes(".") ? text.replace(/0+$/, "").replace(/\.$/, "") : text;
}
export const signed = (value) => (value === null || value === undefined ? "–" : (value < 0 ? "−" : "+") + Math.abs(value).toFixed(1));
export const count = (value) => (value === null || value === undefined ? "–" : Math.round(value).toLocaleString("en"));

/** `19 Jan 12:05`, UTC. */
export function time(text) {
  if (!text) return "–";
  const date = new Date(text);
  return date.toLocaleString("en-GB", { timeZone: "UTC", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hour12: false }).replace(",", "");
}
export const when = (text) => make("time", { datetime: text }, time(text));

/** `3 min`, `2 h 5 min`, `4 d`. */
export function duration(seconds) {
  const minutes = Math.round(Math.abs(seconds) / 60);
  if (Math.abs(seconds) < 90) return `${Math.round(Math.abs(seconds))} s`;
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 1440) return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes / 60} h`;
  const hours = Math.round((minutes % 1440) / 60);
  return hours ? `${Math.floor(minutes / 1440)} d ${hours} h` : `${Math.floor(minutes / 1440)} d`;
}

export const badge = (severity, hollow) => make("span", { class: `badge ${severity}${hollow ? " hollow" : ""}` }, severity);
/** `cpu_usage_percent of srv-001`, for `server:srv-001:cpu_usage_percent`. */
export function seriesWords(series) {
  const parts = series.split(":");
  return `${parts.at(-1)} of ${parts.slice(1, -1).join(":")}`;
}
export const seriesLink = (series, text) => make("a", { href: `/series/${encodeURIComponent(series)}` }, text ?? seriesWords(series));

/** The arithmetic of `explain`, a line for each number: its name, and how it comes about. */
export function arithmetic(text) {
  const lines = text.split("\n").filter(Boolean).map((line) => /^(\S+)\s{2,}(.*)$/.exec(line) ?? line);
  return lines.flatMap((line) => (typeof line === "string" ? make("p", {}, line) : [make("dt", {}, line[1]), make("dd", {}, line[2])]));
}

/** How many, and of what: `1 bucket`, `2 buckets`. */
export const several = (n, what) => `${count(n)} ${what}${n === 1 ? "" : "s"}`;
/** What an anomaly has come to: its bucket is open still, is over, or was taken back. */
export const standing = (one) => ({ provisional: "provisional", open: "final", withdrawn: "withdrawn" })[one.status] ?? one.status;
/** From when to when there is evidence: from the start of the first bucket to the end of the last one. */
export const evidence = (one) => [when(one.opened), make("small", {}, ` to ${time(one.until)}`)];

/** Incidents as a table; `fresh` says which are new. */
export function incidentTable(caption, list, fresh = () => false) {
  return table(caption, ["What", "Severity", "Worst of it", "Evidence", "Status"], list.map((one) => {
    const cause = one.peak
      ? [seriesLink(one.peak.series, one.peak.metric), ` of ${one.peak.entity_id}: ${number(one.peak.mean)} instead of ${number(one.peak.expected)}, z ${signed(one.peak.z_score)}`]
      : ["no samples, though others have some"];
    return { attributes: { class: fresh(one) ? "new" : null, "data-incident": one.incident_id }, cells: [
      [make("a", { href: `/incidents/${one.incident_id}` }, one.reach), {}], badge(one.severity), [cause, {}], [evidence(one), {}],
      [[one.status, one.label ? make("small", {}, `, ${one.label.replace("_", " ")}`) : null, one.withdrawn_reason ? make("small", {}, `: ${one.withdrawn_reason}`) : null], {}],
    ] };
  }));
}

/** A table with a caption for those who do not see it; each row is a list of cells, or of [content, attributes]. */
export function table(caption, heads, rows, attributes = {}) {
  const cell = (content, place) => {
    const [inside, more] = Array.isArray(content) && content.length === 2 && content[1]?.constructor === Object ? content : [content, {}];
    const scope = place === 0 ? { scope: "row" } : { "data-name": heads[place] };
    return make(place === 0 ? "th" : "td", { ...scope, ...more }, inside === null || inside === undefined ? "–" : inside);
  };
  const head = make("thead", {}, make("tr", {}, heads.map((text) => make("th", { scope: "col" }, text))));
  const body = make("tbody", {}, rows.map((row) => make("tr", row.attributes ?? {}, (row.cells ?? row).map(cell))));
  return make("div", { class: `scroll ${attributes.class ?? ""}`, tabindex: "0", role: "region", "aria-label": caption },
    make("table", { class: attributes.table ?? "stack" }, make("caption", { class: "quiet" }, caption), head, body));
}

/** Says that there is nothing to show, in the place of all sections; nothing is asked any more. */
let over = false;
export function absent(title, text) {
  over = true;
  put(byId("main"), make("p", { class: "crumb" }, make("a", { href: "/" }, "← Overview")), make("h1", {}, title), empty(text));
}

/** JSON from the interface; an error is what the server says. */
export async function ask(path) {
  const response = await fetch(`/api/v1/${path}`, { headers: { Accept: "application/json" } });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw Object.assign(new Error(answer.error ?? `the server answers ${response.status}`), { status: response.status });
  return answer;
}

/** Changes something; asks for the token once where one is needed. */
export async function change(method, path, body) {
  const send = () => {
    const token = sessionStorage.getItem("token");
    const headers = { "Content-Type": "application/json", ...(token ? { Authorization: `Bearer ${token}` } : {}) };
    return fetch(`/api/v1/${path}`, { method, headers, body: JSON.stringify(body ?? {}) });
  };
  let response = await send();
  if (response.status === 401) {
    const token = window.prompt("The token of this server (--token-file):");
    if (!token) throw new Error("nothing was changed");
    sessionStorage.setItem("token", token);
    response = await send();
    if (response.status === 401) sessionStorage.removeItem("token");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error ?? `the server answers ${response.status}`);
  return answer;
}

/** The parts of the address behind the page. */
export const subjects = () => location.pathname.split("/").slice(2).map(decodeURIComponent);
export const subject = () => subjects().join("/");

// Light and dark.
const root = document.documentElement;
const preferred = () => (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
const themed = [];
export const onTheme = (act) => themed.push(act);
function dress(theme) {
  root.dataset.theme = theme;
  byId("theme").setAttribute("aria-label", theme === "dark" ? "Change to light" : "Change to dark");
  themed.forEach((act) => act());
}
dress(localStorage.getItem("theme") ?? preferred());
byId("theme").addEventListener("click", () => {
  const theme = root.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("theme", theme);
  dress(theme);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => localStorage.getItem("theme") ?? dress(preferred()));
for (const link of document.querySelectorAll("nav a")) {
  const here = link.pathname === "/" ? location.pathname === "/" : location.pathname.startsWith(link.pathname);
  if (here) link.setAttribute("aria-current", "page");
}

// The beat: how the run goes, every second.
const listeners = [];
export const onBeat = (act) => listeners.push(act);

/** What people wait for, in words. */
export function waiting(beat) {
  const doing = beat.activity;
  if (doing) {
    const share = doing.total ? `${count(doing.done)} of ${count(doing.total)} ${doing.unit}` : `${count(doing.done)} ${doing.unit}`;
    if (doing.what === "backfill") return `No verdicts yet: the past is being simulated, ${share}`;
    return beat.generation ? `Training new models: ${share}; the last ones go on scoring` : `No models yet: training ${share}`;
  }
  if (beat.stage === "starting") return "Starting: the source and the tables are being opened";
  if (beat.stage === "restoring") return "Restoring: the open buckets of the last commit are read again";
  return null;
}

function notice(beat) {
  const said = [];
  const text = waiting(beat);
  if (text) {
    const doing = beat.activity;
    const bar = doing && make("progress", { max: doing.total, value: doing.total ? doing.done : null, "aria-label": text });
    said.push(make("div", { class: "notice" }, text, bar));
  } else if (!beat.generation) {
    said.push(make("div", { class: "notice" }, "No models yet, so nothing is scored: buckets are stored as unscored until ", make("code", {}, "tidewatch train"), " has run."));
  }
  for (const away of beat.away) {
    const [what, effect] = {
      source: ["The source is away", "nothing is lost; reading goes on when it is back"],
      history: ["History is away", "nothing is lost; detection waits"],
      models: ["The model store is away", "detection goes on with the last models"],
      alerts: ["A receiver of alerts is away", "nothing is lost; its alerts wait"],
      records: ["Nothing newer arrives", "what happens there is not seen; look at the source and its producers"],
    }[away.what] ?? [`${away.what} is away`, "see the log"];
    said.push(make("div", { class: "notice ill", role: "alert" }, make("strong", {}, what), ` since ${time(away.since)}: ${effect}. `, make("small", {}, away.reason)));
  }
  return said;
}

let shownNotice = "";
function show(beat) {
  const stage = byId("stage");
  const away = [...new Set(beat.away.map((one) => (one.what === "records" ? "nothing arrives" : `${one.what} away`)))].join(", ");
  const words = away ? away : beat.stage === "watching" && beat.watermark ? `watching ${time(beat.watermark)}` : beat.stage;
  if (stage.textContent !== words) stage.textContent = words;
  stage.className = `stage ${away ? "ill" : beat.ready ? "well" : ""}`;
  const now = JSON.stringify([beat.activity, beat.away, beat.stage, beat.generation === 0]);
  if (now !== shownNotice) put(byId("notices"), ...notice(beat));
  shownNotice = now;
  listeners.forEach((act) => act(beat));
}

const events = new EventSource("/api/v1/events");
events.addEventListener("beat", (event) => show(JSON.parse(event.data)));
events.addEventListener("error", () => {
  byId("stage").textContent = "the run does not answer";
  byId("stage").className = "stage ill";
});
addEventListener("pagehide", () => events.close());

/** Calls `act` now and whenever something was committed, at most every `pause` milliseconds, and never twice at once. */
export function keep(act, pause = 2000) {
  let known = null, at = 0, busy = false, again = false;
  const run = async () => {
    if (over) return;
    if (busy) { again = true; return; }
    busy = true;
    at = Date.now();
    try { await act(); } finally { busy = false; }
    if (again) { again = false; run(); }
  };
  onBeat((beat) => {
    const state = `${beat.commits} ${beat.stage} ${beat.generation} ${beat.activity ? 1 : 0}`;
    if (state !== known && Date.now() - at >= pause) { known = state; run(); }
  });
  run();
  return run;
}

/** Buttons of which one is chosen. */
export function choose(group, name, act) {
  group.addEventListener("click", (event) => {
    const chosen = event.target.closest("button");
    if (!chosen) return;
    for (const button of group.querySelectorAll("button")) button.setAttribute("aria-pressed", button === chosen);
    act(chosen.dataset[name]);
  });
}
