// Keeps the parts of a page that are marked `data-djq-live` up to date by fetching the page again. It stands
// still while nobody looks, while something is selected, ticked or has the focus, and waits longer after errors.

const KEY = "dj_queue.refresh";
const LONGEST = 300;

const select = document.querySelector("[data-djq-interval]");
const status = document.querySelector("[data-djq-status]");
let timer;
let failures = 0;
let running = false;

function seconds() {
  return Number(select.value);
}

function isInUse() {
  const active = document.activeElement;
  if (active && active !== document.body && active.closest("[data-djq-live]")) return true;
  if (document.querySelector("[data-djq-live] input[type=checkbox]:checked")) return true;
  const selection = document.getSelection();
  return Boolean(selection && !selection.isCollapsed);
}

function fetched() {
  // XMLHttpRequest makes a document of the answer itself, which no policy for scripts forbids.
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", window.location.href);
    request.responseType = "document";
    request.timeout = 20000;
    request.onload = () => {
      const isPage = request.status === 200 && request.response && request.response.querySelector("[data-djq-live]");
      return isPage ? resolve(request.response) : reject(new Error(String(request.status)));
    };
    request.onerror = request.ontimeout = () => reject(new Error("no answer"));
    request.send();
  });
}

function replace(fresh) {
  for (const old of document.querySelectorAll("[data-djq-live]")) {
    const part = old.id && fresh.getElementById(old.id);
    if (!part) continue;
    const made = document.importNode(part, true);
    for (const details of old.querySelectorAll("details[id]")) {
      const same = made.querySelector(`#${CSS.escape(details.id)}`);
      if (same) same.open = details.open;
    }
    old.replaceWith(made);
  }
}

async function refresh() {
  if (running) return;
  if (document.hidden || isInUse()) {
    if (!document.hidden) status.textContent = status.dataset.paused;
    return schedule();
  }
  running = true;
  try {
    const fresh = await fetched();
    if (!document.hidden && !isInUse()) {
      replace(fresh);
      status.textContent = `${status.dataset.updated} ${new Date().toLocaleTimeString()}`;
    }
    failures = 0;
  } catch {
    failures += 1;
    status.textContent = status.dataset.failed;
  }
  running = false;
  schedule();
}

function schedule() {
  clearTimeout(timer);
  if (!document.querySelector("[data-djq-live]")) return;
  const eager = document.querySelector("[data-djq-eager]");
  const wanted = seconds() || (eager ? 2 : 0);
  if (!wanted) return;
  timer = setTimeout(refresh, Math.min(wanted * 2 ** failures, LONGEST) * 1000);
}

function remembered() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function remember(value) {
  try {
    localStorage.setItem(KEY, value);
  } catch {
    // Without storage it is off again on the next page.
  }
}

if (select) {
  const value = remembered();
  if (value && select.querySelector(`option[value="${CSS.escape(value)}"]`)) select.value = value;
  select.closest("[hidden]").hidden = false;
  select.addEventListener("change", () => {
    remember(select.value);
    failures = 0;
    status.textContent = "";
    schedule();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && seconds()) refresh();
  });
  schedule();
}

// One box for all rows of the page, also after the rows were replaced.
document.addEventListener("change", (event) => {
  const all = event.target.closest("[data-djq-all]");
  if (!all) return;
  for (const box of all.form.querySelectorAll("input[name=_selected_action]")) box.checked = all.checked;
});
