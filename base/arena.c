#include "base/arena.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
#endif

enum status arena_create(struct arena *arena, size_t bytes, struct error *err) {
    *arena = (struct arena){0};
    /* mmap gives zeroed pages that cost nothing until touched. */
    void *memory = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return error_set(err, STATUS_NO_MEMORY, "cannot allocate %zu MiB of memory", bytes >> 20);
    arena->memory = memory;
    arena->size = bytes;
#ifdef MADV_HUGEPAGE
    if (bytes >= (size_t)8 << 20)
        (void)madvise(memory, bytes, MADV_HUGEPAGE); /* fewer TLB misses; only a hint */
#endif
    return STATUS_OK;
}

enum status arena_build(struct arena *arena, arena_layout *layout, void *context,
                        struct error *err) {
    struct arena measure = {0};
    layout(context, &measure);
    enum status status = arena_create(arena, measure.used, err);
    if (status == STATUS_OK)
        layout(context, arena);
    return status;
}

void *arena_take(struct arena *arena, size_t count, size_t size) {
    assert(size == 0 || count <= SIZE_MAX / size);
    size_t bytes = count * size;
    size_t rounded = (bytes + ARENA_ALIGNMENT - 1) & ~(size_t)(ARENA_ALIGNMENT - 1);
    void *piece = arena->memory ? arena->memory + arena->used : NULL;
    arena->used += rounded;
    assert(!arena->memory || arena->used <= arena->size);
    return piece;
}

void arena_destroy(struct arena *arena) {
    if (arena->memory)
        munmap(arena->memory, arena->size ? arena->size : 1);
    *arena = (struct arena){0};
}
