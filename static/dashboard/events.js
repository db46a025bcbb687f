// The list of the last events, written from the frames themselves: always the same number of rows, newest first.

import { row, loadWords } from "./words.js";

const ROWS = 50;
const DRAW = 250; // ms between two drawings

export async function start(app) {
  const words = await loadWords(app.urls.words);
  const waiting = []; // newest last, never more than a list's worth
  let drawing = 0;

  app.bus.on("events", (events) => {
    const worthIt = events.filter((event) => !words.sentences[event.kind]?.routine);
    waiting.push(...worthIt.slice(-ROWS));
    waiting.splice(0, waiting.length - ROWS);
    app.bus.say("waiting", waiting.length);
    later();
  });
  app.bus.on("awake", later);

  function later() {
    if (!drawing && !app.idle()) drawing = setTimeout(draw, DRAW);
  }

  function draw() {
    drawing = 0;
    if (app.idle()) return;
    const list = document.getElementById("events");
    if (!list) return; // the panel shows its box of failure; the events wait for its return
    const newest = Number(list.firstElementChild?.dataset.id ?? 0);
    for (const event of waiting.splice(0)) {
      if (event.id > newest) list.prepend(row(event, { words, now: app.now() }));
    }
    while (list.childElementCount > ROWS) list.lastElementChild.remove();
    document.getElementById("events-empty").hidden = list.childElementCount > 0;
    app.bus.say("waiting", 0);
  }
}
