// Chromium with a profile of its own, and the page in it, for the tests here.
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find(existsSync);

// Playwright gives up on whatever it waits for after 30 s, which a machine that others keep busy,
// or that stands still for a while, can take. Only what never comes takes this long.
const HANGS_MS = 180000;

// With motion reduced a story is shown as soon as it is there.
export async function startChromium(options = {}) {
  const profile = mkdtempSync(join(tmpdir(), "alpaca-browser-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync"],
    viewport: { width: 900, height: 900 },
    reducedMotion: "reduce",
    timeout: HANGS_MS,
    ...options,
  });
  context.setDefaultTimeout(HANGS_MS); // of navigation too
  return {
    newPage: () => context.newPage(),
    async close() {
      await context.close();
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

// A fresh page that fails the test when a script does, or when the page's policy is broken. What
// prepare(page) does comes before it is loaded.
export async function openPage(browser, url, prepare = () => {}) {
  const page = await browser.newPage();
  await prepare(page);
  page.problems = [];
  page.on("pageerror", (problem) => page.problems.push(String(problem)));
  page.on("console", (message) => {
    const expected = /status of 50[23]|ERR_CONNECTION_REFUSED/.test(message.text());
    if (message.type() === "error" && !expected) page.problems.push(message.text());
  });
  await page.goto(url);
  return page;
}

export async function close(page) {
  assert.deepEqual(page.problems, []);
  await page.evaluate(() => localStorage.clear());
  await page.close();
}

export const completion = (page) => page.locator("#completion").textContent();
export const finished = (page) => page.locator("#story[aria-busy=false]").waitFor();
