/* client.h - a tiny model, stories for it, and a client that follows one request.
 *
 * Ownership: the model and everything else here belongs to this file until the
 * test program ends, except what a function's comment says. Clients may be used
 * from several threads.
 */
#ifndef ALPACA_TESTS_SUPPORT_CLIENT_H
#define ALPACA_TESTS_SUPPORT_CLIENT_H

#include "engine/scheduler.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum { VOCAB = 48, POSITIONS = 64, EOS = 2 };

/* Random weights; cmocka's group setup and teardown call these two. */
int client_setup(void **state);
int client_teardown(void **state);
struct model *client_model(void);
/* The model hardly ever says eos unless a test wants it to. */
void client_set_eos_bias(float bias);
/* Ends the test when it cannot be created; the caller destroys it. */
struct scheduler *client_scheduler(int slots, int queue, int threads, int prefill_chunk);

/* Receives the output of one request. A closed gate holds the scheduler inside the first
 * on_output, which makes a test's order of events certain; real clients never block there. */
struct client {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int outputs; /* calls of on_output */
    bool gated, inside;
    long delay_ns;    /* how long each on_output takes */
    int cancel_after; /* cancels itself at this many outputs; 0: never */
    struct request *request;
    const struct request *watched; /* another one, whose progress is noted */
    int watched_tokens;
};

void client_init(struct client *client, bool gated);
/* The context is the client. */
void client_on_output(void *context, enum finish_reason finish, uint64_t gap_ns);
void client_open_gate(struct client *client);
void client_wait_for_output(struct client *client, int outputs);
/* Looks until the end, and waits for output in between; the ids are valid until the release. */
struct request_output client_collect(struct client *client);

struct story {
    int32_t prompt[POSITIONS];
    int prompt_count, max_tokens;
    struct sampling sampling;
};

struct story story_of(int prompt_count, int max_tokens);
/* Without a client nobody is called. */
struct request_params story_params(const struct story *story, struct client *client);
/* Initializes the client and submits; client->request is set before any output. */
enum status story_submit(struct scheduler *scheduler, const struct story *story,
                         struct client *client, bool gated);

#endif
