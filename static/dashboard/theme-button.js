// Light, dark, or what the system says; remembered in this browser.

const THEMES = ["auto", "light", "dark"];

export function start(app) {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const name = document.getElementById("theme-name");

  function show() {
    name.textContent = root.dataset.theme;
    app.bus.say("theme");
  }

  button.addEventListener("click", () => {
    root.dataset.theme = THEMES[(THEMES.indexOf(root.dataset.theme) + 1) % THEMES.length];
    try {
      localStorage.setItem("theme", root.dataset.theme);
    } catch {
      // storage is off: the choice lasts as long as the page
    }
    show();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  button.hidden = false;
  show();
}
