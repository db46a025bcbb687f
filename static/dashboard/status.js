// The word in the header: live, stale since, paused, reconnecting, logged out. And the pause button.

const STALE = 25_000; // ms without a frame; the server says something every 10 s

const WORDS = {
  connecting: "Connecting…",
  live: "Live",
  "database-away": "Database away",
  reconnecting: "Reconnecting…",
  "signed-out": "Logged out",
  "no-right": "No right to watch",
};

export function start(app) {
  const box = document.getElementById("live");
  const word = document.getElementById("live-word");
  const more = document.getElementById("live-more");
  const pause = document.getElementById("pause");
  let state = "connecting";
  let heardAt = Date.now();
  let waiting = 0;

  function show() {
    const silent = Date.now() - heardAt;
    const stale = state !== "connecting" && silent > STALE;
    const shown = app.paused ? "paused" : stale && state === "live" ? "stale" : state;
    const text = app.paused ? "Paused" : stale && state === "live" ? "Stale" : WORDS[state];
    box.dataset.state = shown;
    if (word.textContent !== text) word.textContent = text;
    more.textContent = app.paused ? waitingText() : stale || state === "reconnecting" ? `${Math.round(silent / 1000)} s` : "";
  }

  function waitingText() {
    return waiting ? `${waiting >= 50 ? "50 or more" : waiting} waiting` : "";
  }

  app.bus.on("connection", (connection) => {
    state = connection.state;
    if (state === "live") heardAt = connection.heardAt;
    document.getElementById("signed-out").hidden = state !== "signed-out";
    show();
  });
  app.bus.on("waiting", (count) => {
    waiting = count;
    show();
  });
  pause.addEventListener("click", () => {
    app.paused = !app.paused;
    pause.setAttribute("aria-pressed", String(app.paused));
    app.bus.say(app.idle() ? "idle" : "awake");
    show();
  });
  pause.hidden = false;
  setInterval(() => document.hidden || show(), 1000);
  show();
}
