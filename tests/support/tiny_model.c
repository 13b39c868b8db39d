#include "tests/support/tiny_model.h"

#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void *must_allocate(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    if (!memory) {
        fprintf(stderr, "no memory for the test\n");
        exit(1);
    }
    return memory;
}

struct model_config tiny_config(void) {
    return (struct model_config){.d_model = 16, .heads = 2, .d_ff = 40, .layers = 2,
                                 .vocab = TINY_VOCAB, .positions = TINY_POSITIONS,
                                 .norm_eps = 1e-5f, .unk_id = 0, .bos_id = 1, .eos_id = 2,
                                 .pad_id = 3};
}

struct model *tiny_model(const struct model_config *config, uint64_t seed) {
    struct model *model;
    struct error err;
    if (model_create(&model, config, &err) != STATUS_OK) {
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
    model_initialize(model, seed);
    return model;
}

struct dataset tiny_dataset(size_t stories, uint64_t seed) {
    struct dataset d = {.stories = stories};
    d.ids = must_allocate(stories * TINY_POSITIONS, sizeof *d.ids);
    d.offsets = must_allocate(stories + 1, sizeof *d.offsets);
    for (size_t s = 0; s < stories; s++) {
        uint64_t key = rng_derive(seed, s);
        size_t count = 3 + (size_t)(rng_bits(key, 0) % (TINY_POSITIONS - 2));
        d.ids[d.id_count++] = 1;
        for (size_t i = 1; i < count; i++) {
            uint16_t last = d.ids[d.id_count - 1];
            uint16_t next = (uint16_t)(4 + (last * 3 + rng_bits(key, i) % 3) % (TINY_VOCAB - 4));
            d.ids[d.id_count++] = i + 1 < count ? next : 2;
        }
        d.offsets[s + 1] = d.id_count;
        if (count - 1 > d.longest_rows)
            d.longest_rows = count - 1;
    }
    d.rows = d.id_count - stories;
    d.text_bytes = d.rows * 4;
    return d;
}

struct story_batch tiny_batch(const struct dataset *d) {
    int32_t *lengths = must_allocate(d->stories, sizeof *lengths);
    int32_t *inputs = must_allocate(d->rows, sizeof *inputs);
    int32_t *targets = must_allocate(d->rows, sizeof *targets);
    size_t row = 0;
    for (size_t s = 0; s < d->stories; s++) {
        lengths[s] = (int32_t)(d->offsets[s + 1] - d->offsets[s] - 1);
        for (uint64_t i = d->offsets[s]; i + 1 < d->offsets[s + 1]; i++, row++) {
            inputs[row] = d->ids[i];
            targets[row] = d->ids[i + 1];
        }
    }
    return (struct story_batch){.stories = d->stories, .rows = d->rows, .lengths = lengths,
                                .inputs = inputs, .targets = targets};
}

void tiny_batch_free(struct story_batch *batch) {
    free((void *)(uintptr_t)batch->lengths);
    free((void *)(uintptr_t)batch->inputs);
    free((void *)(uintptr_t)batch->targets);
    *batch = (struct story_batch){0};
}

double relative_difference(const float *a, const float *b, size_t count) {
    double difference = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        double d = (double)a[i] - (double)b[i];
        difference += d * d;
        size += (double)b[i] * (double)b[i];
    }
    return sqrt(difference) / (sqrt(size) + 1e-30);
}
