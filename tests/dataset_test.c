/* Stories as ids, epochs and batches. */
#include "tests/support/scratch.h"
#include "train/data/dataset.h"

#include "base/buffer.h"
#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A SentencePiece model of four special pieces, the space mark and the letters a to z: a text
 * of n characters has n + 1 pieces, since an encoded text begins with a space mark. */
enum { UNK, BOS, EOS, PAD, SPACE, LETTER_A, VOCAB = LETTER_A + 26, POSITIONS = 12 };

static struct tokenizer *tokenizer;
static struct pool *pool;

static void add_piece(struct buffer *model, const char *text, int type) {
    struct buffer piece = {0};
    buffer_printf(&piece, "\x0A%c%s\x18%c", (int)strlen(text), text, type);
    buffer_printf(model, "\x0A%c", (int)piece.size);
    buffer_append(model, piece.data, piece.size);
    buffer_free(&piece);
}

static int group_setup(void **state) {
    (void)state;
    struct buffer model = {0};
    const char *const specials[] = {"<unk>", "<s>", "</s>", "<pad>"};
    for (int i = 0; i < 4; i++)
        add_piece(&model, specials[i], i ? 3 : 2);
    add_piece(&model, "\xE2\x96\x81", 1);
    for (char letter[] = "a"; letter[0] <= 'z'; letter[0]++)
        add_piece(&model, letter, 1);
    buffer_append(&model, "\x12\x02\x18\x02", 4); /* trainer_spec { model_type: BPE } */
    struct error err;
    if (tokenizer_load_bytes(&tokenizer, model.data, model.size, "letters", &err) != STATUS_OK ||
        pool_create(&pool, 3, &err) != STATUS_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    buffer_free(&model);
    return 0;
}

static int group_teardown(void **state) {
    (void)state;
    tokenizer_free(tokenizer);
    pool_destroy(pool);
    return 0;
}

static enum status load_file(struct dataset *dataset, const char *path, size_t positions,
                             size_t max_stories, struct pool *workers, struct error *err) {
    const struct dataset_source source = {path, tokenizer, positions, max_stories};
    return dataset_load(dataset, &source, workers, err);
}

static struct dataset load_cut(const char *text, size_t positions) {
    struct dataset dataset;
    struct error err = {0};
    const char *path = scratch_write_text(&scratch, "stories.txt", text);
    if (load_file(&dataset, path, positions, 0, pool, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return dataset;
}

static struct dataset load(const char *text) {
    return load_cut(text, POSITIONS);
}

static void assert_story(const struct dataset *dataset, size_t story, const int *ids,
                         size_t count) {
    assert_int_equal(dataset->offsets[story + 1] - dataset->offsets[story], count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(dataset->ids[dataset->offsets[story] + i], ids[i]);
}

enum { A = LETTER_A, B, C };

static void stories_become_ids(void **state) {
    (void)state;
    struct dataset dataset = load("ab\n\n \nc  a\n\xFF\nb");
    static const int first[] = {BOS, SPACE, A, B, EOS};
    static const int second[] = {BOS, SPACE, C, SPACE, A, EOS};
    static const int third[] = {BOS, SPACE, B, EOS};
    assert_int_equal(dataset.stories, 3);
    assert_story(&dataset, 0, first, 5);
    assert_story(&dataset, 1, second, 6);
    assert_story(&dataset, 2, third, 4);
    assert_int_equal(dataset.id_count, 15);
    assert_int_equal(dataset.rows, 12);
    assert_int_equal(dataset.longest_rows, 5);
    assert_int_equal(dataset.text_bytes, 2 + 3 + 1);
    dataset_free(&dataset);
}

static void long_stories_are_cut(void **state) {
    (void)state;
    /* 12 ids hold 9 letters with bos, space mark and eos; 10 letters lose the eos alone; of
     * 20 letters 10 are kept, so half of the bytes. */
    struct dataset dataset = load("aaaaaaaaa\nbbbbbbbbbb\ncccccccccccccccccccc");
    static const int whole[] = {BOS, SPACE, A, A, A, A, A, A, A, A, A, EOS};
    static const int no_eos[] = {BOS, SPACE, B, B, B, B, B, B, B, B, B, B};
    static const int cut[] = {BOS, SPACE, C, C, C, C, C, C, C, C, C, C};
    assert_story(&dataset, 0, whole, POSITIONS);
    assert_story(&dataset, 1, no_eos, POSITIONS);
    assert_story(&dataset, 2, cut, POSITIONS);
    assert_int_equal(dataset.stories, 3);
    assert_int_equal(dataset.id_count, 3 * POSITIONS);
    assert_int_equal(dataset.longest_rows, POSITIONS - 1);
    assert_int_equal(dataset.text_bytes, 9 + 10 + 10);
    dataset_free(&dataset);
}

static void every_form_gives_the_same(void **state) {
    (void)state;
    struct dataset lines = load("a b\nccc\n"), json;
    const char *path = scratch_write_text(&scratch, "stories.jsonl",
                                          "{\"text\":\"a\\n\\nb\"}\n{\"story\":\" ccc\"}");
    assert_int_equal(load_file(&json, path, POSITIONS, 0, pool, NULL), STATUS_OK);
    assert_int_equal(json.id_count, lines.id_count);
    assert_memory_equal(json.ids, lines.ids, lines.id_count * sizeof *lines.ids);
    assert_memory_equal(json.offsets, lines.offsets, 3 * sizeof *lines.offsets);
    assert_int_equal(json.text_bytes, lines.text_bytes);
    dataset_free(&lines);
    dataset_free(&json);
}

/* `count` stories; story i spells i in letters, so that every one is different. */
static struct dataset load_numbered(size_t count) {
    struct buffer text = {0};
    for (size_t i = 0; i < count; i++) {
        for (size_t rest = i + 1; rest; rest /= 26)
            buffer_printf(&text, "%c", (int)('a' + rest % 26));
        buffer_append_text(&text, i % 3 ? " x\n" : "\n");
    }
    struct dataset dataset = load(text.data);
    buffer_free(&text);
    return dataset;
}

/* More stories than the loader encodes at once, with 1 and with 3 threads. */
static void threads_do_not_matter(void **state) {
    (void)state;
    enum { COUNT = 10000 };
    struct dataset many = load_numbered(COUNT), one;
    struct pool *single;
    assert_int_equal(pool_create(&single, 1, NULL), STATUS_OK);
    const char *path = scratch_path(&scratch, "stories.txt");
    assert_int_equal(load_file(&one, path, POSITIONS, 0, single, NULL), STATUS_OK);
    assert_int_equal(many.stories, COUNT);
    assert_int_equal(one.id_count, many.id_count);
    assert_memory_equal(one.ids, many.ids, many.id_count * sizeof *many.ids);
    assert_memory_equal(one.offsets, many.offsets, (COUNT + 1) * sizeof *many.offsets);
    assert_int_equal(one.text_bytes, many.text_bytes);
    for (size_t i = 0; i < COUNT; i++) { /* each spells its number */
        const uint16_t *ids = many.ids + many.offsets[i] + 2;
        for (size_t rest = i + 1; rest; rest /= 26)
            assert_int_equal(*ids++, LETTER_A + rest % 26);
    }
    pool_destroy(single);
    dataset_free(&many);
    dataset_free(&one);
}

static void only_the_first_stories(void **state) {
    (void)state;
    enum { COUNT = 5000 };
    static const size_t wanted[] = {1, 4096, 4097, COUNT, COUNT + 1}; /* 4096 are encoded at once */
    struct dataset all = load_numbered(COUNT), first;
    const char *path = scratch_path(&scratch, "stories.txt");
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        assert_int_equal(load_file(&first, path, POSITIONS, wanted[i], pool, NULL),
                         STATUS_OK);
        assert_int_equal(first.stories, wanted[i] < COUNT ? wanted[i] : COUNT);
        assert_int_equal(first.id_count, all.offsets[first.stories]);
        assert_memory_equal(first.ids, all.ids, first.id_count * sizeof *all.ids);
        dataset_free(&first);
    }
    dataset_free(&all);
}

static void nothing_to_load(void **state) {
    (void)state;
    struct dataset dataset;
    struct error err;
    const char *path = scratch_write_text(&scratch, "empty.txt", " \n\n");
    assert_int_equal(load_file(&dataset, path, POSITIONS, 0, pool, &err),
                     STATUS_INVALID);
    assert_int_equal(load_file(&dataset, "/nonexistent", POSITIONS, 0, pool, &err),
                     STATUS_NOT_FOUND);
    assert_null(dataset.ids);
    assert_null(dataset.offsets);
}

/* ---- epochs and batches ----------------------------------------------------- */

static void orders_are_permutations(void **state) {
    (void)state;
    enum { COUNT = 500 };
    struct dataset dataset = load_numbered(COUNT);
    int32_t order[3][COUNT];
    int seen[COUNT] = {0};
    dataset_order(&dataset, 5, 0, order[0]);
    dataset_order(&dataset, 5, 1, order[1]);
    dataset_order(&dataset, 6, 0, order[2]);
    for (int e = 0; e < 3; e++) {
        for (int i = 0; i < COUNT; i++)
            seen[order[e][i]]++;
    }
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(seen[i], 3);
    assert_memory_not_equal(order[0], order[1], sizeof order[0]);
    assert_memory_not_equal(order[0], order[2], sizeof order[0]);
    dataset_order(&dataset, 5, 0, order[2]);
    assert_memory_equal(order[0], order[2], sizeof order[0]);
    dataset_free(&dataset);
}

/* The batch's story `i`, which begins at `row`, is this one of the dataset: inputs and targets are
 * one step apart. Returns its rows. */
static size_t assert_rows(const struct dataset *dataset, int32_t story,
                          const struct story_batch *batch, size_t i, size_t row) {
    const uint16_t *ids = dataset->ids + dataset->offsets[story];
    size_t rows = (size_t)(dataset->offsets[story + 1] - dataset->offsets[story]) - 1;
    assert_int_equal(batch->lengths[i], rows);
    for (size_t r = 0; r < rows; r++) {
        assert_int_equal(batch->inputs[row + r], ids[r]);
        assert_int_equal(batch->targets[row + r], ids[r + 1]);
    }
    return rows;
}

/* The stories come in the order of their epoch; `taken` were there before. Returns how many there
 * are then. */
static size_t assert_batch(const struct dataset *dataset, const struct data_loader_options *plan,
                           const struct story_batch *batch, size_t taken) {
    enum { MOST = 100 };
    int32_t order[MOST];
    size_t count = dataset->stories, row = 0;
    assert_true(count <= MOST);
    for (size_t i = 0; i < batch->stories; i++, taken++) {
        dataset_order(dataset, plan->seed, taken / count, order);
        int32_t place = (int32_t)(taken % count);
        row += assert_rows(dataset, plan->shuffle ? order[place] : place, batch, i, row);
    }
    assert_int_equal(batch->rows, row);
    return taken;
}

static const struct data_loader_options plans[] = {
    {.seed = 3, .shuffle = true, .max_stories = 7},
    {.seed = 3, .shuffle = true, .max_rows = 40},
    {.seed = 3, .shuffle = true, .max_stories = 8, .max_rows = 40},
    {.seed = 3, .shuffle = true, .max_rows = 1},
    {.seed = 3, .shuffle = true, .max_stories = 1000},
    {.seed = 3, .shuffle = true, .max_rows = 100000},
    {.max_stories = 7},
};
enum { PLANS = sizeof plans / sizeof *plans };

static void batches_cover_each_epoch_once(void **state) {
    (void)state;
    enum { COUNT = 100, EPOCHS = 3 };
    struct dataset dataset = load_numbered(COUNT);
    for (size_t p = 0; p < PLANS; p++) {
        const struct data_loader_options *plan = &plans[p];
        struct data_loader *loader;
        struct error err;
        size_t taken = 0;
        assert_int_equal(
            data_loader_open(&loader, &dataset, plan, (struct data_loader_state){0}, &err),
            STATUS_OK);
        while (taken < EPOCHS * COUNT) {
            const struct story_batch *batch = data_loader_next(loader);
            taken = assert_batch(&dataset, plan, batch, taken);
            assert_true(batch->stories > 0);
            assert_true(!plan->max_stories || batch->stories <= plan->max_stories);
            assert_true(!plan->max_rows || batch->rows <= plan->max_rows || batch->stories == 1);
            if (!plan->max_rows)
                assert_int_equal(batch->stories, plan->max_stories); /* over the epoch's end too */
            struct data_loader_state at = data_loader_state(loader);
            assert_int_equal(at.epoch, taken / COUNT);
            assert_int_equal(at.index, taken % COUNT);
        }
        data_loader_close(loader);
    }
    dataset_free(&dataset);
}

static void evaluation_sees_each_story_once(void **state) {
    (void)state;
    enum { COUNT = 50 };
    struct dataset dataset = load_numbered(COUNT);
    for (size_t p = 0; p < PLANS; p++) {
        struct data_loader_options plan = plans[p];
        plan.once = true;
        struct data_loader *loader;
        size_t taken = 0;
        assert_int_equal(
            data_loader_open(&loader, &dataset, &plan, (struct data_loader_state){0}, NULL),
            STATUS_OK);
        for (const struct story_batch *batch; (batch = data_loader_next(loader))->stories > 0;)
            taken = assert_batch(&dataset, &plan, batch, taken);
        assert_int_equal(taken, COUNT);
        assert_int_equal(data_loader_next(loader)->stories, 0);
        data_loader_close(loader);
    }
    dataset_free(&dataset);
}

/* From the state after any batch a new loader goes on with the very same batches. */
static void assert_resumes(const struct dataset *dataset, const struct data_loader_options *plan) {
    enum { BATCHES = 40 };
    struct data_loader *whole, *resumed;
    assert_int_equal(data_loader_open(&whole, dataset, plan, (struct data_loader_state){0}, NULL),
                     STATUS_OK);
    for (int b = 0; b < BATCHES; b++) {
        assert_int_equal(data_loader_open(&resumed, dataset, plan, data_loader_state(whole), NULL),
                         STATUS_OK);
        const struct story_batch *expected = data_loader_next(whole);
        const struct story_batch *batch = data_loader_next(resumed);
        assert_int_equal(batch->stories, expected->stories);
        assert_int_equal(batch->rows, expected->rows);
        assert_memory_equal(batch->inputs, expected->inputs, batch->rows * sizeof *batch->inputs);
        assert_memory_equal(batch->targets, expected->targets,
                            batch->rows * sizeof *batch->targets);
        data_loader_close(resumed);
    }
    data_loader_close(whole);
}

static void resumed_runs_go_on_the_same(void **state) {
    (void)state;
    struct dataset dataset = load_numbered(60);
    for (size_t p = 0; p < PLANS; p++)
        assert_resumes(&dataset, &plans[p]);
    dataset_free(&dataset);
}

/* ---- random crops ------------------------------------------------------------------ */

/* Stories of 29 ids, the alphabet from other letters on: a letter says where it stands. */
static struct dataset load_alphabets(size_t count) {
    struct buffer text = {0};
    for (size_t i = 0; i < count; i++) {
        for (size_t letter = i; letter < i + 26; letter++)
            buffer_printf(&text, "%c", (int)('a' + letter % 26));
        buffer_append_text(&text, "\n");
    }
    struct dataset dataset = load_cut(text.data, DATASET_UNCUT);
    buffer_free(&text);
    assert_int_equal(dataset.longest_rows, 28);
    return dataset;
}

/* Whether the rows behind the first say story[place ..] and what comes after each. */
static bool says(const uint16_t *story, const int32_t *inputs, const int32_t *targets,
                 size_t rows) {
    for (size_t i = 1; i < rows; i++) {
        if (inputs[i] != story[i - 1] || targets[i] != story[i])
            return false;
    }
    return true;
}

/* Where in story[count] a crop begins that goes on to the end, or has as many rows as there may
 * be; fails when it is not of this story. */
static size_t random_crop_place(const uint16_t *story, size_t count, const int32_t *inputs,
                         const int32_t *targets, size_t rows, size_t most) {
    size_t place = rows < most ? count - rows : 2;
    while (place + rows <= count && !says(story + place, inputs, targets, rows))
        place++;
    assert_true(place >= 2 && place + RANDOM_CROP_MIN_IDS < count && place + rows <= count);
    return place;
}

static void random_crops_begin_at_a_random_place(void **state) {
    (void)state;
    enum { COUNT = 40, EPOCHS = 50, IDS = 29, MOST = 20 };
    struct dataset dataset = load_alphabets(COUNT);
    struct data_loader_options plan = {
        .seed = 4, .shuffle = true, .max_rows = 200, .positions = MOST + 1, .random_crop = 0.25};
    struct data_loader *loader;
    assert_int_equal(
        data_loader_open(&loader, &dataset, &plan, (struct data_loader_state){0}, NULL), STATUS_OK);
    int handed_out = 0, crops = 0, places[IDS] = {0};
    int32_t order[COUNT];
    while (data_loader_state(loader).epoch < EPOCHS) {
        const struct story_batch *batch = data_loader_next(loader);
        size_t row = 0;
        for (size_t i = 0; i < batch->stories; row += (size_t)batch->lengths[i++], handed_out++) {
            dataset_order(&dataset, plan.seed, (uint64_t)(handed_out / COUNT), order);
            const uint16_t *story = dataset.ids + dataset.offsets[order[handed_out % COUNT]];
            const int32_t *inputs = batch->inputs + row, *targets = batch->targets + row;
            size_t rows = (size_t)batch->lengths[i];
            assert_true(rows <= MOST);
            assert_int_equal(inputs[0], BOS);
            if (targets[0] == -1) {
                crops++;
                places[random_crop_place(story, IDS, inputs, targets, rows, MOST)]++;
                continue;
            }
            assert_int_equal(rows, MOST);
            for (size_t r = 0; r < rows; r++) {
                assert_int_equal(inputs[r], story[r]);
                assert_int_equal(targets[r], story[r + 1]);
            }
        }
        assert_int_equal(batch->rows, row);
    }
    assert_in_range(crops, handed_out / 5, handed_out * 3 / 10);
    for (int place = 2; place < IDS - RANDOM_CROP_MIN_IDS; place++)
        assert_true(places[place] > 0);
    data_loader_close(loader);
    assert_resumes(&dataset, &plan);
    dataset_free(&dataset);
}

/* Stories that begin with unk, so that they are known among others. */
static struct dataset load_unknown(int count) {
    struct dataset dataset = load_numbered(count);
    for (size_t s = 0; s < dataset.stories; s++)
        dataset.ids[dataset.offsets[s] + 1] = 0;
    return dataset;
}

/* Of the story whose rows begin at `row`. */
static bool is_unknown(const struct story_batch *batch, size_t row) {
    return batch->targets[row] == 0;
}

/* Half of 20 batches comes from other stories, then none. */
static void other_stories_are_mixed_in(void **state) {
    (void)state;
    enum { OTHERS = 35, BATCHES = 40, UNTIL = 20 };
    struct dataset dataset = load_numbered(60), others = load_unknown(OTHERS);
    struct data_loader_options plan = {.seed = 3, .shuffle = true, .max_rows = 100, .mix = &others};
    struct data_loader *loader, *resumed;
    size_t mixed_rows = 0, taken[2] = {0};
    int32_t order[OTHERS];
    assert_int_equal(
        data_loader_open(&loader, &dataset, &plan, (struct data_loader_state){0}, NULL), STATUS_OK);
    for (int b = 0; b < BATCHES; b++) {
        double share = b < UNTIL ? 0.5 : 0;
        assert_int_equal(
            data_loader_open(&resumed, &dataset, &plan, data_loader_state(loader), NULL),
            STATUS_OK);
        data_loader_set_mix(loader, share);
        data_loader_set_mix(resumed, share);
        const struct story_batch *batch = data_loader_next(loader);
        const struct story_batch *again = data_loader_next(resumed);
        assert_int_equal(again->rows, batch->rows);
        assert_memory_equal(again->inputs, batch->inputs, batch->rows * sizeof *batch->inputs);
        data_loader_close(resumed);

        size_t row = 0, unknown = 0;
        for (size_t i = 0; i < batch->stories; row += (size_t)batch->lengths[i++]) {
            bool other = is_unknown(batch, row);
            unknown += other ? (size_t)batch->lengths[i] : 0;
            if (other && taken[1] % OTHERS == 0) /* an epoch of its own */
                dataset_order(&others, rng_derive(plan.seed, 0x6d6978), taken[1] / OTHERS, order);
            if (other)
                assert_rows(&others, order[taken[1] % OTHERS], batch, i, row);
            taken[other]++;
        }
        if (share > 0) /* to a story */
            assert_in_range(2 * unknown + 2 * others.longest_rows, batch->rows,
                            batch->rows + 4 * others.longest_rows);
        else
            assert_int_equal(unknown, 0);
        mixed_rows += unknown;
    }
    assert_in_range(mixed_rows, UNTIL * 45, UNTIL * 55);
    assert_true(taken[0] > 60 && taken[1] > OTHERS);
    assert_int_equal(data_loader_state(loader).epoch, taken[0] / 60);
    assert_int_equal(data_loader_state(loader).mix_epoch, taken[1] / OTHERS);
    data_loader_close(loader);
    dataset_free(&dataset);
    dataset_free(&others);
}

static void a_state_of_other_data_is_refused(void **state) {
    (void)state;
    struct dataset dataset = load_numbered(10);
    struct data_loader *loader;
    struct error err = {0};
    const struct data_loader_state outside = {.epoch = 2, .index = 10};
    assert_int_equal(data_loader_open(&loader, &dataset, &plans[0], outside, &err), STATUS_INVALID);
    assert_null(loader);
    assert_true(err.message[0]);
    struct data_loader_options mixing = plans[0];
    mixing.mix = &dataset;
    const struct data_loader_state outside_mix = {.mix_index = 10};
    assert_int_equal(data_loader_open(&loader, &dataset, &mixing, outside_mix, &err),
                     STATUS_INVALID);
    dataset_free(&dataset);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(stories_become_ids),
        SCRATCH_TEST(long_stories_are_cut),
        SCRATCH_TEST(every_form_gives_the_same),
        SCRATCH_TEST(threads_do_not_matter),
        SCRATCH_TEST(only_the_first_stories),
        SCRATCH_TEST(nothing_to_load),
        SCRATCH_TEST(orders_are_permutations),
        SCRATCH_TEST(batches_cover_each_epoch_once),
        SCRATCH_TEST(evaluation_sees_each_story_once),
        SCRATCH_TEST(resumed_runs_go_on_the_same),
        SCRATCH_TEST(random_crops_begin_at_a_random_place),
        SCRATCH_TEST(other_stories_are_mixed_in),
        SCRATCH_TEST(a_state_of_other_data_is_refused),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
