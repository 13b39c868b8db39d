// A real server for the tests. ALPACA_BIN names the folder with the binaries, ALPACA_MODEL the model.
import { spawn } from "node:child_process";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const binary = join(resolve(root, process.env.ALPACA_BIN ?? "build/release"), "alpaca-server");
const model = resolve(root, process.env.ALPACA_MODEL ?? "weights/alpaca");

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
