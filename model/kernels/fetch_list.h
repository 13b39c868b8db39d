/* fetch_list.h - memory that is wanted soon, for others to bring near on their way.
 *
 * Decoding for many streams reads tens of MB of keys and values a step, more than the caches keep
 * beside the weights, and has little to compute on them. Linear layers compute a lot and leave
 * memory idle meanwhile, so they fetch what the next layer's attention will read, a line now and
 * then. A list is a hint: it may name what is never read, and no result depends on it.
 * Ownership: a list points at runs that its maker owns. Thread-safety: it is only read.
 */
#ifndef ALPACA_MODEL_KERNELS_FETCH_LIST_H
#define ALPACA_MODEL_KERNELS_FETCH_LIST_H

#include <stddef.h>
#include <stdint.h>

enum { FETCH_LINE_BYTES = 64 };

struct fetch_run {
    uintptr_t begin;
    size_t lines;
};

struct fetch_list {
    const struct fetch_run *runs;
    size_t count;
};

/* Where somebody stands in a list: `line` is next, and `step` behind it the one after, for `lines`
 * of this run. Behind the last run the line stays the same for good. */
struct fetching {
    const struct fetch_run *next, *end;
    uintptr_t line;
    size_t lines, step;
};

/* `near` is a line that does no harm, for lists without one. */
static inline struct fetching fetching_begin(struct fetch_list list, uintptr_t near) {
    const struct fetch_run *end = list.count ? list.runs + list.count : list.runs;
    return (struct fetching){list.runs, end, near, 0, FETCH_LINE_BYTES};
}

/* When no lines are left of a run. */
static inline void fetching_next(struct fetching *f) {
    if (f->next == f->end) {
        f->lines = SIZE_MAX;
        f->step = 0;
        return;
    }
    f->line = f->next->begin;
    f->lines = f->next->lines;
    f->next++;
}

#endif
