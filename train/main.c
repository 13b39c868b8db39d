/* alpaca-train - from story files to a model folder. */
#include "base/program.h"
#include "model/blas.h"
#include "train/commands.h"
#include "train/ranks.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const struct command {
    const char *name, *help;
    int (*run)(int argc, char **argv);
    bool together; /* where mpirun started several processes, they work as one */
} commands[] = {
    {"prepare", "clean story files and split them for training and validation", prepare_command, false},
    {"fit", "train a model, going on from the last checkpoint", fit_command, true},
    {"grow", "a larger model that begins as smaller ones side by side", grow_command, false},
    {"evaluate", "the validation figures of a model folder", evaluate_command, true},
    {"truecase", "a table that gives a text its capitals back", truecase_command, false},
};

static int usage(FILE *out, int status) {
    fprintf(out, "Usage: alpaca-train COMMAND [options]\n\nCommands:\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].help);
    fprintf(out, "\nalpaca-train COMMAND --help lists a command's options.\n");
    return status;
}

static int start(const struct command *command, int argc, char **argv) {
    struct error err;
    if (!command->together)
        return command->run(argc, argv);
    if (ranks_begin(&err) != STATUS_OK) {
        fprintf(stderr, "alpaca-train %s: %s\n", command->name, err.message);
        return 1;
    }
    int status = command->run(argc, argv);
    ranks_end();
    return status;
}

static int run(int argc, char **argv) {
    if (argc < 2)
        return usage(stderr, 2);
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))
        return usage(stdout, 0);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return start(&commands[i], argc - 2, argv + 2);
    fprintf(stderr, "alpaca-train: no such command: %s\n", argv[1]);
    return usage(stderr, 2);
}

int main(int argc, char **argv) {
    program_start();
    blas_init(argv);
    return program_end("alpaca-train", run(argc, argv));
}
