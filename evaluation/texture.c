#include "evaluation/texture.h"

#include "base/file.h"
#include "evaluation/sentences.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { REPEATED_NGRAM = 4, LONG_SENTENCE = 4, INTRODUCTION_WORDS = 4, LIST_BYTES = 1 << 20 };

/* One story's words, and the sums over all stories. */
struct tally {
    struct texture *texture;
    const struct training_words *words;
    const struct story_set *unfit;
    struct word *list;       /* [count] of the story at hand */
    uint64_t *hashes;        /* [count] of these words */
    size_t count, capacity;
    struct story_set ngrams[TEXTURE_NGRAMS], unknown, found_unfit;
    size_t ngram_total[TEXTURE_NGRAMS], repeats, repeatable;
    size_t all_words, sentences, ended, unknown_words, unfit_words, unbalanced;
    size_t with_repeated, with_name, vanished, appeared;
};

static double share(size_t part, size_t whole) {
    return whole > 0 ? (double)part / (double)whole : 0;
}

static enum status no_memory(struct error *err) {
    return error_set(err, STATUS_NO_MEMORY, "no memory for a story's words");
}

/* Splits the story into words. */
static enum status split(struct tally *t, const char *story, struct error *err) {
    struct word word;
    t->count = 0;
    while (word_next(&story, &word)) {
        if (t->count == t->capacity) {
            size_t capacity = t->capacity ? 2 * t->capacity : 512;
            struct word *list = realloc(t->list, capacity * sizeof *list);
            if (!list)
                return no_memory(err);
            t->list = list;
            uint64_t *hashes = realloc(t->hashes, capacity * sizeof *hashes);
            if (!hashes)
                return no_memory(err);
            t->hashes = hashes;
            t->capacity = capacity;
        }
        t->list[t->count] = word;
        t->hashes[t->count++] = word_hash(word).low;
    }
    return STATUS_OK;
}

/* Adds words [begin, begin + n) as one; *added is false when they were there. */
static enum status add_ngram(const struct tally *t, struct story_set *set, size_t begin, size_t n,
                             bool *added, struct error *err) {
    const char *bytes = (const char *)(t->hashes + begin);
    return story_set_add(set, story_hash(bytes, n * sizeof *t->hashes), added, err);
}

static enum status count_distinct(struct tally *t, struct error *err) {
    size_t room = TEXTURE_WORDS - t->texture->distinct_words;
    size_t count = t->count < room ? t->count : room;
    enum status status = STATUS_OK;
    bool added;
    t->texture->distinct_words += count;
    for (size_t n = 1; n <= TEXTURE_NGRAMS; n++)
        for (size_t i = 0; i + n <= count && status == STATUS_OK; i++) {
            status = add_ngram(t, &t->ngrams[n - 1], i, n, &added, err);
            t->ngram_total[n - 1]++;
        }
    return status;
}

static enum status count_repeats(struct tally *t, struct error *err) {
    struct story_set seen = {0};
    enum status status = STATUS_OK;
    bool added;
    for (size_t i = 0; i + REPEATED_NGRAM <= t->count && status == STATUS_OK; i++) {
        status = add_ngram(t, &seen, i, REPEATED_NGRAM, &added, err);
        t->repeatable++;
        t->repeats += status == STATUS_OK && !added;
    }
    story_set_free(&seen);
    return status;
}

static enum status count_sentences(struct tally *t, const char *story, struct error *err) {
    struct story_set seen = {0};
    enum status status = STATUS_OK;
    bool added, repeated = false;
    size_t begin = 0;
    while (status == STATUS_OK && begin < t->count) {
        story += sentence_length(story, false);
        size_t end = begin;
        while (end < t->count && t->list[end].text < story)
            end++;
        t->sentences += end > begin;
        if (end - begin >= LONG_SENTENCE) {
            status = add_ngram(t, &seen, begin, end - begin, &added, err);
            repeated = repeated || (status == STATUS_OK && !added);
        }
        begin = end;
    }
    t->with_repeated += repeated;
    story_set_free(&seen);
    return status;
}

/* Counts a word, and lists it when it is new. */
static enum status note(struct word word, size_t *count, struct story_set *seen,
                        struct buffer *examples, struct error *err) {
    bool added;
    (*count)++;
    enum status status = story_set_add(seen, word_hash(word), &added, err);
    if (status != STATUS_OK || !added || seen->count > TEXTURE_EXAMPLES)
        return status;
    buffer_append_text(examples, examples->size > 0 ? ", " : "");
    return buffer_append(examples, word.text, word.bytes) ? STATUS_OK : no_memory(err);
}

