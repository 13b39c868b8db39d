/* alpaca-eval - how good the stories are: what the model knows, writes, and has by heart. */
#include "base/program.h"
#include "evaluation/commands.h"
#include "model/blas.h"

#include <stdio.h>
#include <string.h>

static const struct command {
    const char *name, *help;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"prompts", "the original's prompts, and how it and these models go on", prompts_command},
    {"choices", "which of several texts the models find likelier", choices_command},
    {"texture", "stories from nothing beside real ones, and what of them is copied", texture_command},
    {"grade", "a page on which somebody grades all answers blind", grade_command},
    {"report", "all of it, as docs/evaluation.md and docs/evaluation.html", report_command},
};

static int usage(FILE *out, int status) {
    fprintf(out, "Usage: alpaca-eval COMMAND [options]\n\nCommands:\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].help);
    fprintf(out, "\nalpaca-eval COMMAND --help lists a command's options.\n");
    return status;
}

static int run(int argc, char **argv) {
    if (argc < 2)
        return usage(stderr, 2);
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))
        return usage(stdout, 0);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 2, argv + 2);
    fprintf(stderr, "alpaca-eval: no such command: %s\n", argv[1]);
    return usage(stderr, 2);
}

int main(int argc, char **argv) {
    program_start();
    blas_init(argv);
    return program_end("alpaca-eval", run(argc, argv));
}
