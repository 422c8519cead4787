"use strict";
// Text from the server or the user only ever goes into textContent.

const find = (id) => document.getElementById(id);
const state = { language: "en", about: null, key: "", running: null };

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// A text of the page that changes with the language.
function label(element, name) {
  element.dataset.text = name;
  element.textContent = TEXTS[state.language][name];
  return element;
}

function remember(name, value) {
  try { localStorage.setItem(name, value); } catch { /* private windows may refuse */ }
}

function recall(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}

function setLanguage(language) {
  state.language = language;
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = TEXTS[language][element.dataset.text];
  label(find("language"), "other");
  find("question").placeholder = TEXTS[language].question;
  find("question").setAttribute("aria-label", TEXTS[language].question);
  find("arm").setAttribute("aria-label", TEXTS[language].arm);
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  label(find("theme"), theme === "dark" ? "light" : "dark");
}

async function call(path, body, signal) {
  const headers = state.key ? { Authorization: `Bearer ${state.key}` } : {};
  const options = { headers, signal };
  if (body) {
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
    headers["Content-Type"] = "application/json";
  }
  const reply = await fetch(path, options);
  if (reply.ok) return reply;
  const error = new Error((await reply.json().catch(() => ({}))).error?.message || String(reply.status));
  error.status = reply.status;
  throw error;
}

async function loadAbout() {
  try {
    state.about = (await (await call("/v1/models")).json()).metadata;
  } catch (error) {
    if (error.status === 401) askForKey();
    else label(find("empty").querySelector(".hint"), "unreachable");
    return false;
  }
  const about = state.about;
  find("key").hidden = true;
  find("name").textContent = about.experiment;
  document.title = `${about.experiment} · raglift`;
  find("arm").replaceChildren(...about.arms.map((name) => new Option(name, name, false, name === about.arm)));
  find("suggestions").replaceChildren(...about.questions.map((question) => {
    const button = make("button", "", question);
    button.type = "button";
    button.addEventListener("click", () => ask(question));
    const item = make("li");
    item.append(button);
    return item;
  }));
  if (!recall("language")) setLanguage(about.language === "ko" || navigator.language.startsWith("ko") ? "ko" : "en");
  return true;
}

function askForKey() {
  find("key").hidden = false;
  label(find("empty").querySelector(".hint"), "keyNeeded");
  find("key-value").focus();
}

function choosePair() {
  const arm = find("arm").value;
  const [a, b] = state.about.compare;
  if (arm === a || arm === b) return [a, b];
  return a.endsWith(".none") && !arm.endsWith(".none") ? [a, arm] : [arm, b];
}

async function ask(question) {
  if (state.running || !question.trim()) return;
  if (!state.about && !(await loadAbout())) return;
  find("empty").hidden = true;
  const turn = make("li");
  turn.append(make("p", "asked", question));
  const arms = find("compare").checked ? choosePair() : [find("arm").value];
  const answers = make("div", arms.length > 1 ? "answers two" : "answers");
  turn.append(answers);
  find("turns").append(turn);
  state.running = new AbortController();
  label(find("send"), "stop");
  turn.scrollIntoView({ block: "start" });
  await Promise.all(arms.map((arm) => answer(question, arm, answers, state.running.signal)));
  state.running = null;
  label(find("send"), "send");
  turn.scrollIntoView({ block: turn.offsetHeight < innerHeight * 0.6 ? "nearest" : "start" });
}

async function answer(question, arm, place, signal) {
  const withPassage = !arm.endsWith(".none");
  const card = make("article", withPassage ? "answer with" : "answer");
  const head = make("h2");
  head.append(label(make("b"), withPassage ? "with" : "without"), make("code", "", arm));
  const text = make("p", "text going");
  card.append(head, text);
  place.append(card);
  const reply = { key: null, text: "", sources: [], end: null, about: null };
  try {
    const body = { model: arm, messages: [{ role: "user", content: question }], stream: true };
    for await (const chunk of readEvents(await call("/v1/chat/completions", body, signal))) {
      if (chunk.error) throw new Error(chunk.error.message);
      take(chunk, reply);
      text.textContent = reply.text;
    }
    finish(card, reply, arm);
  } catch (error) {
    explain(card, error, signal);
  } finally {
    text.classList.remove("going");
  }
}

function take(chunk, reply) {
  const about = chunk.metadata;
  if (about?.sources) Object.assign(reply, { sources: about.sources, about });
  if (about?.key) reply.key = about.key;
  for (const choice of chunk.choices) {
    reply.text += choice.delta.content || "";
    reply.end = choice.finish_reason || reply.end;
  }
}

