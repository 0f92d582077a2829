/* Placement on the real device: whatever the mode and the budget, the same bytes of the picture, the planned
 * peak and the planned moves. */
#include "pipeline/rig.h"

#include "support/slow.h"

#define FAMILIES 3
#define BUDGETS 5 /* of the first family; of the others every second */
#define WAYS 8
#define SIDE 64 /* small pictures: then the weights are most of what is needed */

static const struct {
    const char *name, *dtype;
} families[FAMILIES] = {{"sd15", "f32"}, {"sd21v", "auto"}, {"sdxl", "f32"}};

typedef struct way {
    const char *name, *offload, *never;
    double low;
    int fit_check;
} way;

/* Watermarks of shares that tiny models pass, or modules would never be evicted for pressure. */
static const way ways[WAYS] = {
    {"none", "none", NULL, -1, 1},
    {"model", "model", NULL, -1, 1},
    {"sequential", "sequential", NULL, -1, 1},
    {"balanced, fit check", "balanced", "", 1e-6, 1},
    {"balanced, no fit check", "balanced", "", 1e-6, 0},
    {"balanced, low 0", "balanced", "text_encoder", 0, 1},
    {"balanced as it is", "balanced", NULL, -1, 1},
    {"auto", "auto", NULL, -1, 1},
};

static void choose(ballast_generate_options *o, const way *w, const rig_size *budget) {
    o->offload = w->offload;
    o->never = w->never;
    o->low = w->low;
    o->fit_check = w->fit_check;
    o->budget = budget->text;
}

/* Each phase reached as far into its arena as was planned, and no further. */
static void check_arenas(json_t *report, int batch, const char *what) {
    json_t *b = json_array_get(json_object_get(report, "batches"), (size_t)batch), *phase;
    json_t *phases = json_object_get(json_object_get(b, "plan"), "phases");
    json_t *arenas = json_object_get(json_object_get(b, "ledger"), "arena_bytes");
    size_t i;
    assert_true(json_array_size(phases) > 0 && json_array_size(phases) == json_array_size(arenas));
    json_array_foreach(phases, i, phase) {
        json_int_t planned = json_integer_value(json_object_get(phase, "arena_bytes"));
        json_int_t was = json_integer_value(json_array_get(arenas, i));
        if (planned != was) {
            fail_msg("%s, batch %d, phase %s: an arena of %lld bytes was planned, %lld were used", what,
                     batch, json_string_value(json_object_get(phase, "name")), (long long)planned,
                     (long long)was);
        }
    }
}

/* What was planned is what happened, within the budget. */
static void check_figures(json_t *report, int batches, uint64_t budget, const char *what) {
    for (int i = 0; i < batches; i++) {
        uint64_t peak = rig_figure(report, i, "plan", "peak_bytes");
        uint64_t moved = rig_figure(report, i, "plan", "moved_bytes");
        uint64_t bound = rig_figure(report, i, "plan", "bound_moved_bytes");
        uint64_t was_peak = rig_figure(report, i, "ledger", "peak_bytes");
        uint64_t was_moved = rig_figure(report, i, "ledger", "moved_bytes");
        check_arenas(report, i, what);
        if (peak != was_peak || moved != was_moved || peak > budget || moved < bound) {
            fail_msg("%s, batch %d: budget %llu, planned peak %llu was %llu, planned moves %llu were %llu, "
                     "bound %llu",
                     what, i, (unsigned long long)budget, (unsigned long long)peak,
                     (unsigned long long)was_peak, (unsigned long long)moved, (unsigned long long)was_moved,
                     (unsigned long long)bound);
        }
    }
}

/* How many phases of a batch ran with a smaller arena than the first. */
static int smaller_arenas(json_t *report, int batch) {
    json_t *b = json_array_get(json_object_get(report, "batches"), (size_t)batch);
    json_t *phases = json_object_get(json_object_get(b, "plan"), "phases"), *phase;
    size_t i;
    int count = 0;
    assert_true(json_array_size(phases) > 0);
    json_array_foreach(phases, i, phase) {
        count += json_integer_value(json_object_get(phase, "arena_level")) > 0;
    }
    return count;
}

