// What moves in the console. Every page works without it; nothing here is loaded from elsewhere.
"use strict";
(() => {
  const $ = (selector, within = document) => within.querySelector(selector);
  const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];

  // -- times: how long ago, kept up to date ------------------------------------------------------------
  const skew = Number(document.body.dataset.now || Date.now()) - Date.now();
  const span = (ms) => {
    const s = Math.floor(ms / 1000);
    if (s < 60) return `${s} s`;
    if (s < 120) return s % 60 ? `1 min ${s % 60} s` : "1 min";
    if (s < 3600) return `${Math.floor(s / 60)} min`;
    if (s < 7200) { const m = Math.floor(s / 60) % 60; return m ? `1 h ${m} min` : "1 h"; }
    if (s < 86400) return `${Math.floor(s / 3600)} h`;
    const h = Math.floor(s / 3600) % 24;
    return h ? `${Math.floor(s / 86400)} d ${h} h` : `${Math.floor(s / 86400)} d`;
  };
  const tick = () => {
    const now = Date.now() + skew;
    for (const one of $$(".ago[data-at]")) {
      const at = Number(one.dataset.at), far = Math.abs(now - at);
      const text = far < 1000 ? "now" : at < now ? `${span(far)} ago` : `in ${span(far)}`;
      if (one.textContent !== text) one.textContent = text;
    }
  };
  setInterval(tick, 1000);

  // -- copying ---------------------------------------------------------------------------------------
  const status = $("#status");
  const say = (text) => { if (status) status.textContent = text; };
  const copy = async (text) => {
    try { await navigator.clipboard.writeText(text); return true; } catch { /* plain http: the old way */ }
    const area = document.createElement("textarea");
    area.value = text; area.className = "hush"; document.body.append(area); area.select();
    const copied = document.execCommand("copy"); area.remove();
    return copied;
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy], [data-copy-from]");
    if (!button) return;
    event.preventDefault();
    const text = button.dataset.copy ?? document.getElementById(button.dataset.copyFrom).textContent;
    const copied = await copy(text);
    say(copied ? "Copied." : "This browser does not let it be copied.");
    if (copied) { button.classList.add("done"); setTimeout(() => button.classList.remove("done"), 1200); button.focus(); }
  });

  // -- filters apply themselves; menus close ------------------------------------------------------------
  document.addEventListener("change", (event) => {
    if (event.target.matches("select[data-apply], input[type=checkbox][data-apply]")) event.target.form.requestSubmit();
    if (event.target.matches("[data-all]")) {
      for (const one of $$("input[name=id], [data-all]", event.target.form)) one.checked = event.target.checked;
      const beyond = $("[data-all][name=all]", event.target.form);
      if (beyond && beyond !== event.target) beyond.checked = false;
    }
    // Who takes one away no longer means all, on this page or beyond it.
    if (event.target.matches("input[name=id]") && !event.target.checked) {
      for (const one of $$("[data-all][name=all]", event.target.form)) one.checked = false;
    }
    if (event.target.matches("[data-all], input[name=id]")) chosen(event.target.form);
  });
  document.addEventListener("submit", (event) => {
    // Empty fields do not belong in an address.
    if (event.target.method !== "get") return;
    for (const one of $$("input, select", event.target)) if (!one.value) one.disabled = true;
    setTimeout(() => { for (const one of $$("input, select", event.target)) one.disabled = false; });
  });
  const chosen = (form) => {
    const count = $$("input[name=id]:checked", form).length, told = $("[data-chosen]", form);
    const beyond = $("[data-all][name=all]", form)?.checked;
    if (told) told.textContent = beyond ? "All chosen" : count ? `${count} chosen` : "None chosen";
    for (const one of $$("[data-needs-choice]", form)) one.disabled = !count;
    const all = $("[data-all]", form), boxes = $$("input[name=id]", form).length;
    if (all) { all.checked = count > 0 && count === boxes; all.indeterminate = count > 0 && count < boxes; }
  };
  for (const form of $$("form[data-choosing]")) chosen(form);
  document.addEventListener("click", (event) => {
    for (const one of $$("details.who[open]")) if (!one.contains(event.target)) one.open = false;
  });

  // -- the keyboard ------------------------------------------------------------------------------------
  const typing = (target) => target.closest("input:not([type=checkbox], [type=radio]), select, textarea");
  const places = { o: "", j: "/jobs", c: "/callbacks", d: "/dead", h: "/handlers", p: "/providers", l: "/live" };
  let leader = 0;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      for (const one of $$("details.who[open]")) { one.open = false; $("summary", one).focus(); }
      if (typing(event.target)) event.target.blur();
      return;
    }
    if (typing(event.target)) return;
    if (event.key === "/") { const box = $("#search"); if (box) { event.preventDefault(); box.focus(); box.select(); } return; }
    if (event.key === "g") { leader = Date.now(); return; }
    if (Date.now() - leader < 1200 && event.key in places) {
      event.preventDefault(); location.href = document.body.dataset.root + places[event.key]; return;
    }
    if (event.key === "ArrowDown" || event.key === "ArrowUp") step(event);
  });
  // Arrow keys move through a list, from row to row, or from detail to detail.
  const step = (event) => {
    const links = $$("[data-row]");
    if (!links.length) return;
    const by = event.key === "ArrowDown" ? 1 : -1;
    const current = links.findIndex((one) => one.getAttribute("aria-current"));
    if (current >= 0) {
      const next = links[current + by];
      if (next) { event.preventDefault(); next.click(); }
      return;
    }
    const at = links.indexOf(document.activeElement), next = links[at < 0 ? (by > 0 ? 0 : links.length - 1) : at + by];
    if (next) { event.preventDefault(); next.focus(); }
  };
  for (const one of $$(".rail [aria-current], .top nav [aria-current]")) one.scrollIntoView({ block: "nearest", inline: "nearest" });

  // -- pages that go on by themselves ---------------------------------------------------------------------
  // The same address is asked again and what it says is put in the place of what it said; what is open stays open.
  const live = () => $("[data-again]");
  const refresh = async () => {
    const part = live();
    if (!part) return;
    let wait = Number(part.dataset.again);
    if (!document.hidden && !(part.contains(document.activeElement) && typing(document.activeElement))) {
      try {
        const answer = await fetch(location.href, { headers: { accept: "text/html", "x-receiver-again": "1" }, redirect: "manual" });
        // Signed out meanwhile: what stands here is no longer kept up to date, and no longer for who looks at it.
        // What is there no more says so itself.
        if (answer.type === "opaqueredirect" || answer.status === 404) { location.reload(); return; }
        unanswered(!answer.ok);
        if (answer.ok) swap(part, new DOMParser().parseFromString(await answer.text(), "text/html"));
      } catch { unanswered(true); wait *= 4; }
    }
    if (live()) setTimeout(refresh, wait);
  };
  const unanswered = (so) => {
    let note = $("#unanswered");
    if (!so) { note?.remove(); return; }
    if (note) return;
    note = document.createElement("p");
    note.id = "unanswered"; note.className = "said warn"; note.setAttribute("role", "status");
    const at = new Date(Date.now() + skew).toISOString().slice(11, 19);
    note.textContent = `No answer since ${at} UTC: what stands here may be old. This page goes on by itself.`;
    $("#main").prepend(note);
  };
  const swap = (part, page) => {
    const fresh = page.getElementById(part.id);
    if (!fresh) return;
    if (!fresh.dataset.again) delete part.dataset.again;
    if (fresh.innerHTML === part.innerHTML) return;
    const open = new Set($$("details[open][data-key]", part).map((one) => one.dataset.key));
    const ticked = new Set($$("input[name=id]:checked", part).map((one) => one.value));
    const held = document.activeElement?.dataset?.key;
    const known = new Set($$("[data-key]", part).map((one) => one.dataset.key));
    part.innerHTML = fresh.innerHTML;
    for (const one of $$("details[data-key]", part)) if (open.has(one.dataset.key)) one.open = true;
    for (const one of $$("input[name=id]", part)) if (ticked.has(one.value)) one.checked = true;
    for (const one of $$("[data-key]", part)) {
      if (!known.has(one.dataset.key)) one.classList.add("fresh");
      if (held && one.dataset.key === held) one.focus();
    }
    for (const form of $$("form[data-choosing]", part)) chosen(form);
    if (fresh.dataset.news) say(fresh.dataset.news);
  };
  if (live()) setTimeout(refresh, Number(live().dataset.again));

  // -- live -----------------------------------------------------------------------------------------------
  const feed = $("#feed");
  if (feed && window.EventSource) {
    const state = $("#live-state"), pause = $("#live-pause"), root = document.body.dataset.root, most = 300;
    const arrows = { in: ["←", "came in"], out: ["→", "went out"], handlers: ["⇒", "handler"], here: ["·", "here"] };
    let known = new Set($$("li", feed).map((one) => one.dataset.key)), from = feed.dataset.from;
    let waiting = [], paused = false;
    const make = (name, className, text) => {
      const one = document.createElement(name);
      if (className) one.className = className;
      if (text !== undefined) one.textContent = text;
      return one;
    };
    const line = (event) => {
      const item = make("li", "fresh"), at = make("span", "at"), dir = make("span", "dir"), what = make("div", "what");
      const time = make("time", "", new Date(event.at).toISOString().slice(11, 23));
      time.dateTime = new Date(event.at).toISOString(); at.append(time);
      const arrow = make("span", "", arrows[event.kind][0]); arrow.ariaHidden = "true";
      dir.append(arrow, make("span", "hush", arrows[event.kind][1]));
      const link = make("a", "", event.title); link.href = root + event.link;
      what.append(`${event.provider} `, link, " ", make("span", `pill ${event.colour}`, event.said), " ", make("span", "dim", event.text));
      link.append(" ", make("span", "id", event.id));
      if (event.job) { const job = make("a", "id", event.job_id); job.href = `${root}/jobs/${event.job}`; what.append(" ", job); }
      item.dataset.key = event.key; item.append(at, dir, what);
      return item;
    };
    const show = () => {
      if (paused) { pause.textContent = waiting.length ? `Go on (${waiting.length} new)` : "Go on"; return; }
      for (const event of waiting) feed.prepend(event.more ? gap() : line(event));
      waiting = [];
      while (feed.children.length > most) feed.lastElementChild.remove();
      $("#feed-empty").hidden = feed.children.length > 0;
    };
    const gap = () => {
      const item = make("li", ""); item.append(make("span", "at"), make("span", "dir", "⋯"), make("div", "what dim", "and more than is shown here; the lists have all of it"));
      return item;
    };
    pause.hidden = false;
    pause.addEventListener("click", () => {
      paused = !paused; pause.setAttribute("aria-pressed", paused);
      if (!paused) pause.textContent = "Pause";
      show();
    });
    // The browser connects again by itself, and says what it has seen last; but not where it was refused once, as a
    // proxy does while the receiver starts again.
    let source;
    const listen = () => {
      source = new EventSource(`${root}/live/events?from=${from}`);
      source.addEventListener("open", () => { state.textContent = "Connected"; });
      source.addEventListener("lost", () => { state.textContent = "The database cannot be reached; asking again…"; });
      source.addEventListener("back", () => { state.textContent = "Connected"; });
      source.addEventListener("error", () => {
        state.textContent = "Connection lost; connecting again…";
        if (source.readyState === EventSource.CLOSED) setTimeout(again, 3000);
      });
      source.addEventListener("message", hear);
    };
    const again = async () => {
      try {
        const answer = await fetch(location.href, { method: "HEAD", headers: { "x-receiver-again": "1" }, redirect: "manual" });
        if (answer.type === "opaqueredirect") { location.reload(); return; }
      } catch { /* nobody answers yet */ }
      listen();
    };
    const hear = (message) => {
      from = message.lastEventId || from;
      const batch = JSON.parse(message.data);
      if (batch.more) waiting.push({ more: true });
      for (const event of batch.events) {
        if (known.has(event.key)) continue;
        known.add(event.key);
        if (feed.dataset.provider && feed.dataset.provider !== event.provider) continue;
        if (feed.dataset.kind && feed.dataset.kind !== event.kind) continue;
        waiting.push(event);
      }
      if (waiting.length > most) waiting = [{ more: true }, ...waiting.slice(-most)];
      if (known.size > 20 * most) known = new Set([...known].slice(-10 * most));
      show();
    };
    listen();
    window.addEventListener("pagehide", () => source.close());
    window.addEventListener("pageshow", (event) => { if (event.persisted) listen(); });
  }
})();
