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

  // A table that goes on behind its edge says so in words, wherever it is wider than what shows it.
  const tables = $$(".table");
  for (const table of tables) {
    const hint = document.createElement("p");
    hint.className = "hint";
    hint.textContent = "More columns to the right: scroll the table sideways. →";
    table.before(hint);
  }
  const measure = () => {
    const cut = tables.map((table) => table.scrollWidth > table.clientWidth + 1);
    tables.forEach((table, i) => {
      table.classList.toggle("cut", cut[i]);
      table.previousElementSibling.hidden = !cut[i];
    });
  };
  measure();
  addEventListener("resize", measure);
  document.addEventListener("toggle", measure, true);

  // On paper nothing opens: what is closed and belongs there is opened for the print alone.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = $$("details[data-print]:not([open])");
    opened.forEach((e) => { e.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((e) => { e.open = false; }));

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
    measure();
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

  // Downloads: a figure as one SVG in the page's colours, its data as CSV. Both are in the page, and no file need be beside it.
  const resolved = (text) => text.replace(/var\((--[\w-]+)\)/g, (_, name) =>
    getComputedStyle(root).getPropertyValue(name).trim().replace(/"/g, "'"));
  const standalone = (figure) => {
    const parts = [], width = 1000;
    const text = (x, y, size, words) => {
      const e = document.createElementNS("http://www.w3.org/2000/svg", "text");
      e.setAttribute("style", `font: ${size}px var(--sans); fill: var(--ink)`);
      e.setAttribute("x", x);
      e.setAttribute("y", y);
      e.textContent = words;
      parts.push(new XMLSerializer().serializeToString(e));
    };
    const place = (svg, x, y, w, h) => {
      const copy = svg.cloneNode(true);
      $$(".hit, .hide", copy).forEach((e) => e.remove());
      for (const [name, v] of Object.entries({ x, y, width: w, height: h })) copy.setAttribute(name, v);
      parts.push(new XMLSerializer().serializeToString(copy));
    };
    text(4, 18, 15, figure.querySelector("h3").textContent);
    let x = 4, y = 36;
    for (const entry of $$(".legend span:not(.hide)", figure)) {
      const wide = 30 + 7.5 * entry.textContent.trim().length + 18;
      if (x > 4 && x + wide > width) { x = 4; y += 18; }
      place(entry.querySelector("svg"), x, y - 9, 24, 10);
      text(x + 29, y, 12, entry.textContent.trim());
      x += wide;
    }
    x = 0;
    y += 12;
    let lowest = 0;
    for (const svg of $$(".panel:not(.hide) svg", figure)) {
      const { width: w, height: h } = svg.viewBox.baseVal;
      if (x > 0 && x + w > width) { x = 0; y += lowest + 10; lowest = 0; }
      place(svg, x, y, w, h);
      x += w + 12;
      lowest = Math.max(lowest, h);
    }
    const size = `width="${width}" height="${Math.ceil(y + lowest + 8)}"`;
    return resolved(`<svg xmlns="http://www.w3.org/2000/svg" ${size}><rect width="100%" height="100%" fill="var(--paper)"/>`
      + parts.join("\n") + "</svg>\n");
  };
  const data = JSON.parse(document.getElementById("data").textContent);
  $$("a[data-give]").forEach((a) => a.addEventListener("click", () => {
    const figure = a.closest("figure"), svg = a.dataset.give === "svg";
    const content = svg ? standalone(figure) : data[figure.id];
    if (content === undefined) return;
    a.href = URL.createObjectURL(new Blob([content], { type: svg ? "image/svg+xml" : "text/csv" }));
  }));

  root.dataset.ready = "yes";
})();
