// Before the first paint: the theme that was chosen, so that the page doesn't flash. A classic script on purpose.
(function () {
  let chosen = "auto";
  try {
    chosen = localStorage.getItem("theme") || "auto";
  } catch {
    // storage is off: the system's theme it is
  }
  document.documentElement.dataset.theme = ["light", "dark"].includes(chosen) ? chosen : "auto";
})();
