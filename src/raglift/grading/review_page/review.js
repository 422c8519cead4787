"use strict";
// All foreign text goes in by textContent; the server's replies are the only state that counts.
const NOTE_PAUSE = 1200; // milliseconds after the last key before a note is saved
const find = (id) => document.getElementById(id);
let say, session, place = -1, saving = Promise.resolve(), noteTimer = 0;

async function start() {
  const reply = await fetch("session", { headers: { Accept: "application/json" } });
  if (!reply.ok) throw new Error(`${reply.status}`);
  session = await reply.json();
  say = TEXTS[session.language];
  document.documentElement.lang = session.language;
  document.title = say.title;
  for (const part of document.querySelectorAll("[data-text]")) part.textContent = say[part.dataset.text];
  find("actions").setAttribute("aria-label", say.actions);
  find("who").textContent = session.reviewer;
  find("note").maxLength = session.longest_note;
  listKeys();
  listen();
  showProgress(session.progress);
  showNextOpen();
}

function listKeys() {
  const keys = [["1", say.correct], ["2", say.incorrect], ["3", say.skip], ["U", say.undo], ["←", say.back],
    ["→", say.forward], ["O", say.next_open], ["N", say.to_note], ["Esc", say.from_note]];
  for (const [key, meaning] of keys) {
    const term = document.createElement("dt"), text = document.createElement("dd");
    term.append(Object.assign(document.createElement("kbd"), { textContent: key }));
    text.textContent = meaning;
    find("keys").append(term, text);
  }
}

function listen() {
  const actions = {
    correct: () => grade("correct"), incorrect: () => grade("incorrect"), skip, undo,
    back: () => move(-1), forward: () => move(1), open: () => leave(showNextOpen), again: () => show(0),
  };
  for (const [id, action] of Object.entries(actions)) find(id).addEventListener("click", action);
  // By the key's place on the keyboard, so that a Korean layout needs no switching.
  const byCode = {
    Digit1: actions.correct, Numpad1: actions.correct, Digit2: actions.incorrect, Numpad2: actions.incorrect,
    Digit3: actions.skip, Numpad3: actions.skip, KeyU: undo, ArrowLeft: actions.back, ArrowRight: actions.forward,
    KeyO: actions.open, KeyN: () => find("note").focus(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target === find("note")) {
      if (event.code === "Escape") find("item").focus();
      return;
    }
    if (event.code === "Escape") find("help").open = false;
    const action = byCode[event.code];
    if (!action || session === undefined || (!find("shortcuts").checked && !event.code.startsWith("Arrow"))) return;
    event.preventDefault();
    action();
  });
  find("note").addEventListener("input", () => {
    growNote();
    clearTimeout(noteTimer);
    noteTimer = setTimeout(saveNote, NOTE_PAUSE);
  });
  find("note").addEventListener("change", saveNote);
  window.addEventListener("pagehide", saveNote);
}

// One request at a time, in the order of the keys; `keepalive` lets a last note outlive the page.
function send(command) {
  const sent = saving.then(async () => {
    const reply = await fetch("save", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(command), keepalive: true,
    }).catch(() => { throw new Error(say.gone); });
    const value = await reply.json().catch(() => ({}));
    if (reply.status === 409) return null;
    if (!reply.ok) throw new Error(reply.status === 404 ? say.gone : value.error || `${reply.status}`);
    Object.assign(session.items.find((item) => item.id === value.item.id), value.item);
    showProgress(value.progress);
    find("alert").hidden = true;
    return value;
  });
  saving = sent.catch(() => undefined);
  return sent.catch((error) => {
    find("alert").textContent = say.lost(error.message);
    find("alert").hidden = false;
    return undefined;
  });
}

let busy = false;
async function once(work) { // a second key during a save would grade an answer that nobody has read
  if (busy || place < 0) return;
  busy = true;
  clearTimeout(noteTimer);
  try { await work(session.items[place]); } finally { busy = false; }
}

function grade(verdict) {
  if (find("work").hidden) return;
  once(async (item) => {
    const saved = await send({ action: "grade", item: item.id, verdict, note: find("note").value });
    if (saved) showNextOpen(say[`saved_${verdict}`]);
  });
}

