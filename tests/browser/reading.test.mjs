// Reading on the page, in a real browser: word by word, the best of several, aloud, large, printed.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { close, completion, finished, openPage, startChromium } from "./chromium.mjs";
import { startProxy, startServer } from "../support/server.mjs";

let browser, server;

before(async () => {
  server = await startServer();
  browser = await startChromium(
    { permissions: ["clipboard-read", "clipboard-write"], acceptDownloads: true });
});

after(async () => {
  await browser?.close();
  assert.equal(await server?.stop(), 0, "the server's exit status");
});

const open = (url, prepare) => openPage(browser, url, prepare);
const begin = (page) => page.getByLabel("How does it begin?");
const button = (page, name) => page.getByRole("button", { name, exact: true });
const moving = (page) => page.emulateMedia({ reducedMotion: "no-preference" });

async function tell(page, prompt = "Once upon a time") {
  await begin(page).fill(prompt);
  await begin(page).press("Enter");
}

async function apiTells(fields) {
  const response = await fetch(`${server.url}/generate`,
    { method: "POST", body: JSON.stringify(fields) });
  return response.json();
}

// A proxy whose answer to a request for stories, read as an object, is answer(request).
function storyProxy(answer) {
  return startProxy(server.url, { relay: (passed, response) => {
    if (!passed.headers["content-type"]?.startsWith("text/event-stream")) {
      response.writeHead(passed.statusCode, passed.headers);
      passed.pipe(response);
      return;
    }
    passed.resume();
    response.writeHead(200, { "content-type": "text/event-stream" });
    const { text, ...end } = answer();
    const events = [{ text }, { finish_reason: "stop", seed: 1, ...end }];
    const sent = events.map((event) => `data: ${JSON.stringify(event)}\n\n`);
    response.end(`${sent.join("")}data: [DONE]\n\n`);
  } });
}

// The text that stands between the empty lines of the page.
const lines = (page) => page.evaluate(
  () => document.getElementById("text").innerText.trim().split(/\n+/));

// ---- word by word -----------------------------------------------------------------

test("a story is shown word by word, and the rest of it when asked for", async () => {
  const page = await open(server.url, moving);
  await tell(page);
  await button(page, "Show the rest").waitFor();
  const status = await page.locator("#status").textContent();
  const whole = status.replace("The story is finished. ", "");
  let before = "";
  for (let i = 0; i < 3; i++) {
    await page.waitForFunction((old) => document.getElementById("text").textContent.length > old,
      before.length);
    before = await page.locator("#text").textContent();
    assert.ok(whole.startsWith(before) && whole.length > before.length);
    assert.match(whole.slice(before.length), /^\s/); // whole words
  }
  assert.equal(await page.locator("#story").getAttribute("aria-busy"), "true");
  await button(page, "Show the rest").click();
  await finished(page);
  assert.equal(await page.locator("#text").textContent(), whole);
  assert.equal(await button(page, "Show the rest").isVisible(), false);
  await close(page);
});

test("Escape shows the rest too, and the focus stays on the form's button", async () => {
  const page = await open(server.url, moving);
  await begin(page).fill("The sea");
  await button(page, "Tell me a story").focus();
  await page.keyboard.press("Enter");
  await button(page, "Show the rest").waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), "rest");
  await page.keyboard.press("Escape");
  await finished(page);
  assert.equal(await page.evaluate(() => document.activeElement.id), "tell");
  await close(page);
});

test("a new story takes the place of one that is still being shown", async () => {
  const page = await open(server.url, moving);
  await tell(page, "The first");
  await button(page, "Show the rest").waitFor();
  await tell(page, "The second");
  await button(page, "Show the rest").waitFor();
  await page.keyboard.press("Escape");
  await finished(page);
  assert.equal(await page.locator("#beginning").textContent(), "The second");
  const status = await page.locator("#status").textContent();
  assert.equal(`The story is finished. ${await page.locator("#text").textContent()}`, status);
  await close(page);
});

// ---- the best of several -------------------------------------------------------------

test("the page shows the best of several stories, and its link the very one", async () => {
  const page = await open(server.url);
  const asked = page.waitForRequest((request) => request.url().endsWith("/generate"));
  await tell(page, "The little fox");
  await finished(page);
  const request = (await asked).postDataJSON();
  assert.ok(request.best_of > 1 && request.seed === undefined && request.stream === true);
  const query = new URL(page.url()).searchParams;
  const alone = await apiTells(
    { prompt: "The little fox", temperature: 0.8, min_p: 0.1, seed: Number(query.get("seed")) });
  assert.equal(await page.locator("#text").textContent(), alone.story);
  assert.equal(query.get("weights"), alone.system_fingerprint);
  const shared = await open(page.url());
  await finished(shared);
  assert.equal(await shared.locator("#text").textContent(), alone.story);
  assert.equal(await shared.locator("#message").isVisible(), false);
  await shared.close();
  await close(page);
});

