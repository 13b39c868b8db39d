#include "evaluation/choices.h"

#include "base/rng.h"

enum { NAMES = 16 }; /* of one story; more are left out */

struct mention {
    struct word first, last;
};

/* The names of a story, in the order of their first mentions. */
static int find_names(const struct lexicon *lexicon, const char *story,
                      struct mention names[NAMES]) {
    int count = 0;
    struct word word;
    while (word_next(&story, &word)) {
        int i = 0;
        if (!lexicon_is_name(lexicon, word))
            continue;
        while (i < count && !word_same(names[i].first, word))
            i++;
        if (i < count)
            names[i].last = word;
        else if (count < NAMES)
            names[count++] = (struct mention){word, word};
    }
    return count;
}

/* A name other than `right` that the story has before the place, NULL when there is none. */
static const struct word *draw_other(const struct mention *names, int count, int right,
                                     uint64_t bits) {
    const struct word *others[NAMES];
    unsigned found = 0;
    for (int i = 0; i < count; i++)
        if (i != right && names[i].first.text < names[right].last.text)
            others[found++] = &names[i].first;
    return found ? others[bits % found] : NULL;
}

enum status choices_names(const struct choice_source *source, struct case_list *cases,
                          struct error *err) {
    enum status status = STATUS_OK;
    for (size_t i = 0; i < source->stories->count; i++) {
        const char *story = source->stories->texts[i];
        uint64_t key = rng_derive(source->seed, i);
        struct mention names[NAMES];
        int count = find_names(source->lexicon, story, names);
        for (int n = 0; n < count && status == STATUS_OK; n++) {
            struct word last = names[n].last;
            const struct word *other = draw_other(names, count, n, rng_bits(key, (uint64_t)n));
            if (!other || last.text == names[n].first.text)
                continue;
            const struct piece ends[] = {{last.text, last.bytes}, {other->text, other->bytes}};
            status = case_list_add(cases, (struct piece){story, (size_t)(last.text - story)}, ends,
                                   2, err);
        }
    }
    return status;
}
