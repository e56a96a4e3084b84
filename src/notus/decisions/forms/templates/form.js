"use strict";
(() => {
  const page = JSON.parse(document.getElementById("items").textContent);
  const items = page.items, place = "notus-decisions:" + page.name;
  const at = (id) => document.getElementById(id);
  const KEYS = { k: "keep", d: "drop", s: "swap", c: "cannot-tell" };
  const STEERING = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
  let state = { who: "", given: {} }, here = 0, kept = true, unsaved = false;
  const past = [];

  function make(name, className, text) {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = shown(text);
    return made;
  }

  // Marks that turn the direction of writing are shown by their number, as everywhere in Notus.
  function shown(text) {
    return String(text).replace(STEERING, (mark) =>
      "[U+" + mark.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0") + "]");
  }

  function load() {
    try {
      const held = JSON.parse(localStorage.getItem(place) || "null");
      if (held && typeof held === "object" && held.given && typeof held.given === "object") {
        state = { who: String(held.who || ""), given: held.given };
      }
    } catch (error) { kept = false; }
  }

  function keep() {
    unsaved = true;
    try { localStorage.setItem(place, JSON.stringify(state)); kept = true; } catch (error) { kept = false; }
    if (!kept) say("This browser keeps nothing: save before you close the page.");
  }

  function given(item) {
    const held = state.given[item.id];
    return held && typeof held === "object" ? held : {};
  }

  function change(item, values) {
    past.push([item.id, state.given[item.id]]);
    if (past.length > 1000) past.shift();
    state.given[item.id] = Object.assign({}, given(item), values, { when: new Date().toISOString() });
    keep();
    count();
  }

  function isDecided(item) {
    const held = given(item);
    return Boolean(held.decision || (held.score || "").trim() || Object.values(held.edits || {}).some((text) => text));
  }

  function count() {
    const done = items.filter(isDecided).length;
    at("progress").max = items.length;
    at("progress").value = done;
    at("count").textContent = done + " of " + items.length + " decided";
    for (const button of at("decisions").children) {
      button.setAttribute("aria-pressed", String(given(items[here]).decision === button.value));
    }
    const option = at("jump").options[here];
    if (option) option.textContent = label(here);
    at("undo").disabled = !past.length;
  }

  function label(number) {
    const held = given(items[number]);
    return number + 1 + (isDecided(items[number]) ? " ✓ " + (held.decision || "changed") : "");
  }

  function say(text) { at("said").textContent = text; }

  function show(number, focus) {
    here = Math.max(0, Math.min(items.length - 1, number));
    const item = items[here], held = given(item);
    const from = [item.source, item.place].filter(Boolean).join(" · ");
    at("heading").textContent = shown("Record " + (here + 1) + " of " + items.length + (from ? " · " + from : ""));
    at("reasons").replaceChildren(...item.reasons.map((reason) => make("span", "reason", reason)));
    at("evidence").textContent = shown(item.evidence);
    at("evidence").hidden = !item.evidence;
    at("texts").replaceChildren(...item.texts.map(([name, text]) => card(item, name, text)));
    at("scores").replaceChildren(...item.scores.map(([name, value]) =>
      make("span", "", name + ": " + (value === null ? "none" : Math.round(value * 1000) / 1000))));
    at("decisions").replaceChildren(...item.decisions.map(choice));
    at("scored").hidden = !item.scored;
    at("score").value = held.score || "";
    at("scale").textContent = item.scale ? item.scale[0] + " to " + item.scale[1] + ", or none" : "a number, or none";
    at("why").value = held.why || "";
    at("edits").replaceChildren(...item.editable.map((name) => edit(item, name)));
    at("jump").value = String(here);
    at("previous").disabled = here === 0;
    at("next").disabled = here === items.length - 1;
    count();
    if (focus) { window.scrollTo(0, 0); at("heading").focus({ preventScroll: true }); }
  }

  function card(item, name, text) {
    const alone = name === "prompt" || item.texts.length < 3;
    const made = make("div", alone ? "text wide" : "text");
    const model = item.models[name];
    made.append(make("h3", "", name + (model ? " · " + model : "")));
    made.append(region(text || "(empty)", name));
    if (item.critiques[name]) {
      const critique = make("div", "critique");
      critique.append(make("h3", "", "what was said of it"), region(item.critiques[name], "what was said of " + name));
      made.append(critique);
    }
    return made;
  }

  // A text may be higher than its place: it is scrolled by keys, and read by its name.
  function region(text, name) {
    const made = make("div", "said", text);
    made.dir = "auto";
    made.tabIndex = 0;
    made.setAttribute("role", "region");
    made.setAttribute("aria-label", name);
    return made;
  }

  function choice(name) {
    const made = make("button", "", name.replace("-", " "));
    const key = Object.keys(KEYS).find((each) => KEYS[each] === name);
    made.type = "button";
    made.value = name;
    made.append(" ", make("kbd", "", key));
    made.setAttribute("aria-keyshortcuts", key);
    made.addEventListener("click", () => decide(name, false));
    return made;
  }

  function edit(item, name) {
    const made = make("details"), field = make("textarea");
    const was = item.texts.find((each) => each[0] === name)[1];
    const held = (given(item).edits || {})[name];
    made.append(make("summary", "", "Edit the text of " + name), field);
    made.open = Boolean(held);
    field.rows = 6;
    field.dir = "auto";
    field.value = held || was;
    field.setAttribute("aria-label", "New text of " + name);
    const before = field.value;  // line ends as a field has them
    field.addEventListener("change", () => {
      const same = field.value === was || (!held && field.value === before);
      change(item, { edits: Object.assign({}, given(item).edits, { [name]: same ? "" : field.value }) });
    });
    return made;
  }

  function decide(name, onward) {
    const item = items[here];
    if (!item.decisions.includes(name)) { say("There is no " + name + " for this record."); return; }
    const again = given(item).decision === name && !onward;
    change(item, { decision: again ? "" : name });
    say(again ? "Record " + (here + 1) + ": not decided" : "Record " + (here + 1) + ": " + name.replace("-", " "));
    if (onward && here < items.length - 1) show(here + 1, true);
  }

  function undo() {
    const last = past.pop();
    if (!last) { say("There is nothing to undo."); return; }
    if (last[1] === undefined) delete state.given[last[0]]; else state.given[last[0]] = last[1];
    keep();
    const number = items.findIndex((item) => item.id === last[0]);
    show(number, true);
    at("jump").options[number].textContent = label(number);
    say("Record " + (number + 1) + ": taken back");
  }

  function open() {
    for (let step = 1; step <= items.length; step += 1) {
      const number = (here + step) % items.length;
      if (!isDecided(items[number])) { show(number, true); return; }
    }
    say("Every record is decided.");
  }

  function rows() {
    return items.map((item) => {
      const held = given(item);
      const row = { id: item.id, key: item.key, decision: held.decision || "", score: (held.score || "").trim() || null,
        why: held.why || "", reasons: item.reasons, who: state.who.trim(), when: held.when || "" };
      for (const [name, text] of Object.entries(held.edits || {})) if (text) row["new_" + name] = text;
      return row;
    });
  }

  function save() {
    leave();
    const file = new Blob([JSON.stringify(rows(), null, 1)], { type: "application/json" });
    const link = make("a");
    link.href = URL.createObjectURL(file);
    link.download = "decisions.json";
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    unsaved = false;
    say("Saved decisions.json: " + at("count").textContent + (state.who.trim() ? "." : "; nobody's name stands in it."));
  }

  function leave() {
    if (document.activeElement && document.activeElement !== document.body) document.activeElement.blur();
  }

  function typed(event) {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "s") { event.preventDefault(); save(); return; }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") { leave(); return; }
    if (event.target.closest("input, textarea, select")) return;
    const does = { ArrowRight: () => show(here + 1, true), ArrowLeft: () => show(here - 1, true), n: open, u: undo,
      o: () => { if (!at("scored").hidden) at("score").focus(); }, w: () => at("why").focus(),
      e: () => { const first = at("edits").querySelector("details");
        if (first) { first.open = true; first.querySelector("textarea").focus(); } } };
    if (KEYS[event.key]) { event.preventDefault(); decide(KEYS[event.key], true); }
    else if (does[event.key]) { event.preventDefault(); does[event.key](); }
  }

  load();
  at("who").value = state.who;
  at("who").addEventListener("change", () => { state.who = at("who").value; keep(); });
  at("score").addEventListener("change", () => change(items[here], { score: at("score").value }));
  at("why").addEventListener("change", () => change(items[here], { why: at("why").value }));
  at("save").addEventListener("click", save);
  at("previous").addEventListener("click", () => show(here - 1, true));
  at("next").addEventListener("click", () => show(here + 1, true));
  at("open").addEventListener("click", open);
  at("undo").addEventListener("click", undo);
  at("jump").append(...items.map((_, number) => new Option(label(number), String(number))));
  at("jump").addEventListener("change", () => show(Number(at("jump").value), true));
  document.addEventListener("keydown", typed);
  window.addEventListener("beforeunload", (event) => { leave(); if (unsaved && !kept) event.preventDefault(); });
  show(0, false);
})();