function skip() {
  if (find("work").hidden) return;
  once(async (item) => {
    const saved = await send({ action: "skip", item: item.id, note: find("note").value });
    if (saved) showNextOpen(say.saved_skip);
  });
}

function undo() {
  once(async () => {
    if (!find("work").hidden) await keepNote();
    const saved = await send({ action: "undo" });
    if (saved === null) announce(say.nothing_to_undo);
    else if (saved) show(session.items.findIndex((item) => item.id === saved.item.id), say.undone);
  });
}

function move(step) {
  const next = find("work").hidden ? session.items.length - 1 : place + step;
  if (next >= 0 && next < session.items.length) leave(() => show(next));
}

function leave(then) {
  once(async () => { if (find("work").hidden || await keepNote()) then(); });
}

async function keepNote() {
  const item = session.items[place], note = find("note").value.trim();
  if (note === item.note) return true;
  return await send({ action: "note", item: item.id, note }) !== undefined;
}

async function saveNote() {
  clearTimeout(noteTimer);
  if (busy || place < 0 || find("work").hidden || find("note").value.trim() === session.items[place].note) return;
  if (await keepNote()) announce(say.saved_note);
}

// The next one without a verdict after this place, then from the start; skipped ones last, oldest first.
function showNextOpen(message = "") {
  const items = session.items, count = items.length;
  for (let step = 1; step <= count; step++) {
    const index = (place + step) % count, item = items[index];
    if (!item.verdict && !item.skipped) return show(index, message);
  }
  const skipped = items.filter((item) => !item.verdict).sort((one, other) => one.skipped - other.skipped);
  if (skipped.length) return show(items.indexOf(skipped[0]), message);
  place = Math.max(place, 0);
  showEnd(message);
}

function show(index, message = "") {
  place = index;
  const item = session.items[index], asked = session.questions[item.question];
  find("work").hidden = find("actions").hidden = false;
  find("end").hidden = true;
  find("actions").classList.remove("ended");
  find("place").textContent = say.place(index + 1, session.items.length);
  find("question").textContent = asked.question;
  find("text").textContent = item.text || say.empty;
  find("text").classList.toggle("soft", !item.text);
  find("reference").textContent = asked.reference;
  find("passage").textContent = asked.passage || say.no_passage;
  find("passage").classList.toggle("soft", !asked.passage);
  find("note").value = item.note;
  growNote();
  const state = item.verdict || (item.skipped ? "skipped" : "");
  find("state").textContent = state ? say[`is_${state}`] : "";
  find("state").className = state;
  for (const verdict of ["correct", "incorrect"]) find(verdict).setAttribute("aria-pressed", String(item.verdict === verdict));
  find("back").disabled = index === 0;
  find("forward").disabled = index === session.items.length - 1;
  window.scrollTo(0, 0);
  find("item").focus({ preventScroll: true });
  announce([message, say.place(index + 1, session.items.length), asked.question, `${say.answer}: ${item.text || say.empty}`].join(" "));
}

function showEnd(message) {
  find("work").hidden = true;
  find("end").hidden = find("actions").hidden = false;
  find("actions").classList.add("ended");
  find("back").disabled = find("forward").disabled = false;
  find("end-title").focus();
  announce([message, say.end_title].join(" "));
}

function showProgress(progress) {
  find("bar").max = progress.total;
  find("bar").value = progress.done;
  find("count").textContent = say.count(progress.done, progress.total);
  const left = progress.seconds_left;
  find("left").textContent = left === null || progress.done === progress.total ? "" : say.seconds(left);
}

function growNote() { // field-sizing where there is one; rows elsewhere
  find("note").rows = Math.min(6, find("note").value.split("\n").length);
}

function announce(message) { find("status").textContent = message; }

start().catch((error) => {
  const texts = say || TEXTS[navigator.language.startsWith("ko") ? "ko" : "en"];
  find("alert").textContent = texts.broken(error.message);
  find("alert").hidden = false;
});
