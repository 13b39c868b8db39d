/* The reference: plain C, any CPU. */
#include "model/kernels/int8.h"

#include <string.h>

static void panel_row(int32_t sums[INT8_PANEL], const int8_t *bytes, const uint8_t *x,
                      size_t groups) {
    memset(sums, 0, INT8_PANEL * sizeof *sums);
    for (size_t g = 0; g < groups; g++, bytes += INT8_GROUP_BYTES, x += INT8_GROUP)
        for (size_t o = 0; o < INT8_PANEL; o++) {
            const int8_t *w = bytes + o * INT8_GROUP;
            sums[o] += x[0] * w[0] + x[1] * w[1] + x[2] * w[2] + x[3] * w[3];
        }
}

static void linear(const struct int8_matrix *m, const uint8_t *x, size_t x_stride,
                   const struct quantization *quantizations, size_t rows, size_t begin, size_t end,
                   float *y, size_t y_stride, bool relu, struct fetch_list wanted) {
    (void)wanted;
    for (size_t panel = begin; panel < end; panel++) {
        const int8_t *bytes = m->bytes + panel * m->groups * INT8_GROUP_BYTES;
        size_t first = panel * INT8_PANEL;
        size_t count = m->out - first < INT8_PANEL ? m->out - first : INT8_PANEL;
        for (size_t r = 0; r < rows; r++) {
            int32_t sums[INT8_PANEL];
            panel_row(sums, bytes, x + r * x_stride, m->groups);
            for (size_t o = 0; o < count; o++) {
                int32_t sum = sums[o] - quantizations[r].zero_point * m->sums[first + o];
                float scale = quantizations[r].scale * m->scales[first + o];
                float value = (float)sum * scale + m->bias[first + o];
                y[r * y_stride + first + o] = relu && !(value > 0.0f) ? 0.0f : value;
            }
        }
    }
}

static void scores(int32_t *dots, const int8_t *q, const uint8_t *keys, size_t blocks,
                   size_t groups, const uint8_t *ahead) {
    (void)ahead;
    for (size_t b = 0; b < blocks; b++, dots += INT8_PANEL) {
        memset(dots, 0, INT8_PANEL * sizeof *dots);
        for (size_t g = 0; g < groups; g++, keys += INT8_GROUP_BYTES)
            for (size_t j = 0; j < INT8_PANEL; j++)
                for (size_t i = 0; i < INT8_GROUP; i++)
                    dots[j] += q[g * INT8_GROUP + i] * (keys[j * INT8_GROUP + i] - 128);
    }
}

static void mix(int32_t *high, int32_t *low, const uint8_t *weights_high,
                const uint8_t *weights_low, const int8_t *values, size_t quads, size_t lanes,
                const int8_t *ahead) {
    (void)ahead;
    memset(high, 0, lanes * sizeof *high);
    memset(low, 0, lanes * sizeof *low);
    for (size_t j = 0; j < quads; j++, values += lanes * INT8_GROUP)
        for (size_t i = 0; i < lanes; i++)
            for (size_t k = 0; k < INT8_GROUP; k++) {
                int v = values[i * INT8_GROUP + k];
                high[i] += weights_high[j * INT8_GROUP + k] * v;
                low[i] += weights_low[j * INT8_GROUP + k] * v;
            }
}

const struct int8_kernels int8_portable = {
    .name = "portable",
    .tile_rows = 12,
    .linear = linear,
    .scores = scores,
    .mix = mix,
};