test("a link that was made with other weights says so", async () => {
  const link = "?prompt=The+fox&temperature=0.7&seed=5&weights=fp_0123456789";
  const page = await open(`${server.url}/${link}`);
  await finished(page);
  assert.match(await page.locator("#message").textContent(), /other weights/);
  assert.ok((await completion(page)).length > 0);
  const { system_fingerprint: weights } = await apiTells({ max_tokens: 0 });
  // Those of the story that is shown.
  assert.equal(new URL(page.url()).searchParams.get("weights"), weights);
  await button(page, "Another ending").click();
  await finished(page);
  assert.equal(await page.locator("#message").isVisible(), false);
  await close(page);
});

// A page that asks for a story. Its first request finds the server too busy.
async function openAtBusyTime(retryAfter) {
  const page = await open(server.url);
  const bodies = [], times = [];
  await page.route("**/generate", (route) => {
    bodies.push(route.request().postDataJSON());
    times.push(performance.now());
    if (bodies.length > 1) return route.continue();
    const headers = { "Retry-After": retryAfter };
    return route.fulfill({ status: 503, headers, json: { error: { message: "busy" } } });
  });
  const refused = page.waitForResponse((response) => response.status() === 503);
  await tell(page);
  await refused;
  return { page, bodies, times };
}

test("a server that is too busy for several is asked for one when it says, or in 5 s", async () => {
  for (const [retryAfter, seconds] of [["1", 1], ["3600", 5]]) {
    const { page, bodies, times } = await openAtBusyTime(retryAfter);
    await finished(page);
    assert.equal(bodies.length, 2);
    assert.ok(times[1] - times[0] >= seconds * 1000 - 50); // clocks of two processes
    assert.ok(bodies[0].best_of > 1);
    assert.deepEqual(bodies[1], { ...bodies[0], best_of: 1 });
    assert.ok((await completion(page)).length > 0);
    assert.equal(await page.locator("#message").isVisible(), false);
    await close(page);
  }
});

test("a reader who stops the story does not wait for the server to have time", async () => {
  const { page, bodies } = await openAtBusyTime("3600");
  await button(page, "Stop").click();
  await button(page, "Tell me a story").waitFor();
  assert.equal(bodies.length, 1);
  assert.equal(await page.locator("#message").isVisible(), false);
  await close(page);
});

// ---- lines, letters, paper, files -------------------------------------------------------

test("what somebody says has lines of its own", async (t) => {
  const text = ' the sea. "Hello! Who are you?" asked Tom. "I am Mr. Fish," said the fish. ' +
    '"Look!" Tom said. It swam away. Tom smiled and said, "Come back!" He waited all day.';
  const proxy = await storyProxy(() => ({ text }));
  t.after(proxy.stop);
  const page = await open(proxy.url);
  await tell(page, "Tom went to");
  await finished(page);
  assert.deepEqual(await lines(page), [
    "Tom went to the sea.", '"Hello! Who are you?" asked Tom.', '"I am Mr. Fish," said the fish.',
    '"Look!" Tom said.', 'It swam away. Tom smiled and said, "Come back!"', "He waited all day."]);
  assert.equal(await page.locator("#text").textContent(), `Tom went to${text}`);
  await close(page);
});

test("letters can be made larger and smaller, and stay so", async () => {
  const page = await open(server.url);
  await tell(page);
  await finished(page);
  const size = () => page.evaluate(
    () => parseFloat(getComputedStyle(document.getElementById("text")).fontSize));
  const first = await size();
  await button(page, "Larger letters").click();
  const larger = await size();
  assert.ok(larger > first);
  while (await button(page, "Larger letters").isEnabled()) {
    await button(page, "Larger letters").click();
  }
  const largest = await size();
  assert.ok(largest > larger);
  await page.setViewportSize({ width: 320, height: 640 });
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  await page.reload();
  await finished(page);
  assert.equal(await size(), largest);
  await button(page, "Smaller letters").click();
  assert.ok(await size() < largest);
  await close(page);
});

test("the story alone is printed, in large letters", async () => {
  const page = await open(server.url);
  await page.evaluate(() => { window.print = () => { window.printed = true; }; });
  await tell(page);
  await finished(page);
  await button(page, "Print").click();
  assert.equal(await page.evaluate(() => window.printed), true);
  await page.emulateMedia({ media: "print", colorScheme: "dark" });
  const visible = await page.evaluate(() => document.body.innerText.trim().replace(/\s+/g, " "));
  assert.equal(visible, (await page.locator("#text").textContent()).trim().replace(/\s+/g, " "));
  const style = await page.evaluate(() => {
    const { fontSize, color } = getComputedStyle(document.getElementById("text"));
    const paper = getComputedStyle(document.body).backgroundImage;
    return { size: parseFloat(fontSize), color, paper };
  });
  assert.ok(style.size >= 24 && style.color === "rgb(0, 0, 0)" && style.paper === "none");
  await close(page);
});

