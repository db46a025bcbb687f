// The socket of live events: connects, resumes by the id of the last event seen, and says how it stands.
// What arrives is told on the bus; nothing is kept here but the last id, so memory is bounded however long it runs.

const BACK_OFF = { first: 500, longest: 15_000 }; // ms
const LONG_AWAY = 60_000; // ms hidden after which the socket rests; coming back starts from a fresh page state
const FINAL = { 4401: "signed-out", 4403: "no-right" };

export function start(app) {
  let socket = null;
  let failures = 0;
  let timer = 0;
  let hiddenSince = 0;

  function address() {
    const url = new URL(app.urls.events, location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    url.searchParams.set("after", String(app.last));
    return url;
  }

  function connect() {
    clearTimeout(timer);
    tell("connecting");
    socket = new WebSocket(address());
    socket.addEventListener("message", hear);
    socket.addEventListener("close", closed);
  }

  function hear(message) {
    const frame = JSON.parse(message.data);
    failures = 0;
    const fresh = frame.events.filter((event) => event.id > app.last);
    app.last = Math.max(app.last, frame.last);
    tell(frame.status === "database away" ? "database-away" : "live");
    if (fresh.length) app.bus.say("events", fresh);
  }

  function closed(event) {
    if (event.target !== socket) return; // an older socket's farewell
    socket = null;
    if (event.code in FINAL) return tell(FINAL[event.code]);
    if (event.code === 4400) return startAnew();
    const pause = Math.min(BACK_OFF.longest, BACK_OFF.first * 2 ** failures) * (0.5 + Math.random() / 2);
    failures += 1;
    tell("reconnecting");
    timer = setTimeout(connect, pause);
  }

  // Our last id means nothing to the server any more (a restore, say): take its state and go on from there.
  async function startAnew() {
    tell("reconnecting");
    try {
      const answer = await fetch("/dashboard/panels/events/", { headers: { "X-Fragment": "1" } });
      if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
      app.last = Number(answer.headers.get("X-Last-Event"));
      app.bus.say("refresh-all");
    } catch {
      failures += 1;
    }
    timer = setTimeout(connect, BACK_OFF.first * 2 ** Math.min(failures, 5));
  }

  function tell(state) {
    app.bus.say("connection", { state, heardAt: Date.now() });
  }

  function rest() {
    clearTimeout(timer);
    const resting = socket;
    socket = null;
    resting?.close();
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      hiddenSince = Date.now();
      timer = setTimeout(() => document.hidden && rest(), LONG_AWAY);
    } else if (socket === null) {
      failures = 0;
      if (Date.now() - hiddenSince > LONG_AWAY) startAnew();
      else connect();
    } else {
      clearTimeout(timer);
    }
  });
  addEventListener("online", () => socket === null && !document.hidden && connect());
  addEventListener("pagehide", rest);
  addEventListener("pageshow", (event) => event.persisted && socket === null && connect());

  connect();
}
