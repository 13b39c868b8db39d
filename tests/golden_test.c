/* The same weights, prompt, settings and seed give the same completion, bit for bit, from one
 * version to the next.
 *
 * tests/golden/completions.tsv has a line for each completion of weights/small:
 *   hash  tokens  seed  temperature  top_k  top_p  min_p  repetition_penalty  max_tokens  prompt
 * where the hash is FNV-1a (64 bits) over prompt ids and generated ids, four bytes each, the least
 * significant first. After a change that is meant to change completions,
 *   build/release/tests/golden_test --print > completions.tsv
 * writes the lines anew. The requests are submitted four at a time, so they are batched too. */
#include "engine/engine.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define LIST "tests/golden/completions.tsv"
enum { GOLDEN_COUNT = 60, SLOTS = 4 };

struct golden {
    uint64_t hash;
    int tokens;
    struct sampling sampling;
    int max_tokens;
    char prompt[128];
};

static uint64_t add_ids(uint64_t hash, const int32_t *ids, int count) {
    for (int i = 0; i < count; i++)
        for (int byte = 0; byte < 4; byte++)
            hash = (hash ^ ((uint32_t)ids[i] >> (8 * byte) & 0xff)) * UINT64_C(0x100000001b3);
    return hash;
}

static void read_list(struct golden goldens[GOLDEN_COUNT]) {
    char line[512];
    FILE *file = fopen(LIST, "r");
    assert_non_null(file);
    for (int i = 0; i < GOLDEN_COUNT; i++) {
        struct golden *g = &goldens[i];
        int at = 0;
        assert_non_null(fgets(line, sizeof line, file));
        line[strcspn(line, "\n")] = '\0';
        *g = (struct golden){.hash = 0};
        int fields = sscanf(line, "%" SCNx64 "\t%d\t%" SCNu64 "\t%f\t%d\t%f\t%f\t%f\t%d%n",
                            &g->hash, &g->tokens, &g->sampling.seed, &g->sampling.temperature,
                            &g->sampling.top_k, &g->sampling.top_p, &g->sampling.min_p,
                            &g->sampling.repetition_penalty, &g->max_tokens, &at);
        assert_int_equal(fields, 9);
        assert_int_equal(line[at], '\t');
        snprintf(g->prompt, sizeof g->prompt, "%s", line + at + 1);
    }
    assert_null(fgets(line, sizeof line, file));
    fclose(file);
}

static struct request *submit(struct engine *engine, const struct golden *golden,
                              struct token_list *prompt) {
    struct error err = {0};
    struct request *request;
    if (engine_read_prompt(engine, golden->prompt, strlen(golden->prompt), false, prompt, &err) !=
        STATUS_OK)
        fail_msg("%s", err.message);
    struct request_params params = {
        .prompt = prompt->ids,
        .prompt_count = (int)prompt->count,
        .max_tokens = golden->max_tokens,
        .sampling = golden->sampling,
    };
    if (scheduler_submit(engine->scheduler, &params, &request, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return request;
}

/* Waits for the end; the hash and the number of tokens go into *result. */
static void collect(struct request *request, const struct token_list *prompt,
                    struct golden *result) {
    while (request_output(request).finish == FINISH_NONE)
        usleep(200);
    struct request_output output = request_output(request);
    result->hash = add_ids(UINT64_C(0xcbf29ce484222325), prompt->ids, (int)prompt->count);
    result->hash = add_ids(result->hash, output.ids, output.count);
    result->tokens = output.count;
    request_release(request);
}

static void complete_all(const struct golden goldens[GOLDEN_COUNT],
                         struct golden results[GOLDEN_COUNT]) {
    struct engine engine;
    struct error err = {0};
    const struct scheduler_options options = {
        .slots = SLOTS, .queue = SLOTS, .threads = 2, .prefill_chunk = 8};
    if (engine_open(&engine, "weights/small", "int8", &options, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    memcpy(results, goldens, GOLDEN_COUNT * sizeof *results);
    for (int first = 0; first < GOLDEN_COUNT; first += SLOTS) {
        struct request *requests[SLOTS];
        struct token_list prompts[SLOTS] = {{0}};
        for (int i = 0; i < SLOTS; i++)
            requests[i] = submit(&engine, &goldens[first + i], &prompts[i]);
        for (int i = 0; i < SLOTS; i++) {
            collect(requests[i], &prompts[i], &results[first + i]);
            token_list_free(&prompts[i]);
        }
    }
    engine_close(&engine);
}

static void test_completions_are_those_on_the_list(void **state) {
    (void)state;
    struct golden goldens[GOLDEN_COUNT], results[GOLDEN_COUNT];
    read_list(goldens);
    complete_all(goldens, results);
    for (int i = 0; i < GOLDEN_COUNT; i++)
        if (results[i].hash != goldens[i].hash || results[i].tokens != goldens[i].tokens)
            fail_msg("line %d (\"%s\"): %d tokens, hash %016" PRIx64, i + 1, goldens[i].prompt,
                     results[i].tokens, results[i].hash);
}

static void print_list(void **state) {
    (void)state;
    struct golden goldens[GOLDEN_COUNT], results[GOLDEN_COUNT];
    read_list(goldens);
    complete_all(goldens, results);
    for (int i = 0; i < GOLDEN_COUNT; i++) {
        const struct golden *g = &results[i];
        printf("%016" PRIx64 "\t%d\t%" PRIu64 "\t%g\t%d\t%g\t%g\t%g\t%d\t%s\n", g->hash, g->tokens,
               g->sampling.seed, (double)g->sampling.temperature, g->sampling.top_k,
               (double)g->sampling.top_p, (double)g->sampling.min_p,
               (double)g->sampling.repetition_penalty, g->max_tokens, g->prompt);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_completions_are_those_on_the_list)};
    const struct CMUnitTest printing[] = {cmocka_unit_test(print_list)};
    if (argc > 1 && strcmp(argv[1], "--print") == 0)
        return cmocka_run_group_tests(printing, NULL, NULL);
    return cmocka_run_group_tests_name("golden", tests, NULL, NULL);
}
