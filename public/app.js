// The page's behavior: asks the server for a story, shows it as it is written, remembers it.
"use strict";

const PAST_KEY = "alpaca.stories";
const PAST_LIMIT = 30;
const LINK_LIMIT = 8000; // what every server and proxy has to take (RFC 9110, 4.1)
const $ = (id) => document.getElementById(id);

let running = null; // AbortController of the story being written
let current = null; // the story on the page: {prompt, text, temperature, length, seed, reason}

// ---- what the reader asks for ------------------------------------------------

function temperatureWord(value) {
  if (value <= 0.3) return "calm";
  if (value <= 0.8) return "playful";
  if (value <= 1.1) return "wild";
  return "topsy-turvy";
}

function showTemperature() {
  const value = Number($("temperature").value);
  $("temperature-word").textContent = `${value.toFixed(1)} · ${temperatureWord(value)}`;
}

// An empty number field means "as the server likes".
function numberOrNull(id) {
  const text = $(id).value.trim();
  return text === "" ? null : Number(text);
}

function wishes() {
  return {
    prompt: $("prompt").value,
    temperature: Number($("temperature").value),
    length: numberOrNull("length"),
    seed: numberOrNull("seed"),
  };
}

function fillIn(wish) {
  $("prompt").value = wish.prompt;
  $("temperature").value = wish.temperature;
  $("length").value = wish.length ?? "";
  $("seed").value = wish.seed ?? "";
  showTemperature();
}

// ---- asking the server -------------------------------------------------------

class Refusal extends Error {} // with a message for the reader
class Busy extends Refusal {}

async function refusalOf(response) {
  let reason = "";
  try {
    reason = (await response.json()).error.message;
  } catch {
    reason = `The server answered ${response.status}.`;
  }
  if (response.status === 503) {
    return new Busy("Many stories are being written right now. Please try again in a moment.");
  }
  if (response.status === 401) {
    $("key-row").hidden = false;
    $("more").open = true;
    return new Refusal("This server asks for a key. You can enter it under “More”.");
  }
  return new Refusal(`That did not work: ${reason}`);
}

// The events of a stream, as objects, until "[DONE]".
async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Refusal("The story broke off. Is the server still there?");
    rest += value;
    const events = rest.split("\n\n");
    rest = events.pop();
    for (const event of events) {
      if (!event.startsWith("data: ")) continue; // a comment that keeps the line open
      if (event === "data: [DONE]") return;
      yield JSON.parse(event.slice(6));
    }
  }
}

// A wish in the API's terms.
function requestOf(wish) {
  const request = { prompt: wish.prompt, temperature: wish.temperature };
  if (wish.length !== null) request.max_tokens = wish.length;
  if (wish.seed !== null) request.seed = wish.seed;
  return request;
}

async function askServer(request, signal, onEvent) {
  const headers = { "Content-Type": "application/json" };
  if ($("key").value) headers.Authorization = `Bearer ${$("key").value}`;
  const response = await fetch("generate", {
    method: "POST", headers, body: JSON.stringify({ ...request, stream: true }), signal,
  });
  if (!response.ok) throw await refusalOf(response);
  for await (const event of eventsOf(response)) {
    if (event.error) throw new Refusal(event.error.message);
    onEvent(event);
  }
}

// The server tells the story, or where it cannot the browser, if the reader has agreed to that.
async function ask(request, signal, onEvent) {
  let begun = false;
  await browserEngine.known;
  try {
    if (browserEngine.alone) throw new Refusal(browserEngine.INVITATION);
    await askServer(request, signal, (event) => {
      begun = true;
      onEvent(event);
    });
  } catch (problem) {
    if (begun || !browserEngine.takesOver(problem)) throw problem;
    await browserEngine.ask(request, signal, onEvent);
  }
}

// ---- showing it --------------------------------------------------------------

function say(message) {
  $("message").textContent = message;
  $("message").hidden = message === "";
}

function showStory(story, writing) {
  $("story").hidden = false;
  $("story").classList.toggle("writing", writing);
  $("story").setAttribute("aria-busy", String(writing));
  $("beginning").textContent = story.prompt;
  $("completion").textContent = story.text;
  $("story-actions").hidden = writing;
  const ending = { length: "…and here the page was full.", stopped: "…and here you said stop." };
  $("ending").textContent = ending[story.reason] ?? "";
  $("ending").hidden = writing || !ending[story.reason];
}

// On a small screen the story begins below the fold. Its beginning comes into view, with the stop
// button above it; from there the reader goes on at their own pace.
function bringIntoView() {
  if ($("story").getBoundingClientRect().top < innerHeight * 0.7) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  $("stop").scrollIntoView({ block: "start", behavior: calm ? "auto" : "smooth" });
}

function setWriting(writing) {
  $("tell").hidden = writing;
  $("stop").hidden = !writing;
}

function queryOf(story) {
  const query = new URLSearchParams({
    prompt: story.prompt, temperature: story.temperature, seed: story.seed,
  });
  if (story.length !== null) query.set("max_tokens", story.length);
  return `?${query}`;
}

