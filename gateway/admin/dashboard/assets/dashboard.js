// What the pages need of the browser: links and forms that do not load the page anew, renewal while somebody looks,
// and a word when the admin process is gone. Everything else is drawn from what the server sends.
(() => {
  "use strict";
  const { ask, zone, first, keep, restore, isBusy } = window.sluice;
  const PATIENCE = 10000; // ms until an admin process that does not answer is taken for lost
  const AGAIN = 3000; // ms until a lost one is asked again
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
      const answer = await (isUpdate ? asked(url, options) : insisted(url, options));
      if (answer.status === 401) return leave();
      if (isUpdate && isRenewal(options)) {
        if (isBusy()) return new Response(null, { status: 204 }); // somebody began to write meanwhile
      }
      if (isUpdate) keep(byHand);
      return answer;
    } finally {
      asking -= isUpdate;
      document.documentElement.toggleAttribute("data-asking", asking > 0);
    }
  };

  // The whole answer, for a process may hang in the middle of it, too.
  const asked = async (url, options) => {
    try {
      const answer = await ask(url, { ...options, signal: AbortSignal.timeout(PATIENCE) });
      const body = answer.status === 204 ? null : await answer.arrayBuffer();
      say(answer.status >= 500);
      return new Response(body, { status: answer.status, headers: answer.headers });
    } catch (error) {
      say(true);
      throw error;
    }
  };

  // Without these nothing can be drawn: they are asked for until they come.
  const insisted = async (url, options) => {
    for (;;) {
      try {
        const isFirst = isOf(url, "/_dash-layout") && !used;
        used = used || isFirst;
        if (!isFirst) return await sound(asked(url, options));
        return await sound(first);
      } catch (error) {
        say(true);
        await new Promise((done) => setTimeout(done, AGAIN));
      }
    }
  };
  const sound = async (coming) => {
    const answer = await coming;
    if (answer.status >= 500) throw new Error(`status ${answer.status}`);
    say(false);
    return answer;
  };

  const isRenewal = (options) => {
    try {
      const by = JSON.parse(options.body).changedPropIds;
      return by.length === 1 && by[0] === "tick.data" && !byHand;
    } catch { return false; }
  };

  const leave = () => {
    location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
    return new Promise(() => {}); // the page is on its way out: whoever waits need not learn of it
  };

  const say = (is) => {
    lost = is;
    const told = document.getElementById("lost");
    if (told) told.hidden = !is;
    else if (is && !document.getElementById("absent")) {
      const absent = Object.assign(document.createElement("p"), { id: "absent", textContent: "The admin process does not answer. It is asked again every three seconds." });
      absent.setAttribute("role", "alert");
      document.body.prepend(absent);
    }
    if (!is) document.getElementById("absent")?.remove();
  };

  // ---- renewal

  const set = (id, props) => window.dash_clientside.set_props(id, props);
  let byHand = false; // the reader pressed Refresh: what is asked for is drawn
  const renew = (isAsked) => { byHand = isAsked; renewed = Date.now(); set("tick", { data: renewed }); };

  setInterval(() => {
    const page = document.querySelector("[data-period]");
    if (document.hidden || asking || !page) return;
    const period = lost || page.dataset.failed ? AGAIN / 1000 : Number(page.dataset.period);
    const isHeld = isBusy();
    document.documentElement.toggleAttribute("data-held", isHeld);
    if (!period || Date.now() - renewed < period * 1000) return;
    if (!isHeld) renew(false);
    else if (lost) { renewed = Date.now(); asked("/healthz").catch(() => {}); } // the page stays; is the process back?
  }, 500);

  document.addEventListener("visibilitychange", () => { if (!document.hidden) renewed = 0; });

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
    for (const [name, value] of new FormData(form)) {
      const text = String(value).trim();
      const field = form.elements.namedItem(name);
      const isTime = field && field.type === "datetime-local";
      if (text) kept.set(name, isTime ? instant(text, form.dataset.zone) : text);
    }
    const search = kept.toString();
    go(form.getAttribute("action") + (search ? `?${search}` : ""));
  });

  // What a field for date and time says, as Unix seconds: a link means the same time wherever it is opened.
  const instant = (text, shown) => {
    const at = Date.parse(shown === "UTC" ? `${text}Z` : text);
    return Number.isNaN(at) ? text : String(at / 1000);
  };

  document.addEventListener("click", (event) => {
    if (event.target.closest && event.target.closest("#renew")) renew(true);
  });

  new MutationObserver(() => {
    const page = document.querySelector("[data-path]");
    if (!page) return;
    restore();
    if (wanted !== null && page.dataset.path === wanted) {
      wanted = null;
      window.scrollTo(0, 0);
      const heading = document.querySelector("main h1");
      if (heading) heading.focus({ preventScroll: true });
    }
    const title = `${page.dataset.title} · Sluice`;
    if (document.title !== title) document.title = title; // writing it is a change that would be seen here, for ever
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
