// The page in a real browser: tells, grows, stops, links, remembers, and says what is wrong.
//
//   ALPACA_BIN=build/release ALPACA_MODEL=weights/alpaca npm test
//   SCREENSHOT=docs/page.png npm test      also takes the README's picture
import assert from "node:assert/strict";
import { dirname, resolve } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { close, completion, finished, openPage, startChromium } from "./chromium.mjs";
import { startProxy, startServer } from "../support/server.mjs";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");

// ---- what the tests stand on ---------------------------------------------------

// Only a story never ends: its first words come one by one, over and over, so it can be watched and
// stopped however fast the engine is and however much the server puts into one event.
async function endless(answer, response) {
  response.writeHead(answer.statusCode, answer.headers);
  if (!answer.headers["content-type"]?.startsWith("text/event-stream")) {
    answer.pipe(response);
    return;
  }
  const [, event] = (await text(answer)).match(/^data: (.*)$/m);
  const words = JSON.parse(event).text.split(/(?=\s)/);
  for (let i = 0; !response.destroyed; i++) {
    response.write(`data: ${JSON.stringify({ text: words[i % words.length] })}\n\n`);
    await new Promise((done) => setTimeout(done, 30));
  }
}

let browser, server;

before(async () => {
  server = await startServer();
  browser = await startChromium({ permissions: ["clipboard-read", "clipboard-write"] });
});

after(async () => {
  await browser?.close();
  assert.equal(await server?.stop(), 0, "the server's exit status");
});

const open = (url) => openPage(browser, url);

// ---- the tests ------------------------------------------------------------------

test("a story begins with the prompt as it was typed", async () => {
  const page = await open(server.url);
  await page.getByLabel("How does it begin?").fill("Once upon a time");
  await page.getByLabel("Temperature").fill("0.5");
  await page.getByRole("button", { name: "Tell me a story" }).click();
  await finished(page);
  assert.equal(await page.locator("#beginning").textContent(), "Once upon a time");
  assert.ok((await completion(page)).length > 0);
  await close(page);
});

test("with a seed the page's story is what the API tells", async () => {
  const page = await open(server.url);
  await page.getByLabel("How does it begin?").fill("a dog & a <cat>");
  await page.locator("summary", { hasText: "More" }).click();
  await page.getByLabel("Seed").fill("12345");
  await page.getByLabel("Longest story").fill("20");
  await page.getByLabel("How does it begin?").press("Enter");
  await finished(page);
  const answer = await (await fetch(`${server.url}/generate`, {
    method: "POST",
    body: JSON.stringify(
      { prompt: "a dog & a <cat>", seed: 12345, max_tokens: 20, temperature: 0.8,
        min_p: 0.1 }),
  })).json();
  assert.equal(await page.locator("#text").textContent(), answer.story);
  await close(page);
});

test("the story grows, and stops when asked to", async (t) => {
  const proxy = await startProxy(server.url, { relay: endless });
  t.after(proxy.stop);
  const page = await open(proxy.url);
  await page.getByRole("button", { name: "a frightened dragon" }).click();
  for (let i = 0; i < 4; i++) {
    const seen = await completion(page);
    await page.waitForFunction(
      (old) => document.getElementById("completion").textContent !== old, seen);
  }
  await page.getByRole("button", { name: "Stop" }).click();
  await finished(page);
  const stopped = await completion(page);
  assert.match(await page.locator("#ending").textContent(), /you said stop/);
  assert.equal(await page.getByRole("button", { name: "Copy link" }).isVisible(), false);
  await page.waitForTimeout(100);
  assert.equal(await completion(page), stopped);
  await close(page);
});

test("another ending differs, and a link brings the very story back", async () => {
  const page = await open(server.url);
  await page.getByRole("button", { name: "a little alpaca" }).click();
  await finished(page);
  const first = await page.locator("#text").textContent();
  await page.getByRole("button", { name: "Copy link" }).click();
  const link = await page.evaluate(() => navigator.clipboard.readText());
  assert.equal(link, page.url());
  await page.getByRole("button", { name: "Another ending" }).click();
  await finished(page);
  assert.notEqual(await page.locator("#text").textContent(), first);
  const other = await open(link);
  await finished(other);
  assert.equal(await other.locator("#text").textContent(), first);
  await other.close();
  await close(page);
});

test("under a path of a proxy the page finds its files, server and own links", async (t) => {
  const proxy = await startProxy(server.url, { prefix: "/stories" });
  t.after(proxy.stop);
  const page = await open(`${proxy.url}/`);
  await page.waitForFunction(() => [...document.images].every((image) => image.naturalWidth > 0));
  assert.ok(await page.evaluate(() => document.styleSheets[0].cssRules.length > 0));
  await page.getByRole("button", { name: "a little alpaca" }).click();
  await finished(page);
  const story = await page.locator("#text").textContent();
  assert.ok(story.length > "once upon a time there was a little alpaca named".length);
  await page.getByRole("button", { name: "Copy link" }).click();
  const link = await page.evaluate(() => navigator.clipboard.readText());
  assert.ok(link.startsWith(`${proxy.url}/?prompt=`), link);
  assert.equal(page.url(), link);
  await page.goto(link);
  await finished(page);
  assert.equal(await page.locator("#text").textContent(), story);
  await close(page);
});

