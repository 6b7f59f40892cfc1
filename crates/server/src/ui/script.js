// Looks again every two seconds and puts what differs in its place; sends what buttons ask for.
"use strict";
(() => {
  const PAUSE = 2000;
  const TOKEN = "umbra-token";
  const say = document.querySelector("#say");
  const dialog = document.querySelector("dialog");
  let timer = 0;
  let looking = false;

  // Kept for as long as the tab is there, and sent to nobody else.
  const proof = () => {
    const token = sessionStorage.getItem(TOKEN);
    return token ? { authorization: "Bearer " + token } : {};
  };

  const tell = (text, bad = false) => {
    if (say.textContent !== text) say.textContent = text;
    say.classList.toggle("bad", bad);
  };

  // What each part was made of: whether a row is hidden, or a button at work, is none of its maker's business.
  const made = new WeakMap();

  // Puts a new part in the place of an old one if it differs, and gives the one that stands there then; who has the focus keeps it.
  const put = (old, fresh) => {
    const html = fresh.outerHTML;
    if ((made.get(old) || old.outerHTML) === html) return old;
    const focus = old.contains(document.activeElement) && document.activeElement.dataset.focus;
    const part = document.importNode(fresh, true);
    made.set(part, html);
    old.replaceWith(part);
    if (focus) {
      const again = [...part.querySelectorAll("[data-focus]")].find((it) => it.dataset.focus === focus);
      if (again) again.focus();
    }
    return part;
  };

  const parts = (root) => new Map([...root.querySelectorAll("[data-part]")].map((it) => [it.dataset.part, it]));

  const update = (fresh) => {
    const main = document.querySelector("main");
    if (main.dataset.page !== fresh.dataset.page) {
      main.replaceWith(document.importNode(fresh, true));
      return;
    }
    const [before, now] = [parts(main), parts(fresh)];
    for (const [name, part] of before) if (!now.has(name)) part.remove();
    const list = main.querySelector("[data-list]");
    let last = null;
    for (const [name, part] of now) {
      const listed = part.parentElement.matches("[data-list]");
      let here = before.get(name);
      if (here) here = put(here, part);
      else if (list && listed) {
        here = document.importNode(part, true);
        made.set(here, part.outerHTML);
      }
      if (!list || !listed) continue;
      // In the order of the list.
      if (last ? last.nextElementSibling !== here : list.firstElementChild !== here) {
        if (last) last.after(here);
        else list.prepend(here);
      }
      last = here;
    }
  };

  const filter = () => {
    const input = document.querySelector("#filter");
    if (!input) return;
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of document.querySelectorAll("[data-text]")) {
      const hidden = !words.every((word) => row.dataset.text.includes(word));
      if (row.hidden !== hidden) row.hidden = hidden;
    }
  };

  const look = async () => {
    clearTimeout(timer);
    if (looking) return;
    looking = true;
    const start = performance.now();
    try {
      const answer = await fetch(location.href, { headers: proof(), cache: "no-store" });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.querySelector("main");
      if (!fresh) throw new Error(answer.status);
      update(fresh);
      filter();
      document.querySelector("main").classList.remove("stale");
      if (say.dataset.away) {
        delete say.dataset.away;
        tell("");
      }
    } catch {
      document.querySelector("main").classList.add("stale");
      say.dataset.away = "1";
      tell("umbra does not answer; what you see is old. Trying again.", true);
    }
    looking = false;
    // A page that takes long to make is asked for less often.
    timer = setTimeout(next, Math.max(PAUSE, 5 * (performance.now() - start)));
  };
  const next = () => (document.hidden ? (timer = setTimeout(next, PAUSE)) : look());

  const confirmed = (text, yes) =>
    new Promise((done) => {
      dialog.querySelector("p").textContent = text;
      dialog.querySelector("[value=yes]").textContent = yes;
      dialog.returnValue = "";
      dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true });
      dialog.showModal();
    });

  // What became of it, as one sentence.
  const outcome = (verb, status, told) => {
    const all = told.virtualServices || [];
    const failed = all.find((it) => it.error);
    if (failed) return `${failed.namespace}/${failed.name}: ${failed.error}`;
    if (!told.virtualServices) return told.message || `umbra answers ${status}`;
    const open = all.filter((it) => !it.confirmed);
    const done = verb === "stop" ? "stopped" : "resumed";
    if (open.length === 0) {
      const proxies = all.length === 1 ? `, ${all[0].live} of ${all[0].total} proxies have taken it` : "";
      return `${all.length === 1 ? all[0].namespace + "/" + all[0].name : all.length + " VirtualServices"} ${done}${proxies}`;
    }
    return `${done}, but not everywhere yet: ${open[0].namespace}/${open[0].name}: ${open[0].why}`;
  };

  const act = async (button) => {
    const { verb, mirror, rule, namespace } = button.dataset;
    let order = mirror ? { mirrors: [mirror] } : rule ? { mirrors: [rule] } : { all: true };
    if (namespace) order.namespace = namespace;
    if (button.dataset.ask && !(await confirmed(button.dataset.ask, button.textContent))) return;
    // Not disabled: that would take the focus from it.
    button.setAttribute("aria-busy", "true");
    tell(verb === "stop" ? "stopping …" : "resuming …");
    try {
      for (;;) {
        const answer = await fetch("../v1/" + verb, {
          method: "POST",
          headers: { "content-type": "application/json", ...proof() },
          body: JSON.stringify(order),
        });
        const told = await answer.json().catch(() => ({}));
        const words = outcome(verb, answer.status, told);
        tell(words, answer.status !== 200);
        const whole = verb === "resume" && mirror && answer.status === 409 && rule;
        if (!whole || order.mirrors[0] === rule) break;
        if (!(await confirmed(words + ".", "Resume all of " + rule))) break;
        order = { mirrors: [rule] };
      }
    } catch {
      tell("umbra does not answer", true);
    }
    button.removeAttribute("aria-busy");
    await look();
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-verb]");
    if (button && !button.hasAttribute("aria-busy")) act(button);
  });
  document.addEventListener("input", (event) => {
    if (event.target.id === "filter") filter();
  });
  document.addEventListener("submit", (event) => {
    if (event.target.id !== "proof") return;
    event.preventDefault();
    sessionStorage.setItem(TOKEN, event.target.elements.token.value.trim());
    look();
  });
  document.addEventListener("keydown", (event) => {
    const input = document.querySelector("#filter");
    if (event.key === "/" && input && !event.target.closest("input, dialog")) {
      event.preventDefault();
      input.focus();
    }
  });
  document.addEventListener("visibilitychange", () => document.hidden || look());
  for (const part of parts(document).values()) made.set(part, part.outerHTML);
  // A page that asks who you are may know it by now.
  if (document.querySelector("#proof") && sessionStorage.getItem(TOKEN)) look();
  else timer = setTimeout(next, PAUSE);
})();
