// The page of `alpaca-eval grade` in a real browser: it names nobody, keeps and saves grades, and
// works by keyboard, on a phone and in the dark.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { startChromium } from "./chromium.mjs";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const evaluate = join(resolve(root, process.env.ALPACA_BIN ?? "build/release"), "alpaca-eval");
const folder = mkdtempSync(join(tmpdir(), "alpaca-grade-"));
const small = join(root, "weights/small");
const writePage = (name, seed) => {
  const path = join(folder, name);
  execFileSync(evaluate, ["grade", "--model", small, "--seed", seed, "--out", path]);
  return path;
};
const print = (...options) => execFileSync(evaluate, options, { encoding: "utf8" });
const DATA = /<script type="application\/json"[^>]*>(.*)<\/script>/;
const dataOf = (path) => JSON.parse(readFileSync(path, "utf8").match(DATA)[1]);

let browser, path, data;

before(async () => {
  path = writePage("page.html", "1");
  data = dataOf(path);
  browser = await startChromium({ acceptDownloads: true });
});

after(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

// A fresh page that fails the test when a script does, when its policy is broken, or when it asks
// for any other file.
async function open() {
  const page = await browser.newPage();
  page.problems = [];
  page.on("pageerror", (problem) => page.problems.push(String(problem)));
  page.on("console", (message) => message.type() === "error" && page.problems.push(message.text()));
  page.on("request", (request) => {
    if (request.url() !== pathToFileURL(path).href && !request.url().startsWith("data:"))
      page.problems.push(request.url());
  });
  await page.goto(pathToFileURL(path).href);
  return page;
}

async function close(page) {
  assert.deepEqual(page.problems, []);
  await page.evaluate(() => localStorage.clear());
  await page.close();
}

async function save(page) {
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: "Save grades.json" }).click(),
  ]);
  assert.equal(download.suggestedFilename(), "grades.json");
  return JSON.parse(readFileSync(await download.path(), "utf8"));
}

const place = (page) => page.locator("#place").textContent();
const progress = (page) => page.locator("#progress-text").textContent();
const pressed = (page, name) => page.getByRole("button", { name }).getAttribute("aria-pressed");

test("the answers of the original, of GPT2-XL and of the model are there, without names", () => {
  assert.equal(data.items.length, 3 * (23 + 3));
  assert.equal(data.items.filter((item) => item.story).length, 3 * 3);
  assert.equal(new Set(data.items.map((item) => item.id)).size, data.items.length);
  for (const item of data.items) {
    const names = Object.keys(item).filter((name) => name !== "story");
    assert.deepEqual(names, ["id", "prompt", "text"]);
    assert.equal(item.text, item.text.toLowerCase().trim(), "case says who wrote it");
  }
  const texts = data.items.map((item) => item.text);
  assert.ok(texts.includes("to take a nap."));
  assert.ok(texts.includes("back to sleep in the house and didn't realize it."));
});

test("the seed decides the order, and the same seed writes the same page", () => {
  assert.deepEqual(readFileSync(writePage("again.html", "1")), readFileSync(path));
  const prompts = data.items.map((item) => item.prompt);
  const others = dataOf(writePage("other.html", "2")).items.map((item) => item.prompt);
  assert.notDeepEqual(others, prompts);
  // Answers to one prompt do not follow each other.
  assert.ok(prompts.filter((prompt, i) => prompt === prompts[i + 1]).length < 10);
});

test("everything can be graded by keyboard alone", async () => {
  const page = await open();
  await page.keyboard.press("Tab");
  await page.keyboard.type("A Tester");
  await page.locator("#by").evaluate((input) => input.blur());
  for (const [i, item] of data.items.entries()) {
    assert.equal(await place(page), `${i + 1} of ${data.items.length}`);
    if (!item.story) {
      await page.keyboard.press(i % 3 === 0 ? "n" : "y"); // and on to the next
      continue;
    }
    await page.keyboard.press("0");
    await page.keyboard.press("t");
    await page.keyboard.press("7");
    await page.keyboard.press("ArrowRight");
  }
  assert.equal(await progress(page), `${data.items.length} of ${data.items.length} graded`);
  const file = await save(page);
  assert.equal(file.by, "A Tester");
  assert.equal(file.kind, "person");
  assert.equal(file.set, data.set);
  assert.deepEqual(file.grades, data.items.map((item, i) => item.story
    ? { id: item.id, grammar: 0, creativity: 10, consistency: 7 }
    : { id: item.id, fits: i % 3 !== 0 }));
  await close(page);

  // And the report takes the file as it is.
  const [answers, grades] = [join(folder, "answers.json"), join(folder, "grades.json")];
  writeFileSync(answers, print("prompts", "--model", small, "--seed", "1", "--json"));
  writeFileSync(grades, JSON.stringify(file));
  const report = JSON.parse(print("report", "--from", answers, "--grades", grades, "--json"));
  const graders = report.grades.graders.map(({ by, answers: graded }) => [by, graded]);
  assert.deepEqual(graders, [["A Tester", data.items.length]]);
  const sum = (numbers) => numbers.reduce((one, other) => one + other, 0);
  const fits = report.grades.writers.flatMap((writer) => writer.fits);
  const short = data.items.filter((item) => !item.story);
  assert.equal(sum(fits.map(({ answers: graded }) => graded)), short.length);
  assert.equal(sum(fits.map(({ fit }) => fit)), file.grades.filter((grade) => grade.fits).length);
  for (const writer of report.grades.writers)
    assert.deepEqual([writer.grammar, writer.creativity, writer.consistency], [0, 10, 7]);
});

