// What the pages need of the browser: links and forms that do not load the page anew, renewal while somebody looks,
// and a word when the admin process is gone. Everything else is drawn from what the server sends.
(() => {
  "use strict";
  const { ask, zone, first } = window.sluice;
  let used = false; // the first layout is there once; a page asked for again is asked for
  let asking = 0;
  let lost = false;
  let renewed = Date.now();

  // ---- every request of the page goes through here, so that a failure is seen at once

  const isOf = (url, name) => new URL(url, location.href).pathname.endsWith(name);

  window.fetch = async (url, options) => {
    const isUpdate = isOf(url, "/_dash-update-component");
    asking += isUpdate;
    document.documentElement.toggleAttribute("data-asking", asking > 0);
    try {
      const answer = await (isOf(url, "/_dash-layout") && !used ? first : ask(url, options));
      used = used || isOf(url, "/_dash-layout");
      if (answer.status === 401) return leave();
      say(answer.status >= 500);
      return answer;
    } catch (error) {
      say(true);
      throw error;
    } finally {
      asking -= isUpdate;
      document.documentElement.toggleAttribute("data-asking", asking > 0);
    }
  };

  const leave = () => {
    location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
    return new Promise(() => {}); // the page is on its way out: whoever waits need not learn of it
  };

  const say = (is) => {
    lost = is;
    const told = document.getElementById("lost");
    if (told) told.hidden = !is;
  };

  // ---- renewal

  const set = (id, props) => window.dash_clientside.set_props(id, props);
  const renew = () => { renewed = Date.now(); set("tick", { data: renewed }); };

  setInterval(() => {
    const page = document.querySelector("[data-period]");
    if (document.hidden || asking || !page || isBusy()) return;
    const period = lost || page.dataset.failed ? 3 : Number(page.dataset.period);
    if (period && Date.now() - renewed >= period * 1000) renew();
  }, 500);

  document.addEventListener("visibilitychange", () => { if (!document.hidden) renewed = 0; });

  // Somebody who has marked text or opened a dialog does not want it pulled away.
  const isBusy = () => {
    const marked = document.getSelection();
    return document.querySelector("dialog[open], [role=dialog]") !== null ||
      (marked !== null && !marked.isCollapsed && document.getElementById("page").contains(marked.anchorNode));
  };

  // ---- links and forms within the dashboard

  const go = (href) => {
    const to = new URL(href, location.href);
    renewed = Date.now();
    const isNew = to.pathname !== location.pathname;
    set("url", { pathname: to.pathname, search: to.search });
    if (isNew) wanted = to.pathname;
  };
  let wanted = null; // the page whose heading gets the focus once it is there

  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest("a[data-nav]");
    if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    if (link.hasAttribute("download")) return;
    event.preventDefault();
    go(link.href);
  });

  document.addEventListener("submit", (event) => {
    const form = event.target.closest("form[data-nav]");
    if (!form) return;
    event.preventDefault();
    const kept = new URLSearchParams(form.dataset.keep || "");
    for (const [name, value] of new FormData(form)) if (String(value).trim()) kept.set(name, String(value).trim());
    const search = kept.toString();
    go(form.getAttribute("action") + (search ? `?${search}` : ""));
  });

  document.addEventListener("click", (event) => {
    if (event.target.closest && event.target.closest("#renew")) renew();
  });

  new MutationObserver(() => {
    const page = document.querySelector("[data-path]");
    if (!page) return;
    if (wanted !== null && page.dataset.path === wanted) {
      wanted = null;
      window.scrollTo(0, 0);
      const heading = document.querySelector("main h1");
      if (heading) heading.focus({ preventScroll: true });
    }
    const title = `${page.dataset.title} · Sluice`;
    if (document.title !== title) document.title = title; // writing it is a change that would be seen here, for ever
    for (const link of document.querySelectorAll("#pages a")) {
      const isHere = link.getAttribute("href") === page.dataset.section;
      if (isHere !== link.hasAttribute("aria-current")) isHere ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
    }
  }).observe(document.documentElement, { subtree: true, childList: true, attributes: true, attributeFilter: ["data-path", "data-title"] });

  // ---- numbers on charts, as the server writes them elsewhere

  const usd = (value) => {
    const amount = Math.abs(value), sign = value < 0 ? "-" : "";
    if (!amount) return "$0";
    if (amount >= 1000) return `${sign}$${amount.toLocaleString("en", { maximumFractionDigits: 0 })}`;
    if (amount >= 1) return `${sign}$${amount.toFixed(2)}`;
    return `${sign}$${Number(amount.toPrecision(3)).toString()}`;
  };
  const count = (value) => value.toLocaleString("en", { maximumFractionDigits: 2, notation: value >= 1e6 ? "compact" : "standard" });
  window.dashMantineFunctions = { usd, count };
  window.dash_clientside = Object.assign({}, window.dash_clientside, { sluice: { zone: () => zone } });
})();
