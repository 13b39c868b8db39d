// Reads the story aloud with the browser's own voices, sentence by sentence, and marks the word
// that is being read.
"use strict";

const aloud = (() => {
  const synth = window.speechSynthesis;
  let utterances = []; // kept, as Chromium forgets to say the end of one that nobody holds
  let whenOver = null; // not null: reading

  const isPossible = () => Boolean(synth) && synth.getVoices().length > 0;

  function mark(words, from, to, name) {
    for (const word of words) word.node.classList.toggle(name, word.from < to && word.to > from);
  }

  function stop() {
    if (!whenOver) return;
    const over = whenOver;
    whenOver = null;
    synth.cancel();
    for (const node of document.querySelectorAll("#text .sentence, #text .word")) {
      node.classList.remove("sentence", "word");
    }
    over();
  }

  // One sentence: story[from..to].
  function utteranceOf(words, story, from, to) {
    const utterance = new SpeechSynthesisUtterance(story.slice(from, to));
    const first = words.find((word) => word.from === from);
    utterance.lang = "en";
    utterance.rate = 0.9;
    utterance.onstart = () => {
      mark(words, from, to, "sentence");
      mark(words, from, from, "word");
      first.node.scrollIntoView({ block: "nearest" });
    };
    utterance.onboundary = (event) => {
      if (event.name !== "word") return;
      const at = from + event.charIndex;
      mark(words, at, at + story.slice(at).match(/^\S*/)[0].length, "word");
    };
    return utterance;
  }

  // Reads all words of the story; `over` is called at its end or when it is stopped.
  function start(words, story, over) {
    stop();
    if (words.length === 0) return;
    whenOver = over;
    const begins = words.filter((word) => word.opens).map((word) => word.from);
    utterances = begins.map((from, index) =>
      utteranceOf(words, story, from, begins[index + 1] ?? story.length));
    for (const utterance of utterances) {
      utterance.onerror = (event) => {
        if (utterances.includes(utterance) && !/cancel|interrupt/.test(event.error)) stop();
      };
      synth.speak(utterance);
    }
    const last = utterances[utterances.length - 1];
    last.onend = () => { if (utterances.includes(last)) stop(); };
  }

  if (synth) window.addEventListener("pagehide", stop);

  return { isPossible, start, stop, isReading: () => whenOver !== null,
    onVoices: (call) => synth?.addEventListener?.("voiceschanged", call) };
})();