test("the arrows go back, and a digit is for the grade that has the focus", async () => {
  const page = await open();
  await page.keyboard.press("y");
  await page.keyboard.press("ArrowLeft");
  assert.equal(await pressed(page, "Yes (y)"), "true");
  await page.keyboard.press("n");
  await page.keyboard.press("ArrowLeft");
  assert.equal(await pressed(page, "Yes (y)"), "false");
  assert.equal(await pressed(page, "No (n)"), "true");

  await page.getByText("Go to one of them").click();
  const first = data.items.findIndex((item) => item.story);
  await page.getByRole("button", { name: String(first + 1), exact: true }).click();
  const consistency = page.getByRole("group", { name: /Consistency/ });
  await consistency.getByRole("radio", { name: "3", exact: true }).focus();
  await page.keyboard.press("8");
  assert.ok(await consistency.getByRole("radio", { name: "8", exact: true }).isChecked());
  await page.keyboard.press("ArrowRight"); // inside of the scale
  assert.ok(await consistency.getByRole("radio", { name: "9", exact: true }).isChecked());
  assert.equal(await place(page), `${first + 1} of ${data.items.length}`);
  await close(page);
});

test("work that is not saved is there after a reload", async () => {
  const page = await open();
  await page.getByLabel("Graded by").fill("Ann");
  await page.getByLabel("who is").selectOption("program");
  await page.getByRole("button", { name: "No (n)" }).click();
  await page.getByRole("button", { name: "Yes (y)" }).click();
  await page.reload();
  assert.equal(await progress(page), `2 of ${data.items.length} graded`);
  assert.equal(await place(page), `3 of ${data.items.length}`);
  const file = await save(page);
  assert.deepEqual([file.by, file.kind, file.of], ["Ann", "program", data.items.length]);
  const [first, second] = data.items;
  assert.deepEqual(file.grades, [{ id: first.id, fits: false }, { id: second.id, fits: true }]);

  page.once("dialog", (dialog) => dialog.accept());
  await page.getByRole("button", { name: "Start over" }).click();
  assert.equal(await progress(page), `0 of ${data.items.length} graded`);
  await close(page);
});

test("a file without a name or a grade is not saved", async () => {
  const page = await open();
  await page.getByRole("button", { name: "Save grades.json" }).click();
  assert.equal(await page.getByRole("alert").textContent(), "Nothing is graded yet.");
  await page.getByRole("button", { name: "Yes (y)" }).click();
  await page.getByRole("button", { name: "Save grades.json" }).click();
  assert.equal(await page.getByRole("alert").textContent(), "Say who grades first.");
  await close(page);
});

test("a story that is graded in part is not done, and is found again", async () => {
  const page = await open();
  await page.getByText("Go to one of them").click();
  await page.getByRole("button", { name: String(data.items.length), exact: true }).click();
  await page.keyboard.press("5");
  assert.equal(await progress(page), `0 of ${data.items.length} graded`);
  await page.getByRole("button", { name: "Next that is not graded" }).click();
  assert.equal(await place(page), `1 of ${data.items.length}`);
  await close(page);
});

test("a phone's width is enough, and the dark is dark", async () => {
  const page = await open();
  await page.setViewportSize({ width: 320, height: 640 });
  await page.getByText("Go to one of them").click();
  for (const number of [1, data.items.length]) {
    await page.getByRole("button", { name: String(number), exact: true }).click();
    const fits = await page.evaluate(() => document.documentElement.scrollWidth <= 320);
    assert.ok(fits, `item ${number}`);
  }
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.emulateMedia({ colorScheme: "light" });
  const light = await background();
  await page.emulateMedia({ colorScheme: "dark" });
  assert.notEqual(await background(), light);
  await close(page);
});
