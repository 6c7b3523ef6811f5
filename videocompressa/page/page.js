"use strict";
const byId = (id) => document.getElementById(id);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
for (const part of all(".tools, .hint, #theme")) part.hidden = false;

// Theme: that of the system, until the switch is used.
const theme = byId("theme"), system = matchMedia("(prefers-color-scheme: dark)");
let dark = null;
function showTheme() {
  const isDark = dark ?? system.matches;
  document.documentElement.style.colorScheme = dark === null ? "" : isDark ? "dark" : "light";
  theme.textContent = isDark ? "Light" : "Dark";
  theme.setAttribute("aria-label", `Switch to the ${isDark ? "light" : "dark"} theme`);
}
theme.onclick = () => { dark = !(dark ?? system.matches); showTheme(); };
system.onchange = showTheme;
showTheme();

// Clips far away have a guessed height: what is above a section grows while it is scrolled to.
function settle(target, frames) {
  target.scrollIntoView();
  if (frames) requestAnimationFrame(() => settle(target, frames - 1));
}
for (const link of all("nav a")) link.addEventListener("click", () => settle(byId(link.hash.slice(1)), 12));

// Clips: one plays at a time, while it is pointed at, or from one click to the next.
let playing = null, pinned = false;
function stop() {
  if (!playing) return;
  const { film, video } = playing;
  playing = null;
  pinned = false;
  video.remove();
  URL.revokeObjectURL(video.src);
  film.setAttribute("aria-pressed", "false");
  film.closest(".item").classList.remove("playing");
}
function addressOf(clip) {
  if (!clip.startsWith("data:")) return clip;
  // Some browsers play no data URI, but all play a blob.
  const bytes = Uint8Array.from(atob(clip.split(",")[1]), (letter) => letter.charCodeAt(0));
  return URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
}
async function play(film, pin) {
  stop();
  pinned = pin;
  const video = document.createElement("video");
  Object.assign(video, { muted: true, loop: true, playsInline: true });
  playing = { film, video };
  film.setAttribute("aria-pressed", "true");
  video.src = addressOf(film.dataset.clip);
  video.onerror = () => { if (playing?.video === video) stop(); }; // a browser without H.264
  film.append(video);
  const item = film.closest(".item");
  item.classList.add("playing");
  (function follow() {
    if (playing?.video !== video) return;
    item.style.setProperty("--at", video.currentTime / video.duration || 0);
    requestAnimationFrame(follow);
  })();
  await video.play().catch(() => {});
}
const calm = matchMedia("(prefers-reduced-motion: reduce)");
for (const film of all(".film")) {
  film.onpointerenter = (event) => {
    if (event.pointerType === "mouse" && !calm.matches && playing?.film !== film) play(film, false);
  };
  film.onpointerleave = () => { if (playing?.film === film && !pinned) stop(); };
  film.onclick = () => {
    if (playing?.film !== film) play(film, true);
    else if (pinned) stop();
    else pinned = true;
  };
}

// Filter, search and order.
const groups = all(".group");
function filter() {
  const name = byId("class").value, part = byId("search").value.trim().toLowerCase();
  let count = 0;
  for (const group of groups) {
    let shown = 0;
    for (const item of all(".item", group)) {
      item.hidden = (name && name !== group.dataset.class) || !item.dataset.video.toLowerCase().includes(part);
      shown += !item.hidden;
    }
    group.hidden = !shown;
    count += shown;
  }
  byId("count").textContent = `${count} ${count === 1 ? "clip" : "clips"}`;
  byId("none").hidden = count > 0;
  if (playing?.film.closest("[hidden]")) stop();
}
function sort() {
  const key = byId("order").value.replace("-", ""), sign = byId("order").value.startsWith("-") ? -1 : 1;
  for (const group of groups) {
    const items = all(".item", group);
    if (key === "video") items.sort((a, b) => a.dataset.video.localeCompare(b.dataset.video, "en", { numeric: true }));
    else items.sort((a, b) => sign * (a.dataset[key] - b.dataset[key]));
    group.querySelector("ul").append(...items);
  }
}
byId("class").onchange = byId("search").oninput = filter;
byId("order").onchange = sort;
byId("class").form.onsubmit = (event) => event.preventDefault();
// A browser may keep what was chosen before a reload; sorting thousands of clips takes time.
filter();
if (byId("order").selectedIndex) sort();

// Values of the chart.
for (const point of all(".point")) {
  const readout = point.closest("figure").querySelector(".readout");
  point.onpointerenter = point.onfocus = () => { readout.textContent = point.getAttribute("aria-label"); };
}
