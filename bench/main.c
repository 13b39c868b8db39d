/* alpaca-bench: how fast the parts are, on this machine, in figures to compare. */
#include "base/program.h"
#include "bench/bench.h"
#include "model/blas.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"engine", bench_engine, "stories per second: reading prompts, and generating 1 to 64 at a time"},
    {"kernels", bench_kernels, "each kernel alone, on one thread"},
    {"loss", bench_loss, "what serving in narrow numbers costs, in nats per token"},
    {"model", bench_write_model, "writes a model folder with random weights, to serve"},
    {"serve", bench_serve, "a server with many clients: rate, first token, share of the engine's"},
    {"train", bench_train, "training tokens per second of each preset"},
};

static void print_help(FILE *out) {
    fprintf(out, "Usage: alpaca-bench COMMAND [options]\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].help);
    fprintf(out, "\nalpaca-bench COMMAND --help lists a command's options.\n");
}

static int run(int argc, char **argv) {
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0)) {
        print_help(stdout);
        return 0;
    }
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 2, argv + 2);
    }
    print_help(stderr);
    return 2;
}

int main(int argc, char **argv) {
    program_start();
    blas_init(argv);
    return program_end("alpaca-bench", run(argc, argv));
}
