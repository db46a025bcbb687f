// Events as sentences, by the server's own table (dashboard/sentences.py) and the same rules; numbers as
// dashboard/formats.py writes them.

const UNKNOWN = "–";
const MINUS = "−";
const SVG = "http://www.w3.org/2000/svg";

export async function loadWords(url) {
  const answer = await fetch(url, { headers: { "X-Fragment": "1" } });
  if (!answer.ok) throw new Error(`HTTP ${answer.status} for the words`);
  return answer.json();
}

function number(value) {
  const found = typeof value === "boolean" || value === "" ? NaN : Number(value);
  return Number.isFinite(found) ? found : null;
}

function grouped(size, places) {
  const [whole, rest] = size.toFixed(places).split(".");
  const groups = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return rest ? `${groups}.${rest}` : groups;
}

function signed(value, text, plus) {
  if (!/[1-9]/.test(text)) return text;
  return value < 0 ? MINUS + text : (plus ? "+" : "") + text;
}

function numeric(write) {
  return (value) => {
    const found = number(value);
    return found === null ? UNKNOWN : write(found, Math.abs(found));
  };
}

const FORMATS = {
  usd: numeric((value, size) => signed(value, `$${grouped(size, 2)}`, false)),
  gain: numeric((value, size) => signed(value, `$${grouped(size, 2)}`, true)),
  pct: numeric((value, size) => signed(value, `${grouped(size, 2)} %`, true)),
  share: numeric((value, size) => signed(value, `${grouped(size * 100, 1)} %`, false)),
  price: numeric((value, size) => {
    const places = size >= 100 ? 2 : size >= 1 ? 4 : size >= 0.01 ? 6 : 9;
    return signed(value, `$${grouped(size, places)}`, false);
  }),
  count: numeric((value, size) => signed(value, grouped(size, 0), false)),
  words: (value) => String(value).replaceAll("_", " "),
  short: (value) => {
    const letters = [...String(value)];
    return letters.length <= 140 ? letters.join("") : `${letters.slice(0, 139).join("").trimEnd()}…`;
  },
};

function field(fields, name) {
  const value = name.split(".").reduce((found, part) => (typeof found === "object" ? found?.[part] : undefined), fields);
  return value === undefined || value === null || value === "" ? null : value;
}

const FIELD = /\{([a-z_.]+)(?::([a-z]+))?\}/g;

function fill(template, fields) {
  const whole = template.replace(/\[([^[\]]*)\]/g, (_, part) =>
    [...part.matchAll(FIELD)].some(([, name, how]) => saysNothing(fields, name, how)) ? "" : part,
  );
  return whole.replace(FIELD, (_, name, how) => written(fields, name, how));
}

function saysNothing(fields, name, how) {
  const text = written(fields, name, how);
  return text === UNKNOWN || ((how === "usd" || how === "gain") && text === "$0.00");
}

function written(fields, name, how) {
  const value = field(fields, name);
  return value === null ? UNKNOWN : how ? FORMATS[how](value) : String(value);
}

function about(subject) {
  const [prefix, ...rest] = subject.split(":");
  const key = rest.join(":");
  if (!key) return prefix;
  return /^\d+$/.test(key) ? `${prefix} #${key}` : `${prefix} ${key.replaceAll("_", " ").replaceAll(":", " ")}`;
}

export function sentence(event, words) {
  const found = words.sentences[event.kind] ?? { icon: "dot", tone: "quiet", template: event.kind };
  const agent = words.agents[event.agent]?.name ?? event.agent;
  const text = fill(found.template, { ...event.data, agent: agent || words.nobody, about: about(event.subject) }).trim();
  const ended = ".!?…".includes(text.at(-1)) ? text : `${text}.`;
  return { ...found, text: ended[0].toUpperCase() + ended.slice(1) };
}

export function link(subject, words) {
  const [prefix, key] = subject.split(":");
  return prefix in words.links && /^\d+$/.test(key ?? "") ? words.links[prefix].replace("{id}", key) : "";
}

// One row of the list, the same as templates/dashboard/event.html.
export function row(event, { words, now }) {
  const told = sentence(event, words);
  const item = element("li", `event event-${told.tone} event-new`);
  item.dataset.id = event.id;
  const icon = element("span", "event-icon");
  icon.append(drawn(told.icon));
  const text = element("span", "event-text");
  const target = link(event.subject, words);
  if (target) {
    const anchor = element("a", "");
    anchor.href = target;
    anchor.textContent = told.text;
    text.append(anchor);
  } else {
    text.textContent = told.text;
  }
  item.append(icon, text, moment(event.at, now));
  return item;
}

function drawn(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

function moment(at, now) {
  const time = element("time", "");
  time.dateTime = at;
  time.title = `${at.slice(0, 19).replace("T", " ")} UTC`;
  time.dataset.span = " ago";
  time.textContent = `${span((now - Date.parse(at)) / 1000)} ago`;
  return time;
}

function element(name, classes) {
  const made = document.createElement(name);
  if (classes) made.className = classes;
  return made;
}

export function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  for (const [size, unit] of [[86_400, "d"], [3_600, "h"], [60, "min"]]) {
    if (whole >= size) return `${Math.floor(whole / size)} ${unit}`;
  }
  return `${whole} s`;
}
