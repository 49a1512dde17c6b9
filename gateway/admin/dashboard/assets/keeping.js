// The library draws a renewed page anew, every element of it. What the reader had in hand is kept here over that: the
// focus, what was opened, how far something was scrolled; and while somebody writes, nothing is renewed at all.
(() => {
  "use strict";
  const MOMENT = 1500; // ms in which the new page must stand

  const root = () => document.getElementById("main");
  const page = () => document.getElementById("page");

  // Where an element stands: its own name, where it leads, or its place below the next part that has a name.
  const placeOf = (element) => {
    const steps = [];
    let at = element;
    while (at && at !== root() && !nameOf(at)) {
      steps.unshift([...at.parentElement.children].indexOf(at));
      at = at.parentElement;
    }
    return { name: at && nameOf(at), steps, tag: element.tagName, href: element.getAttribute("href") };
  };

  const nameOf = (element) => {
    for (const name of ["id", "aria-labelledby", "aria-label"]) {
      const value = element.getAttribute(name);
      if (value && !value.startsWith("mantine-")) return `[${name}=${JSON.stringify(value)}]`;
    }
    return null;
  };

  const elementAt = (place) => {
    if (place.href) {
      const same = root().querySelectorAll(`${place.tag}[href=${JSON.stringify(place.href)}]`);
      if (same.length === 1) return same[0];
    }
    let at = place.name ? root().querySelector(place.name) : root();
    for (const step of place.steps) at = at && at.children[step];
    return at && at.tagName === place.tag ? at : null;
  };

  let kept = null;
  let search = location.search;

  // Called when a page has come and is about to be drawn; what was typed stays where it is drawn at the reader's wish.
  const keep = (isTypedKept) => {
    const shown = page() && page().firstElementChild;
    if (!shown || shown.dataset.path !== location.pathname) return;
    const focus = document.activeElement;
    const all = [...page().querySelectorAll("*")];
    kept = {
      shown,
      until: Date.now() + MOMENT,
      focus: root().contains(focus) ? placeOf(focus) : null,
      opened: all.filter((one) => one.tagName === "DETAILS").map((one) => [placeOf(one), one.open]),
      scrolled: all.filter((one) => one.scrollTop || one.scrollLeft).map((one) => [placeOf(one), one.scrollTop, one.scrollLeft]),
      typed: isTypedKept ? typedIn(page()).filter((one) => one.id).map((one) => [one.id, one.value]) : [],
      top: search === location.search ? window.scrollY : null,
    };
    search = location.search;
  };

  // Called at every change of the document, after which a new page may stand.
  const restore = () => {
    const shown = page() && page().firstElementChild;
    if (!shown || !kept || shown === kept.shown) return;
    const { focus, opened, scrolled, typed, top, until } = kept;
    if (Date.now() > until || shown.dataset.path !== location.pathname) { kept = null; return; }
    kept = null;
    for (const [place, open] of opened) { const one = elementAt(place); if (one && one.open !== open) one.open = open; }
    for (const [place, y, x] of scrolled) { const one = elementAt(place); if (one) { one.scrollTop = y; one.scrollLeft = x; } }
    for (const [id, value] of typed) window.dash_clientside.set_props(id, { value });
    if (focus && document.activeElement === document.body) {
      const one = elementAt(focus);
      if (one) one.focus({ preventScroll: true });
    }
    if (top !== null && window.scrollY !== top) window.scrollTo(0, top);
  };

  const typedIn = (part) =>
    [...part.querySelectorAll("input:not([type=hidden]):not([type=checkbox]):not([type=radio]), textarea")].filter(
      (field) => field.value && !field.readOnly,
    );

  // Somebody who writes, chooses, has marked text or opened a dialog does not want it pulled away.
  const isBusy = () => {
    const at = page();
    if (!at) return false;
    const marked = document.getSelection();
    return document.querySelector("dialog[open], [role=dialog]") !== null ||
      (at.contains(document.activeElement) && /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) ||
      typedIn(at).length > 0 ||
      (marked !== null && !marked.isCollapsed && at.contains(marked.anchorNode));
  };

  Object.assign(window.sluice, { keep, restore, isBusy });
})();
