/* slots.h - which sequence each slot of the kv cache holds, and which slot a new one gets.
 *
 * A released slot keeps its sequence until the slot is needed, so a prompt that
 * begins like any sequence in the cache, running or over, starts from the
 * longest such beginning instead of computing it again ("tell me another
 * ending"). Of the free slots the one that was released first is given away.
 * Ownership: memory from the caller's arena. One thread uses it at a time.
 */
#ifndef ALPACA_ENGINE_SLOTS_H
#define ALPACA_ENGINE_SLOTS_H

#include "base/arena.h"

#include <stdbool.h>
#include <stdint.h>

struct slot_entry {
    bool taken;
    int cached;        /* positions whose keys and values are in the cache */
    uint64_t released; /* when, in releases; 0: never used */
    int32_t *tokens;   /* [positions], `cached` of them valid */
};

struct slots {
    int count, positions; /* set before layout, then fixed */
    struct slot_entry *entries;
    int free;
    uint64_t releases;
};

/* Runs twice, as every layout does (base/arena.h); then slots_open(). */
void slots_layout(struct slots *slots, struct arena *arena);
void slots_open(struct slots *slots);

struct slot_choice {
    int slot;   /* taken from now on */
    int source; /* whose first `shared` positions are the prompt's; `slot` itself: in place */
    int shared; /* fewer than the prompt has, so that its last token is computed; 0: none */
};

/* Takes a free slot, of which there must be one, for a sequence that begins with `prompt`. */
struct slot_choice slots_take(struct slots *slots, const int32_t *prompt, int count);
/* The sequence of a taken slot has grown. */
void slots_append(struct slots *slots, int slot, const int32_t *tokens, int count);
void slots_release(struct slots *slots, int slot);

#endif
