/* cuda_runtime.h - enough of CUDA on a CPU to run the kernels of train/cuda/ in a test.
 *
 * It stands in for CUDA's own header when a C++ compiler builds those sources without nvcc. A
 * launch runs block after block; the threads of a block are contexts (ucontext.h) that take turns
 * at barriers and wherever a warp exchanges values, forwards or, with emulation_backwards, from
 * the last to the first, so that a barrier that is missing shows as another result. Streams do at
 * once what they are asked for. It shows whether the arithmetic and the indices are right, and
 * nothing of what a card is like: no speed, no limits, no races that the order of turns hides.
 * Ownership: launches own their threads. One thread.
 */
#ifndef ALPACA_TESTS_CUDA_EMULATION_CUDA_RUNTIME_H
#define ALPACA_TESTS_CUDA_EMULATION_CUDA_RUNTIME_H

#include <math.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <algorithm>
#include <functional>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)

using std::max;
using std::min;

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
inline dim3 threadIdx, blockIdx, blockDim, gridDim;

/* ---- threads that take turns ---------------------------------------------- */

struct emulated_barrier {
    unsigned arrived = 0, generation = 0, members = 0;
};

struct emulated_warp {
    emulated_barrier barrier;
    unsigned turn = 0;
    uint64_t slots[2][32][4]; /* what lanes give to others, in two places that take turns */
};

struct emulated_thread {
    ucontext_t context;
    jmp_buf resume;
    std::vector<char> stack = std::vector<char>(256 << 10);
    bool begun = false, done = false;
    unsigned warp_turn = 0;
};

struct emulated_block {
    std::vector<emulated_thread> threads = std::vector<emulated_thread>(1024);
    std::vector<emulated_warp> warps;
    emulated_barrier barrier;
    std::function<void()> body;
    jmp_buf scheduler;
    ucontext_t origin;
    unsigned current = 0;
};
inline emulated_block emulation;
inline bool emulation_backwards = false;

static inline void emulated_yield() {
    if (_setjmp(emulation.threads[emulation.current].resume) == 0)
        _longjmp(emulation.scheduler, 1);
}

static inline void emulated_leave(emulated_barrier *b) {
    if (--b->members > 0 && b->arrived == b->members) {
        b->arrived = 0;
        b->generation++;
    }
}

static inline void emulated_wait(emulated_barrier *b) {
    unsigned generation = b->generation;
    if (++b->arrived == b->members) {
        b->arrived = 0;
        b->generation++;
    }
    while (b->generation == generation)
        emulated_yield();
}

/* A thread is begun once and then runs block after block. */
static void emulated_main() {
    for (;;) {
        emulation.body();
        emulation.threads[emulation.current].done = true;
        emulated_leave(&emulation.barrier);
        emulated_leave(&emulation.warps[emulation.current / 32].barrier);
        emulated_yield();
    }
}

static inline void emulated_resume(unsigned index) {
    emulated_thread *thread = &emulation.threads[index];
    emulation.current = index;
    threadIdx = dim3(index);
    if (_setjmp(emulation.scheduler) != 0)
        return;
    if (thread->begun)
        _longjmp(thread->resume, 1);
    thread->begun = true;
    getcontext(&thread->context);
    thread->context.uc_stack.ss_sp = thread->stack.data();
    thread->context.uc_stack.ss_size = thread->stack.size();
    thread->context.uc_link = nullptr;
    makecontext(&thread->context, emulated_main, 0);
    swapcontext(&emulation.origin, &thread->context);
}

static inline void emulated_run_block(unsigned threads) {
    emulation.barrier = emulated_barrier();
    emulation.barrier.members = threads;
    emulation.warps.assign((threads + 31) / 32, emulated_warp());
    for (unsigned t = 0; t < threads; t++) {
        emulation.threads[t].done = false;
        emulation.threads[t].warp_turn = 0;
        emulation.warps[t / 32].barrier.members++;
    }
    for (unsigned left = threads; left > 0;) {
        left = 0;
        for (unsigned i = 0; i < threads; i++) {
            unsigned t = emulation_backwards ? threads - 1 - i : i;
            if (!emulation.threads[t].done) {
                emulated_resume(t);
                left += !emulation.threads[t].done;
            }
        }
    }
}

/* What a card would refuse ends the test. */
template <typename F> static void emulated_launch(dim3 grid, dim3 block, F body) {
    if (grid.x == 0 || grid.x > INT32_MAX || grid.y == 0 || grid.y > 65535 || block.x == 0 ||
        block.x > 1024 || block.x % 32) {
        fprintf(stderr, "a launch of %u x %u blocks of %u threads\n", grid.x, grid.y, block.x);
        abort();
    }
    emulation.body = body;
    gridDim = grid;
    blockDim = block;
    for (unsigned y = 0; y < grid.y; y++)
        for (unsigned x = 0; x < grid.x; x++) {
            blockIdx = dim3(x, y);
            emulated_run_block(block.x);
        }
}
#define LAUNCH(kernel, grid, block, ...)                                                        \
    emulated_launch((grid), (block), [=] { (kernel)(__VA_ARGS__); })

static inline void __syncthreads() {
    emulated_wait(&emulation.barrier);
}

/* ---- what a warp exchanges ------------------------------------------------ */

