#include "train/data/prepare.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/flags.h"
#include "base/log.h"
#include "base/rng.h"
#include "train/data/story_reader.h"
#include "train/data/story_set.h"
#include "train/data/text_clean.h"

#include <string.h>

/* One of the files being written. */
struct part {
    struct file_writer writer;
    bool open;
    uint64_t *stories, *bytes; /* in the report */
};

struct run {
    const struct prepare_options *options;
    struct prepare_report *report;
    struct part train, valid;
    struct story_set seen;       /* every story kept */
    struct story_set validation; /* those of the validation file */
    struct buffer story, clean;
    uint64_t read;
    double next_report; /* clock_seconds() */
};

enum { REPORT_EVERY_SECONDS = 10 };

static enum status open_part(struct part *part, const char *folder, const char *name,
                             struct error *err) {
    char path[FILE_PATH_BYTES];
    enum status status = file_join(path, folder, name, err);
    if (status == STATUS_OK)
        status = file_writer_open(&part->writer, path, err);
    part->open = status == STATUS_OK;
    return flags_used("out", status, err);
}

static enum status commit_part(struct part *part, struct error *err) {
    part->open = false; /* a failed commit aborts by itself */
    return flags_used("out", file_writer_commit(&part->writer, err), err);
}

static enum status write_story(struct part *part, const char *story, size_t bytes,
                               struct error *err) {
    fwrite(story, 1, bytes, part->writer.stream);
    if (putc('\n', part->writer.stream) == EOF) /* a full disk should not be read on for */
        return flags_used("out", error_set_errno(err, "cannot write %s", part->writer.path), err);
    ++*part->stories;
    *part->bytes += bytes;
    return STATUS_OK;
}

static enum status keep_or_drop(struct run *run, bool is_valid_file, struct prepare_counts *counts,
                                struct error *err) {
    size_t repairs = 0;
    counts->read++;
    enum text_verdict verdict = text_clean(run->story.data, run->story.size, &run->clean, &repairs);
    if (verdict == TEXT_NO_MEMORY)
        return error_set(err, STATUS_NO_MEMORY, "no memory to clean a story");
    counts->empty += verdict == TEXT_EMPTY;
    counts->invalid += verdict == TEXT_INVALID_UTF8;
    if (verdict != TEXT_GOOD)
        return STATUS_OK;
    struct story_hash hash = story_hash(run->clean.data, run->clean.size);
    if (!is_valid_file && story_set_has(&run->validation, hash)) {
        counts->in_validation++;
        return STATUS_OK;
    }
    bool added;
    enum status status =
        story_set_add(is_valid_file ? &run->validation : &run->seen, hash, &added, err);
    if (status != STATUS_OK)
        return status;
    if (!added) {
        counts->duplicate++;
        return STATUS_OK;
    }
    counts->repairs += repairs;
    counts->repaired += repairs > 0;
    const struct prepare_options *options = run->options;
    bool valid = is_valid_file || (!options->valid && rng_uniform(options->seed, hash.low) <
                                                          options->valid_share);
    return write_story(valid ? &run->valid : &run->train, run->clean.data, run->clean.size, err);
}

static enum status read_stories(struct run *run, const char *path, bool is_valid_file,
                                struct prepare_counts *counts, struct error *err) {
    struct story_reader *reader = NULL;
    enum status status = story_reader_open(&reader, path, err);
    for (bool got = true; status == STATUS_OK;) {
        status = story_reader_next(reader, &run->story, &got, err);
        if (status != STATUS_OK || !got)
            break;
        status = keep_or_drop(run, is_valid_file, counts, err);
        if (++run->read % 4096 == 0 && clock_seconds() > run->next_report) {
            log_info("%llu stories read, now in %s", (unsigned long long)run->read, path);
            run->next_report = clock_seconds() + REPORT_EVERY_SECONDS;
        }
    }
    story_reader_close(reader);
    return status;
}

