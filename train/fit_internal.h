/* fit_internal.h - what train/fit*.c share: a run of `alpaca-train fit`.
 *
 * Ownership: a run owns everything in it from fit_open() to fit_close(). One thread.
 */
#ifndef ALPACA_TRAIN_FIT_INTERNAL_H
#define ALPACA_TRAIN_FIT_INTERNAL_H

#include "base/file.h"
#include "train/fit_options.h"
#include "train/forecast.h"
#include "train/grad/teacher.h"
#include "train/optim/weight_average.h"
#include "train/run_folder.h"
#include "train/training_log.h"

struct fit_paths {
    char train[FILE_PATH_BYTES], valid[FILE_PATH_BYTES], tokenizer[FILE_PATH_BYTES];
    char out[FILE_PATH_BYTES], run[FILE_PATH_BYTES];
    char checkpoint[FILE_PATH_BYTES], log[FILE_PATH_BYTES]; /* in the run's folder */
};

/* Everything a run holds; zeroed, then filled by fit_open(), emptied by fit_close(). */
struct fit {
    struct fit_options options;
    struct fit_plan plan;
    struct run_folder run;
    struct fit_paths paths;
    struct pool *pool;
    struct tokenizer *tokenizer;
    struct dataset train, mix, valid;
    struct model *model;
    struct trainer trainer;
    struct teacher *teacher;
    struct weight_average average;
    struct data_loader *loader;
    struct schedule schedule;
    struct buffer recipe, kept, how; /* run_identity (train/checkpoint.h) */
    struct buffer changes;           /* of `how`, since the checkpoint */
    struct progress progress;
    bool validate_first; /* no weights are kept yet, although steps are done */
    struct training_log log;
    double checkpoint_at; /* clock_seconds() when the next one is due */
    struct forecast forecast;
    uint64_t first_step; /* that this process found done */
    bool forecast_shown;
    double step_start; /* clock_seconds() when the step began */
    size_t step_rows;  /* and how many it has */
};

/* Opens all that the options name and goes to where the checkpoint stands. fit_close() also after
 * an error. */
enum status fit_open(struct fit *fit, struct error *err);
void fit_close(struct fit *fit);
/* Goes to where the checkpoint stands, if there is one, and brings its best weights to --out. */
enum status fit_resume(struct fit *fit, struct error *err);

#endif
