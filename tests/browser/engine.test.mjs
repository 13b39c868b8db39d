// The engine in the browser: the server's very stories, only after the reader has agreed, and then
// also without a server or a network. Needs the folder of `make web`.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import http from "node:http";
import { extname, join, normalize } from "node:path";
import { after, before, describe, test } from "node:test";
import { close, completion, finished, openPage, startChromium } from "./chromium.mjs";
import { startProxy, startServer, webFolder } from "../support/server.mjs";

const built = existsSync(join(webFolder, "web/engine.json"));
const { pack } = built ? JSON.parse(readFileSync(join(webFolder, "web/engine.json"))) : {};
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css",
  ".svg": "image/svg+xml", ".json": "application/json", ".wasm": "application/wasm" };

// A host of static files that knows nothing of us; `asked` are the paths so far.
async function startHost() {
  const asked = [];
  const host = http.createServer((request, response) => {
    const path = normalize(new URL(request.url, "http://host").pathname);
    const file = join(webFolder, path.endsWith("/") ? `${path}index.html` : path);
    asked.push(path);
    if (request.method !== "GET" || !existsSync(file)) return response.writeHead(404).end();
    response.writeHead(200, { "Content-Type": TYPES[extname(file)] ?? "application/octet-stream" });
    return response.end(readFileSync(file));
  });
  await new Promise((done) => host.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${host.address().port}/`,
    asked,
    stop() {
      host.closeAllConnections();
      return new Promise((done) => host.close(done));
    },
  };
}

const REQUESTS = [
  { prompt: "once upon a time" },
  { prompt: "" },
  { prompt: "the big dragon was afraid of", temperature: 0 },
  { prompt: "Tom said: \"Don't", temperature: 0.3 },
  { prompt: "one sunny day lily found a strange red box. ", temperature: 1 },
  { prompt: "tom and his dog went to the park", temperature: 1.5 },
  { prompt: "a little alpaca", temperature: 2 },
  { prompt: "\u6d77 caf\u00e9 \ud83e\udd99 ", temperature: 0.9 },
  { prompt: "two\nlines", max_tokens: 17 },
  { prompt: "once upon a time", best_of: 4 },
  { prompt: "my best friend", best_of: 16, max_tokens: 12, seed: 2 ** 53 - 3 },
  { prompt: "nothing", max_tokens: 0 },
  { prompt: "there was a queen who ".repeat(30), max_tokens: 40 },
  { prompt: "there was a king", top_k: 5, top_p: 0.8, temperature: 1.2 },
  { prompt: "there was a king", min_p: 0.1, temperature: 1.2 },
  { prompt: "the cat and the cat and the cat", repetition_penalty: 1.3 },
  { prompt: "the cat", presence_penalty: 1.5, frequency_penalty: 0.5 },
  { prompt: "the cat", frequency_penalty: -1, top_k: 40, top_p: 0.95, min_p: 0.02,
    temperature: 0.8 },
  { prompt: "the end", seed: 2 ** 53 - 1 },
  { prompt: "the end", seed: 0, temperature: 1e-3 },
].map((request, seed) => ({ seed, ...request }));

const ask = (server, request) => fetch(`${server.url}/generate`,
  { method: "POST", body: JSON.stringify(request) });

async function serverTells(server, request) {
  const answer = await ask(server, request);
  const { completion: text, finish_reason, seed, system_fingerprint } = await answer.json();
  return { text, finish_reason, seed, system_fingerprint };
}

const browserTells = (page, request) => page.evaluate(async (wanted) => {
  let text = "", end = {};
  await browserEngine.ask(wanted, new AbortController().signal, (event) => {
    text += event.text ?? "";
    if (event.finish_reason) end = event;
  });
  const { finish_reason, seed, system_fingerprint } = end;
  return { text, finish_reason, seed, system_fingerprint };
}, request);

// Agrees to the download, unless this browser has it already, and waits for its end.
async function agree(page) {
  await page.evaluate(() => browserEngine.known);
  await page.evaluate(() => { document.getElementById("browser").open = true; });
  if (!await page.evaluate(() => browserEngine.agreed)) {
    await page.getByRole("button", { name: /^Download/ }).click();
  }
  await page.getByRole("button", { name: "Remove it" }).waitFor();
  await page.evaluate(() => navigator.serviceWorker.ready);
}

async function tell(page, prompt, seed = 5) {
  await page.getByLabel("How does it begin?").fill(prompt);
  await page.evaluate((value) => { document.getElementById("seed").value = value; }, seed);
  await page.getByRole("button", { name: "Tell me a story" }).click();
  await page.getByRole("button", { name: "Tell me a story" }).waitFor();
}

const text = (page) => page.locator("#text").textContent();
const message = (page) => page.locator("#message").textContent();

const skip = !built && "needs `make web`, and so Emscripten";
describe("the engine in the browser", { skip }, () => {
  let browser, server;

  before(async () => {
    server = await startServer("--web", webFolder);
    browser = await startChromium();
  });

  after(async () => {
    await browser?.close();
    assert.equal(await server?.stop(), 0, "the server's exit status");
  });

  test("twenty requests give the server's stories, bit for bit", async () => {
    const page = await openPage(browser, server.url);
    await agree(page);
    assert.equal(REQUESTS.length, 20);
    for (const request of REQUESTS) {
      assert.deepEqual(await browserTells(page, request), await serverTells(server, request),
        JSON.stringify(request));
    }
    await close(page);
  });

  test("the browser refuses what the server refuses, with the field and its range", async () => {
    const page = await openPage(browser, server.url);
    await agree(page);
    for (const [request, problem] of [[{ temperature: 3 }, /temperature.* 0 to 2/],
      [{ top_k: -1 }, /top_k.* 0 to 4000/], [{ warmth: 1 }, /warmth/],
      [{ best_of: 17 }, /best_of.* 1 to 16/], [{ seed: -2 }, /seed/],
      [{ top_k: 1.5 }, /top_k.*whole/],
      [{ prompt: "many words ".repeat(200) }, /prompt is 401 tokens long.* at most 255/]]) {
      await assert.rejects(browserTells(page, { prompt: "", ...request }), problem);
      const answer = await ask(server, request);
      assert.equal(answer.status, 400);
      assert.match((await answer.json()).error.message, problem);
    }
    await close(page);
  });

  test("nothing is downloaded before the reader has agreed", async (t) => {
    const host = await startHost();
    t.after(host.stop);
    const page = await openPage(browser, host.url);
    await tell(page, "once upon a time");
    assert.match(await message(page), /allow the download/);
    assert.equal(await completion(page), "");
    assert.deepEqual(host.asked.filter((path) => /worker|wasm|pack|offline/.test(path)), []);
    await page.reload();
    await page.evaluate(() => browserEngine.known);
    assert.match(await page.locator("#browser-note").textContent(), /downloads \d+ MB once/);
    await close(page);
  });

  test("a page of static files tells the server's story, also without a network", async (t) => {
    const host = await startHost();
    t.after(host.stop);
    let page = await openPage(browser, host.url);
    await agree(page);
    await tell(page, "once upon a time");
    const expected = await serverTells(server,
      { prompt: "once upon a time", temperature: 0.8, min_p: 0.1, seed: 5 });
    assert.equal(await completion(page), expected.text);
    assert.equal(await message(page), "");
    await page.reload();
    await tell(page, "once upon a time");
    assert.equal(await completion(page), expected.text);
    assert.equal(host.asked.filter((path) => path.endsWith(pack)).length, 1);
    const link = page.url();
    await host.stop();
    page.problems.push = () => {}; // what is not there is said on the console
    await page.goto(link);
    await finished(page);
    assert.equal(await completion(page), expected.text);
    await page.close();
  });

  test("what is removed is gone", async (t) => {
    const host = await startHost();
    t.after(host.stop);
    const page = await openPage(browser, host.url);
    await agree(page);
    await page.getByRole("button", { name: "Remove it" }).click();
    await page.getByRole("button", { name: /^Download/ }).waitFor();
    await page.reload();
    await tell(page, "once upon a time");
    assert.match(await message(page), /allow the download/);
    assert.deepEqual(await page.evaluate(() => caches.keys()), []);
    await close(page);
  });

  test("a story in the browser stops when asked to", async () => {
    const page = await openPage(browser, server.url);
    await agree(page);
    const outcome = await page.evaluate(async () => {
      const stop = new AbortController();
      let events = 0;
      const story = browserEngine.ask({ prompt: "", temperature: 2, seed: 1 }, stop.signal, () => {
        if (++events === 1) stop.abort();
      });
      const reason = await story.catch((problem) => problem.name);
      let text = "";
      await browserEngine.ask({ prompt: "the end", seed: 3, max_tokens: 9 },
        new AbortController().signal, (event) => { text += event.text ?? ""; });
      return { reason, events, text };
    });
    const next = await serverTells(server, { prompt: "the end", seed: 3, max_tokens: 9 });
    assert.deepEqual(outcome, { reason: "AbortError", events: 1, text: next.text });
    await close(page);
  });

  test("what server or proxy have no time for is the browser's if the reader agreed", async (t) => {
    let refusal = 0;
    const proxy = await startProxy(server.url, { relay(answer, response) {
      if (refusal && answer.req.method === "POST") {
        answer.resume();
        response.writeHead(refusal, { "Content-Type": "application/json" });
        response.end('{"error":{"message":"busy"}}');
        return;
      }
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    } });
    t.after(proxy.stop);
    const page = await openPage(browser, proxy.url);
    await tell(page, "the big dragon");
    const story = await text(page);
    refusal = 503;
    await tell(page, "the big dragon");
    assert.match(await message(page), /try again in a moment/);
    assert.equal(await page.locator("#browser-get").isVisible(), true);
    await agree(page);
    await tell(page, "the big dragon");
    assert.match(await message(page), /your browser does/);
    assert.equal(await text(page), story);
    refusal = 502;
    await tell(page, "the big dragon");
    assert.match(await message(page), /your browser does/);
    refusal = 0;
    await tell(page, "the big dragon");
    assert.equal(await message(page), "");
    await close(page);
  });

  test("a server that is gone leaves page and stories to a browser with the engine", async (t) => {
    const shortLived = await startServer("--web", webFolder);
    t.after(() => shortLived.stop());
    const page = await openPage(browser, shortLived.url);
    await agree(page);
    await tell(page, "the big dragon");
    const story = await text(page);
    assert.equal(await shortLived.stop(), 0);
    await page.goto(shortLived.url);
    await tell(page, "the big dragon");
    assert.match(await message(page), /your browser does/);
    assert.equal(await text(page), story);
    await close(page);
  });

  const slow = !process.env.SPEED && "a measurement, with SPEED=1";
  test("tokens per second", { skip: slow }, async (t) => {
    const page = await openPage(browser, server.url);
    await agree(page);
    let seed = 0;
    for (const best_of of [1, 1, 1, 1, 4, 4, 4, 4]) {
      const [tokens, ms] = await page.evaluate(async (request) => {
        const begin = performance.now();
        let count = 0;
        await browserEngine.ask(request, new AbortController().signal, (event) => {
          count = event.usage?.completion_tokens;
        });
        return [count, performance.now() - begin];
      }, { prompt: "once upon a time", temperature: 0.7, seed: seed += best_of, best_of });
      const rate = best_of === 1 ? `, ${Math.round(tokens / ms * 1000)} tokens/s` : "";
      t.diagnostic(`best of ${best_of}: ${tokens} tokens after ${Math.round(ms)} ms${rate}`);
    }
    await close(page);
  });

  test("a server that offers no engine shows nothing of it, and allows no worker", async (t) => {
    const plain = await startServer();
    t.after(() => plain.stop());
    const page = await openPage(browser, plain.url);
    await page.evaluate(() => browserEngine.known);
    assert.equal(await page.locator("#browser").isVisible(), false);
    assert.doesNotMatch((await fetch(plain.url)).headers.get("Content-Security-Policy"), /worker/);
    await close(page);
    assert.equal(await plain.stop(), 0);
  });
});
