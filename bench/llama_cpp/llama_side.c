/* Stories by llama.cpp through its C interface (llama.h), as its own programs write them: one batch
 * with a token of every sequence, a sampler for each. The sequences have kv caches of their own
 * (kv_unified = false), which llama.cpp recommends where they share no prompt, and its threads stay
 * between steps (llama_attach_threadpool()). */
#include "bench/llama_cpp/llama_side.h"

#include "base/clock.h"
#include "base/rng.h"

#include <ggml-cpu.h>
#include <llama.h>
#include <stdio.h>
#include <stdlib.h>

struct llama_side {
    struct llama_model *model;
    bool flash;
    int threads;
};

/* What one load needs; a new one for each. */
struct run {
    struct llama_context *context;
    ggml_threadpool_t pool;
    struct llama_sampler **samplers; /* [streams] */
    struct llama_batch batch;
};

static void log_errors(enum ggml_log_level level, const char *text, void *context) {
    (void)context;
    if (level == GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

void llama_start(void) {
    llama_log_set(log_errors, NULL);
    ggml_backend_load_all_from_path(LLAMA_LIBRARIES);
    llama_backend_init();
}

void llama_print_version(void) {
    printf("llama.cpp %s, %s\n", llama_version(), llama_print_system_info());
}

enum status llama_side_open(struct llama_side **side, const char *file, bool flash, int threads,
                            struct error *err) {
    *side = calloc(1, sizeof **side);
    if (!*side)
        return error_set(err, STATUS_NO_MEMORY, "no memory for llama.cpp's side");
    (*side)->flash = flash;
    (*side)->threads = threads;
    (*side)->model = llama_model_load_from_file(file, llama_model_default_params());
    if ((*side)->model)
        return STATUS_OK;
    free(*side);
    *side = NULL;
    return error_set(err, STATUS_CORRUPT, "llama.cpp does not open %s", file);
}

void llama_side_close(struct llama_side *side) {
    if (!side)
        return;
    llama_model_free(side->model);
    free(side);
}

/* A function of the backend that runs on the CPU, which may be a library of its own. */
static void *cpu_function(const char *name) {
    ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    return cpu ? ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(cpu), name) : NULL;
}

static ggml_threadpool_t pool_open(int threads) {
    struct ggml_threadpool_params params = ggml_threadpool_params_default(threads);
    void *function = cpu_function("ggml_threadpool_new");
    ggml_threadpool_t (*create)(struct ggml_threadpool_params *);
    *(void **)&create = function;
    return function ? create(&params) : NULL;
}

static void pool_close(ggml_threadpool_t pool) {
    void (*destroy)(ggml_threadpool_t);
    *(void **)&destroy = cpu_function("ggml_threadpool_free");
    if (pool)
        destroy(pool);
}

static void run_close(struct run *run, int streams) {
    for (int i = 0; run->samplers && i < streams; i++)
        llama_sampler_free(run->samplers[i]);
    free(run->samplers);
    if (run->batch.token)
        llama_batch_free(run->batch);
    llama_free(run->context);
    pool_close(run->pool);
}

static struct llama_sampler *sampler_open(float temperature, uint32_t seed) {
    struct llama_sampler *chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
    llama_sampler_chain_add(chain, llama_sampler_init_temp(temperature));
    llama_sampler_chain_add(chain, llama_sampler_init_dist(seed));
    return chain;
}

static enum status run_open(struct run *run, const struct llama_side *side, const struct load *load,
                            int positions, struct error *err) {
    struct llama_context_params params = llama_context_default_params();
    params.n_seq_max = (uint32_t)load->streams;
    params.n_ctx = (uint32_t)(positions * load->streams);
    params.n_batch = (uint32_t)(load->streams * load->prompt_tokens);
    params.n_threads = params.n_threads_batch = side->threads;
    params.flash_attn_type =
        side->flash ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    params.kv_unified = false;
    *run = (struct run){.context = llama_init_from_model(side->model, params),
                        .pool = pool_open(side->threads),
                        .samplers = calloc((size_t)load->streams, sizeof(struct llama_sampler *))};
    if (!run->context || !run->pool || !run->samplers)
        return error_set(err, STATUS_NO_MEMORY, "llama.cpp cannot run %d streams", load->streams);
    llama_attach_threadpool(run->context, run->pool, run->pool);
    run->batch = llama_batch_init(load->streams * load->prompt_tokens, 0, 1);
    for (int i = 0; i < load->streams; i++)
        run->samplers[i] = sampler_open(load->temperature, (uint32_t)(load->seed + (uint64_t)i));
    return STATUS_OK;
}

static void batch_add(struct llama_batch *batch, llama_token token, int position, int sequence,
                      bool wanted) {
    int row = batch->n_tokens++;
    batch->token[row] = token;
    batch->pos[row] = position;
    batch->n_seq_id[row] = 1;
    batch->seq_id[row][0] = sequence;
    batch->logits[row] = wanted;
}

static enum status decode(struct run *run, struct llama_result *result, struct error *err) {
    double start = clock_seconds();
    int failed = llama_decode(run->context, run->batch);
    llama_synchronize(run->context);
    result->decode += clock_seconds() - start;
    return failed ? error_set(err, STATUS_UNSUPPORTED, "llama_decode() gives %d", failed)
                  : STATUS_OK;
}

static enum status write_stories(struct run *run, const struct load *load,
                                 struct llama_result *result, struct error *err) {
    struct llama_batch *batch = &run->batch;
    int last = load->prompt_tokens - 1, rows = load->prompt_tokens; /* of a sequence in the batch */
    double start = clock_seconds();
    batch->n_tokens = 0;
    for (int i = 0; i < load->streams; i++)
        for (int p = 0; p <= last; p++) {
            uint64_t bits = rng_bits(rng_derive(load->seed, (uint64_t)i), (uint64_t)p);
            llama_token token = (llama_token)(4 + bits % (uint64_t)(load->vocab - 4));
            batch_add(batch, token, p, i, p == last);
        }
    for (int n = 0; n < load->new_tokens; n++) {
        enum status status = decode(run, result, err);
        if (status != STATUS_OK)
            return status;
        batch->n_tokens = 0;
        for (int i = 0; i < load->streams; i++) {
            llama_token token =
                llama_sampler_sample(run->samplers[i], run->context, i * rows + rows - 1);
            batch_add(batch, token, load->prompt_tokens + n, i, true);
        }
        result->tokens += (uint64_t)load->streams;
        rows = 1;
    }
    result->seconds = clock_seconds() - start;
    return STATUS_OK;
}

enum status llama_side_run(struct llama_side *side, const struct load *load, int positions,
                           struct llama_result *result, struct error *err) {
    struct run run;
    struct load warm_up = *load;
    warm_up.new_tokens = load->new_tokens < 8 ? load->new_tokens : 8;
    enum status status = run_open(&run, side, load, positions, err);
    if (status == STATUS_OK)
        status = write_stories(&run, &warm_up, &(struct llama_result){0}, err);
    if (status == STATUS_OK) {
        llama_memory_clear(llama_get_memory(run.context), false);
        *result = (struct llama_result){0};
        status = write_stories(&run, load, result, err);
    }
    run_close(&run, load->streams);
    return status;
}
