/* client.h - a tiny model, stories for it, and a client that follows one generation.
 *
 * The model and everything else here lives until the test program ends, except
 * what a function's comment says. Clients may be used from several threads.
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
struct scheduler *client_scheduler(int slots, int queue, int threads, int prompt_rows);

/* Receives news of one generation. A closed gate holds the scheduler inside the first
 * on_news, which makes a test's order of events certain; real clients never block there. */
struct client {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int news;
    bool gated, inside;
    long delay_ns;    /* how long each on_news takes */
    int cancel_after; /* cancels itself at this many news; 0: never */
    struct generation *generation;
    const struct generation *watched; /* another one, whose progress is noted */
    int watched_tokens;
};

void client_init(struct client *client, bool gated);
void client_on_news(void *context); /* the context is the client */
void client_open_gate(struct client *client);
void client_wait_for_news(struct client *client, int news);
/* Takes `step` tokens at a time until the end; waits for news in between. */
enum finish client_collect(struct client *client, int step, int32_t *ids, int *count);

struct story {
    int32_t prompt[POSITIONS];
    int prompt_count, max_tokens;
    struct sampling sampling;
};

struct story story_of(int prompt_count, int max_tokens);
/* Without a client nobody is told. */
struct generation_request story_request(const struct story *story, struct client *client);
/* Initializes the client and submits; client->generation is set before any news. */
enum status story_submit(struct scheduler *scheduler, const struct story *story,
                         struct client *client, bool gated);

#endif
