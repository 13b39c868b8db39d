// LangChain's completion and chat models. It sends up to 20 prompts in one request by itself.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ChatOpenAI, OpenAI } from "@langchain/openai";
import { startServer } from "../support/server.mjs";

const prompts = Array.from({ length: 20 }, (_, i) => `number ${i}`);
let server, options;

before(async () => {
  server = await startServer();
  options = {
    model: "alpaca", apiKey: "none", maxTokens: 20, temperature: 0.7, maxRetries: 0,
    modelKwargs: { seed: 3 }, configuration: { baseURL: `${server.url}/v1` },
  };
});

after(async () => assert.equal(await server?.stop(), 0, "the server's exit status"));

// Completions are in lower case, as their tokens are; chats have capitals.
async function tell(prompt, letters = "lower", seed = 3) {
  const body = JSON.stringify({ prompt, seed, max_tokens: 20, temperature: 0.7, case: letters });
  return (await fetch(`${server.url}/generate`, { method: "POST", body })).json();
}

async function joined(stream, textOf) {
  let text = "";
  for await (const chunk of stream) text += textOf(chunk);
  return text;
}

async function requestsSoFar() {
  const metrics = await (await fetch(`${server.url}/metrics`)).text();
  const counted = metrics.match(/^http_requests_total\{path="\/v1\/completions".* (\d+)$/m);
  return Number(counted?.[1] ?? 0);
}

test("a story, whole and streamed", async () => {
  const model = new OpenAI(options);
  const { completion } = await tell("The sea");
  assert.equal(await model.invoke("The sea"), completion);
  assert.equal(await joined(await model.stream("The sea"), (chunk) => chunk), completion);
});

test("twenty prompts in one request", async () => {
  const before = await requestsSoFar();
  const { generations } = await new OpenAI(options).generate(prompts);
  assert.equal(await requestsSoFar(), before + 1);
  assert.equal(generations.length, prompts.length);
  for (const [i, [{ text }]] of generations.entries()) {
    assert.equal(text, (await tell(prompts[i], "lower", 3 + i)).completion);
  }
});

test("a chat, whole and streamed", async () => {
  const model = new ChatOpenAI(options);
  const { story } = await tell("The sea", "natural");
  const messages = [["system", "You are a pirate."], ["human", "The sea"]];
  assert.equal((await model.invoke(messages)).content, story);
  assert.equal(await joined(await model.stream(messages), (chunk) => chunk.content), story);
});
