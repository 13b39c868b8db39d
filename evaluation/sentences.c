#include "evaluation/sentences.h"

#include <string.h>

#define SPACES " \t\r\n"

static size_t mark_bytes(const char *text) { /* of a double quote, plain or curly */
    if (*text == '"')
        return 1;
    return !strncmp(text, "\u201c", 3) || !strncmp(text, "\u201d", 3) ? 3 : 0;
}

/* Whether the words at `text` say who spoke: a verb of speaking among the first three. */
static bool says_who(const char *text) {
    static const char *const verbs[] = {"said",      "says",      "asked",  "asks",    "replied",
                                        "answered",  "shouted",   "yelled", "cried",   "called",
                                        "exclaimed", "whispered", "added",  "thought", "laughed"};
    for (int word = 0; word < 3; word++) {
        text += strspn(text, SPACES);
        size_t length = strcspn(text, SPACES ".,!?\"");
        for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
            if (length == strlen(verbs[i]) && !strncmp(text, verbs[i], length))
                return true;
        text += length;
        if (*text && !strchr(SPACES, *text))
            return false;
    }
    return false;
}

size_t sentence_length(const char *text, bool quoted) {
    bool ended = false; /* by what came last, closing quotes aside */
    const char *c = text;
    while (*c) {
        size_t mark = mark_bytes(c);
        if (mark) {
            quoted = !quoted;
            c += mark;
            if (!quoted && ended && !says_who(c))
                return (size_t)(c - text);
            ended = false;
            continue;
        }
        ended = strchr(".!?", *c) || (ended && strchr("')", *c));
        c++;
        if (ended && !quoted && (!*c || strchr(SPACES, *c)))
            return (size_t)(c - text);
    }
    return (size_t)(c - text);
}

void sentence_cut_answer(char *answer, bool quoted) {
    char *sentence = answer;
    for (;;) {
        char *first = sentence + strspn(sentence, SPACES);
        size_t length = sentence_length(first, quoted);
        char *rest = first + length;
        if (strspn(first, ".!?\"')") < length || !rest[strspn(rest, SPACES)]) {
            *rest = '\0';
            break;
        }
        sentence = rest;
        quoted = false; /* a sentence that others follow ends outside of quotes */
    }
    memmove(answer, sentence, strlen(sentence) + 1);
}

bool quotes_open(const char *text) {
    bool open = false;
    while (*text) {
        size_t mark = mark_bytes(text);
        open ^= mark > 0;
        text += mark ? mark : 1;
    }
    return open;
}