/* The smallest budget that a refusal speaks of. */
static uint64_t smallest_of(const char *message) {
    static const char mark[] = "the smallest that works is ";
    const char *at = strstr(message, mark);
    if (!at) {
        fail_msg("no smallest budget in: %s", message);
    }
    return strtoull(at + sizeof mark - 1, NULL, 10);
}

/* What is asked for again and again, and what must come of it. */
typedef struct task {
    bool hires;
    rig_pictures wanted;         /* two batches, of phases with the largest arenas */
    uint64_t least;              /* budget that works */
    int smaller;                 /* phases that ran with smaller arenas */
    uint64_t refused_with[WAYS]; /* the budget that refusals of this way asked for; 0: none */
} task;

static ballast_generate_options request_of(const task *t, rig_pictures *p) {
    ballast_generate_options o = rig_request(p, SIDE);
    if (t->hires) {
        rig_add_hires(&o);
    }
    return o;
}

/* Makes the pictures under this budget and looks at the report. If it is refused, with the budget that the
 * refusal asks for, once. Whether it ran. */
static bool check_run(rig_studio *s, task *t, int number, uint64_t budget, int batches) {
    const way *w = &ways[number];
    char what[128];
    rig_pictures got = {0}, first = t->wanted;
    ballast_error err = {0};
    char *text = NULL;
    rig_size size = rig_bytes(budget);
    ballast_generate_options o = request_of(t, &got);
    o.count = batches;
    choose(&o, w, &size);
    int rc = ballast_generate(&text, s->model, &o, &err);
    if (rc == BALLAST_E_BUDGET) {
        uint64_t asked = smallest_of(err.message);
        assert_int_equal(got.count, 0);
        assert_true(asked > budget);
        if (asked == t->refused_with[number]) {
            return false;
        }
        assert_int_equal(t->refused_with[number], 0); /* one figure, whatever budget was given */
        t->refused_with[number] = budget = asked;
        size = rig_bytes(budget);
        rc = ballast_generate(&text, s->model, &o, &err);
    }
    snprintf(what, sizeof what, "%s, budget %s", w->name, size.text);
    if (rc) {
        fail_msg("%s: %s", what, err.message);
    }
    json_t *report = json_loads(text, 0, NULL);
    ballast_string_free(&text);
    first.bytes = t->wanted.bytes / 2 * (size_t)batches;
    rig_same(&got, &first, what);
    check_figures(report, batches, budget, what);
    int smaller = smaller_arenas(report, 0);
    t->smaller += smaller;
    if (budget == t->least && !smaller) {
        fail_msg("%s: the smallest budget, but every phase has its largest arena", what);
    }
    /* Everything fits, and the mode is one that keeps what fits: the second batch moves nothing. */
    bool keeps = !strcmp(w->offload, "none") || !strcmp(w->offload, "auto") ||
                 (!strcmp(w->offload, "balanced") && w->fit_check && w->low != 0 && w->never);
    if (batches == 2 && keeps && budget >= rig_figure(report, 0, "plan", "working_set_bytes")) {
        uint64_t moved = rig_figure(report, 1, "ledger", "moved_bytes");
        if (moved) {
            fail_msg("%s: everything fits, but the second batch moved %llu bytes", what,
                     (unsigned long long)moved);
        }
    }
    json_decref(report);
    rig_release(&got);
    return true;
}

/* Five budgets, every way through each, on a model that stays open, with a second pass and without, some
 * with a second batch; and some on a fresh model. */