// The address that tells the story again; null where the prompt would make it too long to be loaded.
// It begins with the page's own path, which a proxy may have put in front.
function linkOf(story) {
  const link = new URL(queryOf(story), location).href;
  return link.length <= LINK_LIMIT ? link : null;
}

// A story whose link is too long leaves the page's bare address: the rest of the link alone would
// tell another story.
function showLink(story) {
  const link = linkOf(story);
  $("link").hidden = link === null;
  history.replaceState(null, "", link ?? location.pathname);
}

async function tell(wish) {
  if (running) running.abort();
  const mine = new AbortController();
  running = mine;
  const story = { ...wish, text: "", reason: "" };
  current = story;
  say("");
  setWriting(true);
  showStory(story, true);
  bringIntoView();
  $("status").textContent = "The story begins.";
  try {
    await ask(requestOf(wish), mine.signal, (event) => {
      if (event.text) {
        story.text += event.text;
        $("completion").append(event.text);
      }
      if (event.finish_reason) {
        story.reason = event.finish_reason;
        story.seed = event.seed;
      }
    });
    $("status").textContent = `The story is finished. ${story.prompt}${story.text}`;
  } catch (problem) {
    story.reason = "stopped";
    if (problem instanceof Refusal) say(problem.message);
    else if (problem.name !== "AbortError") say("The server cannot be reached. Is it still running?");
    if (problem.name !== "AbortError") story.reason = "broken";
    $("status").textContent = "The story stopped.";
  }
  if (running !== mine) return; // another story has taken the page
  running = null;
  setWriting(false);
  finish(story);
}

// A story without a seed was cut off, so it can be read but not asked for again.
function finish(story) {
  showStory(story, false);
  const whole = story.reason === "stop" || story.reason === "length";
  $("link").hidden = true;
  $("copy").hidden = story.text === "";
  if (story.text === "" && !whole) $("story").hidden = true;
  if (!whole) return;
  showLink(story);
  remember(story);
}

// ---- earlier stories ----------------------------------------------------------

function pastStories() {
  try {
    const stories = JSON.parse(localStorage.getItem(PAST_KEY));
    return Array.isArray(stories) ? stories : [];
  } catch {
    return [];
  }
}

function keep(stories) {
  try {
    localStorage.setItem(PAST_KEY, JSON.stringify(stories));
  } catch {
    // a browser that keeps nothing: the page works without
  }
  listPast(stories);
}

function remember(story) {
  const others = pastStories().filter((old) => queryOf(old) !== queryOf(story));
  keep([story, ...others].slice(0, PAST_LIMIT));
}

function listPast(stories) {
  $("past").hidden = stories.length === 0;
  $("past-list").replaceChildren(...stories.map((story) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `${story.prompt}${story.text}`.trim();
    button.addEventListener("click", () => readAgain(story));
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
}

function readAgain(story) {
  if (running) running.abort();
  running = null;
  current = story;
  say("");
  setWriting(false);
  fillIn({ ...story, seed: null });
  showStory(story, false);
  $("copy").hidden = false;
  showLink(story);
  $("story").scrollIntoView({ block: "nearest" });
}

// ---- buttons -------------------------------------------------------------------

async function copy(button, text) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    window.prompt("Copy this:", text); // where the clipboard is not allowed
  }
  setTimeout(() => { button.textContent = label; }, 1500);
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  tell(wishes());
});
$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    if ($("form").reportValidity()) tell(wishes());
  }
});
$("suggestions").addEventListener("click", (event) => {
  if (event.target.dataset.prompt === undefined) return;
  $("prompt").value = event.target.dataset.prompt;
  tell(wishes());
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && running) running.abort();
});
$("stop").addEventListener("click", () => running?.abort());
$("again").addEventListener("click", () => tell({ ...current, seed: null }));
$("copy").addEventListener("click", () => copy($("copy"), current.prompt + current.text));
$("link").addEventListener("click", () => copy($("link"), linkOf(current)));
$("forget").addEventListener("click", () => keep([]));
$("temperature").addEventListener("input", showTemperature);
$("browser-get").addEventListener("click", () => browserEngine.get());
$("browser-drop").addEventListener("click", () => browserEngine.drop());

// A shared link tells its story at once; the seed field stays free for the next one.
function start() {
  const query = new URLSearchParams(location.search);
  browserEngine.known = browserEngine.start();
  const numberIn = (name) => (query.get(name) ? Number(query.get(name)) : null);
  showTemperature();
  listPast(pastStories());
  if (!query.has("prompt") && !query.has("seed")) return;
  const wish = {
    prompt: query.get("prompt") ?? "",
    temperature: numberIn("temperature") ?? Number($("temperature").value),
    length: numberIn("max_tokens"),
    seed: numberIn("seed"),
  };
  fillIn({ ...wish, seed: null });
  if (wish.seed !== null) tell(wish);
}

start();
