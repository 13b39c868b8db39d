#include "evaluation/choices.h"

#include "base/rng.h"
#include "evaluation/sentences.h"

#include <string.h>

enum { SENTENCES = 128, MIN_WORDS = 3, PAIRS = 2 };

static int find_sentences(const char *story, struct piece sentences[SENTENCES]) {
    int count = 0;
    while (*story && count < SENTENCES) {
        size_t bytes = sentence_length(story, false);
        sentences[count++] = (struct piece){story, bytes};
        story += bytes;
        story += strspn(story, " ");
    }
    return count;
}

static enum status add_pair(const char *story, const struct piece pair[2], struct case_list *cases,
                            struct error *err) {
    struct buffer right = {0}, swapped = {0};
    enum status status = STATUS_OK;
    buffer_append(&right, pair[0].text, (size_t)(pair[1].text + pair[1].bytes - pair[0].text));
    buffer_append(&swapped, pair[1].text, pair[1].bytes);
    buffer_append_text(&swapped, " ");
    buffer_append(&swapped, pair[0].text, pair[0].bytes);
    if (right.failed || swapped.failed) {
        status = error_set(err, STATUS_NO_MEMORY, "no memory for two sentences");
    } else {
        const struct piece ends[] = {{right.data, right.size}, {swapped.data, swapped.size}};
        status = case_list_add(cases, (struct piece){story, (size_t)(pair[0].text - story)}, ends,
                               2, err);
    }
    buffer_free(&right);
    buffer_free(&swapped);
    return status;
}

/* Neighbors, the first sentence of a story left out: that one is easy to find. */
enum status choices_order(const struct choice_source *source, struct case_list *cases,
                          struct error *err) {
    enum status status = STATUS_OK;
    for (size_t i = 0; i < source->stories->count; i++) {
        const char *story = source->stories->texts[i];
        struct piece sentences[SENTENCES];
        int32_t places[SENTENCES];
        int count = find_sentences(story, sentences), pairs = 0;
        for (int place = 1; place + 1 < count; place += 2)
            if (word_count(sentences[place].text, sentences[place].bytes) >= MIN_WORDS &&
                word_count(sentences[place + 1].text, sentences[place + 1].bytes) >= MIN_WORDS)
                places[pairs++] = place;
        rng_shuffle(rng_derive(source->seed, i), places, (size_t)pairs);
        for (int p = 0; p < pairs && p < PAIRS && status == STATUS_OK; p++)
            status = add_pair(story, &sentences[places[p]], cases, err);
    }
    return status;
}
