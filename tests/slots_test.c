/* Which slot a new sequence gets, and which beginnings it may take over. */
#include "engine/slots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { SLOTS = 3, POSITIONS = 40 };

struct book {
    struct slot_book book;
    struct arena arena;
};

static void open(struct book *b) {
    struct arena measure = {0};
    b->book = (struct slot_book){.slots = SLOTS, .positions = POSITIONS};
    slot_book_layout(&b->book, &measure);
    assert_int_equal(arena_create(&b->arena, measure.used, NULL), STATUS_OK);
    slot_book_layout(&b->book, &b->arena);
    slot_book_open(&b->book);
}

/* Letters are tokens. */
static int tokens_of(const char *text, int32_t ids[POSITIONS]) {
    int count = 0;
    for (; text[count]; count++)
        ids[count] = text[count];
    return count;
}

static struct slot_choice take(struct book *b, const char *prompt) {
    int32_t ids[POSITIONS];
    int count = tokens_of(prompt, ids);
    struct slot_choice choice = slot_book_take(&b->book, ids, count);
    slot_book_append(&b->book, choice.slot, ids + choice.shared, count - choice.shared);
    return choice;
}

static struct slot_choice tell(struct book *b, const char *prompt, const char *story) {
    int32_t ids[POSITIONS];
    struct slot_choice choice = take(b, prompt);
    slot_book_append(&b->book, choice.slot, ids, tokens_of(story, ids));
    slot_book_release(&b->book, choice.slot);
    return choice;
}

static void assert_choice(struct slot_choice choice, int slot, int source, int shared) {
    assert_int_equal(choice.slot, slot);
    assert_int_equal(choice.source, source);
    assert_int_equal(choice.shared, shared);
}

static void strangers_share_nothing(void **state) {
    (void)state;
    struct book b;
    open(&b);
    assert_choice(take(&b, "once upon a time"), 0, 0, 0);
    assert_choice(take(&b, "the cat"), 1, 1, 0);
    assert_choice(take(&b, "theirs"), 2, 2, 0); /* three letters alike are not worth it */
    assert_int_equal(b.book.free, 0);
    arena_destroy(&b.arena);
}

static void another_ending_starts_where_the_story_is(void **state) {
    (void)state;
    struct book b;
    open(&b);
    assert_choice(tell(&b, "once upon", " a time there was"), 0, 0, 0);
    assert_choice(take(&b, "once upon a time there"), 0, 0, 21); /* in place; the last is computed */
    assert_choice(take(&b, "once upon a time there"), 1, 0, 21); /* from one that is running */
    assert_choice(take(&b, "once upon a time there"), 2, 0, 21);
    arena_destroy(&b.arena);
}

static void a_short_beginning_leaves_the_story_alone(void **state) {
    (void)state;
    struct book b;
    open(&b);
    tell(&b, "once upon a time", " there was a cat");
    assert_choice(tell(&b, "once more", ""), 1, 0, 5); /* copied: most of the story would be lost */
    assert_choice(tell(&b, "once upon a time there", ""), 0, 0, 21);
    arena_destroy(&b.arena);
}

static void the_oldest_free_slot_is_given_away(void **state) {
    (void)state;
    struct book b;
    open(&b);
    take(&b, "aaaaaaa");
    take(&b, "bbbbbbb");
    take(&b, "ccccccc");
    slot_book_release(&b.book, 1);
    slot_book_release(&b.book, 0);
    slot_book_release(&b.book, 2);
    assert_choice(take(&b, "ddddddd"), 1, 1, 0);
    assert_choice(take(&b, "eeeeeee"), 0, 0, 0);
    assert_choice(take(&b, "ccccccc"), 2, 2, 6); /* the only one left, and its own beginning */
    arena_destroy(&b.arena);
}

static void the_only_free_slot_is_its_own_source(void **state) {
    (void)state;
    struct book b;
    open(&b);
    take(&b, "aaaaaaa");
    take(&b, "bbbbbbb");
    tell(&b, "once upon a time", " there was a cat");
    assert_choice(take(&b, "once more"), 2, 2, 5); /* though most of it is lost */
    slot_book_release(&b.book, 2);
    assert_choice(take(&b, "once upon"), 2, 2, 5); /* what is known now is "once more" */
    arena_destroy(&b.arena);
}

static void free_sources_come_before_running_ones(void **state) {
    (void)state;
    struct book b;
    open(&b);
    take(&b, "once upon a time");
    tell(&b, "once upon a time", "");
    assert_choice(take(&b, "once upon a time"), 1, 1, 15);
    arena_destroy(&b.arena);
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
