// Keeps "3 min ago" true, once a second, while somebody looks.

import { span } from "./words.js";

export function start(app) {
  function tick() {
    if (document.hidden) return;
    for (const time of document.querySelectorAll("time[data-span]")) {
      const text = span((app.now() - Date.parse(time.dateTime)) / 1000) + time.dataset.span;
      if (time.textContent !== text) time.textContent = text;
    }
  }
  setInterval(tick, 1000);
  app.bus.on("awake", tick);
  app.bus.on("shown", tick);
}
