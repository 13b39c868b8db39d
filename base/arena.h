/* arena.h - one block of memory, measured first and then handed out in pieces.
 *
 * A layout function takes its pieces from an arena. arena_build() runs it twice:
 * over a zeroed arena, which only counts, and over the real one, so what is
 * needed can never differ from what is taken.
 * Ownership: the arena owns every piece. Pieces are zeroed and aligned to
 * ARENA_ALIGNMENT. Not thread-safe.
 */
#ifndef ALPACA_BASE_ARENA_H
#define ALPACA_BASE_ARENA_H

#include "base/status.h"

#include <stddef.h>

#define ARENA_ALIGNMENT 64 /* a cache line, and the widest vector register */

struct arena {
    unsigned char *memory; /* NULL while measuring */
    size_t size;           /* bytes in memory */
    size_t used;           /* bytes handed out or counted */
};

/* Takes what `context` needs from the arena, the same pieces each time it is called. */
typedef void arena_layout(void *context, struct arena *arena);

/* Allocates as much as `layout` takes and runs it over that. STATUS_NO_MEMORY leaves an empty
 * arena; what `layout` has set in its context is NULL then. */
enum status arena_build(struct arena *arena, arena_layout *layout, void *context,
                        struct error *err);
/* Allocates `bytes`, zeroed; for pieces that need no layout function. */
enum status arena_create(struct arena *arena, size_t bytes, struct error *err);
/* The next `count * size` bytes; NULL while measuring. Overflow and overrun are bugs, and
 * asserted. */
void *arena_take(struct arena *arena, size_t count, size_t size);
void arena_destroy(struct arena *arena);

#endif
