#include "engine/slots.h"

#include <assert.h>
#include <string.h>

enum { WORTH_SHARING = 4 }; /* shorter beginnings are computed sooner than they are found a place */

void slot_book_layout(struct slot_book *book, struct arena *arena) {
    struct slot_entry *entries = arena_take(arena, (size_t)book->slots, sizeof *entries);
    for (int i = 0; i < book->slots; i++) {
        int32_t *tokens = arena_take(arena, (size_t)book->positions, sizeof *tokens);
        if (entries)
            entries[i].tokens = tokens;
    }
    book->entries = entries;
}

void slot_book_open(struct slot_book *book) {
    book->free = book->slots;
}

static int common_beginning(const struct slot_entry *entry, const int32_t *prompt, int count) {
    int limit = entry->known < count ? entry->known : count, i = 0;
    while (i < limit && entry->tokens[i] == prompt[i])
        i++;
    return i;
}

/* The slot with the longest common beginning; a free one before a taken one. -1 for none. */
static int find_source(const struct slot_book *book, const int32_t *prompt, int count,
                       int *shared) {
    int best = -1;
    *shared = WORTH_SHARING - 1;
    for (int i = 0; i < book->slots; i++) {
        const struct slot_entry *entry = &book->entries[i];
        int common = common_beginning(entry, prompt, count);
        bool better = common > *shared || (best >= 0 && common == *shared && !entry->taken &&
                                           book->entries[best].taken);
        if (better) {
            best = i;
            *shared = common;
        }
    }
    return best;
}

static int find_oldest(const struct slot_book *book, int except) {
    int oldest = -1;
    for (int i = 0; i < book->slots; i++) {
        const struct slot_entry *entry = &book->entries[i];
        if (!entry->taken && i != except &&
            (oldest < 0 || entry->released < book->entries[oldest].released))
            oldest = i;
    }
    return oldest;
}

struct slot_choice slot_book_take(struct slot_book *book, const int32_t *prompt, int count) {
    assert(book->free > 0);
    struct slot_choice choice = {.shared = 0};
    choice.source = find_source(book, prompt, count - 1, &choice.shared);
    choice.slot = find_oldest(book, -1);
    if (choice.source < 0) {
        choice.source = choice.slot;
        choice.shared = 0;
    } else if (!book->entries[choice.source].taken) {
        /* In place when little else would be lost with it, or nothing else is free. */
        int other = find_oldest(book, choice.source);
        bool most_of_it = choice.shared >= book->entries[choice.source].known / 2;
        choice.slot = most_of_it || other < 0 ? choice.source : other;
    }
    struct slot_entry *entry = &book->entries[choice.slot];
    entry->taken = true;
    entry->known = choice.shared;
    memmove(entry->tokens, prompt, (size_t)choice.shared * sizeof *prompt);
    book->free--;
    return choice;
}

void slot_book_append(struct slot_book *book, int slot, const int32_t *tokens, int count) {
    struct slot_entry *entry = &book->entries[slot];
    assert(entry->taken && entry->known + count <= book->positions);
    memcpy(entry->tokens + entry->known, tokens, (size_t)count * sizeof *tokens);
    entry->known += count;
}

void slot_book_release(struct slot_book *book, int slot) {
    assert(book->entries[slot].taken);
    book->entries[slot].taken = false;
    book->entries[slot].released = ++book->releases;
    book->free++;
}
