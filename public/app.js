// The page's behavior: asks the server for a story, shows it (story.js), remembers it.
"use strict";

// So many stories are written, of which the reader gets the best (docs/experiments.md).
const BEST_OF = 8;
const MIN_P = 0.1; // what is best beside it: docs/experiments.md
const RETRY_MOST_S = 5; // a longer wait is the reader's to decide on

const PAST_KEY = "alpaca.stories";
const PAST_LIMIT = 30;
const LINK_LIMIT = 8000; // what every server and proxy has to take (RFC 9110, 4.1)
const SIZE_KEY = "alpaca.size";
const SIZES = [1, 1.2, 1.4, 1.7, 2.1, 2.6]; // of the story's letters, in rem
const SIZE = 2; // of a new reader
const $ = (id) => document.getElementById(id);

let running = null; // AbortController of the story being written or shown
// The story on the page: {prompt, text, temperature, length, seed, weights, reason}.
let current = null;

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
    weights: null,
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
// Now: it, or a proxy before it, may be of more use after so many seconds.
class Busy extends Refusal {
  constructor(message, response) {
    super(message);
    this.retryAfter = Number(response.headers.get("Retry-After")) || 1; // a date is not waited for
  }
}

async function refusalOf(response) {
  let reason = "";
  try {
    reason = (await response.json()).error.message;
  } catch {
    reason = `The server answered ${response.status}.`;
  }
  if (response.status === 503) {
    return new Busy("Many stories are being written right now. Please try again in a moment.",
      response);
  }
  if (response.status === 502 || response.status === 504) { // of a proxy
    return new Busy("The server cannot be reached right now. Please try again in a moment.",
      response);
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

// A wish in the API's terms. With a seed it is for the one story that the seed gives alone.
function requestOf(wish) {
  const request = { prompt: wish.prompt, temperature: wish.temperature, min_p: MIN_P };
  if (wish.length !== null) request.max_tokens = wish.length;
  if (wish.seed !== null) request.seed = wish.seed;
  else request.best_of = BEST_OF;
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

function wait(seconds, signal) {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

// A server that had no place for a request for several is asked once more, when it says, for less
// work: one story.
async function askServerForBest(request, signal, onEvent) {
  try {
    await askServer(request, signal, onEvent);
  } catch (problem) {
    if (!(problem instanceof Busy) || !request.best_of) throw problem;
    await wait(Math.min(problem.retryAfter, RETRY_MOST_S), signal);
    await askServer({ ...request, best_of: 1 }, signal, onEvent);
  }
}

// The server tells the story, or where it cannot the browser, if the reader has agreed to that.
async function ask(request, signal, onEvent) {
  let begun = false;
  await browserEngine.known;
  try {
    if (browserEngine.alone) throw new Refusal(browserEngine.INVITATION);
    await askServerForBest(request, signal, (event) => {
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

// What the reader can do while a story is asked for, while it is being shown, and then. The focus
// moves on from a button that goes.
function setStage(stage) {
  const buttons = { asking: $("stop"), showing: $("rest"), idle: $("tell") };
  const focused = Object.values(buttons).includes(document.activeElement);
  for (const [name, button] of Object.entries(buttons)) button.hidden = name !== stage;
  if (focused) buttons[stage].focus();
  $("story").classList.toggle("writing", stage !== "idle");
  $("story").setAttribute("aria-busy", String(stage !== "idle"));
  $("tools").hidden = stage === "asking";
  $("story-actions").hidden = stage !== "idle";
}

function showEnding(story) {
  const endings = { length: "…and here the page was full.", stopped: "…and here you said stop." };
  $("ending").textContent = endings[story.reason] ?? "";
  $("ending").hidden = !endings[story.reason];
}

// On a small screen the story begins below the fold. Its beginning comes into view, with the stop
// button above it; from there the reader goes on at their own pace.
function bringIntoView() {
  if ($("story").getBoundingClientRect().top < innerHeight * 0.7) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  $("stop").scrollIntoView({ block: "start", behavior: calm ? "auto" : "smooth" });
}

function queryOf(story) {
  const query = new URLSearchParams({
    prompt: story.prompt, temperature: story.temperature, seed: story.seed,
  });
  if (story.length !== null) query.set("max_tokens", story.length);
  if (story.weights) query.set("weights", story.weights);
  return `?${query}`;
}

// The address that tells the story again; null where the prompt makes it too long to be loaded.
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

// Takes the page for a story: what went on before ends.
function begin(story) {
  running?.abort();
  running = null;
  aloud.stop();
  current = story;
  say("");
  $("ending").hidden = true;
  $("story").hidden = false;
  storyView.open(story.prompt);
}

// Fills in the story's text and the rest of what the server says.
function take(story, event) {
  if (event.text) {
    story.text += event.text;
    storyView.add(event.text);
  }
  if (!event.finish_reason) return;
  const expected = story.weights;
  story.reason = event.finish_reason;
  story.seed = event.seed;
  story.weights = event.system_fingerprint ?? expected;
  if (expected && expected !== story.weights) {
    say("This link comes from a server with other weights or of another version. "
      + "Its story is another one here.");
  }
}

async function tell(wish) {
  const mine = new AbortController();
  const story = { ...wish, text: "", reason: "" };
  begin(story);
  running = mine;
  setStage("asking");
  bringIntoView();
  $("status").textContent = "The story begins.";
  try {
    await ask(requestOf(wish), mine.signal, (event) => {
      if (running === mine) take(story, event);
    });
  } catch (problem) {
    if (running !== mine) return; // another story has taken the page
    const stopped = problem.name === "AbortError";
    if (problem instanceof Refusal) say(problem.message);
    else if (!stopped) say("The server cannot be reached. Is it still running?");
    breakOff(story, stopped ? "stopped" : "broken");
    return;
  }
  if (running !== mine) return;
  $("status").textContent = `The story is finished. ${story.prompt}${story.text}`;
  showLink(story);
  remember(story);
  setStage("showing");
  await storyView.end();
  if (running === mine) finish(story);
}

// A story that was cut off has no seed, so it can be read but not asked for again.
function breakOff(story, reason) {
  story.reason = reason;
  story.text = storyView.cut();
  $("status").textContent = "The story stopped.";
  $("link").hidden = true;
  finish(story);
  $("story").hidden = story.text === "";
}

function finish(story) {
  running = null;
  showEnding(story);
  setStage("idle");
}

// ---- reading it ----------------------------------------------------------------

function setSize(size) {
  const index = Math.min(Math.max(size, 0), SIZES.length - 1);
  document.documentElement.style.setProperty("--letters", `${SIZES[index]}rem`);
  $("smaller").disabled = index === 0;
  $("larger").disabled = index === SIZES.length - 1;
  try {
    localStorage.setItem(SIZE_KEY, index);
  } catch {
    // a browser that keeps nothing
  }
  return index;
}

function sizeKept() {
  try {
    return Number(localStorage.getItem(SIZE_KEY) ?? SIZE);
  } catch {
    return SIZE;
  }
}

function readAloud() {
  if (aloud.isReading()) {
    aloud.stop();
    return;
  }
  storyView.showAll();
  $("aloud").textContent = "Stop reading";
  aloud.start(storyView.words(), current.prompt + current.text, () => {
    $("aloud").textContent = "Read aloud";
  });
}

// A file that is called like the story's beginning.
function save(story) {
  const text = story.prompt + story.text;
  const words = text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? ["story"];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`${text.trim()}\n`], { type: "text/plain" }));
  link.download = `${words.slice(0, 6).join("-")}.txt`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
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
  begin(story);
  fillIn({ ...story, seed: null });
  storyView.add(story.text);
  storyView.end();
  storyView.showAll();
  showLink(story);
  finish(story);
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
  if (event.key !== "Escape") return;
  if (aloud.isReading()) aloud.stop();
  else if (!$("rest").hidden) storyView.showAll();
  else running?.abort();
});
$("stop").addEventListener("click", () => running?.abort());
$("rest").addEventListener("click", () => storyView.showAll());
$("again").addEventListener("click", () => tell({ ...current, seed: null, weights: null }));
$("copy").addEventListener("click", () => copy($("copy"), current.prompt + current.text));
$("link").addEventListener("click", () => copy($("link"), linkOf(current)));
$("save").addEventListener("click", () => save(current));
$("print").addEventListener("click", () => window.print());
window.addEventListener("beforeprint", () => storyView.showAll());
$("aloud").addEventListener("click", readAloud);
aloud.onVoices(() => { $("aloud").hidden = !aloud.isPossible(); });
let size = setSize(sizeKept());
$("smaller").addEventListener("click", () => { size = setSize(size - 1); });
$("larger").addEventListener("click", () => { size = setSize(size + 1); });
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
  $("aloud").hidden = !aloud.isPossible();
  listPast(pastStories());
  if (!query.has("prompt") && !query.has("seed")) return;
  const wish = {
    prompt: query.get("prompt") ?? "",
    temperature: numberIn("temperature") ?? Number($("temperature").value),
    length: numberIn("max_tokens"),
    seed: numberIn("seed"),
    weights: query.get("weights"),
  };
  fillIn({ ...wish, seed: null });
  if (wish.seed !== null) tell(wish);
}

start();
