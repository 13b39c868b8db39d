#include "base/log.h"
#include "tokenizer/tokenizer.h"
#include "train/checkpoint.h"
#include "train/fit_internal.h"
#include "train/ranks.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char model_file[] = "model.safetensors";

static bool has_model(const char *folder) {
    char path[FILE_PATH_BYTES];
    return file_join(path, folder, model_file, NULL) == STATUS_OK && file_exists(path);
}

static enum status copy_model(const char *from, const char *to, struct error *err) {
    static const char *const names[] = {model_file, "config.json"};
    char source[FILE_PATH_BYTES], target[FILE_PATH_BYTES];
    enum status status = file_join(source, from, "tokenizer.model", err);
    if (status == STATUS_OK)
        status = tokenizer_copy(source, to, err);
    for (size_t i = 0; i < sizeof names / sizeof *names && status == STATUS_OK; i++) {
        status = file_join(source, from, names[i], err);
        if (status == STATUS_OK)
            status = file_join(target, to, names[i], err);
        if (status == STATUS_OK)
            status = file_copy(source, target, err);
    }
    return status;
}

/* Sees to it that the best weights so far, written to the folder `before`, are in `now`. */
static enum status bring_best(struct fit *f, const char *before, const char *now,
                              struct error *err) {
    uint64_t best = f->progress.best_step;
    bool same = strcmp(before, now) == 0;
    if (!same && has_model(before)) {
        enum status status = copy_model(before, now, err);
        if (status == STATUS_OK)
            log_info("copied the best weights so far, of step %" PRIu64 ", from %s to %s", best,
                     before, now);
        return status;
    }
    if (!has_model(now)) {
        log_warn("the best weights so far, of step %" PRIu64 ", are no longer in %s; validation "
                 "begins anew with those of step %" PRIu64, best, before, f->progress.step);
        f->progress.best_loss = INFINITY;
        f->validate_first = true;
    } else if (!same) {
        log_info("%s is gone; the weights in %s are taken for the best so far, of step %" PRIu64,
                 before, now, best);
    }
    return STATUS_OK;
}

/* The run's folder remembers where the best weights are written, for when --out changes. */
static enum status follow_out(struct fit *f, struct error *err) {
    char note[FILE_PATH_BYTES];
    struct buffer before = {0};
    char *now = realpath(f->paths.out, NULL);
    enum status status = now ? file_join(note, f->paths.run, "model_folder", err)
                             : error_set_errno(err, "cannot find %s", f->paths.out);
    if (status == STATUS_OK && file_exists(note))
        status = file_read(note, FILE_PATH_BYTES, &before, err);
    if (status == STATUS_OK && f->progress.best_step > 0)
        status = bring_best(f, before.size ? before.data : now, now, err);
    if (status == STATUS_OK && (!before.size || strcmp(before.data, now) != 0))
        status = file_replace(note, now, strlen(now), err);
    buffer_free(&before);
    free(now);
    return status;
}

static enum status load(struct fit *f, struct error *err) {
    const struct run_identity identity = {f->recipe.data, f->kept.data, f->how.data};
    if (f->options.fresh || !file_exists(f->paths.checkpoint))
        return follow_out(f, err);
    enum status status = checkpoint_load(f->paths.checkpoint, &f->trainer, &f->progress, &identity,
                                         &f->changes, err);
    if (status != STATUS_OK)
        return status;
    log_info("going on from step %" PRIu64 " of %s", f->progress.step, f->paths.checkpoint);
    if (f->changes.size)
        log_info("sums are rounded otherwise from here on: %s", f->changes.data);
    return follow_out(f, err);
}

/* What the first rank read, to the others. */
static void pass_on(struct fit *f) {
    struct state_buffer state[TRAINER_STATE_MAX];
    ranks_copy(&f->progress, sizeof f->progress);
    ranks_copy(&f->validate_first, sizeof f->validate_first);
    if (f->progress.step == 0)
        return; /* all have begun with the same weights */
    for (int i = 0, count = trainer_state(&f->trainer, state); i < count; i++)
        ranks_copy(state[i].values, state[i].count * sizeof *state[i].values);
    f->trainer.optimizer.steps = f->progress.step;
    if (!ranks_lead())
        (void)trainer_refresh(&f->trainer, NULL); /* only a device fails, and that is alone */
}

enum status fit_resume(struct fit *f, struct error *err) {
    f->progress.best_loss = INFINITY;
    enum status status = ranks_agree(ranks_lead() ? load(f, err) : STATUS_OK, err);
    if (status == STATUS_OK)
        pass_on(f);
    return status;
}
