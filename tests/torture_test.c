/* Memory that runs out, at every place where it can: each request for memory fails in turn, once
 * for a moment and once for good. What fails must say so, leave nothing behind, and work again
 * afterwards. Only libmicrohttpd's and OpenBLAS's own memory is out of reach.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "model/weights.h"
#include "server/api/json.h"
#include "server/http/daemon.h"
#include "server/options.h"
#include "tests/support/faults.h"
#include "tests/support/scratch.h"
#include "train/data/story_json.h"

#include <arpa/inet.h>
#include <cjson/cJSON.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char tokenizer_path[] = "tests/data/tokenizer_small.model";
static const struct model_config config = {
    .d_model = 16, .heads = 2, .d_ff = 24, .layers = 2, .vocab = 420, .positions = 48,
    .norm_eps = 1e-5f, .unk_id = 0, .bos_id = 1, .eos_id = 2, .pad_id = 3};
static const struct scheduler_options scheduling = {
    .slots = 4, .queue = 8, .threads = 2, .prefill_chunk = 8};
static const enum fault_mode modes[] = {FAULT_ONCE, FAULT_LASTING};
enum { MODES = 2, CALLS_MAX = 100000 /* a loop that never succeeds is a failed test */ };

static char folder[512]; /* a whole model folder */

static struct model *random_model(uint64_t seed) {
    struct model *model;
    assert_int_equal(model_create(&model, &config, NULL), STATUS_OK);
    model_initialize(model, seed);
    return model;
}

static int make_model_folder(void **state) {
    (void)state;
    struct buffer tokenizer = {0};
    struct error err = {0};
    faults_install();
    scratch_open(&scratch);
    snprintf(folder, sizeof folder, "%s", scratch_path(&scratch, "model"));
    struct model *model = random_model(1);
    if (weights_save(folder, "model", model, SAFETENSORS_BF16, &err) != STATUS_OK ||
        file_read(tokenizer_path, 1 << 20, &tokenizer, &err) != STATUS_OK) {
        print_error("%s (run from the repository's root)\n", err.message);
        return 1;
    }
    scratch_write(&scratch, "model/tokenizer.model", tokenizer.data, tokenizer.size);
    buffer_free(&tokenizer);
    model_destroy(model);
    return 0;
}

static int remove_model_folder(void **state) {
    (void)state;
    scratch_close(&scratch);
    return 0;
}

/* ---- loading and saving ----------------------------------------------------- */

static void a_load_survives_every_failure(void **state) {
    (void)state;
    for (int m = 0; m < MODES; m++) {
        long before = faults_live(), call = 0;
        for (;; call++) {
            struct engine engine;
            struct error err = {0};
            assert_true(call < CALLS_MAX);
            faults_arm(call, modes[m]);
            enum status status = engine_open(&engine, folder, NULL, &scheduling, &err);
            bool fired = faults_disarm();
            if (status == STATUS_OK)
                engine_close(&engine);
            else
                assert_true(err.message[0]);
            assert_int_equal(faults_live(), before);
            if (!fired) {
                assert_int_equal(status, STATUS_OK);
                break;
            }
            if (status != STATUS_NO_MEMORY)
                fail_msg("call %ld: status %d: %s", call, (int)status, err.message);
        }
        assert_true(call > 100); /* the pieces of config.json and of the header, among others */
    }
}

static void a_save_survives_every_failure(void **state) {
    (void)state;
    struct model *model = random_model(2);
    for (int m = 0; m < MODES; m++) {
        long before = faults_live(), call = 0;
        for (;; call++) {
            struct error err = {0};
            struct model *kept = NULL;
            assert_true(call < CALLS_MAX);
            faults_arm(call, modes[m]);
            enum status status = weights_save(scratch_path(&scratch, "saved"), "saved", model,
                                              SAFETENSORS_BF16, &err);
            bool fired = faults_disarm();
            assert_int_equal(faults_live(), before);
            /* What was there before a failed save is still there, whole. */
            if (status == STATUS_OK || m > 0)
                assert_int_equal(weights_load(scratch_path(&scratch, "saved"), &kept, &err),
                                 STATUS_OK);
            model_destroy(kept);
            if (!fired) {
                assert_int_equal(status, STATUS_OK);
                break;
            }
            if (status != STATUS_NO_MEMORY)
                fail_msg("call %ld: status %d: %s", call, (int)status, err.message);
        }
        assert_true(call > 50);
    }
    struct scratch saved;
    snprintf(saved.folder, sizeof saved.folder, "%s", scratch_path(&scratch, "saved"));
    assert_int_equal(scratch_count(&saved), 2); /* no temporary stays behind */
    model_destroy(model);
}