/* Every lane of the warp gives up to 32 bytes; returns those of all lanes, until the next call. */
template <typename T> static const uint64_t (*emulated_exchange(const T &value))[4] {
    emulated_warp *warp = &emulation.warps[emulation.current / 32];
    unsigned turn = emulation.threads[emulation.current].warp_turn++ % 2;
    static_assert(sizeof value <= 32, "a slot is too small");
    memcpy(warp->slots[turn][emulation.current % 32], &value, sizeof value);
    emulated_wait(&warp->barrier);
    return warp->slots[turn];
}

static inline float __shfl_xor_sync(unsigned, float value, int mask) {
    float other;
    memcpy(&other, emulated_exchange(value)[(emulation.current % 32) ^ (unsigned)mask],
           sizeof other);
    return other;
}

/* Half a register: 0 or 1. */
static inline float emulated_bf16(uint32_t bits, int half) {
    uint32_t wide = half ? bits & 0xffff0000u : bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

struct emulated_operands {
    uint32_t a[4], b[2];
};

/* The three of train/cuda/tensor_core.h, from PTX's tables of fragments. */
static inline void tensor_product(float sums[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
    emulated_operands mine = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
    const uint64_t(*slots)[4] = emulated_exchange(mine);
    emulated_operands all[32];
    for (int lane = 0; lane < 32; lane++)
        memcpy(&all[lane], slots[lane], sizeof all[lane]);
    int lane = (int)emulation.current % 32;
    for (int i = 0; i < 4; i++) {
        int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        for (int k = 0; k < 16; k++) {
            uint32_t left = all[row % 8 * 4 + k % 8 / 2].a[row / 8 + k / 8 * 2];
            uint32_t right = all[column * 4 + k % 8 / 2].b[k / 8];
            sums[i] += emulated_bf16(left, k % 2) * emulated_bf16(right, k % 2);
        }
    }
}

template <typename B>
static inline void emulated_matrices(uint32_t registers[4], const B *row, bool transposed) {
    const uint64_t(*slots)[4] = emulated_exchange(row);
    const uint16_t *rows[32];
    int lane = (int)emulation.current % 32;
    for (int i = 0; i < 32; i++)
        memcpy(&rows[i], slots[i], sizeof rows[i]);
    for (int matrix = 0; matrix < 4; matrix++) {
        const uint16_t *const *of = rows + 8 * matrix;
        int group = lane / 4, member = lane % 4 * 2;
        uint32_t low = transposed ? of[member][group] : of[group][member];
        uint32_t high = transposed ? of[member + 1][group] : of[group][member + 1];
        registers[matrix] = low | high << 16;
    }
}
template <typename B> static inline void load_matrices(uint32_t registers[4], const B *row) {
    emulated_matrices(registers, row, false);
}
template <typename B> static inline void load_transposed(uint32_t registers[4], const B *row) {
    emulated_matrices(registers, row, true);
}

#define __expf expf
static inline float rsqrtf(float x) {
    return 1 / sqrtf(x);
}

/* ---- the runtime's calls --------------------------------------------------- */

typedef enum { cudaSuccess, cudaErrorMemoryAllocation, cudaErrorNoDevice } cudaError_t;
typedef struct emulated_stream *cudaStream_t;
typedef int *cudaEvent_t;
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };

static inline const char *cudaGetErrorString(cudaError_t error) {
    return error == cudaSuccess ? "no error" : "error";
}
static inline cudaError_t cudaGetLastError() {
    return cudaSuccess;
}
static inline cudaError_t cudaGetDeviceCount(int *count) {
    *count = 1;
    return cudaSuccess;
}
/* Of NaN, so that what nobody has written does not look like a result. */
static inline cudaError_t cudaMalloc(void **memory, size_t bytes) {
    *memory = aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (!*memory)
        return cudaErrorMemoryAllocation;
    memset(*memory, 0xff, bytes);
    return cudaSuccess;
}
static inline cudaError_t cudaFree(void *memory) {
    free(memory);
    return cudaSuccess;
}
static inline cudaError_t cudaHostRegister(void *, size_t, unsigned) {
    return cudaSuccess;
}
static inline cudaError_t cudaHostUnregister(void *) {
    return cudaSuccess;
}
static inline cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind) {
    memcpy(to, from, bytes);
    return cudaSuccess;
}
static inline cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes,
                                          cudaMemcpyKind kind, cudaStream_t) {
    return cudaMemcpy(to, from, bytes, kind);
}
static inline cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t) {
    memset(memory, value, bytes);
    return cudaSuccess;
}
static inline cudaError_t cudaDeviceSynchronize() {
    return cudaSuccess;
}
static inline cudaError_t cudaStreamSynchronize(cudaStream_t) {
    return cudaSuccess;
}
static inline cudaError_t cudaEventCreate(cudaEvent_t *event) {
    *event = (int *)calloc(1, sizeof **event);
    return cudaSuccess;
}
static inline cudaError_t cudaEventDestroy(cudaEvent_t event) {
    free(event);
    return cudaSuccess;
}
static inline cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) {
    return cudaSuccess;
}
static inline cudaError_t cudaEventSynchronize(cudaEvent_t) {
    return cudaSuccess;
}
static inline cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t, cudaEvent_t) {
    *ms = 1;
    return cudaSuccess;
}

#endif
