// Keeps the page itself for when the server, or the network, is gone: a service worker, which the
// page registers when the reader lets it keep the engine.
"use strict";

const STORE = "alpaca"; // as in worker.js
const FILES = ["./", "app.js", "story.js", "aloud.js", "browser_engine.js", "style.css",
  "alpaca.svg", "worker.js", "web/engine.json", "web/alpaca.wasm",
].map((file) => new URL(file, location).href);

addEventListener("install", (event) => {
  event.waitUntil(caches.open(STORE).then((store) => store.addAll(FILES)).then(skipWaiting));
});

addEventListener("activate", (event) => event.waitUntil(clients.claim()));

// What the server sends comes first, so that nobody reads an old page, and replaces what is kept.
async function answer(request) {
  const url = request.url.split(/[?#]/)[0], store = await caches.open(STORE);
  try {
    const response = await fetch(request);
    if (response.ok) await store.put(url, response.clone());
    return response;
  } catch (problem) {
    return await store.match(url) ?? Promise.reject(problem);
  }
}

addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method !== "GET" || !FILES.includes(url.split(/[?#]/)[0])) return;
  event.respondWith(answer(event.request));
});
