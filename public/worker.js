// The engine in the reader's browser: WebAssembly, in a worker so that the page stays responsive.
//
// Takes {open: {pack, bytes}} with what web/engine.json says, {tell: request, id} with the fields
// of POST /generate, and {stop: id} for all stories up to that one. Answers with {received} bytes
// of the model, {opened: true} or {failed}, and of a story with {id, event}, whose events are those
// of the server's streams, or {id, failed}.
"use strict";

const STORE = "alpaca"; // what the browser keeps, in its Cache API
const SLICE_MS = 30; // tokens are computed for so long until the page gets and may say something

let engine = null; // what web/browser.h exports
let stopped = 0; // stories up to this id are to end
let last = Promise.resolve(); // what the worker was asked for last

// ---- memory shared with the engine ------------------------------------------------

const bytesAt = (address, count) => new Uint8Array(engine.memory.buffer, address, count);
const textAt = (address, count) => new TextDecoder().decode(bytesAt(address, count));

function nameAt(address) {
  const rest = new Uint8Array(engine.memory.buffer, address);
  return textAt(address, rest.indexOf(0));
}

// Throws what one of the engine's functions says went wrong.
function check(problem) {
  if (problem) throw new Error(nameAt(problem));
}

function allocate(bytes) {
  const address = engine.web_allocate(bytes);
  if (!address) throw new Error("This browser has too little memory for the engine.");
  return address;
}

// Lets one of the engine's functions read a text, behind which is a NUL.
function passText(text, read) {
  const bytes = new TextEncoder().encode(text);
  const address = allocate(bytes.length + 1);
  bytesAt(address, bytes.length + 1).set([...bytes, 0]);
  try {
    check(read(address, bytes.length));
  } finally {
    engine.web_free(address);
  }
}

// ---- opening ----------------------------------------------------------------------

// What the C library asks of a system: the time, and files, of which there are none.
const BAD_FILE = 8;
const system = {
  clock_time_get(clock, precision, address) {
    const ns = BigInt(Math.round(performance.now() * 1e6));
    new DataView(engine.memory.buffer).setBigUint64(address, ns, true);
    return 0;
  },
  fd_close: () => BAD_FILE,
  fd_read: () => BAD_FILE,
  fd_seek: () => BAD_FILE,
  fd_write: () => BAD_FILE,
  proc_exit(code) {
    throw new Error(`The engine has ended with ${code}.`);
  },
};

async function load(file) {
  const response = await fetch(file);
  if (!response.ok) throw new Error(`${file} cannot be loaded: ${response.status}.`);
  return response;
}

// Packed models of other versions are of no use any more.
async function keep(store, file, bytes) {
  for (const { url } of await store.keys()) {
    if (url.startsWith(new URL("web/", location)) && url.endsWith(".pack")) await store.delete(url);
  }
  await store.put(file, new Response(bytes));
}

// The packed model, from what the browser keeps or, once, from where the page comes from.
async function readPack({ pack, bytes }) {
  const file = `web/${pack}`, address = allocate(bytes);
  const store = await globalThis.caches?.open(STORE); // only over HTTPS and on this machine
  const kept = await store?.match(file);
  const reader = (kept ?? await load(file)).body.getReader();
  let received = 0;
  for (let part; !(part = await reader.read()).done && received <= bytes;) {
    if (received + part.value.length <= bytes) {
      bytesAt(address + received, part.value.length).set(part.value);
    }
    received += part.value.length;
    postMessage({ received });
  }
  if (received !== bytes) throw new Error("The engine did not arrive as a whole.");
  if (store && !kept) await keep(store, file, bytesAt(address, bytes).slice());
  return address;
}

async function open(manifest) {
  const code = await (await load("web/alpaca.wasm")).arrayBuffer();
  const { instance } = await WebAssembly.instantiate(code, {
    wasi_snapshot_preview1: system,
    env: { emscripten_notify_memory_growth() {} },
  });
  engine = instance.exports;
  engine._initialize?.();
  check(engine.web_open(await readPack(manifest), manifest.bytes));
  postMessage({ opened: true });
}

// ---- stories ------------------------------------------------------------------------

const channel = new MessageChannel();

// Lets messages in; sooner than setTimeout(), which waits for some milliseconds.
const breathe = () => new Promise((done) => {
  channel.port1.onmessage = done;
  channel.port2.postMessage(null);
});

async function tell({ prompt, seed = Math.floor(Math.random() * 2 ** 53), ...numbers }, id) {
  for (const [name, value] of Object.entries({ ...numbers, seed })) {
    passText(name, (address) => engine.web_set(address, value));
  }
  passText(prompt, engine.web_start);
  for (let sent = 0, finish = "running"; finish === "running" && id > stopped; await breathe()) {
    const until = performance.now() + SLICE_MS;
    do {
      check(engine.web_step());
      finish = nameAt(engine.web_finish());
    } while (finish === "running" && performance.now() < until);
    const end = engine.web_text_bytes();
    if (end > sent) {
      postMessage({ id, event: { text: textAt(engine.web_text() + sent, end - sent) } });
    }
    sent = end;
    if (finish === "running") continue;
    postMessage({ id, event: {
      finish_reason: finish,
      seed: engine.web_seed(),
      system_fingerprint: nameAt(engine.web_fingerprint()),
      usage: { completion_tokens: engine.web_tokens() },
    } });
  }
}

onmessage = ({ data: { open: manifest, tell: request, stop, id } }) => {
  if (stop) stopped = stop;
  else last = last.then(() => (manifest ? open(manifest) : tell(request, id)))
    .catch((problem) => postMessage({ id, failed: problem.message }));
};
