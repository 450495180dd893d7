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

  // A leaderboard: rows are chosen by the texts and numbers of its columns; the address keeps the choice.
  const boards = [];
  for (const table of $$("table")) {
    const chosen = $$("th[data-choose]", table.tHead);
    if (!chosen.length) continue;
    const rows = [...table.tBodies[0].rows], bar = document.createElement("div"), count = document.createElement("output");
    bar.className = "choose";
    const parts = [];
    for (const th of chosen) {
      const column = th.cellIndex, title = th.querySelector("button").textContent, scale = Number(th.dataset.scale);
      const of = (row) => row.cells[column] && row.cells[column].dataset.sort || "";
      const label = document.createElement("label");
      label.append(`${title} `);
      if (th.dataset.choose === "one") {
        const texts = [...new Set(rows.map(of).filter(Boolean))].sort((a, b) => a.localeCompare(b));
        if (texts.length < 2) continue;
        const select = document.createElement("select");
        select.append(new Option("all", ""), ...texts.map((t) => new Option(t)));
        label.append(select);
        parts.push({ fields: [select], fits: (row) => !select.value || of(row) === select.value });
      } else {
        const ends = ["from", "to"].map((end) => {
          const field = document.createElement("input");
          field.type = "number";
          field.step = "any";
          field.placeholder = end;
          field.setAttribute("aria-label", `${title} ${end}`);
          return field;
        });
        label.append(...ends);
        parts.push({ fields: ends, fits: (row) => {
          if (!ends[0].value && !ends[1].value) return true;
          if (of(row) === "") return false;
          const x = Number(of(row)) * scale;
          return (!ends[0].value || x >= Number(ends[0].value)) && (!ends[1].value || x <= Number(ends[1].value));
        } });
      }
      bar.append(label);
    }
    const fields = parts.flatMap((part) => part.fields);
    const choose = () => {
      let left = 0;
      for (const row of rows) {
        const fits = parts.every((part) => part.fits(row));
        row.classList.toggle("out", !fits);
        left += fits;
      }
      const all = rows.length === 1 ? "1 network" : `${rows.length} networks`;
      count.textContent = left === rows.length ? all : `${left} of ${all}`;
    };
    boards.push({ id: table.id, fields, choose });
    bar.append(count);
    table.closest(".table").before(bar);
    choose();
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

  // What a link names may lie in something folded up.
  const unfold = (e) => { for (let d = e && e.closest("details"); d; d = d.parentElement.closest("details")) d.open = true; };

  // Filters: methods, settings (data sets), corruption groups. The address keeps them, behind the place that it names.
  const off = { method: new Set(), setting: new Set(), group: new Set() };
  const labels = JSON.parse(document.getElementById("labels").textContent);
  const inputs = $$(".filters input");
  const still = document.getElementById("still");
  // Headings that span columns span those that are shown; one over none goes.
  const span = (table) => {
    const head = table.tHead && table.tHead.querySelector("tr.head");
    if (!head) return;
    const columns = [...table.tHead.rows[table.tHead.rows.length - 1].cells].slice(1);
    let at = 0;
    for (const th of [...head.cells].slice(1)) {
      if (!th.dataset.span) th.dataset.span = th.colSpan;
      const mine = columns.slice(at, at += Number(th.dataset.span));
      const shown = mine.filter((c) => !c.classList.contains("hide")).length;
      th.classList.toggle("hide", shown === 0);
      if (shown) th.colSpan = shown;
    }
  };
  // A heat map closes up where a row is taken out.
  const close = (svg) => {
    const { top, step, foot } = svg.dataset;
    let at = Number(top);
    for (const line of $$("g.line", svg)) {
      const hidden = off.group.has(line.dataset.group);
      line.classList.toggle("hide", hidden);
      if (hidden) continue;
      line.setAttribute("transform", `translate(0 ${at})`);
      at += Number(step);
    }
    svg.querySelector("g.foot").setAttribute("transform", `translate(0 ${at})`);
    const box = svg.viewBox.baseVal;
    svg.setAttribute("viewBox", `0 0 ${box.width} ${at + Number(foot)}`);
  };
  const apply = () => {
    $$("[data-method]").forEach((e) => e.classList.toggle("hide", off.method.has(e.dataset.method)));
    $$("section[data-setting]").forEach((e) => e.classList.toggle("hide", off.setting.has(e.dataset.setting)));
    $$("tr[data-group], th[data-group], td[data-group]").forEach((e) =>
      e.classList.toggle("hide", off.group.has(e.dataset.group) || off.method.has(e.dataset.method)));
    $$(".panel[data-group]").forEach((e) => e.classList.toggle("hide", off.group.has(e.dataset.group)));
    $$("svg .m").forEach((e) => {
      const section = e.closest("section[data-setting]");
      const row = /(?:^| )m(\d+)(?: |$)/.exec(e.getAttribute("class"));
      const label = section && row && labels[section.dataset.setting] && labels[section.dataset.setting][row[1]];
      e.classList.toggle("hide", label !== undefined && off.method.has(String(label)));
      if (label !== undefined) e.dataset.of = label;
    });
    $$("svg.heat").forEach(close);
    $$("table").forEach(span);
    still.hidden = off.group.size === 0;
    measure();
  };
  // The address: #place&off=method:2&off=group:noise&band=ci
  const place = () => decodeURIComponent(location.hash.slice(1)).split("&")[0];
  const keep = () => {
    const parts = [place()];
    for (const [name, values] of Object.entries(off)) for (const value of values) parts.push(`off=${name}:${value}`);
    for (const { id, fields } of boards) {
      const values = fields.map((f) => encodeURIComponent(f.value));
      if (values.some(Boolean)) parts.push(`${id}=${values.join(",")}`);
    }
    if (root.dataset.band && root.dataset.band !== "seeds") parts.push(`band=${root.dataset.band}`);
    const hash = parts.join("&");
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname);
  };
  const bands = (value) => {
    root.dataset.band = value;
    $$(".bands").forEach((e) => { e.textContent = JSON.parse(e.dataset.said)[value]; });
  };
  inputs.forEach((input) => input.addEventListener("change", () => {
    if (input.name === "band") bands(input.value);
    else {
      const set = off[input.name];
      if (input.checked) set.delete(input.value); else set.add(input.value);
      apply();
    }
    keep();
  }));
  for (const { fields, choose } of boards) {
    fields.forEach((f) => f.addEventListener("input", () => { choose(); keep(); }));
  }
  const visit = () => {
    const [where, ...rest] = location.hash.slice(1).split("&").map((part, i) => (i ? part : decodeURIComponent(part)));
    for (const part of rest) {
      const [key, value] = part.split("=");
      const board = boards.find((b) => b.id === key);
      if (board) {
        (value || "").split(",").forEach((v, i) => { if (board.fields[i]) board.fields[i].value = decodeURIComponent(v); });
        board.choose();
        continue;
      }
      const [name, item] = key === "band" ? ["band", value] : (value || "").split(":");
      const input = inputs.find((i) => i.name === name && i.value === item);
      if (!input) continue;
      input.checked = key === "band";
      if (key === "band") bands(item); else off[name].add(item);
    }
    if (rest.length) apply();
    const target = where && document.getElementById(where);
    $$("tr.named").forEach((tr) => tr.classList.remove("named"));
    if (!target) return;
    target.classList.toggle("named", target.matches("tr"));
    unfold(target);
    target.scrollIntoView();
  };
  addEventListener("hashchange", visit);
  document.addEventListener("click", (e) => {
    const a = e.target.closest && e.target.closest('a[href^="#"]');
    if (a) unfold(document.getElementById(a.getAttribute("href").slice(1)));
  });

  // A legend's entry shows its method alone in the figure; a second press shows all again.
  $$(".legend .key").forEach((key) => key.addEventListener("click", () => {
    const figure = key.closest("figure"), legend = key.closest(".legend");
    const alone = key.getAttribute("aria-pressed") !== "true";
    $$(".key", legend).forEach((k) => k.setAttribute("aria-pressed", String(alone && k === key)));
    legend.classList.toggle("alone", alone);
    const section = labels[figure.closest("section").dataset.setting];
    $$("svg .m", figure).forEach((e) => {
      const row = /(?:^| )m(\d+)(?: |$)/.exec(e.getAttribute("class"));
      e.classList.toggle("dim", alone && row && String(section[row[1]]) !== key.dataset.method);
    });
  }));

  // The choice of an axis.
  $$("button.axis").forEach((b) => b.addEventListener("click", () => {
    const scales = b.dataset.scales.split(" "), figure = b.closest("figure");
    const next = scales[(scales.indexOf(b.textContent.split(": ")[1]) + 1) % scales.length];
    b.textContent = `axis: ${next}`;
    $$(".panel[data-scale]", figure).forEach((p) => p.classList.toggle("off", p.dataset.scale !== next));
  }));

  // Search: rows that hold all words, wherever they are folded up.
  const search = document.getElementById("search"), told = document.getElementById("found");
  search.hidden = false;
  let looked = [];
  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    looked.forEach((d) => { d.open = false; });
    looked = [];
    let hits = 0;
    for (const table of $$("main table")) {
      for (const tr of table.tBodies[0].rows) {
        const text = `${tr.textContent} ${tr.cells[0].title}`.toLowerCase();
        const hit = words.every((w) => text.includes(w));
        tr.classList.toggle("miss", !hit);
        hits += hit;
        if (!words.length || !hit) continue;
        for (let d = tr.closest("details"); d; d = d.parentElement.closest("details")) {
          if (!d.open) { d.open = true; looked.push(d); }
        }
      }
    }
    told.hidden = !words.length;
    told.textContent = `${hits} row${hits === 1 ? "" : "s"} with “${search.value.trim()}”; the others are hidden until the search is empty.`;
    measure();
  });

  // Values on hover, focus or touch.
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.setAttribute("role", "tooltip");
  document.body.append(tip);
  $$("svg .hit, svg .tell").forEach((e) => {
    const title = e.querySelector("title");
    if (!title) return;
    e.dataset.tip = title.textContent;
    title.remove();
  });
  const show = (e) => {
    const hit = e.target.closest && e.target.closest(".hit, .tell");
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
      const band = root.dataset.band || "seeds";
      $$(".band", copy).forEach((e) => { if (!e.classList.contains(band)) e.remove(); });
      for (const [name, v] of Object.entries({ x, y, width: w, height: h })) copy.setAttribute(name, v);
      parts.push(new XMLSerializer().serializeToString(copy));
    };
    text(4, 18, 15, figure.querySelector("h4").firstChild.textContent.trim());
    let x = 4, y = 36;
    for (const entry of $$(".legend .key:not(.hide)", figure)) {
      const wide = 30 + 7.5 * entry.textContent.trim().length + 18;
      if (x > 4 && x + wide > width) { x = 4; y += 18; }
      place(entry.querySelector("svg"), x, y - 9, 24, 10);
      text(x + 29, y, 12, entry.textContent.trim());
      x += wide;
    }
    x = 0;
    y += 12;
    let lowest = 0;
    for (const svg of $$(".panel:not(.hide):not(.off) svg", figure)) {
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

  visit();
  root.dataset.ready = "yes";
})();
