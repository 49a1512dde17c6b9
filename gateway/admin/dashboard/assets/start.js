// Loaded before everything else: asks for the first page while the component library still loads, so that it comes
// with its figures in it, and puts on the reader's colours before anything is painted.
(() => {
  "use strict";
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "";
  const ask = window.fetch.bind(window);
  const at = new URLSearchParams({ at: location.pathname, search: location.search, zone });
  const signal = AbortSignal.timeout(10000);
  const first = ask(`/_dash-layout?${at}`, { headers: { Accept: "application/json" }, credentials: "same-origin", signal });
  first.catch(() => {}); // told of where it is used
  window.sluice = { ask, zone, first };

  const kept = localStorage.getItem("mantine-color-scheme-value");
  const dark = kept === "dark" || (kept !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.setAttribute("data-mantine-color-scheme", dark ? "dark" : "light");
})();
