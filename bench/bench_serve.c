/* alpaca-bench serve: N clients at a server, each asking for one story after another. With --model
 * at one of its own, whose rate is then compared with that of the engine alone. */
#include "bench/bench.h"

#include "base/flags.h"
#include "bench/load.h"
#include "bench/load_generator.h"
#include "bench/server_process.h"
#include "engine/engine.h"

#include <stdio.h>
#include <stdlib.h>

struct serve_options {
    const char *model, *host;
    int port, clients, requests, tokens, rounds;
    double temperature;
    bool stream, keep_alive;
};

#define AT(member) offsetof(struct serve_options, member)
static const struct flag flags[] = {
    {"model", FLAG_TEXT, AT(model), NULL, 0, 0, "FOLDER",
     "start a server of this model, compare it with the engine alone, and stop it"},
    {"host", FLAG_TEXT, AT(host), "127.0.0.1", 0, 0, "ADDRESS",
     "IPv4 address of a running server"},
    {"port", FLAG_INT, AT(port), "8080", 1, 65535, "PORT", "port of a running server"},
    {"clients", FLAG_INT, AT(clients), "32", 1, 1024, "", "stories asked for at the same time"},
    {"requests", FLAG_INT, AT(requests), "96", 1, 1e8, "", "stories in all, or in a round"},
    {"rounds", FLAG_INT, AT(rounds), "4", 1, 1000, "",
     "with --model: times that engine and clients take turns"},
    {"tokens", FLAG_INT, AT(tokens), "200", 1, 60000, "tokens", "of each story at most"},
    {"temperature", FLAG_REAL, AT(temperature), "0.7", 0, 2, "", "of every story"},
    {"stream", FLAG_SWITCH, AT(stream), "on", 0, 0, "", "ask for the story as it is generated"},
    {"keep-alive", FLAG_SWITCH, AT(keep_alive), "on", 0, 0, "",
     "leave connections open from story to story"},
};
static const struct flag_table table = {
    .usage = "alpaca-bench serve [options]",
    .summary = "Stories and tokens per second over HTTP, the time to the first piece and the\n"
               "times between pieces as the clients see them.",
    .flags = flags,
    .count = sizeof flags / sizeof *flags,
};

/* ---- the clients ---------------------------------------------------------- */

static enum status run_load_generator(const struct serve_options *o, int port,
                                      struct load_generator_result *result, struct error *err) {
    struct load_generator load_generator = {.host = o->host,
                                            .port = port,
                                            .clients = o->clients,
                                            .stories = o->requests,
                                            .tokens = o->tokens,
                                            .temperature = o->temperature,
                                            .stream = o->stream,
                                            .keep_alive = o->keep_alive};
    return load_generator_run(&load_generator, result, err);
}

static void print_times(const char *name, struct times *times) {
    printf("  %-14s p50 %8.2f ms, p99 %8.2f ms\n", name, times_percentile(times, 0.5) * 1e3,
           times_percentile(times, 0.99) * 1e3);
}

static void print_load_generator(const struct serve_options *o,
                                 struct load_generator_result *result) {
    printf("%d clients, %d %s, %d failed, %.2f s\n", o->clients, result->answered,
           o->stream ? "streams" : "stories", result->failed, result->seconds);
    printf("  %.0f tokens/s, %.1f stories/s, %.0f tokens a story\n",
           (double)result->tokens / result->seconds, result->answered / result->seconds,
           result->answered ? (double)result->tokens / result->answered : 0.0);
    print_times("whole story", &result->whole);
    if (!o->stream)
        return;
    print_times("first piece", &result->first);
    print_times("between pieces", &result->between);
    printf("  %.1f tokens a piece\n",
           result->pieces ? (double)result->tokens / (double)result->pieces : 0.0);
}

/* ---- the engine alone ------------------------------------------------------- */

/* In this process, idle while the clients are at the server. */
struct engine_side {
    struct engine engine;
    struct token_list *prompts; /* [requests] those that the clients send */
    uint64_t tokens;
    double seconds;
};

static enum status read_prompts(struct engine_side *side, int count, struct error *err) {
    side->prompts = calloc((size_t)count, sizeof *side->prompts);
    if (!side->prompts)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the prompts");
    for (int i = 0; i < count; i++) {
        struct buffer text = {0};
        load_generator_write_prompt(&text, i);
        enum status status = text.failed
                                 ? error_set(err, STATUS_NO_MEMORY, "no memory for the prompts")
                                 : engine_read_prompt(&side->engine, text.data, text.size, false,
                                                      &side->prompts[i], err);
        buffer_free(&text);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static int slots_for(const struct serve_options *o) {
    return o->clients > 32 ? o->clients : 32; /* a server has at least its default */
}

static enum status side_open(struct engine_side *side, const struct serve_options *o,
                             struct error *err) {
    struct scheduler_options options = {.slots = slots_for(o), .queue = 256, .prefill_chunk = 64};
    enum status status =
        flags_used("model", engine_open(&side->engine, o->model, "int8", &options, err), err);
    return status == STATUS_OK ? read_prompts(side, o->requests, err) : status;
}

static enum status side_run(struct engine_side *side, const struct serve_options *o,
                            struct error *err) {
    struct load load = {.streams = o->clients < o->requests ? o->clients : o->requests,
                        .stories = o->requests,
                        .prompts = side->prompts,
                        .new_tokens = o->tokens,
                        .temperature = (float)o->temperature};
    struct load_result result;
    enum status status = load_run(side->engine.scheduler, &load, &result, err);
    side->tokens += result.tokens;
    side->seconds += result.seconds;
    return status;
}

static void side_close(struct engine_side *side, const struct serve_options *o) {
    for (int i = 0; side->prompts && i < o->requests; i++)
        token_list_free(&side->prompts[i]);
    free(side->prompts);
    engine_close(&side->engine);
}

/* ---- both ------------------------------------------------------------------- */

/* In turns, because a machine that others use is not the same all the time. The server starts
 * first: a child's peak memory counts from its parent's at its birth. */
static enum status compare(const struct serve_options *o, struct error *err) {
    struct server_process server;
    struct server_usage usage;
    struct load_generator_result result = {0};
    struct engine_side side = {0};
    enum status status = server_start(&server, o->model, slots_for(o), err);
    if (status != STATUS_OK)
        return status;
    printf("server of %s ready after %.0f ms\n", o->model, server.ready_s * 1e3);
    status = side_open(&side, o, err);
    for (int i = 0; i < o->rounds && status == STATUS_OK; i++) {
        status = side_run(&side, o, err);
        if (status == STATUS_OK)
            status = run_load_generator(o, server.port, &result, err);
    }
    usage = server_stop(&server);
    if (status == STATUS_OK) {
        double alone = (double)side.tokens / side.seconds;
        print_load_generator(o, &result);
        printf("  engine alone %.0f tokens/s: the server reaches %.1f %% of it, with at most %.0f "
               "MB resident\n",
               alone, 100 * (double)result.tokens / result.seconds / alone, usage.peak_mb);
    }
    side_close(&side, o);
    load_generator_result_free(&result);
    return status;
}

static enum status run(const void *options_of_command, struct error *err) {
    const struct serve_options *o = options_of_command;
    struct load_generator_result result = {0};
    if (o->model)
        return compare(o, err);
    enum status status = run_load_generator(o, o->port, &result, err);
    if (status == STATUS_OK)
        print_load_generator(o, &result);
    load_generator_result_free(&result);
    return status;
}

int bench_serve(int argc, char **argv) {
    struct serve_options options;
    return bench_command("serve", &table, &options, argc, argv, run);
}
