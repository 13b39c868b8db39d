// The API through OpenAI's own client.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import OpenAI from "openai";
import { startServer } from "../support/server.mjs";

let server, client;
const wish = { model: "any", prompt: "The sea", seed: 3, max_tokens: 20, temperature: 0.7 };

before(async () => {
  server = await startServer();
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
});

after(async () => assert.equal(await server?.stop(), 0, "the server's exit status"));

// All but what the kv cache happened to have.
function counts({ prompt_tokens_details: { cached_tokens: cached }, ...usage }) {
  assert.ok(cached >= 0 && cached < usage.prompt_tokens);
  return usage;
}

test("a completion", async () => {
  const answer = await client.completions.create(wish);
  const story = await (await fetch(`${server.url}/generate`, {
    method: "POST", body: JSON.stringify({ ...wish, model: undefined, case: "lower" }),
  })).json();
  assert.equal(answer.object, "text_completion");
  assert.equal(answer.choices[0].text, story.completion);
  assert.equal(answer.choices[0].finish_reason, story.finish_reason);
  assert.deepEqual(counts(answer.usage), counts(story.usage));
  assert.equal(answer.model, story.model);
});

test("a stream of completions", async () => {
  const whole = await client.completions.create({ ...wish, n: 2 });
  const texts = ["", ""], reasons = [null, null];
  let usage = null;
  const stream = await client.completions.create({
    ...wish, n: 2, stream: true, stream_options: { include_usage: true },
  });
  for await (const event of stream) {
    for (const choice of event.choices) {
      texts[choice.index] += choice.text;
      reasons[choice.index] = choice.finish_reason;
    }
    usage = event.usage ?? usage;
  }
  for (const choice of whole.choices) {
    assert.equal(texts[choice.index], choice.text);
    assert.equal(reasons[choice.index], choice.finish_reason);
  }
  assert.deepEqual(counts(usage), counts(whole.usage));
});

test("log-probabilities", async () => {
  for (const top of [0, 1, 5]) {
    for (const echo of [false, true]) {
      const wanted = { ...wish, prompt: "the sea", logprobs: top, echo };
      const [choice] = (await client.completions.create(wanted)).choices;
      const { tokens, token_logprobs, top_logprobs, text_offset } = choice.logprobs;
      assert.equal(tokens.join(""), choice.text);
      tokens.forEach((token, i) => {
        const generated = i > 0 || !echo;
        assert.ok(choice.text.startsWith(token, text_offset[i]));
        assert.ok(generated ? token_logprobs[i] <= 0 : token_logprobs[i] === null);
        if (top === 0 || !generated) return;
        assert.equal(top_logprobs[i][token], token_logprobs[i]);
        assert.ok([top, top + 1].includes(Object.keys(top_logprobs[i]).length));
      });
      assert.equal(top_logprobs === null, top === 0);
      assert.equal(tokens.length, token_logprobs.length);

      const parts = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
      for await (const event of await client.completions.create({ ...wanted, stream: true })) {
        for (const name of Object.keys(parts)) {
          parts[name].push(...event.choices[0].logprobs?.[name] ?? []);
        }
      }
      if (!top) parts.top_logprobs = null;
      assert.deepEqual(parts, choice.logprobs);
    }
  }
  assert.equal((await client.completions.create(wish)).choices[0].logprobs, null);
});

test("several prompts", async () => {
  const prompts = ["the sea", "a dragon"];
  const answer = await client.completions.create({ ...wish, prompt: prompts, n: 2, echo: true });
  assert.deepEqual(answer.choices.map((choice) => choice.index), [0, 1, 2, 3]);
  for (const { index, text } of answer.choices) {
    const prompt = prompts[index >> 1];
    const alone = await client.completions.create({ ...wish, prompt, echo: true, seed: 3 + index });
    assert.equal(text, alone.choices[0].text);
  }
  const lists = await Promise.all(prompts.map(async (text) => (await (await fetch(
    `${server.url}/tokenize`, { method: "POST", body: JSON.stringify({ text }) })).json()).tokens));
  const ofIds = await client.completions.create({ ...wish, prompt: lists, n: 2, echo: true });
  assert.deepEqual(ofIds.choices, answer.choices);
  const many = client.completions.create({ ...wish, prompt: prompts, n: 17 });
  await assert.rejects(many, (problem) => {
    assert.ok(problem instanceof OpenAI.BadRequestError);
    assert.equal(problem.param, "n");
    return true;
  });
});

test("a stream that is left behind", async () => {
  const stream = await client.completions.create({ ...wish, n: 8, max_tokens: null,
    temperature: 2, stream: true });
  for await (const event of stream) {
    assert.ok(event.choices[0].text.length >= 0);
    break; // which closes the connection
  }
  for (let running = 1; running > 0;) {
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    running = Number(metrics.match(/^alpaca_requests_running (\d+)$/m)[1]);
  }
});

test("the models", async () => {
  const models = [];
  for await (const model of client.models.list()) models.push(model.id);
  assert.deepEqual(models, [(await client.completions.create(wish)).model]);
});

test("errors are those of OpenAI", async () => {
  await assert.rejects(client.completions.create({ ...wish, temperature: 7 }), (problem) => {
    assert.ok(problem instanceof OpenAI.BadRequestError);
    assert.equal(problem.param, "temperature");
    assert.match(problem.message, /0 to 2/);
    return true;
  });
  await assert.rejects(client.get("/nothing"), OpenAI.NotFoundError);
});
