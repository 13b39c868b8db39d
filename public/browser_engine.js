// The engine in this browser, as the page sees it: what worker.js does, and only once the reader
// has agreed to the download. web/engine.json says whether there is one, and whether a server is.
"use strict";

const browserEngine = {
  INVITATION: "Here your own browser tells the stories. Please allow the download below first.",
  manifest: { server: true }, // until web/engine.json is there
  known: null, // a promise for that; app.js starts it
  agreed: false,
  worker: null,
  opened: null, // a promise once the worker has been started
  stories: new Map(), // id -> {onEvent, done, fail} of those that the worker tells
  lastId: 0,

  get alone() {
    return !this.manifest.server;
  },

  // Whether what the server could not do is now the browser's; if the reader might want that, asks.
  takesOver(problem) {
    const unable = this.alone || problem instanceof Busy || problem instanceof TypeError;
    if (unable && !this.agreed) $("browser").open = true;
    return unable && this.agreed;
  },

  async ask(request, signal, onEvent) {
    await this.open();
    signal.throwIfAborted();
    if (!this.alone) say("The server cannot tell this story now, so your browser does.");
    const id = ++this.lastId;
    const ended = new Promise((done, fail) => this.stories.set(id, { onEvent, done, fail }));
    signal.addEventListener("abort", () => {
      this.worker.postMessage({ stop: id });
      this.stories.get(id)?.fail(signal.reason);
    });
    this.worker.postMessage({ tell: request, id });
    await ended.finally(() => this.stories.delete(id));
  },

  // ---- the worker -------------------------------------------------------------------

  open() {
    this.opened ??= new Promise((done, fail) => {
      this.worker = new Worker("worker.js");
      this.worker.onmessage = ({ data }) => {
        if (data.received) $("browser-progress").value = data.received;
        else if (data.opened) done();
        else if (data.id === undefined) fail(new Refusal(data.failed));
        else this.hear(data);
      };
      this.worker.onerror = () => fail(new Refusal("The engine cannot be loaded."));
      this.worker.postMessage({ open: this.manifest });
    }).catch((problem) => {
      this.close();
      throw problem;
    });
    return this.opened;
  },

  hear({ id, event, failed }) {
    const story = this.stories.get(id); // none when it was stopped
    if (failed) story?.fail(new Refusal(`That did not work: ${failed}`));
    else story?.onEvent(event);
    if (event?.finish_reason) story?.done();
  },

  close() {
    this.worker?.terminate();
    this.worker = this.opened = null;
  },

  // ---- what the reader sees and decides -----------------------------------------------

  show(note) {
    const size = `${Math.ceil(this.manifest.bytes / 1e6)} MB`;
    const stays = globalThis.caches ? "keeps it" : "keeps it until you close the page";
    const offer = this.alone ? "Your browser tells the stories of this page itself"
      : "When the server is busy or gone, your browser can tell the same stories";
    $("browser-note").textContent = note ?? (this.agreed
      ? `Your browser has the engine (${size}) and can tell stories without the server.`
      : `${offer}. For that it downloads ${size} once and ${stays}.`);
    $("browser-get").textContent = `Download ${size}`;
    $("browser-get").hidden = this.agreed;
    $("browser-drop").hidden = !this.agreed;
    $("browser").hidden = false;
  },

  async get() {
    const progress = $("browser-progress");
    progress.max = this.manifest.bytes;
    progress.value = 0;
    progress.hidden = false;
    $("browser-get").disabled = true;
    let note;
    try {
      await this.open();
      this.agreed = true;
      await navigator.serviceWorker?.register("offline.js");
    } catch (problem) {
      note = problem.message;
    }
    progress.hidden = true;
    $("browser-get").disabled = false;
    this.show(note);
  },

  async drop() {
    this.close();
    this.agreed = false;
    const offline = await navigator.serviceWorker?.getRegistration();
    await offline?.unregister();
    await globalThis.caches?.delete("alpaca");
    this.show();
  },

  async start() {
    this.manifest = await fetch("web/engine.json").then((response) => response.json())
      .catch(() => this.manifest);
    if (!this.manifest.pack) return;
    this.agreed = Boolean(await globalThis.caches?.match(`web/${this.manifest.pack}`));
    if (this.alone && !this.agreed) $("browser").open = true;
    this.show();
  },
};
