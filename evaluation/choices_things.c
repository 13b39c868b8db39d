#include "evaluation/choices.h"

#include "base/rng.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { THINGS = 32, TRIES = 1000 };

/* The things of a story, each with its first mention and its last one after "the". */
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

/* The word before the "the" before a thing; none when no "the" is there. */
static struct word word_before_the(const char *story, struct word thing) {
    const char *end = thing.text - strlen("the ");
    struct word word = {story, 0};
    if (end <= story || strncmp(end, "the ", 4) != 0 || end[-1] != ' ')
        return word;
    word.text = --end;
    while (word.text > story && isalpha((unsigned char)word.text[-1]))
        word.text--;
    word.bytes = (size_t)(end - word.text);
    return word;
}

/* Whether the same word stands before the "the" before both: "in the park", "in the box". */
static bool same_place(const char *story, struct word one, const char *other_story,
                       struct word other) {
    const struct word before = word_before_the(story, one);
    return before.bytes > 0 && word_same(before, word_before_the(other_story, other));
}

/* A thing of another story that `story` does not have. The first tries are for one that stands in
 * the same place there as the right thing does here, the next for any that is no rarer: otherwise
 * how common the words are would give the right one away. */
static bool draw_other(const struct choice_source *source, const struct things *all,
                       const char *story, struct word right, uint64_t key, struct word *other) {
    int common = lexicon_count_after_the(source->lexicon, right);
    for (uint64_t try = 0; try < 3 * TRIES; try++) {
        size_t from = rng_bits(key, 2 * try) % source->stories->count;
        const struct things *things = &all[from];
        if (things->count == 0)
            continue;
        *other = things->last[rng_bits(key, 2 * try + 1) % (unsigned)things->count];
        if (try < 2 * TRIES && lexicon_count_after_the(source->lexicon, *other) < common)
            continue;
        if (try < TRIES && !same_place(story, right, source->stories->texts[from], *other))
            continue;
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
                !draw_other(source, all, story, last, rng_derive(key, (uint64_t)t), &other))
                continue;
            const struct piece ends[] = {{last.text, last.bytes}, {other.text, other.bytes}};
            status = case_list_add(cases, (struct piece){story, (size_t)(last.text - story)}, ends,
                                   2, err);
        }
    }
    free(all);
    return status;
}
