#include "train/cuda/card.h"

enum status card_status(cudaError_t error, const char *what, struct error *err) {
    if (error == cudaSuccess)
        return STATUS_OK;
    enum status status = error == cudaErrorMemoryAllocation ? STATUS_NO_MEMORY : STATUS_IO;
    return error_set(err, status, "CUDA: %s: %s", what, cudaGetErrorString(error));
}

enum status card_launched(const char *what, struct error *err) {
    return card_status(cudaGetLastError(), what, err);
}

enum status card_arena_build(struct arena *arena, arena_layout *layout, void *context,
                             struct error *err) {
    struct arena measure = {};
    void *memory = NULL;
    layout(context, &measure);
    *arena = (struct arena){};
    cudaError_t error = cudaMalloc(&memory, measure.used ? measure.used : 1);
    if (error == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError(); /* it is dealt with */
        return error_set(err, STATUS_NO_MEMORY, "the card has no %zu MiB of memory left",
                         measure.used >> 20);
    }
    if (error != cudaSuccess)
        return card_status(error, "memory", err);
    arena->memory = (unsigned char *)memory;
    arena->size = measure.used;
    layout(context, arena);
    return card_status(cudaMemsetAsync(memory, 0, measure.used, CARD_STREAM), "memory", err);
}

void card_arena_destroy(struct arena *arena) {
    cudaFree(arena->memory);
    *arena = (struct arena){};
}

/* ---- time ----------------------------------------------------------------- */

void part_mark(struct part_timer *t, int part) {
    if (!t->on || t->count == part_timer::MARKS)
        return;
    if (!t->events[t->count] && cudaEventCreate(&t->events[t->count]) != cudaSuccess)
        return;
    cudaEventRecord(t->events[t->count], CARD_STREAM);
    t->parts[t->count++] = part;
}

enum status part_seconds(struct part_timer *t, double *seconds, struct error *err) {
    enum status status = card_status(cudaStreamSynchronize(CARD_STREAM), "a step", err);
    for (int i = 0; i < DEVICE_PARTS; i++)
        seconds[i] = 0;
    for (int i = 0; i + 1 < t->count && status == STATUS_OK; i++) {
        float ms = 0;
        status =
            card_status(cudaEventElapsedTime(&ms, t->events[i], t->events[i + 1]), "time", err);
        if (t->parts[i] < DEVICE_PARTS)
            seconds[t->parts[i]] += (double)ms / 1e3;
    }
    t->on = true;
    t->count = 0;
    return status;
}

void part_timer_close(struct part_timer *t) {
    for (int i = 0; i < part_timer::MARKS && t->events[i]; i++)
        cudaEventDestroy(t->events[i]);
}
