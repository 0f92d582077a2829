/* The host store: what the replay makes of loads, and what it refuses. */
#include "random.h"

/* One module of four blocks of 64 bytes, one pass: a load takes 4 seconds, a copy 1, a run 2. Room for two
 * blocks in the store and for two on the device. */
static bl_problem *four_blocks(void) {
    bl_problem *p;
    bl_problem_block blocks[4];
    double seconds[4] = {2, 2, 2, 2};
    int number;
    memset(blocks, 0, sizeof blocks);
    CHECK(bl_problem_new(&p, &described_error));
    p->copy_rate = 64;
    p->load_rate = 16;
    p->async_copy = p->has_store = true;
    p->host_bytes = 128;
    p->budget_bytes = 64 + 128;
    for (int b = 0; b < 4; b++) {
        snprintf(blocks[b].name, sizeof blocks[b].name, "b%d", b);
        blocks[b].bytes = 64;
        blocks[b].copy_seconds = blocks[b].load_seconds = -1;
        blocks[b].resident_at = blocks[b].stored_at = BL_NOWHERE;
    }
    CHECK(bl_problem_add_module(&number, p, "m", "f32", blocks, 4, &described_error));
    CHECK(bl_problem_add_phase(&number, p, "p", "work", 0, 1, 64, seconds, &described_error));
    CHECK(bl_problem_finish(p, &described_error));
    return p;
}

typedef struct move_row {
    bl_move_kind kind;
    int block, offset, after, before;
} move_row;

/* Blocks go through the store's two places and the device's two places by turns. */
static const move_row sound[] = {
    {BL_MOVE_LOAD, 0, 0, -1, 0},  {BL_MOVE_LOAD, 1, 64, -1, 1}, {BL_MOVE_COPY, 0, 64, -1, 0},
    {BL_MOVE_LEAVE, 0, 0, -1, 0}, {BL_MOVE_LOAD, 2, 0, -1, 2},  {BL_MOVE_COPY, 1, 128, -1, 1},
    {BL_MOVE_DROP, 0, 64, 0, 1},  {BL_MOVE_LEAVE, 1, 64, 0, 1}, {BL_MOVE_LOAD, 3, 64, 0, 3},
    {BL_MOVE_COPY, 2, 64, 0, 2},  {BL_MOVE_DROP, 1, 128, 1, 2}, {BL_MOVE_COPY, 3, 128, 1, 3},
};
enum { sound_count = sizeof sound / sizeof *sound };

static bl_plan *plan_of(const bl_problem *p, const move_row *rows, int count) {
    bl_plan *plan;
    CHECK(bl_plan_new(&plan, p, BL_OFFLOAD_AUTO, &described_error));
    plan->reopen = true;
    plan->region_bytes = p->budget_bytes;
    for (int i = 0; i < count; i++) {
        CHECK(bl_plan_add_move(plan,
                               (bl_move){.kind = rows[i].kind,
                                         .block = rows[i].block,
                                         .offset = (uint64_t)rows[i].offset,
                                         .after = rows[i].after,
                                         .before = rows[i].before},
                               &described_error));
    }
    return plan;
}

/* Loads end at 4, 8, then 12 (the copy out of its place ended at 5), then 16 (after 9); copies at 5, 9, 13,
 * 17; runs at 7, 11, 15, 19. */
static void loads_have_a_clock(void **state) {
    (void)state;
    bl_problem *p = four_blocks();
    bl_plan *plan = plan_of(p, sound, sound_count);
    CHECK(bl_replay_check(plan, p, &described_error));
    assert_true(fabs(plan->seconds - 19) < 1e-9);
    assert_true(fabs(plan->load_seconds - 16) < 1e-9);
    assert_true(plan->loaded_bytes == 256 && plan->load_count == 4 && plan->store_peak_bytes == 128);
    assert_true(plan->moved_bytes == 256 && plan->onload_count == 4);
    assert_true(plan->phases[0].load_count == 4);
    bl_replay_after(p, plan);
    assert_true(p->modules[0].blocks[0].stored_at == BL_NOWHERE);
    assert_true(p->modules[0].blocks[2].stored_at == 0 && p->modules[0].blocks[3].stored_at == 64);
    assert_true(p->modules[0].blocks[2].resident_at == 64);
    bl_plan_free(&plan);
    /* A slow copy holds the place: the third load waits for it. */
    bl_problem_clear_resident(p);
    bl_problem_clear_stored(p);
    p->modules[0].blocks[0].copy_seconds = 10;
    plan = plan_of(p, sound, sound_count);
    CHECK(bl_replay_check(plan, p, &described_error)); /* copies end at 14, 15; loads at 18, 22 */
    assert_true(fabs(plan->seconds - (22 + 1 + 2)) < 1e-9);
    bl_plan_free(&plan);
    bl_problem_free(&p);
}

