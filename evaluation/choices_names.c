#include "evaluation/choices.h"

#include "base/rng.h"

/* The last mention alone would be too few cases: of 554 stories only 120 have two names. */
enum { NAMES = 16, LAST_MENTIONS = 3 };

struct name {
    struct word first;
    struct word later[LAST_MENTIONS]; /* the last ones, the newest first */
    int later_count;
};

static void note_mention(struct name *name, struct word mention) {
    for (int i = LAST_MENTIONS - 1; i > 0; i--)
        name->later[i] = name->later[i - 1];
    name->later[0] = mention;
    name->later_count += name->later_count < LAST_MENTIONS;
}

/* The names of a story, in the order of their first mentions; of more than NAMES the first. */
static int find_names(const struct lexicon *lexicon, const char *story, struct name names[NAMES]) {
    int count = 0;
    struct word word;
    while (word_next(&story, &word)) {
        int i = 0;
        if (!lexicon_is_name(lexicon, word))
            continue;
        while (i < count && !word_same(names[i].first, word))
            i++;
        if (i < count)
            note_mention(&names[i], word);
        else if (count < NAMES)
            names[count++] = (struct name){.first = word};
    }
    return count;
}

/* A name other than `right` that the story has before the mention; NULL when there is none. */
static const struct word *draw_other(const struct name *names, int count, int right,
                                     struct word mention, uint64_t bits) {
    const struct word *others[NAMES];
    unsigned found = 0;
    for (int i = 0; i < count; i++)
        if (i != right && names[i].first.text < mention.text)
            others[found++] = &names[i].first;
    return found ? others[bits % found] : NULL;
}

enum status choices_names(const struct choice_source *source, struct case_list *cases,
                          struct error *err) {
    enum status status = STATUS_OK;
    for (size_t i = 0; i < source->stories->count; i++) {
        const char *story = source->stories->texts[i];
        uint64_t key = rng_derive(source->seed, i), draw = 0;
        struct name names[NAMES];
        int count = find_names(source->lexicon, story, names);
        for (int n = 0; n < count; n++) {
            for (int m = 0; m < names[n].later_count && status == STATUS_OK; m++) {
                struct word mention = names[n].later[m];
                const struct word *other =
                    draw_other(names, count, n, mention, rng_bits(key, draw++));
                const struct piece beginning = {story, (size_t)(mention.text - story)};
                if (other)
                    status = case_list_add(cases, beginning,
                                           (struct piece[]){{mention.text, mention.bytes},
                                                            {other->text, other->bytes}},
                                           2, err);
            }
        }
    }
    return status;
}
