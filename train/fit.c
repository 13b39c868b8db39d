#include "base/clock.h"
#include "base/log.h"
#include "base/program.h"
#include "base/rng.h"
#include "model/weights.h"
#include "tokenizer/tokenizer.h"
#include "train/checkpoint.h"
#include "train/commands.h"
#include "train/fit_internal.h"
#include "train/ranks.h"

#include <inttypes.h>
#include <signal.h>

static volatile sig_atomic_t interrupted;

/* The first signal asks for a checkpoint; a later one kills as usual. */
static void on_signal(int number) {
    interrupted = 1;
    if (program_hurries(number)) {
        signal(number, SIG_DFL);
        raise(number);
    }
}

static void catch_signals(void) {
    program_catch_stops(on_signal); /* what nobody reads any more is in the training log too */
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is an error to report, as a full disk is */
}

/* ---- keeping -------------------------------------------------------------- */

static enum status save_model(struct fit *f, struct error *err) {
    enum status status = trainer_fetch_weights(&f->trainer, err);
    if (status == STATUS_OK)
        status = flags_used("out", tokenizer_copy(f->paths.tokenizer, f->paths.out, err), err);
    if (status != STATUS_OK)
        return status;
    status = weights_save(f->paths.out, f->options.preset, f->model,
                          f->plan.float32 ? SAFETENSORS_F32 : SAFETENSORS_BF16, err);
    return flags_used("out", status, err);
}

static enum status save_checkpoint(struct fit *f, struct error *err) {
    const struct run_identity identity = {f->recipe.data, f->kept.data, f->how.data};
    f->progress.data = data_loader_state(f->loader);
    double start = clock_seconds();
    f->checkpoint_at = start + f->options.checkpoint_seconds;
    enum status status =
        checkpoint_save(f->paths.checkpoint, &f->trainer, &f->progress, &identity, err);
    measured_add(&f->forecast.checkpoint, clock_seconds() - start);
    return flags_used("run", status, err);
}

/* What only the first rank does, because it owns the files. */
static enum status when_leading(enum status (*act)(struct fit *f, struct error *err), struct fit *f,
                                struct error *err) {
    return ranks_agree(ranks_lead() ? act(f, err) : STATUS_OK, err);
}

/* Evaluates the weights that the model has now. */
static enum status evaluate_now(struct fit *f, struct evaluation *evaluation, struct error *err) {
    const struct evaluated what = {f->model, f->pool, f->trainer.device, false};
    double start = clock_seconds();
    enum status status = evaluate(&what, &f->valid, evaluation, err);
    measured_add(&f->forecast.evaluation, clock_seconds() - start);
    return status;
}

/* Keeps them when no better ones are kept; the time counts as the evaluation's. */
static enum status keep_best(struct fit *f, const struct evaluation *evaluation, bool *best,
                             struct error *err) {
    *best = evaluation->loss < f->progress.best_loss;
    if (!*best)
        return STATUS_OK;
    double start = clock_seconds();
    f->progress.best_loss = evaluation->loss;
    f->progress.best_step = f->progress.step;
    enum status status = when_leading(save_model, f, err);
    f->forecast.evaluation.seconds += clock_seconds() - start;
    return status;
}

/* Of the newest weights and their average the better ones may be kept, so that no validation saves
 * twice. */