/* Each of these changes makes the plan unsound. */
static void unsound_loads_are_refused(void **state) {
    (void)state;
    static const struct {
        int at;
        move_row row;
        const char *says;
    } wrong[] = {
        {4, {BL_MOVE_LOAD, 2, 64, -1, 2}, "loaded twice"},         /* over block 1 */
        {4, {BL_MOVE_LOAD, 2, 65, -1, 2}, "loaded twice"},         /* leaves the store */
        {4, {BL_MOVE_LOAD, 1, 0, -1, 2}, "loaded twice"},          /* is there */
        {4, {BL_MOVE_LOAD, 2, 0, -1, -1}, "at no time"},           /* before it begins */
        {3, {BL_MOVE_LEAVE, 0, 64, -1, 0}, "does not have"},       /* another's place */
        {3, {BL_MOVE_LEAVE, 2, 0, -1, 0}, "does not have"},        /* has none */
        {1, {BL_MOVE_LOAD, 3, 64, -1, 3}, "copied from the host"}, /* block 1 never comes */
    };
    bl_problem *p = four_blocks();
    bl_error err;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        move_row rows[sound_count];
        memcpy(rows, sound, sizeof rows);
        rows[wrong[i].at] = wrong[i].row;
        bl_plan *plan = plan_of(p, rows, sound_count);
        assert_int_equal(bl_replay_check(plan, p, &err), BL_E_INTERNAL);
        if (!strstr(err.message, wrong[i].says)) {
            fail_msg("%zu: %s", i, err.message);
        }
        bl_plan_free(&plan);
    }
    /* Without a store there is nothing to load into. */
    p->has_store = false;
    bl_plan *plan = plan_of(p, sound, sound_count);
    assert_int_equal(bl_replay_check(plan, p, &err), BL_E_INTERNAL);
    assert_non_null(strstr(err.message, "no host store"));
    bl_plan_free(&plan);
    bl_problem_free(&p);
}

static void problems_with_a_store_are_checked(void **state) {
    (void)state;
    bl_problem *p = four_blocks();
    bl_error err;
    assert_true(bl_problem_min_host(p) == 64);
    p->modules[0].blocks[1].stored_at = 65;
    assert_int_equal(bl_problem_finish(p, &err), BL_E_ARGUMENT);
    assert_non_null(strstr(err.message, "outside the host store"));
    p->modules[0].blocks[1].stored_at = 64;
    CHECK(bl_problem_finish(p, &described_error));
    bl_problem *copy;
    CHECK(bl_problem_copy(&copy, p, &described_error));
    assert_true(copy->has_store && copy->host_bytes == 128 && copy->load_rate == p->load_rate);
    assert_true(copy->modules[0].blocks[1].stored_at == 64 && copy->modules[0].blocks[1].load_seconds == 4);
    bl_problem_free(&copy);
    p->load_rate = 0;
    assert_int_equal(bl_problem_finish(p, &err), BL_E_ARGUMENT);
    p->load_rate = 16;
    p->async_copy = false;
    assert_int_equal(bl_problem_finish(p, &err), BL_E_ARGUMENT);
    assert_non_null(strstr(err.message, "share the cores"));
    bl_problem_free(&p);
}

/* Every mode loads what it copies, whatever the store holds at most. */
static void all_modes_plan_loads(void **state) {
    (void)state;
    for (int places = 1; places <= 4; places++) {
        bl_problem *p = four_blocks();
        p->host_bytes = (uint64_t)places * p->modules[0].largest_block;
        for (int m = 0; m < BL_OFFLOAD_COUNT; m++) {
            bl_offload_settings s = bl_offload_defaults();
            bl_plan *plan;
            bl_error err;
            s.mode = (bl_offload)m;
            int rc = bl_plan_make(&plan, p, &s, &err);
            if (rc == BL_E_BUDGET) {
                continue;
            }
            assert_int_equal(rc, 0);
            CHECK(bl_replay_check(plan, p, &described_error));
            assert_true(plan->load_count >= 4 && plan->store_peak_bytes <= p->host_bytes);
            bl_plan_free(&plan);
        }
        bl_problem_free(&p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_have_a_clock),
        cmocka_unit_test(unsound_loads_are_refused),
        cmocka_unit_test(problems_with_a_store_are_checked),
        cmocka_unit_test(all_modes_plan_loads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
