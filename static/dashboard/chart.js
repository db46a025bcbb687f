// The equity line with uPlot, over market time. Its points stand in the panel; without this script an SVG line does.

export async function start(app) {
  const { default: UPlot } = await import(app.urls.uplot);
  const root = document.documentElement;
  let plot = null;

  function points() {
    const raw = document.getElementById("equity-data")?.dataset.points ?? "";
    const pairs = raw.split(" ").filter(Boolean).map((pair) => pair.split(",").map(Number));
    return [pairs.map(([at]) => at), pairs.map(([, value]) => value)];
  }

  function colour(name) {
    return getComputedStyle(root).getPropertyValue(name).trim();
  }

  function options(box) {
    const axis = {
      stroke: colour("--muted"),
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { show: false },
      font: "12px system-ui, sans-serif",
    };
    return {
      width: box.clientWidth,
      height: box.clientHeight,
      legend: { show: false },
      tzDate: (at) => UPlot.tzDate(new Date(at * 1000), "UTC"),
      cursor: { y: false, points: { size: 7 } },
      scales: { y: { range: (_, low, high) => padded(low, high) } },
      axes: [
        { ...axis, size: 32, space: 90, values: (_, ticks, __, ___, apart) => ticks.map((tick) => moment(tick, apart)) },
        { ...axis, size: 84, values: (_, ticks) => ticks.map((tick) => `$${money(tick)}`) },
      ],
      series: [
        {},
        { stroke: colour("--accent"), width: 2, fill: colour("--accent-wash"), points: { show: false } },
      ],
      hooks: { setCursor: [readOut] },
    };
  }

  // Days where the ticks are days apart, else the time of day; UTC, 24 hours.
  function moment(tick, apart) {
    const iso = new Date(tick * 1000).toISOString();
    return apart >= 86_400 ? iso.slice(5, 10) : iso.slice(11, apart >= 60 ? 16 : 19);
  }

  function padded(low, high) {
    const room = Math.max((high - low) * 0.12, Math.abs(high) * 0.0002, 0.01);
    return [low - room, high + room];
  }

  function money(value) {
    return value.toLocaleString("en-GB", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  }

  function readOut(chart) {
    const out = document.getElementById("equity-readout");
    const at = chart.cursor.idx;
    if (!out) return;
    const known = at !== null && at !== undefined && chart.data[1][at] !== undefined;
    const moment = known ? new Date(chart.data[0][at] * 1000).toISOString().slice(0, 19).replace("T", " ") : "";
    out.textContent = known ? `${moment}  $${money(chart.data[1][at])}` : "";
  }

  function draw() {
    const box = document.getElementById("equity-chart");
    const data = points();
    if (!box || data[0].length < 2) return;
    if (plot && plot.root.isConnected) return plot.setData(data);
    plot?.destroy();
    box.replaceChildren();
    plot = new UPlot(options(box), data, box);
    sizes.disconnect();
    sizes.observe(box);
  }

  const sizes = new ResizeObserver(([{ target }]) => {
    if (plot && target.clientWidth) plot.setSize({ width: target.clientWidth, height: target.clientHeight });
  });
  app.bus.on("shown", (panel) => panel === "equity" && draw());
  app.bus.on("theme", () => {
    plot?.destroy();
    plot = null;
    draw();
  });
  draw();
}
