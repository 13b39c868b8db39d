/* AMX: a tile holds 16 rows of 64 bytes. tdpbusd multiplies 16 rows of 64 activations with 64
 * weights of 16 outputs and adds the products to 16 x 16 sums, without saturating. The weights'
 * tile, four weights of each of 16 outputs a row, is just how a panel lies in memory (int8.h).
 * Compiled with its own flags (see the Makefile); called only after dispatch.c asked the CPU and
 * the kernel. Intel's "64 and IA-32 Architectures Software Developer's Manual", volume 1, chapter
 * "Programming with Intel AMX", and volume 2 for the instructions. */
#if defined(__x86_64__)
#include "model/kernels/int8_vnni.h"

#include <stdalign.h>
#include <string.h>

enum {
    BLOCK_ROWS = 16,                             /* of activations and sums, in one tile */
    ROW_BYTES = 64,                              /* of a tile */
    STEP_GROUPS = ROW_BYTES / INT8_GROUP,        /* multiplied by one instruction */
    STEP_BYTES = STEP_GROUPS * INT8_GROUP_BYTES, /* of a panel */
    SUM_TILES = 4,                               /* added to in turns, as each takes a while */
    FEW_ROWS = 12, /* with fewer, a tile is mostly empty, and VNNI does as well (bench/README.md) */
};

/* The instructions, in assembly, because GCC 12's intrinsics do not say that they read memory.
 * Tiles are numbered like registers; no compiler uses them by itself. */
#define LOAD(tile, from, stride)                                                                   \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile : : "r"(from), "r"(stride) : "memory")
#define STORE(to, tile)                                                                            \
    __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)"                                        \
                     : : "r"(to), "r"((size_t)ROW_BYTES) : "memory")
#define ZERO(tile) __asm__ volatile("tilezero %tmm" #tile)
#define DOT(sums, x, w) __asm__ volatile("tdpbusd %tmm" #w ", %tmm" #x ", %tmm" #sums)

/* ldtilecfg's operand. */
struct tile_shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

/* Tiles 0 to 3 are sums, 4 and 5 activations, 6 and 7 weights. All hold `height` rows but those of
 * the weights. */
static void set_shapes(size_t height) {
    struct tile_shapes shapes = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) {
        shapes.row_bytes[tile] = ROW_BYTES;
        shapes.rows[tile] = tile < 6 ? (uint8_t)height : STEP_GROUPS;
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(shapes));
}

/* One or two blocks of rows times panels: at most SUM_TILES tiles of sums. */
struct area {
    size_t rows[2], blocks; /* where each block begins */
    size_t panel, panels;
};

/* Sums in memory which are still to become outputs. */
struct unfinished {
    struct area area;
    size_t tiles, tile, row; /* how many there are, and which row comes next */
};

struct buffers {
    alignas(64) int32_t sums[SUM_TILES][BLOCK_ROWS][INT8_PANEL];
    /* The operands of a last step that has fewer groups. */
    alignas(64) uint8_t x[2][BLOCK_ROWS][ROW_BYTES];
    alignas(64) int8_t w[SUM_TILES][STEP_BYTES];
};

/* See int8_kernels.linear. */
struct job {
    const struct int8_matrix *matrix;
    const uint8_t *x;
    size_t x_stride;
    const struct quantization *quantizations;
    float *y;
    size_t y_stride;
    bool relu;
    size_t height; /* rows of every block */
    struct unfinished unfinished;
    struct buffers *buffers;
};

/* The next `count` rows of sums become outputs. They do so between the steps of another area, whose
 * products another part of the core computes at the same time. */
static void finish_rows(struct job *job, size_t count) {
    struct unfinished *u = &job->unfinished;
    while (count > 0 && u->tile < u->tiles) {
        const size_t panel = u->area.panel + u->tile / u->area.blocks;
        const size_t first = u->area.rows[u->tile % u->area.blocks], left = job->height - u->row;
        const size_t end = u->row + (left < count ? left : count);
        float *y = job->y + first * job->y_stride + panel * INT8_PANEL;
        count -= end - u->row;
        for (size_t r = u->row; r < end; r++)
            int8_finish(job->matrix, panel, _mm512_load_si512(job->buffers->sums[u->tile][r]),
                        &job->quantizations[first + r], y + r * job->y_stride, job->relu);
        u->row = end < job->height ? end : 0;
        u->tile += end == job->height;
    }
}

/* Adds one step's products: two blocks share the tiles of at most two panels, or one block stays
 * while at most four panels pass by. From one block to the next it is x_next bytes, from one panel
 * to the next w_next. */
static inline void step(const struct area *a, const uint8_t *x, size_t x_next, size_t x_stride,
                        const int8_t *w, size_t w_next) {
    const size_t w_stride = INT8_GROUP_BYTES;
    LOAD(4, x, x_stride);
    LOAD(6, w, w_stride);
    DOT(0, 4, 6);
    if (a->blocks == 2) {
        LOAD(5, x + x_next, x_stride);
        DOT(1, 5, 6);
        if (a->panels == 1)
            return;
        LOAD(7, w + w_next, w_stride);
        DOT(2, 4, 7);
        DOT(3, 5, 7);
        return;
    }
    if (a->panels == 1)
        return;
    LOAD(7, w + w_next, w_stride);
    DOT(1, 4, 7);
    if (a->panels == 2)
        return;
    LOAD(6, w + 2 * w_next, w_stride);
    DOT(2, 4, 6);
    if (a->panels == 3)
        return;
    LOAD(7, w + 3 * w_next, w_stride);
    DOT(3, 4, 7);
}