function finish(card, reply, arm) {
  if (reply.end === "length") card.append(label(make("p", "note"), "cut"));
  if (reply.key) card.append(makeVerdicts(reply.key));
  if (reply.about?.context === "retrieved") card.append(makeSources(reply));
  if (arm.endsWith(".oracle")) card.append(label(make("p", "note"), "searched"));
}

function explain(card, error, signal) {
  if (error.status === 401) askForKey();
  if (signal.aborted) {
    card.append(label(make("p", "note"), "stopped"));
    return;
  }
  const line = make("p", "wrongly");
  line.append(label(make("b"), "failed"), make("span", "", error instanceof TypeError ? "" : `: ${error.message}`));
  card.append(line);
}

async function* readEvents(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      if (event.startsWith("data: ") && event !== "data: [DONE]") yield JSON.parse(event.slice(6));
    }
  }
}

function makeSources(reply) {
  const box = make("div", "sources");
  box.append(label(make("h3"), reply.sources.length ? "sources" : "nothing"));
  const list = make("ol");
  for (const source of reply.sources) {
    const item = make("li");
    const from = make("div", "from");
    const score = make("span");
    score.append(label(make("span"), "score"), ` ${source.score.toFixed(3)}`);
    from.append(make("span", "", source.passage_id), score);
    const body = make("p");
    body.append(...highlight(source.text, reply.text));
    item.append(from, body);
    list.append(item);
  }
  box.append(list);
  return box;
}

// Hangul runs, or runs of other letters and digits.
const WORDS = /[\p{Script=Hangul}]+|[^\P{L}\p{Script=Hangul}]+|\p{N}+(?:\.\p{N}+)?/gu;

// The passage as text and <mark> nodes: words that the answer has too. A Korean word counts by its beginning,
// because its particle changes.
function highlight(passage, answer) {
  const words = new Set(answer.toLowerCase().match(WORDS) || []);
  const nodes = [];
  let end = 0;
  for (const match of passage.matchAll(WORDS)) {
    const shared = countShared(match[0].toLowerCase(), words);
    if (!shared) continue;
    nodes.push(passage.slice(end, match.index), make("mark", "", match[0].slice(0, shared)));
    end = match.index + shared;
  }
  nodes.push(passage.slice(end));
  return nodes;
}

function countShared(word, words) {
  if (words.has(word)) return word.length > 1 || /\p{N}/u.test(word) ? word.length : 0;
  if (!/^\p{Script=Hangul}/u.test(word)) return 0;
  let longest = 0;
  for (const other of words) {
    let length = 0;
    while (length < word.length && word[length] === other[length]) length += 1;
    longest = Math.max(longest, length);
  }
  return longest > 1 ? longest : 0;
}

function makeVerdicts(key) {
  const box = make("div", "verdicts");
  const said = make("span");
  const buttons = ["right", "wrong"].map((name) => {
    const button = label(make("button", name), name);
    button.type = "button";
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => judge(key, button, buttons, said));
    return button;
  });
  said.setAttribute("role", "status");
  box.append(...buttons, label(said, "judge"));
  return box;
}

async function judge(key, button, buttons, said) {
  const isSet = button.getAttribute("aria-pressed") === "true";
  const verdict = isSet ? "unscored" : button.classList.contains("right") ? "correct" : "incorrect";
  try {
    await call("/feedback", { key, verdict });
    for (const other of buttons) other.setAttribute("aria-pressed", String(other === button && !isSet));
    label(said, isSet ? "withdrawn" : "saved");
  } catch {
    label(said, "unsaved");
  }
}

function fitQuestion() {
  const field = find("question");
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight + 2}px`;
}

function send(event) {
  event?.preventDefault();
  state.key = find("key-value").value.trim();
  if (state.running) {
    state.running.abort();
    return;
  }
  const question = find("question").value.trim();
  if (!question) {
    if (state.key && !state.about) loadAbout();
    return;
  }
  find("question").value = "";
  fitQuestion();
  ask(question);
}

function start() {
  setTheme(recall("theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  setLanguage(recall("language") || (navigator.language.startsWith("ko") ? "ko" : "en"));
  label(find("send"), "send");
  find("ask").addEventListener("submit", send);
  find("question").addEventListener("input", fitQuestion);
  find("question").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send(event);
  });
  find("language").addEventListener("click", () => {
    setLanguage(state.language === "ko" ? "en" : "ko");
    remember("language", state.language);
  });
  find("theme").addEventListener("click", () => {
    setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    remember("theme", document.documentElement.dataset.theme);
  });
  loadAbout();
}

start();