/* The vocabulary's text is a beginning of train.txt that ends with a line. */
static enum status write_vocab(struct run *run, struct error *err) {
    struct prepare_report *report = run->report;
    uint64_t total = report->train_bytes;
    uint64_t wanted = total < run->options->vocab_all_below
                          ? total
                          : (uint64_t)((double)total * run->options->vocab_share);
    struct part part = {.stories = &report->vocab_stories, .bytes = &report->vocab_bytes};
    struct file_map train = {0};
    enum status status = file_map_open(&train, run->train.writer.path, err);
    if (status == STATUS_OK)
        status = open_part(&part, run->options->out, "vocab.txt", err);
    const char *line = (const char *)train.data, *newline;
    size_t left = train.size;
    while (status == STATUS_OK && *part.bytes < wanted && (newline = memchr(line, '\n', left))) {
        status = write_story(&part, line, (size_t)(newline - line), err);
        left -= (size_t)(newline + 1 - line);
        line = newline + 1;
    }
    if (status == STATUS_OK)
        status = commit_part(&part, err);
    if (part.open)
        file_writer_abort(&part.writer);
    file_map_close(&train);
    return status;
}

/* An input is never written over, and no folder is read that holds the outputs of a run before. */
static enum status check_input(const char *folder, const char *input, struct error *err) {
    static const char *const names[] = {".", "train.txt", "valid.txt", "vocab.txt"};
    char path[FILE_PATH_BYTES];
    enum status status = STATUS_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names && status == STATUS_OK; i++) {
        status = file_join(path, folder, names[i], err);
        if (status == STATUS_OK && file_same(path, input))
            status = error_set(err, STATUS_INVALID,
                               "%s is also read from; give another folder than that", input);
    }
    return flags_used("out", status, err);
}

enum status prepare_run(const struct prepare_options *options, struct prepare_report *report,
                        struct error *err) {
    struct run run = {.options = options,
                      .report = report,
                      .train = {.stories = &report->train_stories, .bytes = &report->train_bytes},
                      .valid = {.stories = &report->valid_stories, .bytes = &report->valid_bytes},
                      .next_report = clock_seconds() + REPORT_EVERY_SECONDS};
    *report = (struct prepare_report){0};
    enum status status = flags_used("out", file_make_folder(options->out, err), err);
    for (size_t i = 0; i < options->input_count && status == STATUS_OK; i++)
        status = check_input(options->out, options->inputs[i], err);
    if (status == STATUS_OK && options->valid)
        status = check_input(options->out, options->valid, err);
    if (status == STATUS_OK)
        status = open_part(&run.train, options->out, "train.txt", err);
    if (status == STATUS_OK)
        status = open_part(&run.valid, options->out, "valid.txt", err);
    if (status == STATUS_OK && options->valid)
        status = flags_used("valid",
                            read_stories(&run, options->valid, true, &report->valid, err), err);
    for (size_t i = 0; i < options->input_count && status == STATUS_OK; i++)
        status = read_stories(&run, options->inputs[i], false, &report->inputs, err);
    if (status == STATUS_OK && report->train_stories == 0 && report->valid_stories > 0 &&
        !options->valid)
        status = error_set_field(err, STATUS_INVALID, "valid-share",
                                 "all %llu stories fell to validation and none is left to train "
                                 "on; give more stories, another --seed, --valid FILE or "
                                 "--valid-share 0",
                                 (unsigned long long)report->valid_stories);
    if (status == STATUS_OK && report->train_stories == 0)
        status = error_set(err, STATUS_INVALID,
                           "no training stories are left of %llu read: %llu are empty, %llu not "
                           "UTF-8, %llu there twice, %llu in the validation file",
                           (unsigned long long)report->inputs.read,
                           (unsigned long long)report->inputs.empty,
                           (unsigned long long)report->inputs.invalid,
                           (unsigned long long)report->inputs.duplicate,
                           (unsigned long long)report->inputs.in_validation);
    if (status == STATUS_OK && options->valid && report->valid_stories == 0)
        status = error_set_field(err, STATUS_INVALID, "valid", "no stories in %s", options->valid);
    if (status == STATUS_OK && report->valid_stories == 0 && options->valid_share > 0)
        log_warn("no story is held out for validation, which `fit` needs: give --valid FILE, more "
                 "stories or a larger --valid-share");
    if (status == STATUS_OK)
        status = commit_part(&run.train, err);
    if (status == STATUS_OK)
        status = commit_part(&run.valid, err);
    if (status == STATUS_OK)
        status = write_vocab(&run, err);
    if (run.train.open)
        file_writer_abort(&run.train.writer);
    if (run.valid.open)
        file_writer_abort(&run.valid.writer);
    story_set_free(&run.seen);
    story_set_free(&run.validation);
    buffer_free(&run.story);
    buffer_free(&run.clean);
    return status;
}
