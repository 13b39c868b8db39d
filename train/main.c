/* alpaca-train - from story files to a model folder. */
#include "base/program.h"
#include "model/blas.h"
#include "train/commands.h"
#include "train/ranks.h"

#include <stdio.h>

/* Where mpirun started several processes, they work as one. */
static int run_together(const char *name, int (*run)(int argc, char **argv), int argc,
                        char **argv) {
    struct error err;
    if (ranks_begin(&err) != STATUS_OK) {
        fprintf(stderr, "alpaca-train %s: %s\n", name, err.message);
        return 1;
    }
    int status = run(argc, argv);
    ranks_end();
    return status;
}

static int fit(int argc, char **argv) {
    return run_together("fit", fit_command, argc, argv);
}

static int evaluate_model(int argc, char **argv) {
    return run_together("evaluate", evaluate_command, argc, argv);
}

static const struct program_command commands[] = {
    {"prepare", "clean story files and split them for training and validation", prepare_command},
    {"fit", "train a model, going on from the last checkpoint", fit},
    {"grow", "a larger model that begins as smaller ones side by side", grow_command},
    {"evaluate", "the validation figures of a model folder", evaluate_model},
    {"truecase", "a table that gives a text its capitals back", truecase_command},
};

int main(int argc, char **argv) {
    program_start();
    blas_init(argv);
    enum { COUNT = sizeof commands / sizeof *commands };
    return program_end("alpaca-train",
                       program_run_command("alpaca-train", commands, COUNT, argc, argv));
}