/* The last groups, fewer than a step has: copied, as tiles would go on behind the ends of the rows
 * and of the matrix. What a tile of weights holds behind them meets activations of 0. */
static void last_step(struct job *job, const struct area *a, const uint8_t *x, size_t x_next,
                      const int8_t *w, size_t w_next) {
    struct buffers *buffers = job->buffers;
    const size_t groups = job->matrix->groups % STEP_GROUPS;
    const __mmask16 mask = (__mmask16)((1u << groups) - 1);
    for (size_t b = 0; b < a->blocks; b++)
        for (size_t r = 0; r < job->height; r++)
            _mm512_store_si512(
                buffers->x[b][r],
                _mm512_maskz_loadu_epi32(mask, x + b * x_next + r * job->x_stride));
    for (size_t p = 0; p < a->panels; p++)
        memcpy(buffers->w[p], w + p * w_next, groups * INT8_GROUP_BYTES);
    step(a, buffers->x[0][0], sizeof buffers->x[0], ROW_BYTES, buffers->w[0], STEP_BYTES);
}

static void store_sums(struct job *job, const struct area *a) {
    struct unfinished u = {.area = *a, .tiles = a->blocks * a->panels};
    STORE(job->buffers->sums[0], 0);
    if (u.tiles > 1)
        STORE(job->buffers->sums[1], 1);
    if (u.tiles > 2)
        STORE(job->buffers->sums[2], 2);
    if (u.tiles > 3)
        STORE(job->buffers->sums[3], 3);
    job->unfinished = u;
}

/* Multiplies an area, while the one before it is finished. */
static void multiply(struct job *job, struct area a) {
    const struct int8_matrix *m = job->matrix;
    const size_t steps = m->groups / STEP_GROUPS;
    const size_t finished = steps ? (job->unfinished.tiles * job->height + steps - 1) / steps : 0;
    const uint8_t *x = job->x + a.rows[0] * job->x_stride;
    const int8_t *w = m->bytes + a.panel * m->groups * INT8_GROUP_BYTES;
    const size_t x_next = (a.rows[1] - a.rows[0]) * job->x_stride, x_stride = job->x_stride;
    const size_t w_next = m->groups * INT8_GROUP_BYTES;
    ZERO(0);
    ZERO(1);
    ZERO(2);
    ZERO(3);
    for (size_t i = 0; i < steps; i++, x += ROW_BYTES, w += STEP_BYTES) {
        step(&a, x, x_next, x_stride, w, w_next);
        finish_rows(job, finished);
    }
    if (m->groups % STEP_GROUPS)
        last_step(job, &a, x, x_next, w, w_next);
    finish_rows(job, SIZE_MAX);
    store_sums(job, &a);
}

static size_t row_blocks(size_t rows) {
    return (rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
}

/* All rows times the panels [panel, panel + panels), at most SUM_TILES. */
static void multiply_panels(struct job *job, size_t rows, size_t panel, size_t panels) {
    const size_t blocks = row_blocks(rows), last = rows - job->height;
    /* Blocks have one height, so neighbors may share a row, which is computed twice. */
    const size_t gaps = blocks > 1 ? blocks - 1 : 1;
    for (size_t b = 0; b + 1 < blocks; b += 2)
        for (size_t p = 0; p < panels; p += 2)
            multiply(job, (struct area){.rows = {last * b / gaps, last * (b + 1) / gaps},
                                        .blocks = 2,
                                        .panel = panel + p,
                                        .panels = panels - p < 2 ? 1 : 2});
    if (blocks % 2 != 0)
        multiply(job, (struct area){{last, last}, 1, panel, panels});
}

static void linear(const struct int8_matrix *m, const uint8_t *x, size_t x_stride,
                   const struct quantization *quantizations, size_t rows, size_t begin, size_t end,
                   float *y, size_t y_stride, bool relu, struct fetch_list wanted) {
    if (rows < FEW_ROWS) {
        int8_vnni_linear(m, x, x_stride, quantizations, rows, begin, end, y, y_stride, relu,
                         wanted);
        return;
    }
    struct buffers buffers;
    const size_t blocks = row_blocks(rows);
    struct job job = {.matrix = m,
                      .x = x,
                      .x_stride = x_stride,
                      .quantizations = quantizations,
                      .y = y,
                      .y_stride = y_stride,
                      .relu = relu,
                      .height = (rows + blocks - 1) / blocks,
                      .buffers = &buffers};
    set_shapes(job.height);
    for (size_t panel = begin; panel < end; panel += SUM_TILES)
        multiply_panels(&job, rows, panel, end - panel < SUM_TILES ? end - panel : SUM_TILES);
    finish_rows(&job, SIZE_MAX);
    __asm__ volatile("tilerelease"); /* a thread without tiles is switched faster */
}

const struct int8_kernels int8_amx = {
    .name = "amx",
    .tile_rows = 2 * BLOCK_ROWS,
    .fetching_rows = FEW_ROWS,
    .linear = linear,
    .scores = int8_vnni_scores,
    .mix = int8_vnni_mix,
};
#else
typedef int kernels_none; /* ISO C wants a declaration */
#endif
