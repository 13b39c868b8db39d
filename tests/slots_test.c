/* Which slot a new sequence gets, and which beginnings it may take over. */
#include "engine/slots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { SLOTS = 3, POSITIONS = 40 };

struct fixture {
    struct slots slots;
    struct arena arena;
};

static void open(struct fixture *f) {
    struct arena measure = {0};
    f->slots = (struct slots){.count = SLOTS, .positions = POSITIONS};
    slots_layout(&f->slots, &measure);
    assert_int_equal(arena_create(&f->arena, measure.used, NULL), STATUS_OK);
    slots_layout(&f->slots, &f->arena);
    slots_open(&f->slots);
}

/* Letters are tokens. */
static int tokens_of(const char *text, int32_t ids[POSITIONS]) {
    int count = 0;
    for (; text[count]; count++)
        ids[count] = text[count];
    return count;
}

static struct slot_choice take(struct fixture *f, const char *prompt) {
    int32_t ids[POSITIONS];
    int count = tokens_of(prompt, ids);
    struct slot_choice choice = slots_take(&f->slots, ids, count);
    slots_append(&f->slots, choice.slot, ids + choice.shared, count - choice.shared);
    return choice;
}

static struct slot_choice run(struct fixture *f, const char *prompt, const char *story) {
    int32_t ids[POSITIONS];
    struct slot_choice choice = take(f, prompt);
    slots_append(&f->slots, choice.slot, ids, tokens_of(story, ids));
    slots_release(&f->slots, choice.slot);
    return choice;
}

static void assert_choice(struct slot_choice choice, int slot, int source, int shared) {
    assert_int_equal(choice.slot, slot);
    assert_int_equal(choice.source, source);
    assert_int_equal(choice.shared, shared);
}

static void strangers_share_nothing(void **state) {
    (void)state;
    struct fixture f;
    open(&f);
    assert_choice(take(&f, "once upon a time"), 0, 0, 0);
    assert_choice(take(&f, "the cat"), 1, 1, 0);
    assert_choice(take(&f, "theirs"), 2, 2, 0); /* three letters alike are not worth it */
    assert_int_equal(f.slots.free, 0);
    arena_destroy(&f.arena);
}

static void another_ending_starts_where_the_story_is(void **state) {
    (void)state;
    struct fixture f;
    open(&f);
    assert_choice(run(&f, "once upon", " a time there was"), 0, 0, 0);
    assert_choice(take(&f, "once upon a time there"), 0, 0,
                  21); /* in place; the last is computed */
    assert_choice(take(&f, "once upon a time there"), 1, 0, 21); /* from one that is running */
    assert_choice(take(&f, "once upon a time there"), 2, 0, 21);
    arena_destroy(&f.arena);
}

static void a_short_beginning_leaves_the_story_alone(void **state) {
    (void)state;
    struct fixture f;
    open(&f);
    run(&f, "once upon a time", " there was a cat");
    assert_choice(run(&f, "once more", ""), 1, 0, 5); /* copied: most of the story would be lost */
    assert_choice(run(&f, "once upon a time there", ""), 0, 0, 21);
    arena_destroy(&f.arena);
}

static void the_oldest_free_slot_is_given_away(void **state) {
    (void)state;
    struct fixture f;
    open(&f);
    take(&f, "aaaaaaa");
    take(&f, "bbbbbbb");
    take(&f, "ccccccc");
    slots_release(&f.slots, 1);
    slots_release(&f.slots, 0);
    slots_release(&f.slots, 2);
    assert_choice(take(&f, "ddddddd"), 1, 1, 0);
    assert_choice(take(&f, "eeeeeee"), 0, 0, 0);
    assert_choice(take(&f, "ccccccc"), 2, 2, 6); /* the only one left, and its own beginning */
    arena_destroy(&f.arena);
}

static void the_only_free_slot_is_its_own_source(void **state) {
    (void)state;
    struct fixture f;
    open(&f);
    take(&f, "aaaaaaa");
    take(&f, "bbbbbbb");
    run(&f, "once upon a time", " there was a cat");
    assert_choice(take(&f, "once more"), 2, 2, 5); /* though most of it is lost */
    slots_release(&f.slots, 2);
    assert_choice(take(&f, "once upon"), 2, 2, 5); /* what is known now is "once more" */
    arena_destroy(&f.arena);
}

static void free_sources_come_before_running_ones(void **state) {
    (void)state;
    struct fixture f;
    open(&f);
    take(&f, "once upon a time");
    run(&f, "once upon a time", "");
    assert_choice(take(&f, "once upon a time"), 1, 1, 15);
    arena_destroy(&f.arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strangers_share_nothing),
        cmocka_unit_test(another_ending_starts_where_the_story_is),
        cmocka_unit_test(a_short_beginning_leaves_the_story_alone),
        cmocka_unit_test(the_oldest_free_slot_is_given_away),
        cmocka_unit_test(the_only_free_slot_is_its_own_source),
        cmocka_unit_test(free_sources_come_before_running_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