static void check_family(int family) {
    char checkpoint[BL_TEST_PATH];
    rig_studio kept, fresh;
    task tasks[2] = {{.hires = false}, {.hires = true}};
    uint64_t least = 0, full = 0;
    int ran = 0;
    bl_synth_checkpoint(checkpoint, families[family].name, BL_SYNTH_SINGLE);
    rig_open(&kept, checkpoint, families[family].dtype, "");
    for (int i = 0; i < 2; i++) { /* of the hungrier task, the second, while the prompt has to be encoded */
        ballast_generate_options o = request_of(&tasks[i], &tasks[i].wanted);
        o.count = 1;
        tasks[i].least = least = rig_planned(&kept, &o, "min_budget_bytes");
        full = rig_planned(&kept, &o, "working_set_bytes");
    }
    for (int i = 0; i < 2; i++) {
        ballast_generate_options o = request_of(&tasks[i], &tasks[i].wanted);
        o.count = 2;
        json_t *report = rig_generate(&kept, &o);
        assert_int_equal(smaller_arenas(report, 0) + smaller_arenas(report, 1), 0);
        json_decref(report);
        assert_int_equal(tasks[i].wanted.count, 2);
    }
    assert_true(least < full / 2);
    const int most = bl_test_slow() ? 2 : BUDGETS, step = family ? 2 : 1;
    for (int b = 0; b < most; b += step) {
        uint64_t budget = least + (full - least) * (uint64_t)b / (BUDGETS - 1);
        for (int i = 0; i < WAYS; i++) {
            int batches = b == BUDGETS - 1 || b == i % BUDGETS ? 2 : 1;
            ran += check_run(&kept, &tasks[(b / step + i) % 2], i, budget, batches);
        }
        if (b % 2 == 0) {
            rig_open(&fresh, checkpoint, families[family].dtype, "");
            check_run(&fresh, &tasks[1], 2 + (b + family) % (WAYS - 2), budget, 1);
            rig_close(&fresh);
        }
    }
    /* Only modes that want whole modules are refused what others can work with. */
    for (int i = 0; i < WAYS; i++) {
        bool whole = !strcmp(ways[i].offload, "none") || !strcmp(ways[i].offload, "model");
        assert_true(whole || (!tasks[0].refused_with[i] && !tasks[1].refused_with[i]));
        assert_true(tasks[1].refused_with[i] <= full);
    }
    /* none: all weights and the smallest of arenas */
    assert_true(tasks[1].refused_with[0] > least && tasks[1].refused_with[0] < full);
    assert_true(tasks[1].smaller > 0);
    assert_true(ran >= (most + step - 1) / step * (WAYS - 2) + 4);
    assert_int_equal(kept.warnings, 0);
    rig_close(&kept);
    rig_release(&tasks[0].wanted);
    rig_release(&tasks[1].wanted);
}

static int families_tried(void) {
    return bl_test_slow() ? 1 : FAMILIES;
}

static void test_sd15(void **state) {
    (void)state;
    check_family(0);
}

static void test_sd21v(void **state) {
    (void)state;
    if (bl_test_slow()) {
        skip();
    }
    check_family(1);
}

static void test_sdxl(void **state) {
    (void)state;
    if (bl_test_slow()) {
        skip();
    }
    check_family(2);
}

/* Pictures computed together under small budgets, from large to small and back, each with a second batch. */
static void test_batches(void **state) {
    char checkpoint[BL_TEST_PATH];
    rig_studio s;
    rig_pictures wanted = {0}, got = {0};
    (void)state;
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    rig_open(&s, checkpoint, "f32", "");
    ballast_generate_options o = rig_request(&wanted, SIDE);
    rig_add_hires(&o);
    o.batch = 2;
    rig_make(&s, &o);
    assert_int_equal(wanted.count, 4);
    uint64_t least = rig_planned(&s, &o, "min_budget_bytes");
    uint64_t full = rig_planned(&s, &o, "working_set_bytes");
    uint64_t budgets[] = {full, (least + full) / 2, least, (3 * least + full) / 4, full};
    o.payload = &got;
    for (size_t i = 0; i < sizeof budgets / sizeof *budgets; i++) {
        rig_size size = rig_bytes(budgets[i]);
        o.budget = size.text;
        json_t *report = rig_generate(&s, &o);
        rig_same(&got, &wanted, size.text);
        check_figures(report, 2, budgets[i], size.text);
        json_decref(report);
        rig_release(&got);
    }
    rig_release(&wanted);
    rig_close(&s);
}