static enum status count_odd_words(struct tally *t, struct error *err) {
    enum status status = STATUS_OK;
    for (size_t i = 0; i < t->count && status == STATUS_OK; i++) {
        struct word word = t->list[i];
        if (!training_words_know(t->words, word))
            status = note(word, &t->unknown_words, &t->unknown, &t->texture->unknown_examples, err);
        if (status == STATUS_OK && story_set_has(t->unfit, word_hash(word)))
            status = note(word, &t->unfit_words, &t->found_unfit, &t->texture->unfit_examples, err);
    }
    return status;
}

static bool is_introduced(const struct tally *t, size_t name) {
    static const char *const introductions[] = {"named", "called",  "name",   "friend",
                                                "friends", "brother", "sister", "cousin"};
    for (size_t i = name; i-- > 0 && name - i <= INTRODUCTION_WORDS;)
        for (size_t w = 0; w < sizeof introductions / sizeof *introductions; w++)
            if (word_is(t->list[i], introductions[w]))
                return true;
    return false;
}

static bool occurs(const struct tally *t, struct word name, size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++)
        if (word_same(t->list[i], name))
            return true;
    return false;
}

static void count_names(struct tally *t) {
    size_t half = t->count / 2, first = 0;
    bool appears = false;
    while (first < half && !training_words_is_name(t->words, t->list[first]))
        first++;
    if (first < half) {
        t->with_name++;
        t->vanished += !occurs(t, t->list[first], half, t->count);
    }
    for (size_t i = half; i < t->count && !appears; i++)
        appears = training_words_is_name(t->words, t->list[i]) && !occurs(t, t->list[i], 0, i) &&
                  !is_introduced(t, i);
    t->appeared += appears;
}

static enum status add_story(struct tally *t, const char *story, bool ended, struct error *err) {
    enum status status = split(t, story, err);
    if (status == STATUS_OK)
        status = count_distinct(t, err);
    if (status == STATUS_OK)
        status = count_repeats(t, err);
    if (status == STATUS_OK)
        status = count_sentences(t, story, err);
    if (status == STATUS_OK)
        status = count_odd_words(t, err);
    if (status != STATUS_OK)
        return status;
    count_names(t);
    t->all_words += t->count;
    t->ended += ended;
    t->unbalanced += ended && quotes_open(story);
    return STATUS_OK;
}

static void take_figures(const struct tally *t) {
    struct texture *texture = t->texture;
    texture->words = share(t->all_words, texture->stories);
    texture->sentence_words = share(t->all_words, t->sentences);
    texture->ended = share(t->ended, texture->stories);
    for (size_t n = 0; n < TEXTURE_NGRAMS; n++)
        texture->distinct[n] = share(t->ngrams[n].count, t->ngram_total[n]);
    texture->repeated_ngrams = share(t->repeats, t->repeatable);
    texture->repeated_sentence = share(t->with_repeated, texture->stories);
    texture->unknown_words = 10000 * share(t->unknown_words, t->all_words);
    texture->unfit_words = 10000 * share(t->unfit_words, t->all_words);
    texture->unbalanced = share(t->unbalanced, t->ended);
    texture->name_vanishes = share(t->vanished, t->with_name);
    texture->name_appears = share(t->appeared, texture->stories);
}

enum status texture_measure(struct texture *texture, const struct texture_stories *stories,
                            const struct training_words *words, const struct story_set *unfit,
                            struct error *err) {
    struct tally tally = {.texture = texture, .words = words, .unfit = unfit};
    enum status status = STATUS_OK;
    *texture = (struct texture){.stories = stories->count};
    buffer_append_text(&texture->unknown_examples, "");
    buffer_append_text(&texture->unfit_examples, "");
    if (texture->unknown_examples.failed || texture->unfit_examples.failed)
        status = no_memory(err);
    for (size_t i = 0; i < stories->count && status == STATUS_OK; i++)
        status = add_story(&tally, stories->texts[i], stories->ended[i], err);
    if (status == STATUS_OK)
        take_figures(&tally);
    else
        texture_free(texture);
    for (size_t n = 0; n < TEXTURE_NGRAMS; n++)
        story_set_free(&tally.ngrams[n]);
    story_set_free(&tally.unknown);
    story_set_free(&tally.found_unfit);
    free(tally.list);
    free(tally.hashes);
    return status;
}

void texture_free(struct texture *texture) {
    buffer_free(&texture->unknown_examples);
    buffer_free(&texture->unfit_examples);
    *texture = (struct texture){0};
}

enum status texture_read_list(struct story_set *list, const char *path, struct error *err) {
    struct buffer text = {0};
    bool added;
    enum status status = file_read(path, LIST_BYTES, &text, err);
    for (char *line = text.data; status == STATUS_OK && line && *line;) {
        size_t bytes = strcspn(line, "\r\n");
        if (bytes > 0 && *line != '#')
            status = story_set_add(list, word_hash((struct word){line, bytes}), &added, err);
        line += bytes + strspn(line + bytes, "\r\n");
    }
    buffer_free(&text);
    return status;
}
