#include "base/default_path.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/pool.h"
#include "model/blas.h"
#include "model/kernels/bf16.h"
#include "model/kernels/int8.h"
#include "model/kernels/kernels.h"
#include "model/weights.h"
#include "tokenizer/truecase.h"
#include "train/checkpoint.h"
#include "train/dtype_trial.h"
#include "train/fit_internal.h"
#include "train/ranks.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static enum status find_paths(struct fit *f, struct error *err) {
    const struct fit_options *o = &f->options;
    struct fit_paths *p = &f->paths;
    enum status status = default_path(p->train, o->train, "build/data", "train.txt", err);
    if (status == STATUS_OK)
        status = default_path(p->valid, o->valid, "build/data", "valid.txt", err);
    if (status == STATUS_OK)
        status = default_path(p->tokenizer, o->tokenizer, "build/data", "tokenizer.model", err);
    if (status == STATUS_OK)
        status = default_path(p->out, o->out, "build/models", o->preset, err);
    if (status == STATUS_OK)
        status = default_path(p->run, o->run, "build/runs", o->preset, err);
    if (status == STATUS_OK)
        status = file_join(p->checkpoint, p->run, "checkpoint.safetensors", err);
    if (status == STATUS_OK)
        status = file_join(p->log, p->run, "log.jsonl", err);
    return status;
}

/* The model must not take the place of one that the run reads: the checkpoint insists on that one,
 * and so the run could never go on. */
static enum status check_out(const struct fit *f, struct error *err) {
    const char *out = f->paths.out, *start = f->options.start, *left = f->options.teacher;
    char teacher[FILE_PATH_BYTES];
    bool same = start && file_same(out, start);
    enum status status = STATUS_OK;
    while (left && !same && status == STATUS_OK) {
        status = flags_next_item(&left, "teacher", teacher, sizeof teacher, err);
        same = status == STATUS_OK && file_same(out, teacher);
    }
    if (!same)
        return status;
    return error_set_field(err, STATUS_INVALID, "out",
                           "--out: %s is also %s; give another folder", out,
                           start && file_same(out, start) ? "--start" : "a --teacher");
}

static enum status open_folders(struct fit *f, struct error *err) {
    const struct fit_paths *p = &f->paths;
    enum status status = find_paths(f, err);
    if (!ranks_lead())
        return status;
    if (status == STATUS_OK)
        status = flags_used("run", run_folder_open(&f->run, p->run, err), err);
    if (status == STATUS_OK)
        status = flags_used("out", file_make_folder(p->out, err), err);
    if (status == STATUS_OK)
        status = check_out(f, err);
    if (status != STATUS_OK)
        return status;
    run_folder_sweep(p->run, "checkpoint.safetensors");
    run_folder_sweep(p->run, "log.jsonl");
    run_folder_sweep(p->out, "model.safetensors");
    run_folder_sweep(p->out, "config.json");
    run_folder_sweep(p->out, "tokenizer.model");
    run_folder_sweep(p->out, TRUECASE_FILE);
    return STATUS_OK;
}

static enum status open_tokenizer(struct fit *f, struct error *err) {
    const struct model_config *c = &f->plan.config;
    enum status status = tokenizer_load(&f->tokenizer, f->paths.tokenizer, err);
    if (status != STATUS_OK)
        return status;
    struct tokenizer_specials specials = tokenizer_specials(f->tokenizer);
    if (tokenizer_vocab_size(f->tokenizer) != (size_t)c->vocab || specials.unk != c->unk_id ||
        specials.bos != c->bos_id || specials.eos != c->eos_id || specials.pad != c->pad_id)
        return error_set(err, STATUS_INVALID,
                         "%s is not a tokenizer for %s: it needs %d pieces and the ids unk %d, "
                         "bos %d, eos %d, pad %d",
                         f->paths.tokenizer, f->options.preset, c->vocab, c->unk_id, c->bos_id,
                         c->eos_id, c->pad_id);
    return STATUS_OK;
}