/* Packs a model and opens what that gives, as far as memory allows. */
static enum status pack_and_open(const struct engine *engine, struct error *err) {
    struct engine opened = {0};
    struct buffer packed = {0};
    void *bytes = NULL;
    enum status status = engine_pack(engine, &packed, err);
    if (status == STATUS_OK) {
        size_t lines = packed.size / ARENA_ALIGNMENT + 1;
        bytes = aligned_alloc(ARENA_ALIGNMENT, lines * ARENA_ALIGNMENT);
        if (!bytes)
            status = STATUS_NO_MEMORY;
    }
    if (status == STATUS_OK)
        status = engine_open_packed(&opened, memcpy(bytes, packed.data, packed.size), packed.size,
                                    &scheduling, err);
    engine_close(&opened);
    free(bytes);
    buffer_free(&packed);
    return status;
}

static void packing_survives_every_failure(void **state) {
    (void)state;
    struct engine engine;
    assert_int_equal(engine_open(&engine, folder, NULL, &scheduling, NULL), STATUS_OK);
    for (int m = 0; m < MODES; m++) {
        long before = faults_live(), call = 0;
        for (;; call++) {
            struct error err = {0};
            assert_true(call < CALLS_MAX);
            faults_arm(call, modes[m]);
            enum status status = pack_and_open(&engine, &err);
            bool fired = faults_disarm();
            assert_int_equal(faults_live(), before);
            if (!fired) {
                assert_int_equal(status, STATUS_OK);
                break;
            }
            if (status != STATUS_NO_MEMORY)
                fail_msg("call %ld: status %d: %s", call, (int)status, err.message);
        }
        assert_true(call > 20);
    }
    engine_close(&engine);
}

/* ---- decoding --------------------------------------------------------------- */

/* Out of memory is not mistaken for a fault of the text. */
static void a_story_object_survives_every_failure(void **state) {
    (void)state;
    for (int m = 0; m < MODES; m++) {
        long before = faults_live(), call = 0;
        for (;; call++) {
            char object[] = "{\"text\": \"once upon a time\", \"version\": [1, 2]}";
            struct buffer story = {0};
            struct error err = {0};
            assert_true(call < CALLS_MAX);
            faults_arm(call, modes[m]);
            enum status status = json_story(object, strlen(object), &story, &err);
            bool fired = faults_disarm();
            if (status == STATUS_OK)
                assert_string_equal(story.data, "once upon a time");
            buffer_free(&story);
            assert_int_equal(faults_live(), before);
            if (!fired) {
                assert_int_equal(status, STATUS_OK);
                break;
            }
            if (status != STATUS_NO_MEMORY)
                fail_msg("call %ld: status %d: %s", call, (int)status, err.message);
        }
        assert_true(call > 5);
    }
}

static void decoding_asks_for_no_memory(void **state) {
    (void)state;
    struct engine engine;
    struct request *request;
    const int32_t prompt[] = {1, 270, 287};
    struct request_params params = {.prompt = prompt,
                                    .prompt_count = 3,
                                    .max_tokens = 40,
                                    .sampling = sampling_defaults(),
                                    .logprobs = true,
                                    .top_logprobs = 5,
                                    .prompt_logprobs = true};
    assert_int_equal(engine_open(&engine, folder, NULL, &scheduling, NULL), STATUS_OK);
    assert_int_equal(scheduler_submit(engine.scheduler, &params, &request, NULL), STATUS_OK);
    long before = faults_calls();
    enum finish_reason finish;
    do {
        finish = request_output(request).finish;
    } while (finish == FINISH_NONE);
    assert_int_equal(faults_calls(), before);
    assert_true(finish == FINISH_STOP || finish == FINISH_LENGTH);
    request_release(request);
    engine_close(&engine);
}

/* ---- requests over HTTP ------------------------------------------------------ */

static struct service service;
static struct http_server *http;
static int port;

static int start_server(void **state) {
    (void)state;
    char program[] = "torture", port_flag[] = "--port=0", threads[] = "--http-threads=1",
         quiet[] = "--access-log=off";
    char *arguments[] = {program, port_flag, threads, quiet, NULL};
    struct error err = {0};
    bool done;
    if (options_parse(&service.options, 4, arguments, &done, &err) != STATUS_OK ||
        engine_open(&service.engine, folder, NULL, &scheduling, &err) != STATUS_OK ||
        http_start(&http, &service, &err) != STATUS_OK) {
        print_error("%s\n", err.message);
        return 1;
    }
    port = atoi(strrchr(http_url(http), ':') + 1);
    return 0;
}

static int stop_server(void **state) {
    (void)state;
    scheduler_stop(service.engine.scheduler, 0);
    http_stop(http, 1000);
    engine_close(&service.engine);
    return 0;
}

struct asked {
    const char *name, *method, *path, *headers, *body;
    const char *from, *to; /* the part of the answer that is always the same; NULL: all of it */
    bool stream;
};

