/* alpaca-bench: how fast the parts are, on this machine, in figures to compare. */
#include "base/program.h"
#include "bench/bench.h"
#include "model/blas.h"

static const struct program_command commands[] = {
    {"attention", "keys and values that a step reads, per second", bench_attention},
    {"engine", "stories per second: reading prompts, and 1 to 64 stories at a time", bench_engine},
    {"kernels", "each kernel alone, on one thread", bench_kernels},
    {"loss", "what serving in narrow numbers costs, in nats per token", bench_loss},
    {"model", "writes a model folder with random weights, to serve", bench_write_model},
    {"serve", "a server with many clients: rate, first token, share of the engine's", bench_serve},
    {"train", "training tokens per second of each preset", bench_train},
};

int main(int argc, char **argv) {
    program_start();
    blas_init(argv);
    enum { COUNT = sizeof commands / sizeof *commands };
    return program_end("alpaca-bench",
                       program_run_command("alpaca-bench", commands, COUNT, argc, argv));
}
