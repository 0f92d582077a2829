/* A device that fails late, in the middle of a generation: the plugin `faulty` is the cpu device whose Nth
 * piece of work goes wrong after it was taken, with garbage where it wrote. The picture after it, of one
 * step, which uses every weight, must have the right bits. Every STEPth fails, with the argument "all" each.
 */
#include "pipeline/rig.h"

#define SIDE 64
#define EVENTS 300
#define STEP 7

static int step = STEP;

/* Streams at a small budget, so that every kind of move is among the events. */
static void test_an_event_fails(void **state) {
    (void)state;
    char checkpoint[BL_TEST_PATH], words[32], device[32];
    rig_studio s;
    rig_pictures wanted = {0};
    ballast_error err = {0};
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    rig_open(&s, checkpoint, "f32", "");
    ballast_generate_options o = rig_request(&wanted, SIDE);
    o.steps = 1;
    rig_make(&s, &o);
    o.steps = 4; /* more than 300 pieces of work */
    uint64_t least = rig_planned(&s, &o, "min_budget_bytes"), all = rig_planned(&s, &o, "working_set_bytes");
    rig_size budget = rig_bytes(least + (all - least) / 4);
    rig_close(&s);
    snprintf(device, sizeof device, "faulty:%d", step);
    rig_open_on(&s, device, checkpoint, "f32", "");
    o.budget = budget.text;
    for (int at = 1; at <= EVENTS; at += step) {
        rig_pictures none = {0}, got = {0};
        o.payload = &none;
        o.steps = 4;
        assert_int_equal(ballast_generate(NULL, s.model, &o, &err), BALLAST_E_DEVICE);
        snprintf(words, sizeof words, "work %d failed late", at);
        assert_non_null(strstr(err.message, words));
        o.payload = &got;
        o.steps = 1;
        rig_make(&s, &o);
        rig_same(&got, &wanted, words);
        rig_release(&none);
        rig_release(&got);
    }
    rig_close(&s);
    rig_release(&wanted);
}

int main(int argc, char **argv) {
    step = argc > 1 && !strcmp(argv[1], "all") ? 1 : STEP;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_an_event_fails)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
