// Before the first paint: the theme that was chosen, so that nothing flashes. A file of its own, because the
// page's Content-Security-Policy runs no inline code.
(function () {
  var chosen = {};
  try {
    chosen = JSON.parse(localStorage.getItem("swapd.v1.settings")) || {};
  } catch (error) {
    // As if nothing had been chosen.
  }
  var mode = chosen.mode || document.documentElement.dataset.scheme;
  var dark = mode === "dark" || (mode !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  document.documentElement.dataset.palette = chosen.palette === "high" ? "high" : "default";
})();