test("a beginning that makes the link too long to be loaded is not in the address", async () => {
  const page = await open(`${server.url}/?prompt=before&seed=`);
  const tellFrom = async (prompt) => {
    await page.getByLabel("How does it begin?").fill(prompt);
    await page.getByRole("button", { name: "Tell me a story" }).click();
    await finished(page);
    assert.equal(await page.locator("#message").textContent(), "");
  };
  await page.locator("summary", { hasText: "More" }).click();
  await page.getByLabel("Seed").fill("1");
  await page.getByLabel("Longest story").fill("5");
  // Each sign is nine bytes of an address; all together are one unknown token of the prompt.
  const weights = "&weights=fp_0123456789"; // as long as any
  const around = `${server.url}/?prompt=&temperature=0.8&seed=1&max_tokens=5${weights}`.length;
  const room = 8000 - around;
  const longest = " ".repeat(room % 9) + "\u6d77".repeat(Math.floor(room / 9));
  await tellFrom(longest);
  assert.equal(page.url().length, 8000);
  const link = page.url();
  const story = await page.locator("#text").textContent();
  await tellFrom(longest + "a");
  assert.equal(page.url(), `${server.url}/`);
  assert.equal(await page.getByRole("button", { name: "Copy", exact: true }).isVisible(), true);
  assert.equal(await page.getByRole("button", { name: "Copy link" }).isVisible(), false);
  await tellFrom(longest + "b");
  await page.getByText("Stories I told you").click();
  assert.equal(await page.locator("#past-list button").count(), 3);
  await page.locator("#past-list button").last().click();
  assert.equal(page.url(), link);
  assert.equal(await page.getByRole("button", { name: "Copy link" }).isVisible(), true);
  await page.locator("#past-list button").first().click();
  assert.equal(page.url(), `${server.url}/`);
  await page.goto(link);
  await finished(page);
  assert.equal(await page.locator("#text").textContent(), story);
  await close(page);
});

test("earlier stories can be read again, and forgotten", async () => {
  const page = await open(server.url);
  await page.getByRole("button", { name: "surprise me" }).click();
  await finished(page);
  const story = await page.locator("#text").textContent();
  await page.goto(server.url);
  await page.getByText("Stories I told you").click();
  await page.locator("#past-list button").click();
  assert.equal(await page.locator("#text").textContent(), story);
  await page.getByRole("button", { name: "Forget them all" }).click();
  assert.equal(await page.locator("#past").isVisible(), false);
  await close(page);
});

test("a busy server is named as such", async () => {
  const small = await startServer("--slots", "1", "--queue", "1");
  const page = await open(small.url); // before the others come, which leaves little of the machine
  let enough = false; // set whatever happens, or the others would ask for ever
  const body = JSON.stringify({ temperature: 2 }); // so hot that the story hardly ends early
  const others = Array.from({ length: 4 }, async () => { // two in, two at the door
    while (!enough) await (await fetch(`${small.url}/generate`, { method: "POST", body })).text();
  });
  try {
    const message = page.locator("#message");
    do {
      await page.getByRole("button", { name: "Tell me a story" }).click();
      await page.getByRole("button", { name: "Tell me a story" }).waitFor();
    } while (!(await message.isVisible()));
    assert.match(await message.textContent(), /try again in a moment/);
    await close(page);
  } finally {
    enough = true;
    await Promise.all(others);
  }
  assert.equal(await small.stop(), 0);
});

test("a server that is gone is named as such", async () => {
  const shortLived = await startServer();
  const page = await open(shortLived.url);
  await page.waitForLoadState("networkidle"); // the icon comes after everything else
  assert.equal(await shortLived.stop(), 0);
  await page.getByRole("button", { name: "Tell me a story" }).click();
  await page.getByText("cannot be reached").waitFor();
  assert.deepEqual(page.problems, []);
  await page.close();
});

test("the page fits a phone and works with the keyboard alone", async () => {
  const page = await open(server.url);
  await page.setViewportSize({ width: 320, height: 640 });
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  assert.equal(overflow, false);
  await page.keyboard.type("the end"); // the field has the focus from the start
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "a strange red box");
  await page.keyboard.press("Enter");
  await finished(page);
  assert.ok((await completion(page)).length > 0);
  await close(page);
});

test("a picture for the README", { skip: !process.env.SCREENSHOT }, async () => {
  const page = await open(`${server.url}/?prompt=Once+upon+a+time&seed=${process.env.SEED ?? 1}`);
  await finished(page);
  await page.getByRole("heading").click(); // takes the focus from the field
  await page.screenshot({ path: resolve(root, process.env.SCREENSHOT), fullPage: true });
  await page.close();
});
