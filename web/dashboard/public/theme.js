// Runs before the first paint, so that a dark window never flashes white.
(function () {
  var choice = null;
  try {
    choice = localStorage.getItem("vigilnet.theme");
  } catch (e) {
    // storage may be blocked: then the system's theme is taken
  }
  var dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme =
    choice === "light" || choice === "dark" ? choice : dark ? "dark" : "light";
})();