static enum status open_data(struct fit *f, struct error *err) {
    size_t positions = (size_t)f->plan.config.positions;
    enum status status = flags_used("tokenizer", open_tokenizer(f, err), err);
    if (status != STATUS_OK)
        return status;
    log_info("reading %s and %s", f->paths.train, f->paths.valid);
    struct dataset_source train = {
        f->paths.train, f->tokenizer, f->options.random_crop > 0 ? DATASET_UNCUT : positions, 0};
    struct dataset_source valid = {f->paths.valid, f->tokenizer, positions, 0};
    struct dataset_source mix = train;
    mix.path = f->plan.mix.path;
    status = flags_used("train", dataset_load(&f->train, &train, f->pool, err), err);
    if (status == STATUS_OK && mix.path[0])
        status = flags_used("mix", dataset_load(&f->mix, &mix, f->pool, err), err);
    if (status == STATUS_OK)
        status = flags_used("valid", dataset_load(&f->valid, &valid, f->pool, err), err);
    return status;
}

static struct data_loader_options plan_batches(const struct fit *f) {
    const struct fit_options *o = &f->options;
    return (struct data_loader_options){.seed = o->seed,
                                        .shuffle = true,
                                        .max_stories = (size_t)o->batch_stories,
                                        .max_rows = (size_t)o->batch_tokens,
                                        .positions = (size_t)f->plan.config.positions,
                                        .random_crop = o->random_crop};
}

/* Batches of whole stories are rarely full to the last token, so those of the first epoch are
 * cut and counted; the last of them, which goes on into the next epoch, by its share. */
static enum status count_steps(const struct fit *f, uint64_t *count, struct error *err) {
    const struct fit_options *o = &f->options;
    struct data_loader_options plan = plan_batches(f);
    struct data_loader *loader;
    *count = o->steps;
    if (o->steps)
        return STATUS_OK;
    plan.once = true;
    enum status status =
        data_loader_open(&loader, &f->train, &plan, (struct data_loader_state){0}, err);
    if (status != STATUS_OK)
        return status;
    double batches = 0, rows = 0;
    for (const struct story_batch *batch; (batch = data_loader_next(loader))->stories > 0;) {
        bool last = data_loader_state(loader).epoch > 0;
        batches += last && batches > 0 ? (double)batch->rows / (rows / batches) : 1;
        rows += (double)batch->rows;
    }
    data_loader_close(loader);
    double steps = ceil(batches * o->epochs);
    *count = steps < 1 ? 1 : (uint64_t)steps;
    return STATUS_OK;
}

/* Random weights, or those of --start. */
static enum status open_model(struct fit *f, struct error *err) {
    const struct fit_options *o = &f->options;
    const struct model_config *c = &f->plan.config;
    if (!o->start) {
        enum status status = model_create(&f->model, c, err);
        if (status == STATUS_OK)
            model_initialize(f->model, o->seed);
        return status;
    }
    enum status status = weights_check_tokenizer(o->start, f->paths.tokenizer, err);
    if (status == STATUS_OK)
        status = weights_load(o->start, &f->model, err);
    status = flags_used("start", status, err);
    if (status == STATUS_OK && memcmp(&f->model->config, c, sizeof *c) != 0)
        status = error_set_field(err, STATUS_INVALID, "start",
                                 "%s is not a model of preset %s with %d layers", o->start,
                                 o->preset, c->layers);
    return status;
}

/* ---- the type of numbers -------------------------------------------------- */

/* *found: whether there is a checkpoint that says it. */
static enum status checkpoint_dtype(const struct fit *f, enum dtype *dtype, bool *found,
                                    struct error *err) {
    char name[16];
    *found = false;
    if (f->options.fresh || !file_exists(f->paths.checkpoint))
        return STATUS_OK;
    enum status status =
        checkpoint_setting(f->paths.checkpoint, "numeric", name, sizeof name, err);
    *found = status == STATUS_OK && dtype_parse(name, dtype);
    return status;
}

