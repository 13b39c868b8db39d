#include "train/training_log.h"

#include "base/buffer.h"
#include "base/file.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Keeps the whole lines whose step is at most `step`; every line of ours begins with it. */
static void keep_lines(const struct buffer *text, uint64_t step, struct buffer *kept) {
    static const char key[] = "{\"step\":";
    const char *line = text->data, *end = text->data + text->size;
    while (line < end) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        if (!newline)
            return; /* torn by a crash */
        /* Not sscanf(), which would measure the whole rest of the text at every line. */
        char *after = NULL;
        bool ours = strncmp(line, key, sizeof key - 1) == 0 && newline[-1] == '}' &&
                    strtoull(line + sizeof key - 1, &after, 10) <= step && *after == ',';
        if (ours)
            buffer_append(kept, line, (size_t)(newline + 1 - line));
        line = newline + 1;
    }
}

static enum status truncate_to(const char *path, uint64_t step, struct error *err) {
    struct buffer text = {0}, kept = {0};
    enum status status = file_read(path, (size_t)1 << 30, &text, err);
    if (status != STATUS_OK)
        goto cleanup;
    keep_lines(&text, step, &kept);
    if (kept.failed) {
        status = error_set(err, STATUS_NO_MEMORY, "no memory to read %s", path);
        goto cleanup;
    }
    status = file_replace(path, kept.data, kept.size, err);
cleanup:
    buffer_free(&text);
    buffer_free(&kept);
    return status;
}

enum status training_log_open(struct training_log *log, const char *path, uint64_t step,
                              uint64_t total_steps, struct error *err) {
    *log = (struct training_log){
        .total_steps = total_steps, .terminal = isatty(STDERR_FILENO) != 0, .smoothed_loss = NAN};
    if (file_exists(path)) {
        enum status status = truncate_to(path, step, err);
        if (status != STATUS_OK)
            return status;
    }
    log->file = fopen(path, "ab");
    if (!log->file)
        return error_set_errno(err, "cannot write %s", path);
    return STATUS_OK;
}

enum status training_log_close(struct training_log *log, struct error *err) {
    if (log->line_open)
        fputc('\n', stderr);
    bool failed = log->file && ferror(log->file);
    if (log->file && fclose(log->file) != 0)
        failed = true;
    log->file = NULL;
    return failed ? error_set(err, STATUS_IO, "the training log could not be written") : STATUS_OK;
}

void training_log_duration(double seconds, char *text, size_t size) {
    long total = seconds < 0 ? 0 : (long)seconds;
    if (total >= 48 * 3600)
        snprintf(text, size, "%ldd%02ldh", total / 86400, total / 3600 % 24);
    else if (total >= 3600)
        snprintf(text, size, "%ldh%02ldm", total / 3600, total / 60 % 60);
    else
        snprintf(text, size, "%ldm%02lds", total / 60, total % 60);
}

static void show(struct training_log *log, const struct progress *progress,
                 const struct step_report *report) {
    char left[32];
    training_log_duration(report->seconds_left, left, sizeof left);
    fprintf(stderr,
            "%sstep %" PRIu64 "/%" PRIu64 "  epoch %" PRIu64
            "  loss %.4f  %.0f tokens/s  %s left%s",
            log->terminal ? "\r\033[K" : "", progress->step, log->total_steps,
            progress->data.epoch + 1, log->smoothed_loss, report->tokens_per_second,
            left, log->terminal ? "" : "\n");
    log->line_open = log->terminal;
}

void training_log_clear_line(struct training_log *log) {
    if (log->line_open)
        fputs("\r\033[K", stderr);
    log->line_open = false;
}

void training_log_changes(struct training_log *log, uint64_t step, const char *changes) {
    fprintf(log->file, "{\"step\":%" PRIu64 ",\"changed\":\"%s\"}\n", step, changes);
    fflush(log->file);
}

void training_log_step(struct training_log *log, const struct progress *progress,
                       const struct step_report *report, bool write) {
    log->smoothed_loss = isnan(log->smoothed_loss)
                             ? report->loss
                             : 0.95 * log->smoothed_loss + 0.05 * report->loss;
    if (write) {
        fprintf(log->file,
                "{\"step\":%" PRIu64 ",\"epoch\":%" PRIu64 ",\"tokens\":%" PRIu64
                ",\"loss\":%.6g,\"learning_rate\":%.6g,\"gradient_norm\":%.6g,"
                "\"tokens_per_second\":%.6g,\"seconds\":%.6g}\n",
                progress->step, progress->data.epoch, progress->tokens, report->loss,
                report->learning_rate, report->gradient_norm, report->tokens_per_second,
                progress->seconds);
        fflush(log->file);
    }
    if (write || log->terminal)
        show(log, progress, report);
}

void training_log_validation(struct training_log *log, const struct progress *progress,
                             const struct evaluation *newest, const struct evaluation *average,
                             bool best) {
    bool averaged = average && average->loss < newest->loss;
    const struct evaluation *lower = averaged ? average : newest;
    fprintf(log->file,
            "{\"step\":%" PRIu64 ",\"tokens\":%" PRIu64
            ",\"valid_loss\":%.6g,\"bits_per_byte\":%.6g,",
            progress->step, progress->tokens, lower->loss, lower->bits_per_byte);
    if (average)
        fprintf(log->file, "\"newest_loss\":%.6g,\"average_loss\":%.6g,", newest->loss,
                average->loss);
    fprintf(log->file, "\"seconds\":%.6g}\n", progress->seconds);
    fflush(log->file);
    fprintf(stderr,
            "%svalidation after step %" PRIu64 ": %.4f nats per token, %.4f bits per byte%s%s\n",
            log->line_open ? "\n" : "", progress->step, lower->loss, lower->bits_per_byte,
            averaged ? ", averaged weights" : "", best ? " (best so far)" : "");
    log->line_open = false;
}
