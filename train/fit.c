#include "train/fit.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/rng.h"
#include "engine/blas.h"
#include "engine/kernels/kernels.h"
#include "engine/weights.h"
#include "train/checkpoint.h"
#include "train/digest.h"
#include "train/fit_options.h"
#include "train/forecast.h"
#include "train/journal.h"
#include "train/run_folder.h"
#include "train/teacher.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <string.h>

/* Everything a run holds; zeroed, then filled by fit_open(), emptied by fit_close(). */
struct fit {
    struct fit_options options;
    struct fit_plan plan;
    struct run_folder run;
    char out[1024], checkpoint[1100], log[1100];
    struct pool *pool;
    struct tokenizer *tokenizer;
    struct dataset train, valid;
    struct model *model;
    struct trainer trainer;
    struct teacher *teacher;
    struct average_plan average;
    struct batch_cutter *cutter;
    struct schedule schedule;
    struct buffer recipe;
    struct progress progress;
    struct journal journal;
    double checkpoint_at; /* clock_seconds() when the next one is due */
    struct forecast forecast;
    uint64_t first_step; /* that this process found done */
    bool forecast_told;
    double step_start; /* clock_seconds() when the step began */
    size_t step_rows;  /* and how many it has */
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number) {
    (void)number;
    interrupted = 1;
}

/* The first signal asks for a checkpoint; a second one kills as usual. */
static void catch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is an error to report, as a full disk is */
}

/* ---- opening -------------------------------------------------------------- */

static enum status open_folders(struct fit *f, struct error *err) {
    struct fit_options *o = &f->options;
    char run[1024];
    snprintf(f->out, sizeof f->out, o->out ? "%s" : "build/models/%s", o->out ? o->out : o->preset);
    snprintf(run, sizeof run, o->run ? "%s" : "build/runs/%s", o->run ? o->run : o->preset);
    snprintf(f->checkpoint, sizeof f->checkpoint, "%s/checkpoint.safetensors", run);
    snprintf(f->log, sizeof f->log, "%s/log.jsonl", run);
    enum status status = run_folder_open(&f->run, run, err);
    if (status == STATUS_OK)
        status = file_make_folder(f->out, err);
    if (status != STATUS_OK)
        return status;
    run_folder_sweep(run, "checkpoint.safetensors");
    run_folder_sweep(run, "log.jsonl");
    run_folder_sweep(f->out, "model.safetensors");
    run_folder_sweep(f->out, "config.json");
    run_folder_sweep(f->out, "tokenizer.model");
    return STATUS_OK;
}

static enum status open_data(struct fit *f, struct error *err) {
    size_t positions = (size_t)f->plan.config.positions;
    enum status status = tokenizer_load(&f->tokenizer, f->options.tokenizer, err);
    if (status != STATUS_OK)
        return status;
    log_info("reading %s and %s", f->options.train, f->options.valid);
    struct tokenizer_specials specials = tokenizer_specials(f->tokenizer);
    const struct model_config *c = &f->plan.config;
    if (tokenizer_vocab_size(f->tokenizer) != (size_t)c->vocab || specials.unk != c->unk_id ||
        specials.bos != c->bos_id || specials.eos != c->eos_id || specials.pad != c->pad_id)
        return error_set(err, STATUS_INVALID,
                         "%s is not a tokenizer for %s: it needs %d pieces and the ids unk %d, "
                         "bos %d, eos %d, pad %d",
                         f->options.tokenizer, f->options.preset, c->vocab, c->unk_id, c->bos_id,
                         c->eos_id, c->pad_id);
    status = dataset_load(&f->train, f->options.train, f->tokenizer, positions, f->pool, err);
    if (status == STATUS_OK)
        status = dataset_load(&f->valid, f->options.valid, f->tokenizer, positions, f->pool, err);
    return status;
}

static struct batch_plan plan_batches(const struct fit_options *o) {
    return (struct batch_plan){.seed = o->seed,
                               .shuffle = true,
                               .max_stories = (size_t)o->batch_stories,
                               .max_rows = (size_t)o->batch_tokens};
}