static enum status measure_dtype(const struct fit *f, enum dtype *dtype, struct error *err) {
    const struct dtype_trial trial = {&f->plan.config, f->options.micro_tokens,
                                      (float)f->options.dropout};
    struct dtype_speeds speeds = {0};
    *dtype = f->plan.trainer.device ? DTYPE_BF16 : DTYPE_F32;
    if (f->plan.trainer.device || !bf16_available())
        return STATUS_OK;
    enum status status = dtype_trial_run(&trial, f->pool, &speeds, err);
    if (speeds.bf16 > speeds.f32)
        *dtype = DTYPE_BF16;
    log_info("--numeric %s is the faster here: in a short trial bf16 came to %.0f tokens/s, f32 to "
             "%.0f", dtype_name(*dtype), speeds.bf16, speeds.f32);
    return status;
}

/* What --numeric auto stands for: the first rank's choice. */
static enum status choose_dtype(struct fit *f, struct error *err) {
    enum dtype dtype = DTYPE_F32;
    bool found = false;
    if (!f->plan.measure)
        return STATUS_OK;
    enum status status =
        ranks_agree(ranks_lead() ? checkpoint_dtype(f, &dtype, &found, err) : STATUS_OK, err);
    ranks_copy(&found, sizeof found);
    if (status == STATUS_OK && !found)
        status = ranks_agree(measure_dtype(f, &dtype, err), err);
    ranks_copy(&dtype, sizeof dtype);
    f->plan.trainer.dtype = dtype;
    return status;
}

/* Needs everything that shapes the weights, so it comes after all has been opened. */
static enum status describe(struct fit *f, struct error *err) {
    struct fit_inputs inputs = {
        .data = dataset_hash(&f->train),
        .mix = f->mix.stories ? dataset_hash(&f->mix) : 0,
        .start =
            hash_bytes(0, f->model->buffer, model_buffer_floats(&f->model->config) * sizeof(float)),
        .teacher = f->teacher ? teacher_hash(f->teacher) : 0,
        .steps = f->schedule.steps,
    };
    fit_recipe(&f->options, &f->plan, &inputs, &f->recipe);
    fit_how(&f->options, pool_workers(f->pool), &f->how);
    struct file_map tokenizer;
    enum status status = file_map_open(&tokenizer, f->paths.tokenizer, err);
    if (status != STATUS_OK)
        return status;
    buffer_printf(&f->kept, "tokenizer=%016" PRIx64 " valid=%016" PRIx64 " dtype=%s",
                  hash_bytes(0, tokenizer.data, tokenizer.size), dataset_hash(&f->valid),
                  f->options.saved_dtype);
    file_map_close(&tokenizer);
    return f->recipe.failed || f->kept.failed || f->how.failed
               ? error_set(err, STATUS_NO_MEMORY, "no memory for the recipe")
               : STATUS_OK;
}

static enum status open_schedule(struct fit *f, struct error *err) {
    const struct fit_options *o = &f->options;
    f->schedule = (struct schedule){
        .shape = f->plan.shape, .warmup = o->warmup, .final = o->final_rate};
    enum status status = count_steps(f, &f->schedule.steps, err);
    f->average = (struct weight_average){
        .first = (uint64_t)(o->average_from * ((double)f->schedule.steps - 1)),
        .decay = o->average_decay};
    return status;
}

/* Ranks on other machines read files of their own. */
static enum status compare_ranks(const struct fit *f, struct error *err) {
    uint64_t hash = hash_bytes(0, f->recipe.data, f->recipe.size);
    return ranks_compare(hash_bytes(hash, f->kept.data, f->kept.size),
                         "its settings, stories or weights", err);
}