static const struct asked asked[] = {
    {"a story", "POST", "/generate", "",
     "{\"prompt\":\"once upon \\u0061 time\",\"seed\":7,\"max_tokens\":12,"
     "\"stop\":[\"no such words\",\"\\u2603\"]}",
     "\"story\"", "\"prompt_tokens_details\"", false},
    {"two stories", "POST", "/generate", "", "{\"n\":2,\"seed\":5,\"max_tokens\":6}", "\"story\"",
     "\"prompt_tokens_details\"", false},
    {"plain text", "POST", "/generate", "Accept: text/plain\r\n",
     "{\"prompt\":\"a cat\",\"seed\":7,\"max_tokens\":12}", NULL, NULL, false},
    {"a completion", "POST", "/v1/completions", "",
     "{\"prompt\":\"a cat\",\"seed\":3,\"max_tokens\":6,\"echo\":true,\"n\":3,"
     "\"presence_penalty\":1,\"logit_bias\":{\"300\":1,\"2\":-100}}",
     "\"choices\"", "\"prompt_tokens_details\"", false},
    {"log-probabilities", "POST", "/v1/completions", "",
     "{\"prompt\":[\"a cat\",[270,287]],\"seed\":3,\"max_tokens\":4,\"echo\":true,\"logprobs\":2}",
     "\"choices\"", NULL, false},
    {"a chat", "POST", "/v1/chat/completions", "",
     "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a \"},"
     "{\"type\":\"text\",\"text\":\"cat\"}]}],\"seed\":3,\"max_tokens\":4,\"n\":2,"
     "\"logprobs\":true,\"top_logprobs\":2}",
     "\"choices\"", "\"prompt_tokens_details\"", false},
    {"a chat without its user", "POST", "/v1/chat/completions", "",
     "{\"messages\":[{\"role\":\"system\",\"content\":\"a\"}]}", NULL, NULL, false},
    {"tokens", "POST", "/tokenize", "",
     "{\"text\":\"once upon a time\",\"pieces\":true,\"add_special\":true}", NULL, NULL, false},
    {"text of tokens", "POST", "/detokenize", "", "{\"tokens\":[270,287,322]}", NULL, NULL, false},
    {"models", "GET", "/v1/models", "", "", NULL, NULL, false},
    {"health", "GET", "/health", "", "", NULL, NULL, false},
    {"metrics", "GET", "/metrics", "", "", "# HELP alpaca_requests_running", "\n", false},
    {"the API's description", "GET", "/openapi.json", "", "", NULL, NULL, false},
    {"a page", "GET", "/", "", "", NULL, NULL, false},
    {"a wrong request", "POST", "/generate", "", "{\"seed\":-2}", NULL, NULL, false},
    {"a stream", "POST", "/generate", "",
     "{\"prompt\":\"a cat\",\"seed\":7,\"max_tokens\":12,\"stream\":true}", NULL, NULL, true},
};
enum { ASKED = sizeof asked / sizeof *asked };

struct received {
    char bytes[65536]; /* no memory is asked for on this side */
    size_t size;
    int status;
    char *body;
};

static void ask(const struct asked *request, struct received *received) {
    static char sent[4096];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int length = snprintf(sent, sizeof sent,
                          "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s"
                          "Content-Length: %zu\r\n\r\n%s",
                          request->method, request->path, request->headers, strlen(request->body),
                          request->body);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    assert_int_equal(send(fd, sent, (size_t)length, MSG_NOSIGNAL), length);
    ssize_t count;
    received->size = 0;
    while ((count = recv(fd, received->bytes + received->size,
                         sizeof received->bytes - 1 - received->size, 0)) > 0)
        received->size += (size_t)count;
    close(fd);
    received->bytes[received->size] = '\0';
    received->status = 0;
    char *end = strstr(received->bytes, "\r\n\r\n");
    received->body = end ? end + 4 : received->bytes + received->size;
    sscanf(received->bytes, "HTTP/1.1 %d ", &received->status);
}

/* The words of a stream, still in their JSON escapes, and whether the stream says it is whole. */
static bool read_stream(const char *body, char *text, size_t size) {
    size_t used = 0;
    text[0] = '\0';
    for (const char *at = body; (at = strstr(at, "data: {\"text\":\"")) != NULL;) {
        at += strlen("data: {\"text\":\"");
        const char *end = strstr(at, "\"}\n\n");
        assert_non_null(end);
        assert_true(used + (size_t)(end - at) < size);
        memcpy(text + used, at, (size_t)(end - at));
        used += (size_t)(end - at);
        text[used] = '\0';
    }
    return strstr(body, "data: [DONE]") != NULL;
}