/* Batches of whole stories are rarely full to the last token, so those of the first epoch are
 * cut and counted; the last of them, which goes on into the next epoch, by its share. */
static enum status count_steps(const struct fit *f, uint64_t *count, struct error *err) {
    const struct fit_options *o = &f->options;
    struct batch_plan plan = plan_batches(o);
    struct batch_cutter *cutter;
    *count = o->steps;
    if (o->steps)
        return STATUS_OK;
    plan.once = true;
    enum status status =
        batch_cutter_open(&cutter, &f->train, &plan, (struct batch_cursor){0}, err);
    if (status != STATUS_OK)
        return status;
    double batches = 0, rows = 0;
    for (const struct story_batch *batch; (batch = batch_cutter_next(cutter))->stories > 0;) {
        bool last = batch_cutter_cursor(cutter).epoch > 0;
        batches += last && batches > 0 ? (double)batch->rows / (rows / batches) : 1;
        rows += (double)batch->rows;
    }
    batch_cutter_close(cutter);
    double steps = ceil(batches * o->epochs);
    *count = steps < 1 ? 1 : (uint64_t)steps;
    return STATUS_OK;
}

static enum status resume(struct fit *f, struct error *err) {
    f->progress.best_loss = INFINITY;
    if (f->options.fresh || !file_exists(f->checkpoint))
        return STATUS_OK;
    enum status status =
        checkpoint_load(f->checkpoint, &f->trainer, &f->progress, f->recipe.data, err);
    if (status == STATUS_OK)
        log_info("going on from step %" PRIu64 " of %s", f->progress.step, f->checkpoint);
    return status;
}

/* Random weights, or those of --start. */
static enum status open_model(struct fit *f, struct error *err) {
    const struct fit_options *o = &f->options;
    const struct model_config *c = &f->plan.config;
    if (!o->start) {
        enum status status = model_create(&f->model, c, err);
        if (status == STATUS_OK)
            model_initialise(f->model, o->seed);
        return status;
    }
    enum status status = weights_load(o->start, &f->model, err);
    if (status == STATUS_OK && memcmp(&f->model->config, c, sizeof *c) != 0)
        status = error_set_field(err, STATUS_INVALID, "start", "%s is not a model of preset %s",
                                 o->start, o->preset);
    return status;
}

/* Needs everything that shapes the weights, so it comes after all has been opened. */
static enum status describe(struct fit *f, struct error *err) {
    struct fit_inputs inputs = {
        .data = dataset_digest(&f->train),
        .start = digest_bytes(0, f->model->buffer,
                              model_buffer_floats(&f->model->config) * sizeof(float)),
        .teacher = f->teacher ? teacher_digest(f->teacher) : 0,
        .steps = f->schedule.steps,
        .workers = pool_workers(f->pool),
    };
    fit_recipe(&f->options, &f->plan, &inputs, &f->recipe);
    return f->recipe.failed ? error_set(err, STATUS_NO_MEMORY, "no memory for the recipe")
                            : STATUS_OK;
}

static enum status open_schedule(struct fit *f, struct error *err) {
    const struct fit_options *o = &f->options;
    f->schedule = (struct schedule){.shape = f->plan.shape, .warmup = o->warmup,
                                    .cooldown = o->cooldown, .final = o->final_rate};
    enum status status = count_steps(f, &f->schedule.steps, err);
    f->average = (struct average_plan){
        .kind = f->plan.average,
        .first = (uint64_t)(o->average_from * ((double)f->schedule.steps - 1)),
        .decay = o->average_decay};
    return status;
}