/* One byte less than the smallest workable budget is refused with that number, before any weight is read: the
 * file has none any more. */
static void test_too_small(void **state) {
    (void)state;
    for (int f = 0; f < families_tried(); f++) {
        char checkpoint[BL_TEST_PATH], folder[BL_TEST_PATH], copy[BL_TEST_PATH];
        rig_studio s;
        rig_pictures got = {0};
        ballast_error err = {0};
        bl_synth_checkpoint(checkpoint, families[f].name, BL_SYNTH_SINGLE);
        bl_test_folder(folder);
        bl_test_join(copy, folder, "model.safetensors");
        rig_copy(copy, checkpoint);
        rig_open(&s, copy, families[f].dtype, "");
        ballast_generate_options o = rig_request(&got, SIDE);
        rig_size least = rig_bytes(rig_planned(&s, &o, "min_budget_bytes"));
        rig_size below = rig_bytes(strtoull(least.text, NULL, 10) - 1);
        assert_int_equal(truncate(copy, 8), 0);
        static const char *const modes[] = {"auto", "sequential", "balanced"};
        for (int m = 0; m < 3; m++) {
            o.offload = modes[m];
            o.budget = below.text;
            assert_int_equal(ballast_generate(NULL, s.model, &o, &err), BALLAST_E_BUDGET);
            assert_non_null(strstr(err.message, least.text));
            assert_int_equal(ballast_plan(NULL, NULL, s.model, &o, NULL, &err), BALLAST_E_BUDGET);
            assert_non_null(strstr(err.message, least.text));
            o.budget = least.text;
            assert_int_equal(ballast_generate(NULL, s.model, &o, &err), BALLAST_E_IO);
        }
        rig_close(&s);
        rig_open(&s, checkpoint, families[f].dtype, "");
        for (int m = 0; m < 3; m++) {
            o.offload = modes[m];
            rig_make(&s, &o);
        }
        assert_int_equal(got.count, 3);
        rig_close(&s);
        rig_release(&got);
        bl_test_folder_remove(folder);
    }
}

/* An ample budget: without the fit check, modules are evicted and come again; with it they stay. */
static void test_fit_check(void **state) {
    (void)state;
    for (int f = 0; f < families_tried(); f++) {
        char checkpoint[BL_TEST_PATH];
        uint64_t moved[2][2];
        bl_synth_checkpoint(checkpoint, families[f].name, BL_SYNTH_SINGLE);
        for (int on = 0; on < 2; on++) {
            rig_studio s;
            rig_pictures got = {0};
            rig_open(&s, checkpoint, families[f].dtype, "");
            ballast_generate_options o = rig_request(&got, SIDE);
            rig_add_hires(&o);
            rig_size ample = rig_bytes(2 * rig_planned(&s, &o, "working_set_bytes"));
            choose(&o, &ways[on ? 3 : 4], &ample);
            json_t *report = rig_generate(&s, &o);
            for (int b = 0; b < 2; b++) {
                moved[on][b] = rig_figure(report, b, "ledger", "moved_bytes");
            }
            json_decref(report);
            rig_close(&s);
            rig_release(&got);
        }
        assert_int_equal(moved[1][1], 0);
        assert_true(moved[0][1] > 0);
        /* The UNet and the decoder came twice in the first batch already. */
        assert_true(moved[0][0] > moved[1][0]);
    }
}

/* Whoever has memory never pays for moves: requests that follow each other find everything there, also when
 * nobody said that they would follow. */
