/* bench.h - the subcommands of alpaca-bench, and what they share.
 *
 * Each command parses its own arguments (without the program's and its own
 * name) and returns the exit status. One thread.
 */
#ifndef ALPACA_BENCH_BENCH_H
#define ALPACA_BENCH_BENCH_H

#include "base/flags.h"
#include "base/status.h"
#include "model/model.h"

int bench_attention(int argc, char **argv);
int bench_engine(int argc, char **argv);
int bench_kernels(int argc, char **argv);
int bench_loss(int argc, char **argv);
int bench_write_model(int argc, char **argv);
int bench_serve(int argc, char **argv);
int bench_train(int argc, char **argv);

/* What every command does: parses argv into *options, runs, reports; the exit status. */
int bench_command(const char *name, const struct flag_table *table, void *options, int argc,
                  char **argv, enum status (*run)(const void *options, struct error *err));

/* alpaca-bench engine --draft. */
struct bench_drafts {
    const char *model, *draft; /* see engine_open() */
    int draft_tokens, threads, prefill_chunk, tokens;
    int repeat; /* alternations; the rates are medians */
    float temperature;
    uint64_t seed;
};
void bench_drafts_header(void);
/* Measures stories with a draft and without, `streams` at a time, and prints a line. */
enum status bench_drafts(const struct bench_drafts *drafts, int streams, struct error *err);

/* The best time of one call, in seconds: other processes only ever make it slower. */
double bench_best_time(void (*call)(void *context), void *context);

/* Of values[count], which it sorts. */
double bench_median(double *values, int count);
/* Takes the first number off a list (base/flags.h): stories at a time, from 1 to 4096. */
enum status bench_next_streams(const char **list, int *streams, struct error *err);

/* A model of a preset's shape with random weights, which run as fast as trained
 * ones, or a model folder. Random ones never end a story. */
enum status bench_model(struct model **model, const char *preset_or_folder, struct error *err);
/* Multiply-adds that the linear layers do for one token; the head among them when asked. */
double bench_linear_macs(const struct model_config *config, bool head);

#endif