static enum status open_trainer(struct fit *f, struct error *err) {
    const struct fit_options *o = &f->options;
    enum status status = open_model(f, err);
    if (status == STATUS_OK)
        status = trainer_create(&f->trainer, f->model, f->pool, &f->plan.trainer, err);
    if (status == STATUS_OK && o->teacher)
        status = teacher_open(&f->teacher, o->teacher, o->tokenizer, &f->plan.config,
                              f->plan.trainer.numeric, o->micro_tokens, f->pool, err);
    if (status == STATUS_OK)
        status = open_schedule(f, err);
    if (status == STATUS_OK)
        status = describe(f, err);
    if (status == STATUS_OK)
        status = resume(f, err);
    if (status != STATUS_OK)
        return status;
    struct batch_plan plan = plan_batches(o);
    status = batch_cutter_open(&f->cutter, &f->train, &plan, f->progress.cursor, err);
    if (status == STATUS_OK)
        status = journal_open(&f->journal, f->log, f->progress.step, f->schedule.steps, err);
    return status;
}

static enum status fit_open(struct fit *f, struct error *err) {
    enum status status = open_folders(f, err);
    if (status == STATUS_OK)
        status = pool_create(&f->pool, f->options.threads, err);
    if (status == STATUS_OK)
        status = open_data(f, err);
    if (status == STATUS_OK)
        status = open_trainer(f, err);
    if (status != STATUS_OK)
        return status;
    log_info("%s: %zu parameters; %zu stories, %zu tokens per epoch; %" PRIu64 " steps; "
             "%d threads, OpenBLAS %s, kernels %s",
             f->options.preset, model_parameter_count(&f->plan.config), f->train.stories,
             f->train.rows, f->schedule.steps, pool_workers(f->pool), blas_core_name(),
             kernels_get()->name);
    log_info("recipe: %s", f->recipe.data);
    return STATUS_OK;
}

static void fit_close(struct fit *f) {
    struct error err;
    if (journal_close(&f->journal, &err) != STATUS_OK)
        log_warn("%s: %s", f->log, err.message); /* the weights do not depend on it */
    batch_cutter_close(f->cutter);
    trainer_destroy(&f->trainer);
    teacher_close(f->teacher);
    model_destroy(f->model);
    dataset_free(&f->train);
    dataset_free(&f->valid);
    tokenizer_free(f->tokenizer);
    pool_destroy(f->pool);
    buffer_free(&f->recipe);
    run_folder_close(&f->run);
}

/* ---- keeping -------------------------------------------------------------- */

static enum status save_model(struct fit *f, struct error *err) {
    char path[1200];
    struct buffer tokenizer = {0};
    weights_path(path, sizeof path, f->out, "tokenizer.model");
    enum status status = file_read(f->options.tokenizer, (size_t)64 << 20, &tokenizer, err);
    if (status == STATUS_OK)
        status = file_replace(path, tokenizer.data, tokenizer.size, err);
    buffer_free(&tokenizer);
    if (status == STATUS_OK)
        status = weights_save(f->out, f->options.preset, f->model,
                              f->plan.float32 ? SAFETENSORS_F32 : SAFETENSORS_BF16, err);
    return status;
}

static enum status save_checkpoint(struct fit *f, struct error *err) {
    f->progress.cursor = batch_cutter_cursor(f->cutter);
    double start = clock_seconds();
    f->checkpoint_at = start + f->options.checkpoint_seconds;
    enum status status =
        checkpoint_save(f->checkpoint, &f->trainer, &f->progress, f->recipe.data, err);
    measured_add(&f->forecast.checkpoint, clock_seconds() - start);
    return status;
}

/* Evaluates the weights that the model has now and keeps them when no better ones are kept. */
static enum status judge(struct fit *f, struct evaluation *evaluation, bool *best,
                         struct error *err) {
    double start = clock_seconds();
    enum status status = evaluate(f->model, f->pool, &f->valid, false, evaluation, err);
    if (status == STATUS_OK && evaluation->loss < f->progress.best_loss) {
        *best = true;
        f->progress.best_loss = evaluation->loss;
        f->progress.best_step = f->progress.step;
        status = save_model(f, err);
    }
    measured_add(&f->forecast.evaluation, clock_seconds() - start);
    return status;
}

