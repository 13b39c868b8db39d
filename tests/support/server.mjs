// A real server for the tests. ALPACA_BIN names the folder of the binaries, ALPACA_MODEL the model.
import { spawn } from "node:child_process";
import http from "node:http";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const binaries = resolve(root, process.env.ALPACA_BIN ?? "build/release");
const binary = join(binaries, "alpaca-server");
const model = resolve(root, process.env.ALPACA_MODEL ?? "weights/alpaca");

// What `make web` filled.
export const webFolder = join(binaries, "../web");

export async function startServer(...options) {
  const child = spawn(binary, ["--port", "0", "--model", model, "--no-access-log", ...options],
    { stdio: ["ignore", "pipe", "inherit"] });
  const url = await new Promise((done, fail) => {
    let text = "";
    child.once("exit", (code) => fail(new Error(`the server ended with ${code}`)));
    child.stdout.on("data", (bytes) => {
      text += bytes;
      const found = text.match(/http:\/\/\S+:\d+/);
      if (found) done(found[0]);
    });
  });
  const ended = new Promise((done) => child.once("exit", done));
  return {
    url,
    async stop(signal = "SIGTERM") {
      child.kill(signal);
      return ended;
    },
  };
}

// A proxy in front of the server. What comes under the prefix is asked without it, everything else
// is not found; relay(answer, response) passes an answer back.
export async function startProxy(target, { prefix = "", relay = (answer, response) => {
  response.writeHead(answer.statusCode, answer.headers);
  answer.pipe(response);
} } = {}) {
  const proxy = http.createServer((request, response) => {
    if (!request.url.startsWith(`${prefix}/`)) {
      response.writeHead(404).end();
      return;
    }
    const passed = http.request(target + request.url.slice(prefix.length),
      { method: request.method, headers: request.headers }, (answer) => relay(answer, response));
    passed.on("error", () => response.destroy());
    request.pipe(passed);
  });
  await new Promise((done) => proxy.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${proxy.address().port}${prefix}`,
    stop() {
      proxy.closeAllConnections();
      return new Promise((done) => proxy.close(done));
    },
  };
}
