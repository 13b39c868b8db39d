#include "evaluation/words.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    WORD_BYTES = 24, /* longer words are in no lexicon */
    RARELY = 5,      /* of one way to write a word against another: so many times less */
};

struct lexicon_entry {
    char word[WORD_BYTES]; /* in lower case */
    int lower, upper;      /* how often it begins so in the middle of a sentence */
    int after_the;         /* how often after "the", ... */
    int ends_phrase;       /* ... and then before a function word or a mark */
};

bool word_next(const char **cursor, struct word *word) {
    const char *c = *cursor;
    while (*c && !isalpha((unsigned char)*c))
        c++;
    word->text = c;
    while (isalpha((unsigned char)*c))
        c++;
    word->bytes = (size_t)(c - word->text);
    *cursor = c;
    return word->bytes > 0;
}

bool word_is(struct word word, const char *text) {
    return strlen(text) == word.bytes && strncasecmp(word.text, text, word.bytes) == 0;
}

bool word_same(struct word one, struct word other) {
    return one.bytes == other.bytes && memcmp(one.text, other.text, one.bytes) == 0;
}

size_t word_count(const char *text, size_t bytes) {
    const char *end = text + bytes;
    struct word word;
    size_t count = 0;
    while (word_next(&text, &word) && word.text < end)
        count++;
    return count;
}

/* What may follow a noun, and hardly an adjective before its noun. */
static bool is_function_word(struct word word) {
    static const char *const words[] = {
        "and", "was",  "is",  "in",    "on",    "to",    "of",      "that", "with", "had",
        "for", "from", "at",  "were",  "could", "would", "did",     "so",   "but",  "he",
        "she", "they", "it",  "as",    "who",   "said",  "because", "when", "by",   "into",
        "up",  "down", "out", "again", "a",     "the",   "her"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (word_is(word, words[i]))
            return true;
    return false;
}

static bool ends_phrase(struct word word) {
    const char *next = word.text + word.bytes;
    if (*next != ' ')
        return *next && strchr(".,!?\"", *next);
    struct word following;
    return word_next(&next, &following) && is_function_word(following);
}

/* After a word or a comma: a capital is not there for the sentence's sake. */
static bool is_inside_sentence(const char *story, struct word word) {
    const char *c = word.text;
    return c - story >= 2 && c[-1] == ' ' && (islower((unsigned char)c[-2]) || c[-2] == ',');
}

static void note(struct lexicon_entry *entry, const char *story, struct word word,
                 struct word before) {
    memset(entry, 0, sizeof *entry);
    for (size_t i = 0; i < word.bytes; i++)
        entry->word[i] = (char)tolower((unsigned char)word.text[i]);
    entry->lower = islower((unsigned char)*word.text) != 0;
    entry->upper = !entry->lower && is_inside_sentence(story, word);
    entry->after_the = word_is(before, "the") && before.text + 4 == word.text;
    entry->ends_phrase = entry->after_the && ends_phrase(word);
}

static int compare(const void *one, const void *other) {
    return strcmp(((const struct lexicon_entry *)one)->word,
                  ((const struct lexicon_entry *)other)->word);
}

/* Sorts the entries of single words and adds up those of the same one. */
static void merge(struct lexicon *lexicon) {
    struct lexicon_entry *entries = lexicon->entries;
    size_t kept = 0;
    qsort(entries, lexicon->count, sizeof *entries, compare);
    for (size_t i = 0; i < lexicon->count; i++) {
        if (kept == 0 || compare(&entries[kept - 1], &entries[i]) != 0) {
            entries[kept++] = entries[i];
            continue;
        }
        struct lexicon_entry *sum = &entries[kept - 1];
        sum->lower += entries[i].lower;
        sum->upper += entries[i].upper;
        sum->after_the += entries[i].after_the;
        sum->ends_phrase += entries[i].ends_phrase;
    }
    lexicon->count = kept;
}

enum status lexicon_build(struct lexicon *lexicon, const struct story_list *stories,
                          struct error *err) {
    size_t bytes = 0;
    *lexicon = (struct lexicon){0};
    for (size_t i = 0; i < stories->count; i++)
        bytes += strlen(stories->texts[i]) + 1;
    /* Every word has a byte that is no letter after it. */
    lexicon->entries = malloc((bytes / 2 + 1) * sizeof *lexicon->entries);
    if (!lexicon->entries)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the words of the stories");
    for (size_t i = 0; i < stories->count; i++) {
        const char *cursor = stories->texts[i];
        struct word word, before = {cursor, 0};
        for (; word_next(&cursor, &word); before = word)
            if (word.bytes < WORD_BYTES)
                note(&lexicon->entries[lexicon->count++], stories->texts[i], word, before);
    }
    merge(lexicon);
    return STATUS_OK;
}

void lexicon_free(struct lexicon *lexicon) {
    free(lexicon->entries);
    *lexicon = (struct lexicon){0};
}

static const struct lexicon_entry *find(const struct lexicon *lexicon, struct word word) {
    struct lexicon_entry key = {0};
    if (word.bytes >= WORD_BYTES)
        return NULL;
    for (size_t i = 0; i < word.bytes; i++)
        key.word[i] = (char)tolower((unsigned char)word.text[i]);
    return bsearch(&key, lexicon->entries, lexicon->count, sizeof key, compare);
}

bool lexicon_is_name(const struct lexicon *lexicon, struct word word) {
    const struct lexicon_entry *entry = find(lexicon, word);
    return entry && word.bytes > 1 && isupper((unsigned char)*word.text) &&
           entry->upper > RARELY * entry->lower;
}

bool lexicon_is_thing(const struct lexicon *lexicon, struct word word) {
    const struct lexicon_entry *entry = find(lexicon, word);
    return entry && islower((unsigned char)*word.text) && entry->after_the >= 3 &&
           entry->ends_phrase * 5 >= entry->after_the * 4;
}

int lexicon_count_after_the(const struct lexicon *lexicon, struct word word) {
    const struct lexicon_entry *entry = find(lexicon, word);
    return entry ? entry->after_the : 0;
}