static enum status validate(struct fit *f, struct error *err) {
    struct evaluation newest, average;
    bool best = false, averaged = f->progress.step > f->average.first && f->plan.trainer.average;
    enum status status = judge(f, &newest, &best, err);
    if (status == STATUS_OK && averaged) {
        trainer_swap_average(&f->trainer);
        status = judge(f, &average, &best, err);
        trainer_swap_average(&f->trainer);
    }
    if (status != STATUS_OK)
        return status;
    f->progress.stale = best ? 0 : f->progress.stale + 1;
    journal_validation(&f->journal, &f->progress, &newest, averaged ? &average : NULL, best);
    return STATUS_OK;
}

/* ---- the time it takes ---------------------------------------------------- */

/* What all validation stories will take, from the first of them. */
static enum status guess_evaluation(struct fit *f, struct error *err) {
    enum { ENOUGH_ROWS = 8192 };
    struct dataset part = f->valid;
    struct evaluation evaluation;
    part.stories = part.rows = 0;
    while (part.stories < f->valid.stories && part.rows < ENOUGH_ROWS) {
        part.stories++;
        part.rows = (size_t)part.offsets[part.stories] - part.stories;
    }
    double start = clock_seconds();
    enum status status = evaluate(f->model, f->pool, &part, false, &evaluation, err);
    f->forecast.evaluation.guess =
        (clock_seconds() - start) * (double)f->valid.rows / (double)part.rows;
    return status;
}

static enum status open_forecast(struct fit *f, struct error *err) {
    f->first_step = f->progress.step;
    f->forecast = (struct forecast){
        .steps = f->schedule.steps,
        .valid_every = (uint64_t)f->options.valid_every,
        .average_after = f->plan.trainer.average ? f->average.first : UINT64_MAX,
        .checkpoint_every = f->options.checkpoint_seconds};
    return f->first_step < f->schedule.steps ? guess_evaluation(f, err) : STATUS_OK;
}

static void tell_forecast(struct fit *f) {
    const struct forecast *forecast = &f->forecast;
    char text[32];
    journal_duration(forecast_seconds(forecast, f->first_step), text, sizeof text);
    journal_clear_line(&f->journal);
    log_info("about %s on this machine for %" PRIu64 "%s steps: %.3g s a step, %.3g s a validation",
             text, forecast->steps - f->first_step, f->first_step ? " more" : "",
             measured_mean(&forecast->step), measured_mean(&forecast->evaluation));
    f->forecast_told = true;
}

/* Enough has been seen of this machine to say how long the run takes. */
enum { ENOUGH_STEPS = 10, ENOUGH_SECONDS = 5 };

/* A large model's first step alone can take minutes; its micro-batches tell much sooner. */
static void on_rows(void *context, size_t rows) {
    struct fit *f = context;
    double seconds = clock_seconds() - f->step_start;
    if (f->forecast_told || f->forecast.step.count || seconds < ENOUGH_SECONDS)
        return;
    f->forecast.step.guess = seconds * (double)f->step_rows / (double)rows;
    tell_forecast(f);
}

static void on_step(struct fit *f, double seconds) {
    struct measured *step = &f->forecast.step;
    forecast_step(&f->forecast, seconds);
    if (!f->forecast_told && (step->count >= ENOUGH_STEPS || step->seconds >= ENOUGH_SECONDS))
        tell_forecast(f);
}

/* ---- the loop ------------------------------------------------------------- */

