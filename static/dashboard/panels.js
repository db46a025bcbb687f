// Panels are rendered by the server. An event of a kind that concerns one makes it due; it is fetched again at most
// every few seconds (throttled, never put off by more events), not while the page is hidden or paused.

import { morph } from "./morph.js";

const TIMEOUT = 8_000; // ms
const LOOK = 250; // ms between looks for panels that are due

class Panel {
  constructor(section) {
    this.section = section;
    this.name = section.dataset.panel;
    this.body = section.querySelector("[data-body]");
    this.kinds = section.dataset.kinds.split(" ").filter(Boolean);
    this.apart = Number(section.dataset.every) * 1000;
    this.due = false;
    this.fetching = false;
    this.fetchedAt = Date.now();
  }

  concerns(kind) {
    return this.kinds.some((beginning) => beginning === "*" || kind.startsWith(beginning));
  }

  get ready() {
    return this.due && !this.fetching && Date.now() - this.fetchedAt >= this.apart;
  }

  async refresh(app) {
    this.due = false;
    this.fetching = true;
    try {
      const answer = await fetch(this.section.dataset.src, {
        headers: { "X-Fragment": "1" },
        signal: AbortSignal.timeout(TIMEOUT),
      });
      if (answer.status === 401) return app.bus.say("connection", { state: "signed-out", heardAt: Date.now() });
      const html = await answer.text();
      if (answer.status === 200 || answer.status === 500) this.show(html, app);
      else throw new Error(`HTTP ${answer.status}`);
    } catch (error) {
      this.section.dataset.late = "yes"; // old numbers stay, dimmed, until new ones come
      this.due = true;
      console.info(`The panel ${this.name} couldn't be fetched: ${error.message}`);
    } finally {
      this.fetchedAt = Date.now();
      this.fetching = false;
    }
  }

  show(html, app) {
    const fresh = document.createElement("div");
    fresh.innerHTML = html; // our own server's page, escaped there; scripts in it don't run
    morph(this.body, fresh);
    delete this.section.dataset.late;
    app.bus.say("shown", this.name);
  }
}

export function start(app) {
  const panels = [...document.querySelectorAll("[data-panel]")].map((section) => new Panel(section));

  app.bus.on("events", (events) => {
    const kinds = new Set(events.map((event) => event.kind));
    for (const panel of panels) {
      if (!panel.due) panel.due = [...kinds].some((kind) => panel.concerns(kind));
    }
  });
  app.bus.on("refresh-all", () => panels.forEach((panel) => (panel.due = true)));
  app.bus.on("broken", (part) => {
    const panel = panels.find((each) => each.name === part);
    if (panel) panel.section.dataset.late = "yes";
  });

  document.addEventListener("click", (click) => {
    const retry = click.target.closest("[data-retry]");
    if (!retry) return;
    const section = retry.closest("[data-panel]");
    const panel = panels.find((each) => each.section === section);
    if (!panel) return;
    click.preventDefault();
    panel.refresh(app);
  });

  setInterval(() => {
    if (app.idle()) return;
    for (const panel of panels) if (panel.ready) panel.refresh(app);
  }, LOOK);
}
