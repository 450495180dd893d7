"use strict";
(() => {
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Theme: follows the system until the button is pressed.
  const root = document.documentElement;
  const button = document.getElementById("theme");
  button.hidden = false;
  button.addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  // Tables sort by any column; empty cells stay last, and rows come back in their own order on the third press.
  for (const table of $$("table.sortable")) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    $$("button.sort", table.tHead).forEach((b) => b.addEventListener("click", () => {
      const th = b.closest("th");
      const state = th.getAttribute("aria-sort");
      const next = state === null ? "ascending" : state === "ascending" ? "descending" : null;
      $$("th[aria-sort]", table).forEach((h) => h.removeAttribute("aria-sort"));
      if (next) th.setAttribute("aria-sort", next);
      const column = Number(b.dataset.column);
      const value = (row) => {
        const cell = row.cells[column];
        if (!cell || cell.dataset.sort === undefined || cell.dataset.sort === "") return null;
        const x = Number(cell.dataset.sort);
        return Number.isNaN(x) ? cell.dataset.sort : x;
      };
      const rows = next ? [...original].sort((a, b) => {
        const x = value(a), y = value(b);
        if (x === null || y === null) return (x === null) - (y === null);
        const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
        return next === "ascending" ? order : -order;
      }) : original;
      body.append(...rows);
    }));
  }

  // Filters: methods, settings (data sets), corruption groups.
  const off = { method: new Set(), setting: new Set(), group: new Set() };
  const apply = () => {
    $$("[data-method]").forEach((e) => e.classList.toggle("hide", off.method.has(e.dataset.method)));
    $$("section[data-setting]").forEach((e) => e.classList.toggle("hide", off.setting.has(e.dataset.setting)));
    $$("tr[data-group], th[data-group], td[data-group], .panel[data-group]").forEach((e) =>
      e.classList.toggle("hide", off.group.has(e.dataset.group)));
    $$("svg .m").forEach((e) => {
      const section = e.closest("section[data-setting]");
      const row = /(?:^| )m(\d+)(?: |$)/.exec(e.getAttribute("class"));
      const label = section && row && labels[section.dataset.setting] && labels[section.dataset.setting][row[1]];
      e.classList.toggle("hide", label !== undefined && off.method.has(String(label)));
    });
  };
  const labels = JSON.parse(document.getElementById("labels").textContent);
  $$(".filters input").forEach((input) => input.addEventListener("change", () => {
    const set = off[input.name];
    if (input.checked) set.delete(input.value); else set.add(input.value);
    apply();
  }));

  // Values on hover, focus or touch.
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.setAttribute("role", "tooltip");
  document.body.append(tip);
  $$("svg .hit").forEach((e) => {
    const title = e.querySelector("title");
    if (!title) return;
    e.dataset.tip = title.textContent;
    title.remove();
  });
  const show = (e) => {
    const hit = e.target.closest && e.target.closest(".hit");
    tip.classList.toggle("on", Boolean(hit));
    if (!hit) return;
    tip.textContent = hit.dataset.tip;
    const box = hit.getBoundingClientRect();
    const left = Math.min(Math.max(6, box.left + box.width / 2 - tip.offsetWidth / 2), innerWidth - tip.offsetWidth - 6);
    tip.style.left = left + "px";
    tip.style.top = (box.top > tip.offsetHeight + 10 ? box.top - tip.offsetHeight - 6 : box.bottom + 6) + "px";
  };
  document.addEventListener("pointerover", show);
  document.addEventListener("pointerdown", show);
  document.addEventListener("scroll", () => tip.classList.remove("on"), { passive: true });

  root.dataset.ready = "yes";
})();
