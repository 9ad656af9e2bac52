// The page's own script: colours, ages, and drawing the pictures once the libraries are there.
(function () {
  "use strict";
  const root = document.documentElement;
  const media = window.matchMedia("(prefers-color-scheme: dark)");
  function kept() { try { return localStorage.getItem("theme"); } catch (e) { return null; } }
  function keep(value) { try { localStorage.setItem("theme", value); } catch (e) { /* a sandboxed page keeps nothing */ } }
  function theme() { return kept() || (media.matches ? "dark" : "light"); }
  function inks() {
    const style = getComputedStyle(root), get = (name) => style.getPropertyValue(name).trim();
    return { font: getComputedStyle(document.body).fontFamily, ink: get("--ink"), soft: get("--soft"), line: get("--line"), paper: get("--paper") };
  }

  // What the frame of a picture takes from the page; marks keep the colours that the view gave them.
  function frame(type, c) {
    if (/Axis$/.test(type)) {
      const set = { axis_label_text_color: c.soft, major_label_text_color: c.soft, axis_line_color: c.line, major_tick_line_color: c.line,
        axis_label_text_font: c.font, major_label_text_font: c.font };
      return type === "CategoricalAxis" ? Object.assign(set, { group_text_color: c.soft, subgroup_text_color: c.soft }) : set;
    }
    if (type === "Grid") return { grid_line_color: c.line };
    if (type === "Title") return { text_color: c.ink, text_font: c.font };
    if (type === "Legend") return { label_text_font: c.font, label_text_color: c.ink, title_text_color: c.soft, background_fill_color: c.paper, background_fill_alpha: 0.75, border_line_color: null };
    if (type === "ColorBar") return { major_label_text_font: c.font, title_text_font: c.font, major_label_text_color: c.soft, title_text_color: c.soft, background_fill_color: null, bar_line_color: null, major_tick_line_color: c.line };
    if (type === "Figure" || type === "Plot") return { background_fill_color: null, border_fill_color: null, outline_line_color: null };
    return null;
  }
  const touch = window.matchMedia("(pointer: coarse)").matches;
  function dress(node, c) { // the stored document, before it is drawn
    if (Array.isArray(node)) { for (const item of node) dress(item, c); return; }
    if (node === null || typeof node !== "object") return;
    if (node.type === "object" && typeof node.name === "string") {
      const set = frame(node.name, c);
      if (set) {
        node.attributes = node.attributes || {};
        for (const [name, value] of Object.entries(set)) if (!(name === "grid_line_color" && node.attributes[name] === null)) node.attributes[name] = value;
      }
      if (node.name === "Toolbar") node.attributes = Object.assign(node.attributes || {}, { autohide: true, logo: null, active_scroll: null });
      if (touch && node.name === "Toolbar") node.attributes.active_drag = null; // a finger scrolls the page
      if (touch && node.name === "Figure") node.attributes.toolbar_location = null;
      if (node.name === "Legend" && Array.isArray(node.attributes.location)) node.attributes.location = "top_left"; // beside the plot, not touching it
      if (node.name === "DocumentConfig") node.attributes = Object.assign(node.attributes || {}, { notifications: null }); // of a connection
    }
    for (const value of Object.values(node)) if (value !== null && typeof value === "object") dress(value, c);
  }
  const phone = window.matchMedia("(max-width: 40rem)");
  function labels(legend) { // of a legend that can stand below its plot, else none
    const words = ((legend.attributes || {}).items || []).map((item) => ((item.attributes || {}).label || {}).value);
    return legend.name === "Legend" && legend.attributes.visible !== false && words.every((word) => typeof word === "string") ? words : [];
  }
  function fold(node, width) { // for a phone: legends below their plot, as workbench/apps/snapshot.py counts on, and titles on several lines
    if (Array.isArray(node)) { for (const item of node) fold(item, width); return; }
    if (node === null || typeof node !== "object") return;
    const told = node.attributes;
    if (node.name === "Figure" && told) {
      for (const side of ["right", "center"]) for (const legend of told[side] || []) {
        const words = labels(legend);
        if (!words.length) continue;
        const columns = Math.max(1, Math.min(3, Math.floor(300 / (36 + 7 * Math.max(...words.map((word) => word.length))))));
        Object.assign(legend.attributes, { orientation: "horizontal", ncols: columns, location: "left", margin: 0, padding: 4, label_text_font_size: "11px", spacing: 8, label_text_line_height: 1 });
        told[side] = told[side].filter((one) => one !== legend);
        told.below = (told.below || []).concat([legend]);
        told.height = (told.height || 300) + Math.ceil(words.length / columns) * 22 + 12;
      }
    }
    if (node.name === "Title" && told && typeof told.text === "string") told.text = lines(told.text, Math.floor((width - 60) / 7.5));
    for (const value of Object.values(node)) if (value !== null && typeof value === "object") fold(value, width);
  }
  function lines(words, most) {
    const found = [""];
    for (const word of words.split(" ")) {
      const longer = found[found.length - 1] ? found[found.length - 1] + " " + word : word;
      if (longer.length > most && found[found.length - 1]) found.push(word); else found[found.length - 1] = longer;
    }
    return found.join("\n");
  }
  function redress() { // documents already on the page, after a change of colours
    if (!window.Bokeh) return;
    const c = inks();
    for (const doc of window.Bokeh.documents) {
      for (const model of doc._all_models.values()) {
        const set = frame(model.type.split(".").pop(), c);
        if (!set) continue;
        const known = {};
        for (const [name, value] of Object.entries(set)) {
          if (name in model.properties && !(name === "grid_line_color" && model[name] === null)) known[name] = value;
        }
        model.setv(known, { sync: false });
      }
    }
  }
  function show() {
    const now = theme();
    root.dataset.theme = now;
    for (const button of document.querySelectorAll("[data-toggle-theme]")) {
      button.textContent = now === "dark" ? "Light" : "Dark";
      button.setAttribute("aria-label", "Switch to " + (now === "dark" ? "light" : "dark") + " colours");
    }
  }
  show();

  function age(seconds) {
    const s = Math.max(0, seconds);
    const say = (n, word) => n + " " + word + (n === 1 ? "" : "s");
    if (s < 90) return "just now";
    if (s < 5400) return say(Math.round(s / 60), "minute") + " ago";
    if (s < 129600) return say(Math.round(s / 3600), "hour") + " ago";
    return say(Math.round(s / 86400), "day") + " ago";
  }
  function ages() {
    for (const time of document.querySelectorAll("time[data-age]")) time.textContent = ", " + age((Date.now() - Date.parse(time.dateTime)) / 1000);
  }

  function drawn(slot) { slot.classList.add("drawn"); }
  function frames() { return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))); }
  function far(slot) { // from what is on the screen, in px
    const { top, bottom } = slot.getBoundingClientRect();
    return Math.max(0, top - window.innerHeight, -bottom);
  }
  async function pictures(id) {
    await window.workbenchLibraries;
    const data = document.getElementById(id);
    const sent = id === "wb-document" && window.workbenchPictures;
    if (!(data || sent) || !window.Bokeh) return;
    const stored = data ? JSON.parse(data.textContent) : await sent;
    if (data) data.remove();
    const slots = Object.keys(stored).map((key) => [document.getElementById("wb-" + key), key]).filter(([slot]) => slot);
    for (const [slot, key] of slots.map((one) => [far(one[0]), one]).sort((a, b) => a[0] - b[0]).map((one) => one[1])) {
      const plot = slot.querySelector(".plot"), item = stored[key];
      plot.id = "wb-plot-" + key;
      dress(item.doc, inks());
      if (phone.matches) fold(item.doc, plot.clientWidth);
      try {
        await window.Bokeh.embed.embed_item(Object.assign(item, { target_id: plot.id }), plot.id);
        frames().then(() => drawn(slot));
      } catch (error) { console.error("picture " + key + " could not be drawn", error); }
      await new Promise((next) => setTimeout(next, 0)); // let the page answer between two pictures
    }
    await frames();
  }
  function until(holds) { return new Promise((done) => { const look = () => { if (holds()) done(); else setTimeout(look, 20); }; look(); }); }
  function loaded(address) { return new Promise((done) => { const script = document.createElement("script"); script.src = address; script.onload = script.onerror = done; document.head.append(script); }); }
  async function session() { // pictures that answer: their places, then what the socket brings
    await until(() => document.readyState !== "loading");
    const data = document.getElementById("wb-session");
    if (!data) { // the connection ended before the session was there
      const words = document.createElement("p");
      words.className = "notice bad"; words.setAttribute("role", "alert"); words.textContent = "The live page did not come whole; load it again.";
      document.querySelector("main").prepend(words);
      return;
    }
    const { item, names, scripts } = JSON.parse(data.textContent), places = [];
    for (const [root, id] of Object.entries(item.roots || {})) {
      const place = document.createElement("div"), slot = document.getElementById(names[root]);
      place.id = id; place.dataset.rootId = root; place.style.display = slot ? "contents" : "none";
      (slot ? slot.querySelector(".plot") : document.body).append(place);
      if (slot) places.push(place);
    }
    await window.workbenchLibraries;
    for (const address of scripts) await loaded(address);
    window.Bokeh.embed.embed_items({}, [item]);
    const began = Date.now();
    await until(() => places.every((place) => place.childElementCount > 0) || Date.now() - began > 60000);
    redress();
    await frames();
    for (const place of places) drawn(place.closest(".picture"));
  }
  async function everything() {
    const still = pictures("wb-document");
    await (document.body.hasAttribute("data-live") ? Promise.all([still, session()]) : still);
    document.body.dataset.ready = "yes";
  }
  function start() {
    show(); ages(); setInterval(ages, 30000);
    for (const button of document.querySelectorAll("[data-toggle-theme]")) {
      button.addEventListener("click", () => { keep(theme() === "dark" ? "light" : "dark"); show(); redress(); });
    }
    media.addEventListener("change", () => { show(); redress(); });
    for (const fold of document.querySelectorAll("details[data-draws]")) {
      const draw = () => { if (fold.open) pictures("wb-notebook"); };
      fold.addEventListener("toggle", draw);
      draw();
    }
    for (const field of document.querySelectorAll("[data-finds]")) { // rows of the table below that have all of the words
      const place = field.closest(".find"), table = place.nextElementSibling, said = place.querySelector("[role=status]");
      const rows = Array.from(table.querySelectorAll("tbody tr"), (row) => [row, row.textContent.toLowerCase()]);
      field.addEventListener("input", () => {
        table.style.minHeight = table.style.minHeight || table.offsetHeight + "px"; // what is below stays where it is
        const wanted = field.value.toLowerCase().split(/\s+/).filter(Boolean);
        const kept = rows.filter(([row, words]) => !(row.hidden = !wanted.every((word) => words.includes(word))));
        said.textContent = wanted.length ? kept.length + " of " + rows.length + " rows" : "";
      });
    }
    for (const link of document.querySelectorAll("a[data-opens]")) {
      const words = link.textContent;
      link.addEventListener("click", () => { link.textContent = link.dataset.opens; });
      window.addEventListener("pageshow", () => { link.textContent = words; }); // come back to
    }
    for (const form of document.querySelectorAll("form.live")) form.addEventListener("submit", () => { form.classList.add("busy"); });
    for (const slider of document.querySelectorAll("form.live [data-moves]")) { // a number's slider and its field move each other
      const field = slider.form.elements[slider.dataset.moves];
      slider.hidden = false;
      slider.addEventListener("input", () => { field.value = slider.value; });
      field.addEventListener("input", () => { if (field.value !== "") slider.value = field.value; });
    }
    for (const control of document.querySelectorAll("form.live input, form.live select")) control.addEventListener("change", () => { if (control.reportValidity()) control.form.requestSubmit(); });
    everything();
  }
  until(() => document.readyState !== "loading" || document.getElementById("wb-document")).then(start); // a live page comes in two parts
})();
