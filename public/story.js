// How a story looks: word by word at reading pace, and what somebody says in lines of its own.
"use strict";

const storyView = (() => {
  // Some 200 words a minute, with a breath where one is taken.
  const WORD_MS = 210;
  const COMMA_MS = 130;
  const SENTENCE_MS = 350;
  const VERBS = "said|says|asked|asks|cried|shouted|replied|answered|exclaimed|yelled|whispered";
  const SAYS = new RegExp(`^\\s+(${VERBS})\\b`);

  let words = []; // that are shown: {from, to, node, opens}; offsets in the story, prompt included
  let place; // what words are added to: the prompt's element, then the completion's
  let shown = 0; // characters of the story
  let waiting = ""; // what has come and is not shown
  let ended = false; // no more will come
  let timer = null;
  let whenShown = () => {};
  let speech = { open: false, quoted: false }; // inside quotation marks; in this sentence

  // Whether `word`, which is followed by what is waiting, opens a sentence after `last`, and
  // whether that begins a line. After "Look!" a name may open one, or say who says it.
  function judge(last, word) {
    const closed = /[.!?]$/.test(last) && !/^(mr|mrs|ms|dr|st)\.$/i.test(last);
    const closedAfterQuote = /[.!?]["”]$/.test(last) && /^["“\p{Lu}]/u.test(word)
      && !SAYS.test(waiting);
    const opens = last === "" || (!speech.open && (closed || closedAfterQuote));
    const breaks = opens && last !== "" && (speech.quoted || /^["“]/.test(word));
    if (opens) speech.quoted = false;
    if (/^["“]/.test(word)) speech.open = speech.quoted = true;
    if (/["”][.,!?]*$/.test(word) && word.length > 1) speech.open = false;
    return { opens, breaks };
  }

  function addWord(space, word) {
    const last = words.length > 0 ? words[words.length - 1].node.textContent : "";
    const { opens, breaks } = judge(last, word);
    const node = document.createElement("span");
    node.textContent = word;
    if (breaks) {
      const line = document.createElement("span");
      line.className = "line";
      place.append(line);
    }
    place.append(space, node);
    const from = shown + space.length;
    shown = from + word.length;
    words.push({ from, to: shown, node, opens });
  }

  // Shows the next whole word of what is waiting; null when there is none.
  function showNext() {
    const found = waiting.match(ended ? /^(\s*)(\S+)/ : /^(\s*)(\S+)(?=\s)/);
    if (!found) return null;
    waiting = waiting.slice(found[0].length);
    addWord(found[1], found[2]);
    return found[2];
  }

  function showAll() {
    clearTimeout(timer);
    timer = null;
    while (showNext() !== null);
    if (!ended) return;
    place.append(waiting); // white space
    shown += waiting.length;
    waiting = "";
    whenShown();
  }

  function goOn() {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return showAll();
    if (timer !== null) return;
    const word = showNext();
    if (word === null) {
      if (ended) showAll();
      return;
    }
    const breath = /[.!?]["”]?$/.test(word) ? SENTENCE_MS : /[,;:]["”]?$/.test(word) ? COMMA_MS : 0;
    timer = setTimeout(() => {
      timer = null;
      goOn();
    }, WORD_MS + breath);
  }

  // Begins a story with its prompt, which is there at once.
  function open(prompt) {
    clearTimeout(timer);
    timer = null;
    whenShown = () => {};
    words = [];
    shown = 0;
    speech = { open: false, quoted: false };
    document.getElementById("beginning").replaceChildren();
    document.getElementById("completion").replaceChildren();
    place = document.getElementById("beginning");
    waiting = prompt;
    ended = true;
    showAll();
    place = document.getElementById("completion");
    ended = false;
  }

  function add(text) {
    waiting += text;
    goOn();
  }

  // No more will come; done when all is shown.
  function end() {
    ended = true;
    const done = new Promise((resolve) => { whenShown = resolve; });
    goOn();
    return done;
  }

  // Throws away what is not shown yet; what is, without the prompt.
  function cut() {
    waiting = "";
    ended = true;
    showAll();
    return document.getElementById("completion").textContent;
  }

  return { open, add, end, cut, showAll, words: () => words };
})();
