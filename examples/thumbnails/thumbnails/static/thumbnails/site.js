/* Brings news of the pictures into the page.
 *
 * Asks only while a picture is open (waiting or in work) and the page is seen, and only about those
 * pictures. The server sends each one as the HTML that the page was made of, so what a picture looks
 * like is written down once, in _picture.html. Without this file the page reloads itself instead.
 */

const EVERY = 700; // Milliseconds.
const AFTER_TROUBLE = 4000;

const sets = document.querySelector("[data-sets]");
const status = document.querySelector("[data-status]");
let timer;

function openPictures() {
  return [...sets.querySelectorAll("[data-open]")];
}

async function look() {
  clearTimeout(timer);
  const open = openPictures();
  if (!open.length || document.hidden) return;
  let next = EVERY;
  try {
    const query = new URLSearchParams(open.map((item) => ["picture", item.dataset.picture]));
    const response = await fetch(`${sets.dataset.stateUrl}?${query}`);
    if (!response.ok) throw new Error(response.statusText);
    show(open, (await response.json()).pictures);
  } catch {
    say("The site does not answer at the moment. We keep asking.");
    next = AFTER_TROUBLE;
  }
  // After the answer, not by the clock: a slow server is not asked twice at once.
  clearTimeout(timer);
  timer = setTimeout(look, next);
}

function show(asked, pictures) {
  const found = new Map(pictures.map((picture) => [picture.id, picture]));
  for (const item of asked) {
    const picture = found.get(item.dataset.picture);
    if (!picture) remove(item);
    else if (picture.version !== item.dataset.version) replace(item, picture.html);
  }
  count();
}

// Its set was deleted, perhaps in another window.
function remove(item) {
  const set = item.closest("section");
  item.remove();
  if (!set.querySelector("[data-picture]")) set.remove();
}

function replace(item, html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  const fresh = template.content.querySelector("li");
  const hadFocus = item.contains(document.activeElement);
  item.replaceWith(fresh);
  if (hadFocus) fresh.focus({ preventScroll: true });
}

// The sentence that reports.summary() makes on the server.
function count() {
  const states = [...sets.querySelectorAll("[data-state]")].map((item) => item.dataset.state);
  const number = (state) => states.filter((each) => each === state).length;
  const parts = [`${number("done")} of ${states.length} ready`];
  for (const [state, words] of [["running", "in work"], ["waiting", "waiting"], ["failed", "failed"]]) {
    if (number(state)) parts.push(`${number(state)} ${words}`);
  }
  say(states.length ? `${parts.join(", ")}.` : "");
}

function say(sentence) {
  // Screen readers read out what changes: only when it says something new.
  if (status.textContent !== sentence) status.textContent = sentence;
}

// "Try again" without leaving the page; if this fails, the form is sent as it would be anyway.
async function sendQuietly(event) {
  const form = event.target;
  if (!form.matches("[data-quiet]")) {
    say("Sending …");
    return;
  }
  event.preventDefault();
  const item = form.closest("[data-picture]");
  try {
    // The answer is a redirect to this page, which is here already.
    const answer = await fetch(form.action, { method: "POST", body: new FormData(form), redirect: "manual" });
    if (answer.type !== "opaqueredirect") throw new Error(answer.statusText);
    item.dataset.open = "";
    look();
  } catch {
    form.submit();
  }
}

function removeWhenDeleted(section) {
  const left = new Date(section.dataset.expires) - Date.now();
  // A visitor's clock may be far off: then the server's word is waited for.
  if (left > 0) setTimeout(() => { section.remove(); count(); }, left);
}

for (const time of document.querySelectorAll("time[data-local]")) {
  time.textContent = new Date(time.dateTime).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}
sets.querySelectorAll("[data-expires]").forEach(removeWhenDeleted);
document.addEventListener("submit", sendQuietly);
document.addEventListener("visibilitychange", look);
window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
look();
