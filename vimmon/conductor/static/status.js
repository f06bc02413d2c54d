// Keeps the page new: asks for the same page again, and changes what has changed. Without it the page is complete, and old.
"use strict";
(() => {
  const root = document.documentElement;
  const renewMs = Number(root.dataset.renew) * 1000;
  const away = document.getElementById("away");
  const filter = () => document.getElementById("filter");
  const parser = new DOMParser();
  let etag = null;
  let asOf = Date.parse(document.getElementById("as-of").dateTime); // by the conductor's clock: the browser's may be wrong
  let heard = performance.now(); // when that was, by a clock that nobody sets
  let next = 0;
  let asking = null;

  const now = () => asOf + (performance.now() - heard);

  function duration(ms) {
    const seconds = Math.max(0, Math.floor(ms / 1000));
    const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
    const two = (number) => String(number).padStart(2, "0");
    if (days) return `${days}d${hours}h`;
    if (hours) return `${hours}h${two(minutes)}m`;
    return minutes ? `${minutes}m${two(seconds % 60)}s` : `${seconds}s`;
  }

  function tick(within) {
    for (const time of within.querySelectorAll("main time")) {
      const text = duration(now() - Date.parse(time.dateTime)) + (time.textContent.endsWith(" ago") ? " ago" : "");
      if (time.textContent !== text) time.textContent = text;
    }
  }

  // Makes `old` like `fresh`, and leaves alone what is the same: so focus, scroll position and selection stay.
  function patch(old, fresh) {
    if (old.isEqualNode(fresh)) return old;
    if (old.nodeName !== fresh.nodeName || old.id !== fresh.id || !old.children) {
      old.replaceWith(fresh);
      return fresh;
    }
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    if (old.nodeName === "INPUT") return old; // what somebody is typing is theirs
    const known = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
    let place = old.firstChild;
    for (const wanted of [...fresh.childNodes]) {
      const found = wanted.id ? known.get(wanted.id) : place && !place.id ? place : null;
      if (!found) {
        old.insertBefore(wanted, place);
      } else {
        if (found === place) place = place.nextSibling;
        else old.insertBefore(found, place);
        const changed = !found.isEqualNode(wanted);
        const after = patch(found, wanted);
        if (changed && after.nodeName === "TR" && after.id) flash(after);
      }
    }
    while (place) {
      const following = place.nextSibling;
      place.remove();
      place = following;
    }
    return old;
  }

  function flash(row) {
    row.classList.add("news");
    row.addEventListener("animationend", () => row.classList.remove("news"), { once: true });
  }

  function show(text) {
    const fresh = parser.parseFromString(text, "text/html");
    const build = fresh.documentElement.dataset.build;
    if (!build) throw new Error("the answer is no status page");
    if (build !== root.dataset.build) return location.reload(); // the conductor was upgraded
    fresh.getElementById("renewal").textContent = renewal();
    tick(fresh);
    for (const row of document.querySelectorAll("tr.news")) row.classList.remove("news");
    patch(document.getElementById("board"), fresh.getElementById("board"));
    document.title = fresh.title;
    patch(document.querySelector("link[rel=icon]"), fresh.querySelector("link[rel=icon]"));
  }

  const renewal = () => ` · renewed every ${renewMs / 1000} s`;

  function stamp(moment) {
    asOf = Date.parse(moment) || asOf;
    heard = performance.now();
    const shown = document.getElementById("as-of");
    shown.dateTime = new Date(asOf).toISOString();
    shown.textContent = `${shown.dateTime.slice(11, 19)} UTC`;
  }

  async function renew() {
    if (asking) asking.abort();
    const mine = (asking = new AbortController());
    const limit = setTimeout(() => mine.abort(), Math.max(renewMs, 15000));
    const address = location.pathname + location.search;
    try {
      const headers = etag && etag.address === address ? { "If-None-Match": etag.value } : {};
      const answer = await fetch(address, { headers, cache: "no-store", credentials: "same-origin", signal: mine.signal });
      if (answer.status !== 304) {
        if (!answer.ok) throw new Error(`it answers ${answer.status}`);
        const text = await answer.text();
        if (asking !== mine) return;
        stamp(answer.headers.get("X-As-Of"));
        show(text);
        etag = { address, value: answer.headers.get("ETag") };
      } else {
        stamp(answer.headers.get("X-As-Of"));
      }
      lost = "";
    } catch (trouble) {
      if (asking !== mine) return; // overtaken by the next one
      lost = trouble instanceof TypeError || trouble.name === "AbortError" ? "no answer" : trouble.message;
    } finally {
      clearTimeout(limit);
      if (asking === mine) {
        asking = null;
        next = performance.now() + renewMs;
        tellAge();
      }
    }
  }

  let lost = "";

  function tellAge() {
    const age = performance.now() - heard;
    const old = lost !== "" || age > 3 * renewMs + 15000;
    root.classList.toggle("old", old);
    const since = new Date(asOf).toISOString().slice(11, 19);
    const text = old ? `The conductor is away (${lost || "no answer"}). What you see is from ${since} UTC` : "";
    if (away.firstChild.data !== text) away.firstChild.data = text; // said aloud once, without the figures that follow
    away.lastChild.textContent = old ? `, ${duration(age)} ago` : "";
    away.hidden = !old;
    if (old && !document.title.startsWith("OLD")) document.title = `OLD · ${document.title}`;
    else if (!old) document.title = document.title.replace(/^OLD · /, "");
  }

  function beat() {
    if (document.hidden) return;
    tick(document);
    if (lost) tellAge();
    if (!asking && performance.now() >= next) renew();
  }

  let typed = 0;
  document.addEventListener("input", (event) => {
    if (event.target !== filter()) return;
    clearTimeout(typed);
    typed = setTimeout(find, 250);
  });
  document.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(typed);
    find();
  });

  function find() {
    const wanted = new URLSearchParams(location.search);
    wanted.delete("page");
    if (filter().value.trim()) wanted.set("name", filter().value.trim());
    else wanted.delete("name");
    const query = wanted.toString();
    history.replaceState(null, "", query ? `?${query}` : location.pathname);
    renew();
  }

  away.append("", document.createElement("span"));
  away.lastChild.setAttribute("aria-hidden", "true");
  document.getElementById("renewal").textContent = renewal();
  document.addEventListener("visibilitychange", beat);
  window.addEventListener("online", () => { next = 0; beat(); });
  next = performance.now() + renewMs;
  setInterval(beat, 1000);
})();
