/* What a streamed token costs the scheduler's thread in locks, from there to the connection.
 *
 * The linker sends our own calls of pthread_mutex_lock() and request_emit() through here
 * (Makefile); libmicrohttpd's locks are its own affair. */
#include "engine/request_internal.h"
#include "server/http/daemon.h"
#include "server/options.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { MOST_LOCKS = 3 };

static _Thread_local int locks; /* that this thread took since its last request_emit() began */
static int tokens, worst;       /* of a token but the first, which waits for its request as well */

int __real_pthread_mutex_lock(pthread_mutex_t *lock);
int __wrap_pthread_mutex_lock(pthread_mutex_t *lock);
void __real_request_emit(struct request *request, int accepted, int32_t token,
                         enum finish_reason finish, uint64_t now_ns);
void __wrap_request_emit(struct request *request, int accepted, int32_t token,
                         enum finish_reason finish, uint64_t now_ns);

int __wrap_pthread_mutex_lock(pthread_mutex_t *lock) {
    locks++;
    return __real_pthread_mutex_lock(lock);
}

/* From the beginning of one token's to that of the next: one stream alone bears all of a step. */
void __wrap_request_emit(struct request *request, int accepted, int32_t token,
                         enum finish_reason finish, uint64_t now_ns) {
    if (tokens++ > 0 && finish == FINISH_NONE && locks > worst)
        worst = locks;
    locks = 0;
    __real_request_emit(request, accepted, token, finish, now_ns);
}

static void read_stream(int port, const char *body) {
    char text[65536];
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int length = snprintf(text, sizeof text,
                          "POST /generate HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                          "Content-Length: %zu\r\n\r\n%s",
                          strlen(body), body);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    assert_int_equal(send(fd, text, (size_t)length, MSG_NOSIGNAL), length);
    while (recv(fd, text, sizeof text, 0) > 0) {
    }
    close(fd);
}

static void test_a_streamed_token_takes_at_most_three_locks(void **state) {
    (void)state;
    static struct service service;
    static const struct scheduler_options scheduling = {
        .slots = 2, .queue = 2, .threads = 1, .prefill_chunk = 8};
    char program[] = "locks", port_flag[] = "--port=0", quiet[] = "--access-log=off";
    char *arguments[] = {program, port_flag, quiet, NULL};
    struct http_server *http = NULL;
    struct error err = {0};
    bool done;
    if (options_parse(&service.options, 3, arguments, &done, &err) != STATUS_OK ||
        engine_open(&service.engine, "weights/small", NULL, &scheduling, &err) != STATUS_OK ||
        http_start(&http, &service, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    int port = atoi(strrchr(http_url(http), ':') + 1);
    read_stream(port, "{\"prompt\": \"once\", \"seed\": 7, \"max_tokens\": 120, \"stream\": true}");
    scheduler_stop(service.engine.scheduler, 0);
    http_stop(http, 1000);
    engine_close(&service.engine);
    assert_true(tokens > 60);
    assert_in_range(worst, 1, MOST_LOCKS);
    print_message("at most %d locks for a token\n", worst);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_streamed_token_takes_at_most_three_locks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
