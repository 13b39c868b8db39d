/* training_log.h - what a run reports: a JSONL file, and a progress line for a person.
 *
 * One JSON object a line: {"step", "epoch", "tokens", "loss", "learning_rate",
 * "gradient_norm", "tokens_per_second", "seconds"} while training and {"step",
 * "tokens", "valid_loss", "bits_per_byte", "seconds"} after a validation, with
 * "newest_loss" and "average_loss" too where an average of the weights is kept;
 * valid_loss is the lower of those; {"step", "changed"} where a run goes on with
 * other threads or micro-batches. A line is on disk whole or not at all;
 * training_log_open() drops the lines after `step`, which a killed run wrote after
 * its last checkpoint.
 * Ownership: the log owns its open file; training_log_close() ends it. One thread.
 */
#ifndef ALPACA_TRAIN_TRAINING_LOG_H
#define ALPACA_TRAIN_TRAINING_LOG_H

#include "base/status.h"
#include "train/checkpoint.h"
#include "train/evaluation.h"

#include <stdbool.h>
#include <stdio.h>

struct training_log {
    FILE *file;
    uint64_t total_steps;
    bool terminal;         /* stderr is one: rewrite the line in place */
    double smoothed_loss;  /* over the last steps; what the progress line shows */
    bool line_open;        /* a rewritable line stands on the terminal */
};

enum status training_log_open(struct training_log *log, const char *path, uint64_t step,
                              uint64_t total_steps, struct error *err);
enum status training_log_close(struct training_log *log, struct error *err);

struct step_report {
    double loss, gradient_norm, learning_rate, tokens_per_second;
    double seconds_left; /* of the run; only for the progress line */
};
/* `write`: also write the JSON line; the progress line is shown in any case. */
void training_log_step(struct training_log *log, const struct progress *progress,
                       const struct step_report *report, bool write);
/* `average`: the evaluation of the averaged weights, or NULL. */
void training_log_validation(struct training_log *log, const struct progress *progress,
                             const struct evaluation *newest, const struct evaluation *average,
                             bool best);
/* `changes`: as checkpoint_load() says them. */
void training_log_changes(struct training_log *log, uint64_t step, const char *changes);
/* Takes the rewritable line off the terminal, before something else is printed there. */
void training_log_clear_line(struct training_log *log);
/* "12m05s", "3h07m", "4d11h". */
void training_log_duration(double seconds, char *text, size_t size);

#endif