static void constant_part(const struct asked *request, const struct received *received, char *part,
                          size_t size) {
    const char *from = request->from ? strstr(received->body, request->from) : received->body;
    assert_non_null(from);
    const char *to = request->to ? strstr(from, request->to) : from + strlen(from);
    assert_non_null(to);
    assert_true((size_t)(to - from) < size);
    memcpy(part, from, (size_t)(to - from));
    part[to - from] = '\0';
}

static void check_whole(const struct asked *request, const struct received *received,
                        const char *expected) {
    static char part[sizeof received->bytes];
    if (request->stream)
        assert_true(read_stream(received->body, part, sizeof part));
    else
        constant_part(request, received, part, sizeof part);
    assert_string_equal(part, expected);
}

/* What an answer may be when memory was short: right after all, or clearly refused. */
static void check_short_of_memory(const struct asked *request, const struct received *received,
                                  const char *expected, int usual_status) {
    static char text[sizeof received->bytes];
    if (received->status == 500 || received->status == 503) {
        cJSON *error = NULL;
        assert_int_equal(json_parse(received->body, strlen(received->body), &error, NULL),
                         STATUS_OK);
        cJSON_Delete(error);
        assert_non_null(strstr(received->body, "{\"error\":{\"message\":"));
        assert_true(received->status == 500 || strstr(received->bytes, "\r\nRetry-After: "));
        return;
    }
    assert_int_equal(received->status, usual_status);
    if (!request->stream || read_stream(received->body, text, sizeof text))
        check_whole(request, received, expected);
    else /* begun but broken off: all that came is right, and it does not pass for the whole */
        assert_int_equal(strncmp(expected, text, strlen(text)), 0);
}

/* Until the server has let go of the last request. A minute is for ever here. */
static void wait_for_rest(long live) {
    const struct timespec pause = {.tv_nsec = 1000000};
    for (int i = 0; i < 60000; i++) {
        struct scheduler_stats stats = scheduler_stats(service.engine.scheduler);
        if (faults_live() == live && stats.running == 0 && stats.waiting == 0)
            return;
        nanosleep(&pause, NULL);
    }
    struct scheduler_stats stats = scheduler_stats(service.engine.scheduler);
    fail_msg("%ld blocks more than before, %d running, %d waiting", faults_live() - live,
             stats.running, stats.waiting);
}

static void torture_request(const struct asked *request, enum fault_mode mode) {
    static struct received received;
    static char expected[sizeof received.bytes];
    long live = faults_live(), call = 0;
    ask(request, &received);
    int usual_status = received.status;
    assert_true(usual_status == 200 || usual_status == 400);
    if (request->stream)
        assert_true(read_stream(received.body, expected, sizeof expected));
    else
        constant_part(request, &received, expected, sizeof expected);
    wait_for_rest(live);
    for (bool fired = true; fired; call++) {
        assert_true(call < CALLS_MAX);
        faults_arm(call, mode);
        ask(request, &received);
        fired = faults_disarm();
        if (fired)
            check_short_of_memory(request, &received, expected, usual_status);
        wait_for_rest(live);
        ask(request, &received); /* and now it works */
        assert_int_equal(received.status, usual_status);
        check_whole(request, &received, expected);
        wait_for_rest(live);
    }
    print_message("%s: %ld calls\n", request->name, call - 1);
    assert_true(call > 2);
}

static void a_request_survives_every_failure(void **state) {
    (void)state;
    for (int i = 0; i < ASKED; i++)
        torture_request(&asked[i], FAULT_ONCE);
}

static void a_request_survives_the_end_of_memory(void **state) {
    (void)state;
    for (int i = 0; i < ASKED; i++)
        torture_request(&asked[i], FAULT_LASTING);
}

/* A server that cannot start says so. */
static void a_start_survives_every_failure(void **state) {
    (void)state;
    long live = faults_live();
    for (long call = 0;; call++) {
        struct http_server *another;
        struct error err = {0};
        assert_true(call < CALLS_MAX);
        faults_arm(call, FAULT_ONCE);
        enum status status = http_start(&another, &service, &err);
        bool fired = faults_disarm();
        if (status == STATUS_OK)
            http_stop(another, 0);
        else
            assert_true(fired && err.message[0]);
        assert_int_equal(faults_live(), live);
        if (!fired)
            return;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_load_survives_every_failure),
        cmocka_unit_test(a_save_survives_every_failure),
        cmocka_unit_test(packing_survives_every_failure),
        cmocka_unit_test(a_story_object_survives_every_failure),
        cmocka_unit_test(decoding_asks_for_no_memory),
        cmocka_unit_test_setup_teardown(a_request_survives_every_failure, start_server,
                                        stop_server),
        cmocka_unit_test_setup_teardown(a_request_survives_the_end_of_memory, start_server,
                                        stop_server),
        cmocka_unit_test_setup_teardown(a_start_survives_every_failure, start_server, stop_server),
    };
    return cmocka_run_group_tests(tests, make_model_folder, remove_model_folder);
}
