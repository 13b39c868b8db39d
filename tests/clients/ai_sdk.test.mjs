// The AI SDK's completion and chat models for servers that speak as OpenAI's do.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import { startServer } from "../support/server.mjs";

const settings = { seed: 3, maxOutputTokens: 20, temperature: 0.7, maxRetries: 0 };
let server, provider;

before(async () => {
  server = await startServer();
  provider = createOpenAICompatible({
    name: "alpaca", baseURL: `${server.url}/v1`, apiKey: "none", includeUsage: true,
  });
});

after(async () => assert.equal(await server?.stop(), 0, "the server's exit status"));

async function tell(fields) {
  const body = JSON.stringify({ seed: 3, max_tokens: 20, temperature: 0.7, ...fields });
  return (await fetch(`${server.url}/generate`, { method: "POST", body })).json();
}

// The same request whole and streamed; both give the text, and count the tokens.
async function check(model, expectedText, expected) {
  const request = { ...settings, model, prompt: "The sea" };
  const streamed = streamText({ ...request, onError: ({ error }) => { throw error; } });
  let text = "";
  for await (const part of streamed.textStream) text += part;
  assert.equal(text, expectedText);
  for (const answer of [await generateText(request),
    { text, finishReason: await streamed.finishReason, usage: await streamed.usage }]) {
    assert.equal(answer.text, expectedText);
    assert.equal(answer.finishReason, expected.finish_reason);
    assert.equal(answer.usage.inputTokens, expected.usage.prompt_tokens);
    assert.equal(answer.usage.outputTokens, expected.usage.completion_tokens);
  }
}

test("its completion model", async () => {
  // It makes a talk out of every prompt, whatever the model is.
  const story = await tell({ prompt: "user:\nThe sea\n\nassistant:\n", stop: ["\nuser:"],
    case: "lower" });
  await check(provider.completionModel("alpaca"), story.completion, story);
});

test("its chat model", async () => {
  const story = await tell({ prompt: "The sea" });
  await check(provider.chatModel("alpaca"), story.story, story);
});