test("a story is saved as a text file that is called like its beginning", async () => {
  const page = await open(server.url);
  await tell(page, "Once, a fox");
  await finished(page);
  const download = page.waitForEvent("download");
  await button(page, "Save as text").click();
  assert.match((await download).suggestedFilename(), /^once-a-fox-\S+\.txt$/);
  const saved = readFileSync(await (await download).path(), "utf8");
  assert.equal(saved, `${(await page.locator("#text").textContent()).trim()}\n`);
  await close(page);
});

// ---- read aloud ---------------------------------------------------------------------

// Chromium has no voices without a desktop, so the page gets a stand-in for the browser's speech,
// which keeps what it is to say; the test then says what a voice would report.
// A voice that is not there at first comes with window.addVoice().
async function withVoice(page, atFirst = true) {
  await page.addInitScript((isThere) => {
    const voice = { name: "a voice", lang: "en-US" };
    let voices = isThere ? [voice] : [];
    const synth = Object.assign(new EventTarget(), {
      said: [],
      canceled: 0,
      getVoices: () => voices,
      speak: (utterance) => synth.said.push(utterance),
      cancel: () => { synth.canceled++; },
    });
    Object.defineProperty(window, "speechSynthesis", { value: synth });
    window.addVoice = () => {
      voices = [voice];
      synth.dispatchEvent(new Event("voiceschanged"));
    };
  }, atFirst);
}

const marked = (page, name) => page.evaluate((kind) =>
  [...document.querySelectorAll(`#text .${kind}`)].map((node) => node.textContent).join(" "), name);

test("a story is read aloud, and the word that is being read is marked", async (t) => {
  const proxy = await storyProxy(() => ({ text: "me a fox ran. It was red." }));
  t.after(proxy.stop);
  const page = await open(proxy.url, withVoice);
  await tell(page, "One ti"); // its last word goes on in the story
  await finished(page);
  await button(page, "Read aloud").click();
  const said = await page.evaluate(
    () => speechSynthesis.said.map((utterance) => utterance.text.trim()));
  assert.deepEqual(said, ["One time a fox ran.", "It was red."]);
  await page.evaluate(() => {
    const [first] = speechSynthesis.said;
    first.onstart();
    first.onboundary({ name: "word", charIndex: 4 });
  });
  assert.equal(await marked(page, "word"), "ti me");
  assert.equal(await marked(page, "sentence"), "One ti me a fox ran.");
  await page.evaluate(() => {
    const second = speechSynthesis.said[1];
    second.onstart();
    second.onboundary({ name: "sentence", charIndex: 0 });
  });
  assert.equal(await marked(page, "sentence"), "It was red.");
  assert.equal(await marked(page, "word"), "");
  await page.evaluate(() => speechSynthesis.said[1].onend());
  assert.equal(await marked(page, "sentence"), "");
  assert.equal(await button(page, "Read aloud").isVisible(), true);
  await close(page);
});

test("reading aloud shows the rest; a button, Escape and another story stop it", async () => {
  const page = await open(server.url, async (fresh) => {
    await moving(fresh);
    await withVoice(fresh);
  });
  const stops = [
    () => button(page, "Stop reading").click(),
    () => page.keyboard.press("Escape"),
    () => tell(page, "Another")];
  for (const [index, stop] of stops.entries()) {
    await tell(page);
    await button(page, "Read aloud").click(); // while it is still being shown
    await finished(page);
    await page.evaluate(() => speechSynthesis.said.at(-1).onstart());
    assert.notEqual(await marked(page, "sentence"), "");
    await stop();
    await button(page, "Read aloud").waitFor();
    assert.equal(await page.evaluate(() => speechSynthesis.canceled), index + 1);
    assert.equal(await marked(page, "sentence"), "");
  }
  await close(page);
});

test("without a voice there is no button to read aloud, until one comes", async () => {
  const page = await open(server.url, (fresh) => withVoice(fresh, false));
  await tell(page);
  await finished(page);
  assert.equal(await button(page, "Read aloud").isVisible(), false);
  assert.equal(await button(page, "Larger letters").isVisible(), true);
  await page.evaluate(() => window.addVoice());
  assert.equal(await button(page, "Read aloud").isVisible(), true);
  await close(page);
});

test("everything about a story can be reached by the keyboard", async () => {
  const page = await open(server.url, withVoice);
  await tell(page);
  await finished(page);
  await button(page, "Tell me a story").focus();
  const reached = [];
  for (let i = 0; i < 8; i++) {
    await page.keyboard.press("Tab");
    reached.push(await page.evaluate(() => document.activeElement.getAttribute("aria-label") ??
      document.activeElement.textContent));
  }
  assert.deepEqual(reached, ["Read aloud", "Smaller letters", "Larger letters", "Another ending",
    "Copy", "Copy link", "Save as text", "Print"]);
  await close(page);
});