static enum status validate(struct fit *f, struct error *err) {
    struct evaluation newest, average;
    bool best = false, averaged = f->progress.step > f->average.first && f->plan.trainer.average;
    bool lower = false; /* the average's loss */
    enum status status = evaluate_now(f, &newest, err);
    if (status == STATUS_OK && averaged) {
        trainer_swap_average(&f->trainer);
        status = evaluate_now(f, &average, err);
        lower = status == STATUS_OK && average.loss < newest.loss;
        if (lower)
            status = keep_best(f, &average, &best, err);
        trainer_swap_average(&f->trainer);
    }
    if (status == STATUS_OK && !lower)
        status = keep_best(f, &newest, &best, err);
    if (status != STATUS_OK)
        return status;
    if (ranks_lead())
        training_log_validation(&f->log, &f->progress, &newest, averaged ? &average : NULL, best);
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
    const struct evaluated what = {f->model, f->pool, f->trainer.device, false};
    double start = clock_seconds();
    enum status status = evaluate(&what, &part, &evaluation, err);
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

static void show_forecast(struct fit *f) {
    const struct forecast *forecast = &f->forecast;
    char text[32];
    training_log_duration(forecast_seconds(forecast, f->first_step), text, sizeof text);
    training_log_clear_line(&f->log);
    log_info("about %s on this machine for %" PRIu64 "%s steps: %.3g s a step, %.3g s a validation",
             text, forecast->steps - f->first_step, f->first_step ? " more" : "",
             measured_mean(&forecast->step), measured_mean(&forecast->evaluation));
    f->forecast_shown = true;
}

/* Enough has been seen of this machine to say how long the run takes. */
enum { ENOUGH_STEPS = 10, ENOUGH_SECONDS = 5 };

/* A large model's first step alone can take minutes; its micro-batches say so much sooner. */
static void on_rows(void *context, size_t rows) {
    struct fit *f = context;
    double seconds = clock_seconds() - f->step_start;
    if (f->forecast_shown || f->forecast.step.count || seconds < ENOUGH_SECONDS)
        return;
    f->forecast.step.guess = seconds * (double)f->step_rows / (double)rows;
    show_forecast(f);
}

static void on_step(struct fit *f, double seconds) {
    struct measured *step = &f->forecast.step;
    forecast_step(&f->forecast, seconds);
    if (!f->forecast_shown && (step->count >= ENOUGH_STEPS || step->seconds >= ENOUGH_SECONDS))
        show_forecast(f);
}

/* ---- the loop ------------------------------------------------------------- */

static enum status take_step(struct fit *f, struct error *err) {
    const struct fit_options *o = &f->options;
    uint64_t step = f->progress.step;
    double factor = schedule_factor(&f->schedule, step);
    struct step_options options = {
        .rates = {(float)(o->rate * factor), (float)(o->others_rate * factor),
                  (float)o->weight_decay},
        .clip = (float)o->clip,
        .dropout = (float)o->dropout,
        .average_share = (float)weight_average_share(&f->average, step),
        .distillation = {f->teacher, (float)o->teacher_weight},
        .dropout_key = rng_derive(rng_derive(o->seed, 0x64726f70 /* "drop" */), step),
        .on_rows = on_rows,
        .context = f,
    };
    struct step_result result;
    f->step_start = clock_seconds();
    const struct mix *mix = &f->plan.mix;
    if (f->mix.stories)
        data_loader_set_mix(f->loader,
                            (double)step < mix->until * (double)f->schedule.steps ? mix->share : 0);
    const struct story_batch *batch = data_loader_next(f->loader);
    f->step_rows = batch->rows;
    enum status status = trainer_step(&f->trainer, batch, &options, &result, err);
    if (status != STATUS_OK) {
        if (status == STATUS_INVALID && ranks_lead())
            log_error("step %" PRIu64 " (epoch %" PRIu64 ") broke off; the last checkpoint stands",
                      f->progress.step + 1, f->progress.data.epoch + 1);
        return status;
    }
    double seconds = clock_seconds() - f->step_start;
    f->progress.step++;
    f->progress.tokens += batch->rows;
    f->progress.seconds += seconds;
    f->progress.data = data_loader_state(f->loader);
    on_step(f, seconds);
    struct step_report report = {result.loss, result.gradient_norm, o->rate * factor,
                                 (double)batch->rows / seconds,
                                 forecast_seconds(&f->forecast, f->progress.step)};
    bool last = f->progress.step == f->schedule.steps;
    if (ranks_lead())
        training_log_step(&f->log, &f->progress, &report,
                          last || f->progress.step % (uint64_t)o->log_every == 0);
    return STATUS_OK;
}

/* When the first rank's clock says so. */
static enum status checkpoint_when_due(struct fit *f, struct error *err) {
    return clock_seconds() >= f->checkpoint_at ? save_checkpoint(f, err) : STATUS_OK;
}

/* Whether any rank was asked to stop. */
static bool asked_to_stop(void) {
    return ranks_max(interrupted) != 0;
}

static enum status fit_loop(struct fit *f, struct error *err) {
    enum status status = open_forecast(f, err);
    if (status == STATUS_OK && f->validate_first)
        status = validate(f, err);
    if (status != STATUS_OK)
        return status;
    f->checkpoint_at = clock_seconds() + f->options.checkpoint_seconds;
    while (f->progress.step < f->schedule.steps && !asked_to_stop()) {
        status = take_step(f, err);
        if (status != STATUS_OK)
            return status;
        bool last = f->progress.step == f->schedule.steps;
        if (last || f->progress.step % (uint64_t)f->options.valid_every == 0)
            status = validate(f, err);
        if (status == STATUS_OK)
            status = when_leading(checkpoint_when_due, f, err);
        if (status != STATUS_OK)
            return status;
    }
    return when_leading(save_checkpoint, f, err);
}

static void report_end(const struct fit *f) {
    if (f->progress.step < f->schedule.steps)
        log_info("interrupted after step %" PRIu64 "; the same command goes on from there",
                 f->progress.step);
    else
        log_info("done after step %" PRIu64 ": best validation loss %.4f nats per token at step "
                 "%" PRIu64 ", in %s",
                 f->progress.step, f->progress.best_loss, f->progress.best_step, f->paths.out);
}

int fit_command(int argc, char **argv) {
    static struct fit fit; /* zeroed; too large for some stacks */
    struct error err;
    bool help = false;
    enum status status = flags_parse(&fit_flags, &fit.options, &argc, argv, &help, &err);
    if (help)
        return 0;
    if (status == STATUS_OK)
        status = fit_options_complete(&fit.options, &fit.plan, &err);
    status = ranks_agree(status, &err);
    int failure = status == STATUS_OK ? 1 : 2; /* 2: a wrong command */
    catch_signals();
    if (status == STATUS_OK)
        status = fit_open(&fit, &err);
    if (status == STATUS_OK)
        status = fit_loop(&fit, &err);
    if (status == STATUS_OK)
        report_end(&fit);
    fit_close(&fit);
    if (status != STATUS_OK && ranks_lead()) /* all ranks have the same error */
        fprintf(stderr, "alpaca-train fit: %s\n", err.message);
    return status == STATUS_OK ? 0 : failure;
}
