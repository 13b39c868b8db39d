#include "evaluation/training_words.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { HASHED_BYTES = 64, COUNTS_AT_FIRST = 4096 };

/* How often a word stood where only names have a capital, and how. */
struct word_counts {
    struct story_hash hash; /* zero: free */
    uint32_t capital, lower, introduced;
};

/* No word of English is longer than what is looked at. */
struct story_hash word_hash(struct word word) {
    char lower[HASHED_BYTES];
    size_t bytes = word.bytes < sizeof lower ? word.bytes : sizeof lower;
    for (size_t i = 0; i < bytes; i++)
        lower[i] = (char)tolower((unsigned char)word.text[i]);
    return story_hash(lower, bytes);
}

static bool is_free(const struct word_counts *counts) {
    return !counts->hash.low && !counts->hash.high;
}

static struct word_counts *find(struct word_counts *counts, size_t mask, struct story_hash hash) {
    size_t i = hash.low & mask;
    while (!is_free(&counts[i]) &&
           (counts[i].hash.low != hash.low || counts[i].hash.high != hash.high))
        i = (i + 1) & mask;
    return &counts[i];
}

/* Makes room for one word more. */
static enum status make_room(struct training_words *words, struct error *err) {
    size_t size = words->counts ? 2 * (words->mask + 1) : COUNTS_AT_FIRST;
    if (words->counts && 2 * words->count < words->mask)
        return STATUS_OK;
    struct word_counts *counts = calloc(size, sizeof *counts);
    if (!counts)
        return error_set(err, STATUS_NO_MEMORY, "no memory for %zu words", size);
    for (size_t i = 0; words->counts && i <= words->mask; i++)
        if (!is_free(&words->counts[i]))
            *find(counts, size - 1, words->counts[i].hash) = words->counts[i];
    free(words->counts);
    words->counts = counts;
    words->mask = size - 1;
    return STATUS_OK;
}

/* Whether a sentence or a quotation may begin between two words. */
static bool begins_anew(struct word before, struct word word) {
    for (const char *c = before.text + before.bytes; c < word.text; c++)
        if (*c != ' ' && *c != ',')
            return true;
    return false;
}

static enum status count_word(struct training_words *words, struct word before, struct word word,
                              struct error *err) {
    enum status status = make_room(words, err);
    if (status != STATUS_OK)
        return status;
    struct story_hash hash = word_hash(word);
    struct word_counts *counts = find(words->counts, words->mask, hash);
    bool capital = isupper((unsigned char)*word.text) != 0;
    words->count += is_free(counts);
    counts->hash = hash;
    counts->capital += capital;
    counts->lower += !capital;
    counts->introduced += capital && (word_is(before, "named") || word_is(before, "called"));
    return STATUS_OK;
}

enum status training_words_learn(struct training_words *words, const char *story,
                                 struct error *err) {
    struct word word, before = {0};
    enum status status = STATUS_OK;
    bool added;
    for (; status == STATUS_OK && word_next(&story, &word); before = word) {
        status = story_set_add(&words->known, word_hash(word), &added, err);
        if (status == STATUS_OK && before.text && !begins_anew(before, word))
            status = count_word(words, before, word, err);
    }
    return status;
}

enum status training_words_finish(struct training_words *words, struct error *err) {
    enum status status = STATUS_OK;
    bool added;
    for (size_t i = 0; words->counts && i <= words->mask && status == STATUS_OK; i++) {
        const struct word_counts *counts = &words->counts[i];
        if (counts->introduced >= 2 && counts->capital >= 19 * (uint64_t)counts->lower)
            status = story_set_add(&words->names, counts->hash, &added, err);
    }
    free(words->counts);
    words->counts = NULL;
    words->count = words->mask = 0;
    return status;
}

void training_words_free(struct training_words *words) {
    story_set_free(&words->known);
    story_set_free(&words->names);
    free(words->counts);
    *words = (struct training_words){0};
}

bool training_words_know(const struct training_words *words, struct word word) {
    return story_set_has(&words->known, word_hash(word));
}

bool training_words_is_name(const struct training_words *words, struct word word) {
    return story_set_has(&words->names, word_hash(word));
}