static enum status take_step(struct fit *f, struct error *err) {
    const struct fit_options *o = &f->options;
    uint64_t step = f->progress.step;
    double factor = schedule_factor(&f->schedule, step);
    double decay = schedule_between(&f->schedule, step, o->weight_decay, o->final_decay);
    struct step_options options = {
        .rates = {(float)(o->rate * factor), (float)(o->others_rate * factor), (float)decay},
        .clip = (float)o->clip,
        .dropout = (float)o->dropout,
        .drop_branch = (float)o->drop_branch,
        .average_share = (float)average_share(&f->average, step),
        .second_weight = (float)o->second_weight,
        .teacher = f->teacher,
        .teacher_weight = (float)o->teacher_weight,
        .dropout_key = rng_derive(rng_derive(o->seed, 0x64726f70 /* "drop" */), step),
        .on_rows = on_rows,
        .context = f,
    };
    struct step_result result;
    f->step_start = clock_seconds();
    const struct story_batch *batch = batch_cutter_next(f->cutter);
    f->step_rows = batch->rows;
    enum status status = trainer_step(&f->trainer, batch, &options, &result, err);
    if (status != STATUS_OK) {
        if (status == STATUS_INVALID)
            log_error("step %" PRIu64 " (epoch %" PRIu64 ") broke off; the last checkpoint stands",
                      f->progress.step + 1, f->progress.cursor.epoch + 1);
        return status;
    }
    double seconds = clock_seconds() - f->step_start;
    f->progress.step++;
    f->progress.tokens += batch->rows;
    f->progress.seconds += seconds;
    f->progress.cursor = batch_cutter_cursor(f->cutter);
    on_step(f, seconds);
    struct step_report report = {result.loss, result.gradient_norm, o->rate * factor,
                                 (double)batch->rows / seconds,
                                 forecast_seconds(&f->forecast, f->progress.step)};
    bool last = f->progress.step == f->schedule.steps;
    journal_step(&f->journal, &f->progress, &report,
                 last || f->progress.step % (uint64_t)o->log_every == 0);
    return STATUS_OK;
}

static bool patience_is_over(const struct fit *f) {
    return f->options.patience > 0 && f->progress.stale >= (uint64_t)f->options.patience;
}

static enum status fit_loop(struct fit *f, struct error *err) {
    enum status status = open_forecast(f, err);
    if (status != STATUS_OK)
        return status;
    f->checkpoint_at = clock_seconds() + f->options.checkpoint_seconds;
    while (f->progress.step < f->schedule.steps && !patience_is_over(f) && !interrupted) {
        status = take_step(f, err);
        if (status != STATUS_OK)
            return status;
        bool last = f->progress.step == f->schedule.steps;
        if (last || f->progress.step % (uint64_t)f->options.valid_every == 0)
            status = validate(f, err);
        if (status == STATUS_OK && clock_seconds() >= f->checkpoint_at)
            status = save_checkpoint(f, err);
        if (status != STATUS_OK)
            return status;
    }
    return save_checkpoint(f, err);
}

static void report_end(const struct fit *f) {
    if (f->progress.step < f->schedule.steps && !patience_is_over(f))
        log_info("interrupted after step %" PRIu64 "; the same command goes on from there",
                 f->progress.step);
    else
        log_info("done after step %" PRIu64 ": best validation loss %.4f nats per token at step "
                 "%" PRIu64 ", in %s",
                 f->progress.step, f->progress.best_loss, f->progress.best_step, f->out);
}

int fit_command(int argc, char **argv) {
    static struct fit fit; /* zeroed; too large for some stacks */
    struct error err;
    int help = 0;
    enum status status = flags_parse(&fit_flags, &fit.options, argc, argv, NULL, 0, NULL, &help,
                                     &err);
    if (help)
        return 0;
    if (status == STATUS_OK)
        status = fit_options_complete(&fit.options, &fit.plan, &err);
    if (status != STATUS_OK) {
        fprintf(stderr, "alpaca-train fit: %s\n", err.message);
        return 2;
    }
    catch_signals();
    status = fit_open(&fit, &err);
    if (status == STATUS_OK)
        status = fit_loop(&fit, &err);
    if (status == STATUS_OK)
        report_end(&fit);
    fit_close(&fit);
    if (status != STATUS_OK)
        fprintf(stderr, "alpaca-train fit: %s\n", err.message);
    return status == STATUS_OK ? 0 : 1;
}
