#include "evaluation/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { STORY_END = UINT16_MAX }; /* behind every story; no id of the training text */

struct search {
    const struct training_text *training;
    uint16_t *ids;              /* [size] all stories, each with STORY_END behind it */
    const uint16_t **suffixes;  /* [size] pointers into ids, sorted */
    size_t size;
    /* What the training text shares at most with a suffix that is its neighbor from above, from
     * below; each worker has its own. */
    uint32_t *above, *below; /* [workers, size] */
};

static int compare_suffixes(const void *left, const void *right) {
    const uint16_t *a = *(const uint16_t *const *)left, *b = *(const uint16_t *const *)right;
    if (a == b)
        return 0;
    for (size_t i = 0;; i++) {
        if (a[i] != b[i])
            return a[i] < b[i] ? -1 : 1;
        if (a[i] == STORY_END)
            return a < b ? -1 : 1;
    }
}

static size_t shared_by_suffixes(const uint16_t *a, const uint16_t *b) {
    size_t shared = 0;
    while (a[shared] == b[shared] && a[shared] != STORY_END)
        shared++;
    return shared;
}

/* How many ids text[count] and a suffix begin with together. */
static size_t shared_with_text(const uint16_t *text, size_t count, const uint16_t *suffix) {
    size_t shared = 0;
    while (shared < count && text[shared] == suffix[shared])
        shared++;
    return shared;
}

/* The first suffix that does not come before text[count]. */
static size_t first_not_before(const struct search *s, const uint16_t *text, size_t count) {
    size_t low = 0, high = s->size;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const uint16_t *suffix = s->suffixes[middle];
        size_t shared = shared_with_text(text, count, suffix);
        if (shared < count && suffix[shared] < text[shared])
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void raise_to(uint32_t *value, size_t shared) {
    if (*value < shared)
        *value = (uint32_t)shared;
}

static void search_slice(void *context, int worker, int workers) {
    const struct search *s = context;
    const struct training_text *training = s->training;
    uint32_t *above = s->above + (size_t)worker * s->size;
    uint32_t *below = s->below + (size_t)worker * s->size;
    size_t begin, end;
    pool_slice(training->id_count, 1, worker, workers, &begin, &end);
    for (size_t t = begin; t < end; t++) {
        const uint16_t *text = training->ids + t;
        size_t count = training->id_count - t, at = first_not_before(s, text, count);
        if (at < s->size)
            raise_to(&above[at], shared_with_text(text, count, s->suffixes[at]));
        if (at > 0)
            raise_to(&below[at - 1], shared_with_text(text, count, s->suffixes[at - 1]));
    }
}

/* Makes above[] of the first worker what each suffix shares with the training text at most: its
 * neighbors' runs reach it as far as it begins like them. */
static void spread(const struct search *s, int workers) {
    uint32_t *above = s->above, *below = s->below;
    for (size_t i = s->size; i < (size_t)workers * s->size; i++) {
        raise_to(&above[i % s->size], above[i]);
        raise_to(&below[i % s->size], below[i]);
    }
    for (size_t i = 1; i < s->size; i++) {
        size_t shared = shared_by_suffixes(s->suffixes[i - 1], s->suffixes[i]);
        raise_to(&above[i], above[i - 1] < shared ? above[i - 1] : shared);
    }
    for (size_t i = s->size; i-- > 1;) {
        size_t shared = shared_by_suffixes(s->suffixes[i - 1], s->suffixes[i]);
        raise_to(&below[i - 1], below[i] < shared ? below[i] : shared);
    }
    for (size_t i = 0; i < s->size; i++)
        raise_to(&above[i], below[i]);
}

static enum status search_open(struct search *s, const struct token_list *stories, size_t count,
                               int workers, struct error *err) {
    for (size_t i = 0; i < count; i++)
        s->size += stories[i].count + 1;
    s->ids = malloc((s->size + 1) * sizeof *s->ids);
    s->suffixes = malloc((s->size + 1) * sizeof *s->suffixes);
    s->above = calloc((size_t)workers * s->size + 1, sizeof *s->above);
    s->below = calloc((size_t)workers * s->size + 1, sizeof *s->below);
    if (!s->ids || !s->suffixes || !s->above || !s->below)
        return error_set(err, STATUS_NO_MEMORY, "no memory for %zu suffixes", s->size);
    uint16_t *at = s->ids;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < stories[i].count; j++) {
            if (stories[i].ids[j] < 0 || stories[i].ids[j] >= STORY_END)
                return error_set(err, STATUS_UNSUPPORTED, "no training text has the id %d",
                                 (int)stories[i].ids[j]);
            *at++ = (uint16_t)stories[i].ids[j];
        }
        *at++ = STORY_END;
    }
    for (size_t i = 0; i < s->size; i++)
        s->suffixes[i] = s->ids + i;
    qsort(s->suffixes, s->size, sizeof *s->suffixes, compare_suffixes);
    return STATUS_OK;
}

static void search_close(struct search *s) {
    free(s->ids);
    free(s->suffixes);
    free(s->above);
    free(s->below);
}

/* Turns what is known of suffixes, in their order, into the longest run of each story. */
static void take_runs(struct search *s, const struct token_list *stories, size_t count,
                      struct memory_run *runs) {
    uint32_t *of_position = s->below; /* no longer needed */
    for (size_t i = 0; i < s->size; i++)
        of_position[s->suffixes[i] - s->ids] = s->above[i];
    for (size_t i = 0, at = 0; i < count; at += stories[i++].count + 1) {
        runs[i] = (struct memory_run){0};
        for (size_t j = 0; j < stories[i].count; j++)
            if (of_position[at + j] > runs[i].length)
                runs[i] = (struct memory_run){j, of_position[at + j]};
    }
}

enum status memory_longest_runs(const struct training_text *training,
                                const struct token_list *stories, size_t count, struct pool *pool,
                                struct memory_run *runs, struct error *err) {
    struct search search = {.training = training};
    int workers = pool_workers(pool);
    enum status status = search_open(&search, stories, count, workers, err);
    if (status == STATUS_OK) {
        pool_run(pool, search_slice, &search);
        spread(&search, workers);
        take_runs(&search, stories, count, runs);
    }
    search_close(&search);
    return status;
}
