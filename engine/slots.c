#include "engine/slots.h"

#include <assert.h>
#include <string.h>

enum { WORTH_SHARING = 4 }; /* tokens; a shorter beginning is computed faster than copied */

void slots_layout(struct slots *slots, struct arena *arena) {
    struct slot_entry *entries = arena_take(arena, (size_t)slots->count, sizeof *entries);
    for (int i = 0; i < slots->count; i++) {
        int32_t *tokens = arena_take(arena, (size_t)slots->positions, sizeof *tokens);
        if (entries)
            entries[i].tokens = tokens;
    }
    slots->entries = entries;
}

void slots_open(struct slots *slots) {
    slots->free = slots->count;
}

static int common_beginning(const struct slot_entry *entry, const int32_t *prompt, int count) {
    int limit = entry->cached < count ? entry->cached : count, i = 0;
    while (i < limit && entry->tokens[i] == prompt[i])
        i++;
    return i;
}

/* The slot with the longest common beginning; a free one before a taken one. -1 for none. */
static int find_source(const struct slots *slots, const int32_t *prompt, int count, int *shared) {
    int best = -1;
    *shared = WORTH_SHARING - 1;
    for (int i = 0; i < slots->count; i++) {
        const struct slot_entry *entry = &slots->entries[i];
        int common = common_beginning(entry, prompt, count);
        bool better = common > *shared || (best >= 0 && common == *shared && !entry->taken &&
                                           slots->entries[best].taken);
        if (better) {
            best = i;
            *shared = common;
        }
    }
    return best;
}

static int find_oldest(const struct slots *slots, int except) {
    int oldest = -1;
    for (int i = 0; i < slots->count; i++) {
        const struct slot_entry *entry = &slots->entries[i];
        if (!entry->taken && i != except &&
            (oldest < 0 || entry->released < slots->entries[oldest].released))
            oldest = i;
    }
    return oldest;
}

struct slot_choice slots_take(struct slots *slots, const int32_t *prompt, int count) {
    assert(slots->free > 0);
    struct slot_choice choice = {.shared = 0};
    choice.source = find_source(slots, prompt, count - 1, &choice.shared);
    choice.slot = find_oldest(slots, -1);
    if (choice.source < 0) {
        choice.source = choice.slot;
        choice.shared = 0;
    } else if (!slots->entries[choice.source].taken) {
        /* In place when little else would be lost with it, or nothing else is free. */
        int other = find_oldest(slots, choice.source);
        bool most_of_it = choice.shared >= slots->entries[choice.source].cached / 2;
        choice.slot = most_of_it || other < 0 ? choice.source : other;
    }
    struct slot_entry *entry = &slots->entries[choice.slot];
    entry->taken = true;
    entry->cached = choice.shared;
    memmove(entry->tokens, prompt, (size_t)choice.shared * sizeof *prompt);
    slots->free--;
    return choice;
}

void slots_append(struct slots *slots, int slot, const int32_t *tokens, int count) {
    struct slot_entry *entry = &slots->entries[slot];
    assert(entry->taken && entry->cached + count <= slots->positions);
    memcpy(entry->tokens + entry->cached, tokens, (size_t)count * sizeof *tokens);
    entry->cached += count;
}

void slots_release(struct slots *slots, int slot) {
    assert(slots->entries[slot].taken);
    slots->entries[slot].taken = false;
    slots->entries[slot].released = ++slots->releases;
    slots->free++;
}
