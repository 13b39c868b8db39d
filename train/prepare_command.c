/* `alpaca-train prepare`: story files in, clean text out. */
#include "base/flags.h"
#include "train/commands.h"
#include "train/data/prepare.h"

#include <limits.h>
#include <stdio.h>

enum { VOCAB_ALL_BELOW = 50000000 };

#define FLAG(member) offsetof(struct prepare_options, member)
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
     "share of the training text that the vocabulary is learned from, if it is 50 MB or more"},
};

static const struct flag_table table = {
    .usage = "alpaca-train prepare INPUT... --out DIR [options]",
    .summary = "Turns story files into one clean story a line. An INPUT is a file, a folder or -\n"
               "(standard input): text separated by <|endoftext|>, one story a line, JSON arrays\n"
               "or lines of strings or of objects with \"text\" or \"story\", or CSV whose header\n"
               "has such a column; in UTF-8. Files named .xz, .gz or .zst are unpacked.",
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

static void print_report(const struct prepare_options *options,
                         const struct prepare_report *report) {
    print_counts("inputs", &report->inputs);
    if (options->valid)
        print_counts("validation", &report->valid);
    print_file(options->out, "train.txt", report->train_stories, report->train_bytes);
    print_file(options->out, "valid.txt", report->valid_stories, report->valid_bytes);
    print_file(options->out, "vocab.txt", report->vocab_stories, report->vocab_bytes);
}

int prepare_command(int argc, char **argv) {
    struct prepare_options options = {.vocab_all_below = VOCAB_ALL_BELOW};
    struct error err;
    struct prepare_report report;
    bool help_shown = false;
    enum status status = flags_parse(&table, &options, &argc, argv, &help_shown, &err);
    if (status == STATUS_OK && !help_shown) {
        if (argc == 0)
            status = error_set(&err, STATUS_INVALID, "no INPUT given; see --help");
        else if (!options.out)
            status = error_set_field(&err, STATUS_INVALID, "out", "--out DIR is missing");
    }
    if (status == STATUS_OK && !help_shown) {
        options.inputs = (const char *const *)argv;
        options.input_count = (size_t)argc;
        status = prepare_run(&options, &report, &err);
        if (status == STATUS_OK)
            print_report(&options, &report);
    }
    if (status != STATUS_OK)
        fprintf(stderr, "alpaca-train prepare: %s\n", err.message);
    return status == STATUS_OK ? 0 : 1;
}