static enum status open_trainer(struct fit *f, struct error *err) {
    const struct fit_options *o = &f->options;
    const struct device_kind *device = f->plan.trainer.device;
    const struct teacher_options teacher = {.folders = o->teacher,
                                            .tokenizer = f->paths.tokenizer,
                                            .student = &f->plan.config,
                                            .dtype = f->plan.trainer.dtype,
                                            .max_rows = device ? 0 : o->micro_tokens};
    enum status status = open_model(f, err);
    if (status == STATUS_OK)
        status = trainer_create(&f->trainer, f->model, f->pool, &f->plan.trainer, err);
    if (status == STATUS_OK && o->teacher)
        status = flags_used("teacher", teacher_open(&f->teacher, &teacher, f->pool, err), err);
    if (status == STATUS_OK && o->teacher)
        status = trainer_set_teacher(&f->trainer, f->teacher, err);
    if (status == STATUS_OK)
        status = open_schedule(f, err);
    if (status == STATUS_OK)
        status = describe(f, err);
    return ranks_agree(status, err);
}

static enum status open_run(struct fit *f, struct error *err) {
    enum status status = fit_resume(f, err);
    if (status != STATUS_OK)
        return status;
    struct data_loader_options plan = plan_batches(f);
    plan.mix = f->mix.stories ? &f->mix : NULL;
    status = data_loader_open(&f->loader, &f->train, &plan, f->progress.data, err);
    if (status == STATUS_OK && ranks_lead())
        status = flags_used("run",
                            training_log_open(&f->log, f->paths.log, f->progress.step,
                                              f->schedule.steps, err),
                            err);
    if (status == STATUS_OK && f->changes.size)
        training_log_changes(&f->log, f->progress.step, f->changes.data);
    return ranks_agree(status, err);
}

enum status fit_open(struct fit *f, struct error *err) {
    enum status status = open_folders(f, err);
    if (status == STATUS_OK)
        status = pool_create(&f->pool, f->options.threads, err);
    if (status == STATUS_OK)
        status = open_data(f, err);
    status = ranks_agree(status, err);
    if (status == STATUS_OK)
        status = choose_dtype(f, err);
    if (status == STATUS_OK)
        status = open_trainer(f, err);
    if (status == STATUS_OK)
        status = compare_ranks(f, err);
    if (status == STATUS_OK)
        status = open_run(f, err);
    if (status != STATUS_OK)
        return status;
    const struct device_kind *device = f->plan.trainer.device;
    bool int8 = f->plan.trainer.dtype == DTYPE_INT8 && !device;
    log_info("%s: %zu parameters; %zu stories, %zu tokens per epoch; %" PRIu64 " steps; "
             "%d x %d threads, OpenBLAS %s, kernels %s%s%s%s%s",
             f->options.preset, model_parameter_count(&f->plan.config), f->train.stories,
             f->train.rows, f->schedule.steps, ranks_count(), pool_workers(f->pool),
             blas_core_name(), kernels_get()->name, int8 ? " and " : "",
             int8 ? int8_kernels_get()->name : "", device ? "; trained on " : "",
             device ? device->name : "");
    log_info("recipe: %s", f->recipe.data);
    return STATUS_OK;
}

void fit_close(struct fit *f) {
    struct error err;
    if (training_log_close(&f->log, &err) != STATUS_OK)
        log_warn("%s: %s", f->paths.log, err.message); /* the weights do not depend on it */
    data_loader_close(f->loader);
    trainer_destroy(&f->trainer);
    teacher_close(f->teacher);
    model_destroy(f->model);
    dataset_free(&f->train);
    dataset_free(&f->mix);
    dataset_free(&f->valid);
    tokenizer_free(f->tokenizer);
    pool_destroy(f->pool);
    buffer_free(&f->recipe);
    buffer_free(&f->kept);
    buffer_free(&f->how);
    buffer_free(&f->changes);
    run_folder_close(&f->run);
}
