#include "evaluation/choices.h"

#include "base/rng.h"
#include "evaluation/sentences.h"

#include <stdlib.h>
#include <string.h>

enum { OTHERS = 3, MIN_WORDS = 4, TRIES = 50 };

/* Where the last sentence is that says something: "The end." and the like do not. */
static struct piece last_sentence(const char *story) {
    struct piece last = {story, 0};
    const char *cursor = story;
    while (*cursor) {
        size_t bytes = sentence_length(cursor, false);
        struct piece sentence = {cursor, bytes};
        if (word_count(sentence.text, sentence.bytes) >= MIN_WORDS)
            last = sentence;
        cursor += bytes;
        cursor += strspn(cursor, " ");
    }
    return last;
}

static bool same(struct piece one, struct piece other) {
    return one.bytes == other.bytes && memcmp(one.text, other.text, one.bytes) == 0;
}

/* Draws the endings of other stories, no two alike; false when that does not succeed. */
static bool draw_others(const struct piece *lasts, size_t count, uint64_t key,
                        struct piece ends[1 + OTHERS]) {
    int drawn = 1;
    for (uint64_t try = 0; try < TRIES && drawn <= OTHERS; try++) {
        struct piece other = lasts[rng_bits(key, try) % count];
        bool fresh = other.bytes > 0;
        for (int i = 0; i < drawn; i++)
            fresh = fresh && !same(ends[i], other);
        if (fresh)
            ends[drawn++] = other;
    }
    return drawn > OTHERS;
}

enum status choices_endings(const struct choice_source *source, struct case_list *cases,
                            struct error *err) {
    const struct story_list *stories = source->stories;
    struct piece *lasts = calloc(stories->count, sizeof *lasts);
    enum status status = STATUS_OK;
    if (!lasts)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the endings");
    for (size_t i = 0; i < stories->count; i++)
        lasts[i] = last_sentence(stories->texts[i]);
    for (size_t i = 0; i < stories->count && status == STATUS_OK; i++) {
        struct piece ends[1 + OTHERS] = {lasts[i]};
        struct piece beginning = {stories->texts[i], (size_t)(lasts[i].text - stories->texts[i])};
        if (beginning.bytes == 0 || lasts[i].bytes == 0)
            continue;
        if (draw_others(lasts, stories->count, rng_derive(source->seed, i), ends))
            status = case_list_add(cases, beginning, ends, 1 + OTHERS, err);
    }
    free(lasts);
    return status;
}
