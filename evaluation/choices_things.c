#include "evaluation/choices.h"

#include "base/rng.h"

#include <stdlib.h>

enum { THINGS = 32, TRIES = 50 };

/* What a story has things of: each with its first mention and its last one after "the". */
struct things {
    struct word first[THINGS], last[THINGS];
    int count;
};

static void find_things(const struct lexicon *lexicon, const char *story, struct things *things) {
    struct word word, before = {story, 0};
    things->count = 0;
    for (; word_next(&story, &word); before = word) {
        int i = 0;
        if (!lexicon_is_thing(lexicon, word))
            continue;
        while (i < things->count && !word_same(things->first[i], word))
            i++;
        if (i == THINGS)
            continue;
        if (i == things->count) {
            things->first[i] = things->last[i] = word;
            things->count++;
        }
        if (word_is(before, "the") && before.text + before.bytes + 1 == word.text)
            things->last[i] = word;
    }
}

static bool has(const char *story, struct word thing) {
    struct word word;
    while (word_next(&story, &word))
        if (word_same(word, thing))
            return true;
    return false;
}

/* A thing of another story that `story` does not have. */
static bool draw_other(const struct things *all, size_t stories, const char *story, uint64_t key,
                       struct word *other) {
    for (uint64_t try = 0; try < TRIES; try++) {
        const struct things *things = &all[rng_bits(key, 2 * try) % stories];
        if (things->count == 0)
            continue;
        *other = things->first[rng_bits(key, 2 * try + 1) % (unsigned)things->count];
        if (!has(story, *other))
            return true;
    }
    return false;
}

enum status choices_things(const struct choice_source *source, struct case_list *cases,
                           struct error *err) {
    const struct story_list *stories = source->stories;
    struct things *all = calloc(stories->count, sizeof *all);
    enum status status = STATUS_OK;
    if (!all)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the things of the stories");
    for (size_t i = 0; i < stories->count; i++)
        find_things(source->lexicon, stories->texts[i], &all[i]);
    for (size_t i = 0; i < stories->count; i++) {
        const char *story = stories->texts[i];
        uint64_t key = rng_derive(source->seed, i);
        for (int t = 0; t < all[i].count && status == STATUS_OK; t++) {
            struct word last = all[i].last[t], other;
            if (last.text == all[i].first[t].text ||
                !draw_other(all, stories->count, story, rng_derive(key, (uint64_t)t), &other))
                continue;
            const struct piece ends[] = {{last.text, last.bytes}, {other.text, other.bytes}};
            status = case_list_add(cases, (struct piece){story, (size_t)(last.text - story)}, ends,
                                   2, err);
        }
    }
    free(all);
    return status;
}
