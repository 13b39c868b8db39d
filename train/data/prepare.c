#include "train/data/prepare.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/flags.h"
#include "base/log.h"
#include "base/rng.h"
#include "train/data/story_reader.h"
#include "train/data/story_set.h"
#include "train/data/text_clean.h"

#include <limits.h>
#include <stdlib.h>
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

enum { REPORT_EVERY_SECONDS = 10, VOCAB_ALL_BELOW = 50000000 };

static enum status open_part(struct part *part, const char *folder, const char *name,
                             uint64_t *stories, uint64_t *bytes, struct error *err) {
    char path[4096];
    int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    if (length < 0 || (size_t)length >= sizeof path)
        return error_set_field(err, STATUS_INVALID, "out", "the path is too long: %s", folder);
    enum status status = file_writer_open(&part->writer, path, err);
    part->open = status == STATUS_OK;
    part->stories = stories;
    part->bytes = bytes;
    return status;
}

static enum status commit_part(struct part *part, struct error *err) {
    part->open = false; /* a failed commit aborts by itself */
    return file_writer_commit(&part->writer, err);
}

static enum status write_story(struct part *part, const struct buffer *story, struct error *err) {
    fwrite(story->data, 1, story->size, part->writer.stream);
    if (putc('\n', part->writer.stream) == EOF) /* a full disk should not be read on for */
        return error_set_errno(err, "cannot write %s", part->writer.path);
    ++*part->stories;
    *part->bytes += story->size;
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
    return write_story(valid ? &run->valid : &run->train, &run->clean, err);
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

/* Copies lines of `from` until `wanted` bytes of text are reached. */
static enum status copy_lines(FILE *from, const char *path, struct part *part, uint64_t wanted,
                              struct buffer *line, struct error *err) {
    while (*part->bytes < wanted) {
        int c;
        buffer_clear(line);
        while ((c = getc_unlocked(from)) != EOF && c != '\n') {
            char byte = (char)c;
            buffer_append(line, &byte, 1);
        }
        if (line->failed)
            return error_set(err, STATUS_NO_MEMORY, "no memory to copy a story");
        if (ferror(from))
            return error_set_errno(err, "cannot read %s", path);
        if (c == EOF)
            return STATUS_OK;
        enum status status = write_story(part, line, err);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

/* The vocabulary's text is a beginning of train.txt that ends with a line. */
static enum status write_vocab(struct run *run, struct error *err) {
    struct prepare_report *report = run->report;
    uint64_t total = report->train_bytes;
    uint64_t wanted = total < run->options->vocab_all_below
                          ? total
                          : (uint64_t)((double)total * run->options->vocab_share);
    struct part part = {0};
    enum status status = open_part(&part, run->options->out, "vocab.txt", &report->vocab_stories,
                                   &report->vocab_bytes, err);
    if (status != STATUS_OK)
        return status;
    const char *path = run->train.writer.path;
    FILE *from = fopen(path, "rb");
    if (!from)
        status = error_set_errno(err, "cannot open %s", path);
    else
        status = copy_lines(from, path, &part, wanted, &run->story, err);
    if (from)
        fclose(from);
    if (status == STATUS_OK)
        status = commit_part(&part, err);
    if (part.open)
        file_writer_abort(&part.writer);
    return status;
}

enum status prepare_run(const struct prepare_options *options, struct prepare_report *report,
                        struct error *err) {
    struct run run = {.options = options, .report = report,
                      .next_report = clock_seconds() + REPORT_EVERY_SECONDS};
    *report = (struct prepare_report){0};
    enum status status = file_make_folder(options->out, err);
    if (status == STATUS_OK)
        status = open_part(&run.train, options->out, "train.txt", &report->train_stories,
                           &report->train_bytes, err);
    if (status == STATUS_OK)
        status = open_part(&run.valid, options->out, "valid.txt", &report->valid_stories,
                           &report->valid_bytes, err);
    if (status == STATUS_OK && options->valid)
        status = read_stories(&run, options->valid, true, &report->valid, err);
    for (size_t i = 0; i < options->input_count && status == STATUS_OK; i++)
        status = read_stories(&run, options->inputs[i], false, &report->inputs, err);
    if (status == STATUS_OK && report->train_stories == 0)
        status = error_set(err, STATUS_INVALID, "no training stories are left of %llu read",
                           (unsigned long long)report->inputs.read);
    if (status == STATUS_OK && options->valid && report->valid_stories == 0)
        status = error_set_field(err, STATUS_INVALID, "valid", "no stories in %s", options->valid);
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

/* ---- the command ------------------------------------------------------------ */

struct flag_values {
    const char *out;
    const char *valid;
    double valid_share;
    double vocab_share;
    uint64_t seed;
};

#define FLAG(member) offsetof(struct flag_values, member)
static const struct flag flags[] = {
    {"out", FLAG_TEXT, FLAG(out), NULL, 0, 0, "DIR",
     "folder for train.txt, valid.txt and vocab.txt"},
    {"valid", FLAG_TEXT, FLAG(valid), NULL, 0, 0, "FILE",
     "validation stories; without it a share of the inputs is held out"},
    {"valid-share", FLAG_REAL, FLAG(valid_share), "0.05", 0, 0.9, "",
     "share of the stories held out for validation"},
    {"seed", FLAG_U64, FLAG(seed), "1", 0, 1e19, "",
     "decides with a story's text which stories are held out"},
    {"vocab-share", FLAG_REAL, FLAG(vocab_share), "0.26", 0.001, 1, "",
     "share of the training text that the vocabulary is learnt from, if it is 50 MB or more"},
};

static const struct flag_table table = {
    .usage = "alpaca-train prepare INPUT... --out DIR [options]",
    .summary = "Turns story files into one clean story a line. An INPUT is a file, a folder or -\n"
               "(standard input): text separated by <|endoftext|>, JSON arrays or lines with\n"
               "\"text\" or \"story\", or one story a line; .xz, .gz and .zst are unpacked.",
    .flags = flags,
    .count = sizeof flags / sizeof *flags,
    .max_arguments = INT_MAX,
};

static void print_counts(const char *name, const struct prepare_counts *counts) {
    printf("%-12s %llu stories read\n", name, (unsigned long long)counts->read);
    printf("  dropped    %llu empty, %llu not UTF-8, %llu exact duplicates, %llu also in "
           "validation\n",
           (unsigned long long)counts->empty, (unsigned long long)counts->invalid,
           (unsigned long long)counts->duplicate, (unsigned long long)counts->in_validation);
    printf("  repaired   mojibake in %llu stories (%llu places)\n",
           (unsigned long long)counts->repaired, (unsigned long long)counts->repairs);
}

static void print_file(const char *folder, const char *name, uint64_t stories, uint64_t bytes) {
    printf("%s/%s: %llu stories, %llu bytes of text\n", folder, name, (unsigned long long)stories,
           (unsigned long long)bytes);
}

static void print_report(const struct flag_values *values, const struct prepare_report *report) {
    print_counts("inputs", &report->inputs);
    if (values->valid)
        print_counts("validation", &report->valid);
    print_file(values->out, "train.txt", report->train_stories, report->train_bytes);
    print_file(values->out, "valid.txt", report->valid_stories, report->valid_bytes);
    print_file(values->out, "vocab.txt", report->vocab_stories, report->vocab_bytes);
}

int prepare_command(int argc, char **argv) {
    struct flag_values values;
    struct error err;
    struct prepare_report report;
    bool help_shown = false;
    enum status status = flags_parse(&table, &values, &argc, argv, &help_shown, &err);
    if (status == STATUS_OK && !help_shown) {
        if (argc == 0)
            status = error_set(&err, STATUS_INVALID, "no INPUT given; see --help");
        else if (!values.out)
            status = error_set_field(&err, STATUS_INVALID, "out", "--out DIR is missing");
    }
    if (status == STATUS_OK && !help_shown) {
        const struct prepare_options options = {
            .inputs = (const char *const *)argv, .input_count = (size_t)argc, .out = values.out,
            .valid = values.valid, .valid_share = values.valid_share,
            .vocab_share = values.vocab_share, .vocab_all_below = VOCAB_ALL_BELOW,
            .seed = values.seed};
        status = prepare_run(&options, &report, &err);
        if (status == STATUS_OK)
            print_report(&values, &report);
    }
    if (status != STATUS_OK)
        fprintf(stderr, "alpaca-train prepare: %s\n", err.message);
    return status == STATUS_OK ? 0 : 1;
}
