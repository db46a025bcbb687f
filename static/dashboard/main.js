// The page's start. Each part is loaded and started alone: one that breaks says so and the others go on.

import { Bus } from "./bus.js";

const PARTS = ["clock", "theme-button", "status", "panels", "events", "chart", "live"];

const body = document.body;
const app = {
  bus: new Bus(),
  last: Number(body.dataset.last),
  clockOffset: Date.parse(body.dataset.now) - Date.now(), // the server's clock is the one that is shown
  paused: false,
  away: document.hidden,
  urls: { words: body.dataset.words, events: body.dataset.events, uplot: body.dataset.uplot },
  now: () => Date.now() + app.clockOffset,
  idle: () => app.paused || app.away,
};

document.addEventListener("visibilitychange", () => {
  app.away = document.hidden;
  app.bus.say(app.idle() ? "idle" : "awake");
});

for (const part of PARTS) {
  try {
    const module = await import(`./${part}.js`);
    await module.start(app);
  } catch (error) {
    console.error(`The part ${part} of the page failed.`, error);
    app.bus.say("broken", part);
  }
}
document.documentElement.dataset.ready = "yes";
