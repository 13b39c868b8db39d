// OpenAI's own client from version 3 on: completions, the model, and chat, whole and streamed.
import assert from "node:assert/strict";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import OpenAI5 from "openai";
import { Configuration, OpenAIApi } from "openai3";
import OpenAI4 from "openai4";
import OpenAI6 from "openai6";
import { startServer } from "../support/server.mjs";

const settings = { model: "alpaca", seed: 3, max_tokens: 20, temperature: 0.7 };
const wish = { ...settings, prompt: "The sea" };
const talk = { ...settings, messages: [
  { role: "system", content: "You are a pirate." },
  { role: "user", content: "once" },
  { role: "assistant", content: "once upon a time" },
  { role: "user", content: "The sea" },
] };
const twentyPrompts = Array.from({ length: 20 }, (_, i) => `number ${i}`);

// What each version is asked through: functions that take a request and answer as the server did.
function modern(Client, url) {
  const client = new Client({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
  return {
    complete: (request) => client.completions.create(request),
    chat: (request) => client.chat.completions.create(request),
    model: (id) => client.models.retrieve(id),
    statusOf: (problem) => problem.status,
  };
}

function version3(url) {
  const client = new OpenAIApi(new Configuration({ basePath: `${url}/v1`, apiKey: "none" }));
  const ask = (method) => async (request) => {
    if (!request.stream) return (await client[method](request)).data;
    // This version leaves the events to its user.
    const { data } = await client[method](request, { responseType: "stream" });
    const events = (await text(data)).split("\n\n").filter((event) => event.startsWith("data: "));
    assert.equal(events.pop(), "data: [DONE]");
    return events.map((event) => JSON.parse(event.slice("data: ".length)));
  };
  return {
    complete: ask("createCompletion"),
    chat: ask("createChatCompletion"),
    model: async (id) => (await client.retrieveModel(id)).data,
    statusOf: (problem) => problem.response?.status,
  };
}

const versions = {
  3: version3,
  4: (url) => modern(OpenAI4, url),
  5: (url) => modern(OpenAI5, url),
  6: (url) => modern(OpenAI6, url),
};
let server, story, lower; // a chat's, with capitals, and a completion's, as the tokens are

before(async () => {
  server = await startServer();
  const tell = async (letters) => {
    const body = JSON.stringify({ ...wish, model: undefined, case: letters });
    return (await fetch(`${server.url}/generate`, { method: "POST", body })).json();
  };
  [story, lower] = [await tell("natural"), await tell("lower")];
});

after(async () => assert.equal(await server?.stop(), 0, "the server's exit status"));

for (const [version, open] of Object.entries(versions)) {
  describe(`openai ${version}`, () => {
    let client;
    before(() => { client = open(server.url); });

    test("a completion, whole and streamed", async () => {
      const whole = await client.complete(wish);
      assert.equal(whole.object, "text_completion");
      assert.equal(whole.choices[0].text, lower.completion);
      assert.equal(whole.usage.total_tokens, story.usage.total_tokens);
      let streamed = "", reason = null;
      for await (const event of await client.complete({ ...wish, stream: true })) {
        streamed += event.choices[0].text;
        reason = event.choices[0].finish_reason ?? reason;
      }
      assert.equal(streamed, lower.completion);
      assert.equal(reason, story.finish_reason);
    });

    test("an error", async () => {
      await assert.rejects(client.complete({ ...wish, temperature: 7 }),
        (problem) => client.statusOf(problem) === 400);
    });

    test("the model by its name", async () => {
      const model = await client.model(story.model);
      assert.equal(model.id, story.model);
      assert.equal(model.object, "model");
      await assert.rejects(client.model("gpt-4"), (problem) => client.statusOf(problem) === 404);
    });

    test("twenty prompts, and 32 choices at most", async () => {
      const { choices } = await client.complete({ ...wish, prompt: twentyPrompts, echo: true });
      assert.deepEqual(choices.map((choice) => choice.index), [...twentyPrompts.keys()]);
      for (const { index, text, seed } of choices) {
        const prompt = twentyPrompts[index];
        const alone = await client.complete({ ...wish, prompt, echo: true, seed: 3 + index });
        assert.equal(text, alone.choices[0].text);
        assert.equal(seed, 3 + index);
      }
      const most = { ...wish, prompt: twentyPrompts.slice(0, 16), n: 2 };
      assert.equal((await client.complete(most)).choices.length, 32);
      await assert.rejects(client.complete({ ...most, prompt: twentyPrompts.slice(0, 17) }),
        (problem) => client.statusOf(problem) === 400);
    });

    test("a chat, whole and streamed", async () => {
      const whole = await client.chat(talk);
      assert.equal(whole.object, "chat.completion");
      assert.deepEqual({ ...whole.choices[0].message },
        { ...whole.choices[0].message, role: "assistant", content: story.story });
      assert.equal(whole.choices[0].finish_reason, story.finish_reason);
      assert.equal(whole.usage.total_tokens, story.usage.total_tokens);
      const parts = { ...talk, max_tokens: undefined, max_completion_tokens: 20, messages: [
        { role: "user",
          content: [{ type: "text", text: "The " }, { type: "text", text: "sea" }] }] };
      assert.equal((await client.chat(parts)).choices[0].message.content, story.story);
      let streamed = "", role, reason = null;
      for await (const event of await client.chat({ ...talk, stream: true })) {
        assert.equal(event.object, "chat.completion.chunk");
        role ??= event.choices[0].delta.role;
        streamed += event.choices[0].delta.content ?? "";
        reason = event.choices[0].finish_reason ?? reason;
      }
      assert.equal(streamed, story.story);
      assert.equal(role, "assistant");
      assert.equal(reason, story.finish_reason);
    });
  });
}
