// Keeps the parts of a page that are marked `data-djq-live` up to date by fetching the page again, which answers
// 304 while there is nothing new. It stands still while nobody looks, while something is selected, ticked or has
// the focus, and waits longer after errors. Copies ids, arguments and tracebacks at the press of a button.

const KEY = "dj_queue.refresh";
const LONGEST = 300;

const select = document.querySelector("[data-djq-interval]");
const status = document.querySelector("[data-djq-status]");
let timer;
let failures = 0;
let running = false;
let etag = "";

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

// The page as it is now, or nothing if its live parts are as they were.
function fetched() {
  // XMLHttpRequest makes a document of the answer itself, which no policy for scripts forbids.
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", window.location.href);
    request.responseType = "document";
    request.timeout = 20000;
    request.setRequestHeader("X-DjQ-Live", "1");
    if (etag) request.setRequestHeader("If-None-Match", etag);
    request.onload = () => {
      if (request.status === 304) return resolve({});
      const isPage = request.status === 200 && request.response && request.response.querySelector("[data-djq-live]");
      if (!isPage) return reject(new Error(String(request.status)));
      return resolve({ fresh: request.response, tag: request.getResponseHeader("ETag") || "" });
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
    reveal(made);
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
    const { fresh, tag } = await fetched();
    if (!document.hidden && !isInUse()) {
      if (fresh) {
        replace(fresh);
        etag = tag;
      }
      const said = fresh ? status.dataset.updated : status.dataset.unchanged;
      status.textContent = `${said} ${new Date().toLocaleTimeString(document.documentElement.lang || [])}`;
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

// Buttons that copy the text of the element whose id they name. Without a script they are not shown.
function reveal(within) {
  for (const button of within.querySelectorAll("[data-djq-copy]")) button.hidden = false;
}

async function copied(element) {
  if (navigator.clipboard) return navigator.clipboard.writeText(element.textContent);
  // Without HTTPS browsers have nothing else.
  const range = document.createRange();
  range.selectNodeContents(element);
  const selection = document.getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
  const done = document.execCommand("copy");
  selection.removeAllRanges();
  if (!done) throw new Error("the browser does not copy");
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-djq-copy]");
  const element = button && document.getElementById(button.dataset.djqCopy);
  if (!element) return;
  const label = button.dataset.djqLabel ?? (button.dataset.djqLabel = button.textContent);
  try {
    await copied(element);
    button.textContent = status.dataset.copied;
  } catch {
    button.textContent = status.dataset.uncopied;
  }
  setTimeout(() => {
    button.textContent = label;
  }, 2000);
});

reveal(document);

// One box for all rows of the page, also after the rows were replaced.
document.addEventListener("change", (event) => {
  const all = event.target.closest("[data-djq-all]");
  if (!all) return;
  for (const box of all.form.querySelectorAll("input[name=_selected_action]")) box.checked = all.checked;
});
