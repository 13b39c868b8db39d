/* alpaca-bench loss: what serving in INT8 costs, in nats per token on real stories. */
#include "bench/bench.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/flags.h"
#include "base/pool.h"
#include "model/forward.h"
#include "model/kernels/kernels.h"
#include "model/weights.h"
#include "train/data/dataset.h"

#include <stdio.h>
#include <stdlib.h>

struct loss_options {
    const char *model, *data, *cpu;
    int stories, threads;
};

#define AT(member) offsetof(struct loss_options, member)
static const struct flag flags[] = {
    {"model", FLAG_TEXT, AT(model), "weights/alpaca", 0, 0, "DIR", "model folder"},
    {"data", FLAG_TEXT, AT(data), "data/tinystories-valid.jsonl.xz", 0, 0, "FILE", "stories"},
    {"stories", FLAG_INT, AT(stories), "500", 1, 1e9, "stories", "at most, from the start"},
    {"threads", FLAG_INT, AT(threads), "0", 0, 64, "", "compute threads; 0 for all cores"},
    {"cpu", FLAG_TEXT, AT(cpu), NULL, 0, 0, "NAME", "kernels: portable, avx2, avx512 or amx"},
};
static const struct flag_table table = {
    .usage = "alpaca-bench loss [options]",
    .summary = "The loss of a model in every form that it is served in, stories read through the\n"
               "kv cache as the server does.",
    .flags = flags,
    .count = sizeof flags / sizeof *flags,
};

enum { SLOTS = 8, LOGIT_ROWS = 256 };

struct reader {
    const struct model *model;
    struct pool *pool;
    struct activations activations;
    struct kv_cache cache;
    float *logits; /* [LOGIT_ROWS, vocab] */
};

static enum status reader_open(struct reader *r, const struct model *model, struct pool *pool,
                               struct error *err) {
    const struct model_config *c = &model->config;
    *r = (struct reader){.model = model, .pool = pool};
    enum status status = activations_create(&r->activations, c, SLOTS * c->positions, false,
                                            pool_workers(pool), err);
    if (status == STATUS_OK)
        status = kv_cache_create(&r->cache, c, SLOTS, model->dtype, err);
    r->logits = malloc(LOGIT_ROWS * (size_t)c->vocab * sizeof *r->logits);
    if (status == STATUS_OK && !r->logits)
        status = error_set(err, STATUS_NO_MEMORY, "no memory for logits");
    return status;
}

static void reader_close(struct reader *r) {
    activations_destroy(&r->activations);
    kv_cache_destroy(&r->cache);
    free(r->logits);
}

/* Nats of all rows of a batch of at most SLOTS stories. */
static double batch_loss(struct reader *r, const struct story_batch *stories) {
    struct span spans[SLOTS];
    size_t vocab = (size_t)r->model->config.vocab;
    double sum = 0;
    for (size_t s = 0; s < stories->stories; s++)
        spans[s] = (struct span){.slot = (int)s, .rows = stories->lengths[s]};
    struct batch batch = {.ids = stories->inputs,
                          .rows = (int)stories->rows,
                          .spans = spans,
                          .span_count = (int)stories->stories,
                          .cache = &r->cache};
    const struct forward_context context = {r->model, r->pool, &r->activations};
    forward(&context, &batch);
    for (size_t first = 0; first < stories->rows; first += LOGIT_ROWS) {
        size_t count = stories->rows - first < LOGIT_ROWS ? stories->rows - first : LOGIT_ROWS;
        forward_logits_range(&context, (int)first, (int)count, r->logits);
        for (size_t i = 0; i < count; i++) {
            float *logits = r->logits + i * vocab;
            double chosen = (double)logits[stories->targets[first + i]];
            sum += (double)kernels_get()->softmax(logits, vocab) - chosen;
        }
    }
    return sum;
}

static enum status open_model(const char *folder, struct model **model,
                              struct tokenizer **tokenizer, struct error *err) {
    char path[FILE_PATH_BYTES];
    enum status status = file_join(path, folder, "tokenizer.model", err);
    if (status == STATUS_OK)
        status = weights_load(folder, model, err);
    return status == STATUS_OK ? tokenizer_load(tokenizer, path, err) : status;
}

static enum status measure(const struct loss_options *o, enum dtype dtype, struct pool *pool,
                           double *loss, struct error *err) {
    struct model *model = NULL;
    struct tokenizer *tokenizer = NULL;
    struct dataset dataset = {0};
    struct data_loader *loader = NULL;
    struct reader reader = {0};
    struct data_loader_options plan = {.once = true, .max_stories = SLOTS};
    enum status status = flags_used("model", open_model(o->model, &model, &tokenizer, err), err);
    if (status == STATUS_OK)
        status = model_prepare(model, dtype, err);
    if (status == STATUS_OK) {
        const struct dataset_source source = {o->data, tokenizer,
                                              (size_t)model->config.positions, 0};
        status = flags_used("data", dataset_load(&dataset, &source, pool, err), err);
    }
    if (status == STATUS_OK)
        status = data_loader_open(&loader, &dataset, &plan, (struct data_loader_state){0}, err);
    if (status == STATUS_OK)
        status = reader_open(&reader, model, pool, err);
    if (status != STATUS_OK)
        goto cleanup;
    double sum = 0, start = clock_seconds();
    size_t stories = 0, rows = 0;
    const struct story_batch *batch;
    while (stories < (size_t)o->stories && (batch = data_loader_next(loader))->stories > 0) {
        sum += batch_loss(&reader, batch);
        stories += batch->stories;
        rows += batch->rows;
    }
    *loss = sum / (double)rows;
    printf("%-6s %8zu %8zu %12.6f %10.0f", dtype_name(dtype), stories, rows, *loss,
           (double)rows / (clock_seconds() - start));
cleanup:
    reader_close(&reader);
    data_loader_close(loader);
    dataset_free(&dataset);
    tokenizer_free(tokenizer);
    model_destroy(model);
    return status;
}

static enum status run(const void *options, struct error *err) {
    const struct loss_options *o = options;
    struct pool *pool = NULL;
    double exact = 0, narrow = 0;
    enum status status = kernels_select(o->cpu, err);
    if (status == STATUS_OK)
        status = pool_create(&pool, o->threads, err);
    if (status != STATUS_OK)
        return status;
    printf("%-6s %8s %8s %12s %10s %8s\n", "form", "stories", "tokens", "nats/token", "tokens/s",
           "rise");
    status = measure(o, DTYPE_F32, pool, &exact, err);
    if (status == STATUS_OK) {
        printf("\n");
        status = measure(o, DTYPE_INT8, pool, &narrow, err);
    }
    if (status == STATUS_OK)
        printf(" %7.3f%%\n", 100 * (narrow / exact - 1));
    pool_destroy(pool);
    return status;
}

int bench_loss(int argc, char **argv) {
    struct loss_options options;
    return bench_command("loss", &table, &options, argc, argv, run);
}
