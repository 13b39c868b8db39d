/* card.h - the CUDA runtime as this room uses it: numbers, launches, memory, errors, time.
 *
 * C++, as all that nvcc compiles. Everything goes to one stream in order, so no kernel needs to
 * know of another, and memory is an arena (base/arena.h) that lies on the card.
 * Ownership: who builds an arena or opens a timer frees it. One thread per card.
 */
#ifndef ALPACA_TRAIN_CUDA_CARD_H
#define ALPACA_TRAIN_CUDA_CARD_H

#include <cuda_bf16.h>
#include <cuda_runtime.h>

extern "C" {
#include "base/arena.h"
#include "base/status.h"
#include "train/device.h"
}

typedef __nv_bfloat16 bf16;

/* The stream that all launches and copies of this room go to. */
#define CARD_STREAM ((cudaStream_t)0)

/* LAUNCH(kernel, blocks, threads of a block, arguments...) */
#ifdef __CUDACC__
#define LAUNCH(kernel, grid, block, ...) (kernel)<<<(grid), (block), 0, CARD_STREAM>>>(__VA_ARGS__)
#endif

/* STATUS_OK, or what is wrong with the card, STATUS_NO_MEMORY among it. */
enum status card_status(cudaError_t error, const char *what, struct error *err);
/* The same of all launches so far, without waiting for them. */
enum status card_launched(const char *what, struct error *err);

/* Returns from the function what the call returns, unless that is STATUS_OK. */
#define TRY(call)                                                                               \
    do {                                                                                        \
        enum status tried = (call);                                                             \
        if (tried != STATUS_OK)                                                                 \
            return tried;                                                                       \
    } while (0)

/* arena_build() in the card's memory, zeroed. */
enum status card_arena_build(struct arena *arena, arena_layout *layout, void *context,
                             struct error *err);
void card_arena_destroy(struct arena *arena);

/* Blocks of `size` that cover `count`. */
static inline unsigned blocks_for(size_t count, size_t size) {
    return (unsigned)((count + size - 1) / size);
}

/* ---- numbers -------------------------------------------------------------- */

static inline size_t dtype_bytes(enum dtype dtype) {
    return dtype == DTYPE_BF16 ? sizeof(bf16) : sizeof(float);
}

static inline __device__ float to_float(float x) {
    return x;
}
static inline __device__ float to_float(bf16 x) {
    return __bfloat162float(x);
}
static inline __device__ void from_float(float *y, float x) {
    *y = x;
}
static inline __device__ void from_float(bf16 *y, float x) {
    *y = __float2bfloat16(x);
}

/* STEP numbers that lie together, read and written at once. */
template <typename T, int STEP> struct alignas(sizeof(T) * STEP > 16 ? 16 : sizeof(T) * STEP) pack {
    T values[STEP];
};

/* ---- time ----------------------------------------------------------------- */

/* How long the parts of a step take on the card, between marks. */
struct part_timer {
    enum { MARKS = 4096 };
    bool on;
    int count;
    cudaEvent_t events[MARKS];
    int parts[MARKS]; /* what begins with the mark; DEVICE_PARTS: nothing */
};

/* What follows belongs to `part`. */
void part_mark(struct part_timer *timer, int part);
/* Waits, adds up seconds[DEVICE_PARTS] since the last call and measures from now on. */
enum status part_seconds(struct part_timer *timer, double *seconds, struct error *err);
void part_timer_close(struct part_timer *timer);

#endif