static void test_again(void **state) {
    (void)state;
    for (int f = 0; f < families_tried(); f++) {
        char checkpoint[BL_TEST_PATH];
        rig_studio s;
        rig_pictures got = {0};
        bl_synth_checkpoint(checkpoint, families[f].name, BL_SYNTH_SINGLE);
        rig_open(&s, checkpoint, families[f].dtype, "");
        ballast_generate_options o = rig_request(&got, SIDE);
        rig_add_hires(&o);
        o.count = 1;
        o.steps = o.hires_steps = 1; /* so few that a new region does not pay off at once */
        for (int i = 0; i < 2; i++) {
            json_t *report = rig_generate(&s, &o);
            assert_true(i == 0 || rig_figure(report, 0, "ledger", "moved_bytes") == 0);
            json_decref(report);
        }
        /* What a request with another mode leaves, a region for one block, binds nobody. */
        o.offload = "sequential";
        json_decref(rig_generate(&s, &o));
        o.offload = "auto";
        for (int i = 0; i < 2; i++) {
            json_t *report = rig_generate(&s, &o);
            assert_true(i == 0 || rig_figure(report, 0, "ledger", "moved_bytes") == 0);
            json_decref(report);
        }
        rig_close(&s);
        rig_release(&got);
    }
}

/* ---- resident set */

#define LARGE_SIDE 512 /* an arena beyond the tolerance */

/* In a process of its own: one generation, then the plan's peak and the process's high-water mark. */
static int child_resident(char **argv) {
    rig_studio s;
    rig_pictures got = {0};
    rig_open(&s, argv[2], "f32", "");
    ballast_generate_options o = rig_request(&got, atoi(argv[3]));
    rig_size least = rig_bytes(rig_planned(&s, &o, "min_budget_bytes"));
    o.steps = 1;
    o.budget = strcmp(argv[4], "least") ? NULL : least.text;
    json_t *report = rig_generate(&s, &o);
    printf("%llu %llu\n", (unsigned long long)rig_figure(report, 0, "ledger", "peak_bytes"),
           (unsigned long long)rig_status("VmHWM"));
    json_decref(report);
    rig_release(&got);
    rig_close(&s);
    return 0;
}

static void measure(uint64_t *peak, uint64_t *resident, int side, const char *budget) {
    char checkpoint[BL_TEST_PATH], text[24], word[] = "resident", line[256], how[16];
    unsigned long long p = 0, r = 0;
    bl_synth_checkpoint(checkpoint, "sdxl", BL_SYNTH_SINGLE);
    snprintf(text, sizeof text, "%d", side);
    snprintf(how, sizeof how, "%s", budget);
    assert_int_equal(rig_again(line, sizeof line, (char *[]){word, checkpoint, text, how, NULL}), 0);
    assert_int_equal(sscanf(line, "%llu %llu", &p, &r), 2);
    *peak = p;
    *resident = r;
}

static void test_resident(void **state) {
    uint64_t peak, resident, small_peak, small_resident;
    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    skip(); /* its shadow is resident too */
#endif
    measure(&peak, &resident, LARGE_SIDE, "all");
    assert_true(peak > 300000000);
    if (resident > peak + 200000000 || peak > resident + 200000000) {
        fail_msg("a peak of %llu bytes, but %llu are resident", (unsigned long long)peak,
                 (unsigned long long)resident);
    }
    /* A smaller budget is a smaller process, not only a smaller number. */
    measure(&peak, &resident, SIDE, "all");
    measure(&small_peak, &small_resident, SIDE, "least");
    assert_true(small_peak < peak / 2);
    if (small_resident + (peak - small_peak) / 2 > resident) {
        fail_msg("peak %llu becomes %llu, resident %llu becomes %llu", (unsigned long long)peak,
                 (unsigned long long)small_peak, (unsigned long long)resident,
                 (unsigned long long)small_resident);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sd15),    cmocka_unit_test(test_sd21v),     cmocka_unit_test(test_sdxl),
        cmocka_unit_test(test_batches), cmocka_unit_test(test_too_small), cmocka_unit_test(test_fit_check),
        cmocka_unit_test(test_again),   cmocka_unit_test(test_resident),
    };
    if (argc == 5 && !strcmp(argv[1], "resident")) {
        return child_resident(argv);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
