/* The search, on machines that are made up: what they hide is found, what is not faster is not kept. */
#include "residency/described.h"

#include "core/splitmix.h"
#include "residency/run/calibration.h"
#include "tune/search.h"

#include <math.h>

/* A machine whose seconds only measuring tells. Its clock is virtual. */
typedef struct machine {
    bl_tune_search_row rows[3];
    int row_count;
    double (*seconds)(const bl_tune_search_point *p); /* of a whole run */
    bool (*changes_bits)(const bl_tune_search_point *p);
    bool no_numbers; /* where it does, what comes out are none */
    double clock;
    double rough; /* what a cheap measurement takes, in whole runs */
    double noise; /* the part of a time that something else may add, to both of a pair about alike */
    uint64_t random;
    int stop_after; /* pairs until somebody asks to stop; 0: nobody does */
    int pairs;
    bool others;      /* use it */
    int tries;        /* told of */
    double best_seen; /* of any run */
    double promise;   /* the part of its seconds that the bound leaves a run at least; 0: by what was seen */
    int held;         /* in pairs */
} machine;

static double unit(machine *m) {
    return bl_splitmix_unit(&m->random);
}

static double now(void *payload) {
    return ((machine *)payload)->clock;
}

/* What it takes, with so much of somebody else's work. */
static double take(machine *m, const bl_tune_search_point *p, double busy) {
    double seconds = m->seconds(p) * (1 + m->noise * busy + 0.1 * m->noise * unit(m));
    m->clock += seconds;
    return seconds;
}

static int rough(void *payload, double *seconds, const bl_tune_search_point *points, int count, int effort,
                 bl_error *err) {
    machine *m = payload;
    (void)err;
    for (int i = 0; i < count; i++) {
        double s = m->seconds(&points[i]);
        m->clock += isfinite(s) ? effort * s * m->rough : 0;
        seconds[i] = s * (1 + 0.1 * m->noise * unit(m) / effort); /* the shortest of several */
        m->best_seen = s < m->best_seen ? s : m->best_seen;
    }
    return 0;
}

static int pair(void *payload, bl_pairs *out, const bl_tune_search_point *present,
                const bl_tune_search_point *other, int pairs, bl_error *err) {
    machine *m = payload;
    *out = (bl_pairs){.count = pairs,
                      .same_bits = !m->changes_bits || m->changes_bits(present) == m->changes_bits(other)};
    out->psnr = out->same_bits || m->no_numbers ? 0 : 80;
    m->held++;
    if (m->stop_after && ++m->pairs > m->stop_after) {
        return bl_fail(err, BL_E_CANCELLED, "stopped");
    }
    (void)take(m, present, 0);
    (void)take(m, other, 0);
    for (int i = 0; i < pairs; i++) {
        double busy = unit(m); /* whatever it is, it lasts for the pair */
        out->present[i] = take(m, present, busy);
        out->other[i] = take(m, other, busy);
    }
    return 0;
}

static double bound(void *payload, const bl_tune_search_point *p) {
    const machine *m = payload;
    return m->promise > 0 ? m->promise : m->best_seen / m->seconds(p);
}

static bool others(void *payload) {
    return ((machine *)payload)->others;
}

static void told(void *payload, const bl_tune_search_try *t) {
    machine *m = payload;
    assert_non_null(t->end);
    assert_true(t->row >= 0 && t->row < m->row_count);
    m->tries++;
}

static bl_tune_search search_of(machine *m, double seconds) {
    m->best_seen = INFINITY;
    return (bl_tune_search){.rows = m->rows,
                            .row_count = m->row_count,
                            .until = m->clock + seconds,
                            .payload = m,
                            .now = now,
                            .rough = rough,
                            .pair = pair,
                            .bound = bound,
                            .others = others,
                            .told = told};
}

static bl_tune_search_result run(machine *m, bl_tune_search_point start, double seconds, int expected) {
    bl_tune_search s = search_of(m, seconds);
    bl_tune_search_result r;
    bl_error err = {0};
    s.start = start;
    assert_int_equal(bl_tune_search_run(&r, &s, &err), expected);
    return r;
}

/* The fastest of all points. */
static double exhaustive(const machine *m, bl_tune_search_point *at) {
    double best = INFINITY;
    int n[3], i[3];
    for (int k = 0; k < 3; k++) {
        n[k] = k < m->row_count ? m->rows[k].count : 0;
    }
    for (i[0] = -1; i[0] < n[0]; i[0]++) {
        for (i[1] = -1; i[1] < n[1]; i[1]++) {
            for (i[2] = -1; i[2] < n[2]; i[2]++) {
                bl_tune_search_point p = {{0}};
                for (int k = 0; k < m->row_count; k++) {
                    p.value[k] = i[k] < 0 ? 0 : m->rows[k].values[i[k]];
                }
                double s = m->seconds(&p);
                if (s < best) {
                    best = s;
                    *at = p;
                }
            }
        }
    }
    return best;
}

/* ---- a CPU: threads, level, Winograd's algorithm; 0 is what a handicapped start has */

static double cpu_seconds(const bl_tune_search_point *p) {
    int threads = p->value[0] ? p->value[0] : 1, level = p->value[1];
    bool winograd = p->value[2] != 1;
    double convolutions = winograd ? 0.5 : 1.0;
    double shared = threads > 4 ? 0.05 * (threads - 4) : 0; /* siblings wait for each other */
    double caches = level == 1 ? -0.04 : 0.1 * level;
    return (1.2 + convolutions) / threads + 0.1 + shared + caches;
}

static machine cpu(void) {
    return (machine){.rows = {{"threads", 4, {2, 4, 6, 8}, true},
                              {"level", 3, {1, 2, 3}, true},
                              {"winograd", 2, {1, 2}, false}},
                     .row_count = 3,
                     .rough = 0.1,
                     .seconds = cpu_seconds};
}

/* One thread, and Winograd off: at least 97% of what there is. */
static void handicapped(void **state) {
    (void)state;
    for (int which = 0; which < 3; which++) {
        machine m = cpu();
        bl_tune_search_point best, start = {{which == 0 ? 0 : 4, 0, which == 1 ? 1 : 0}};
        double least = exhaustive(&m, &best);
        bl_tune_search_result r = run(&m, start, 600, 0);
        assert_true(m.seconds(&r.best) <= least / 0.97);
        assert_true(r.in_time);
        assert_true(r.kept > 0);
        assert_true(m.tries > 0);
        assert_true(r.bound <= r.seconds && r.seconds < r.start_seconds);
        assert_true(r.low <= r.seconds / r.start_seconds && r.seconds / r.start_seconds <= r.high);
        assert_true(r.spread < BL_SEARCH_BUSY);
    }
}

static double same_seconds(const bl_tune_search_point *p) {
    (void)p;
    return 1;
}

static double slower_seconds(const bl_tune_search_point *p) {
    return p->value[0] || p->value[1] || p->value[2] ? 1.01 : 1;
}

/* Where nothing is faster nothing is kept, but for what the stated level allows on a machine that is busy;
 * and what is slower is seen to be, though the bound promises much. */
static void nothing_to_win(void **state) {
    (void)state;
    static double (*const seconds[])(const bl_tune_search_point *) = {same_seconds, slower_seconds};
    for (int which = 0; which < 2; which++) {
        int kept = 0, held = 0;
        for (uint64_t seed = 1; seed <= 200; seed++) {
            machine m = cpu();
            m.seconds = seconds[which];
            m.noise = 0.5;
            m.promise = 0.5;
            m.random = seed;
            bl_tune_search_result r = run(&m, (bl_tune_search_point){{0}}, 600, 0);
            kept += r.kept;
            held += m.held;
        }
        assert_true(held > 50);
        if (kept > held * (which ? BL_PAIRS_LEVEL / 5 : BL_PAIRS_LEVEL)) {
            fail_msg("%d of %d were kept", kept, held);
        }
    }
    machine quiet = cpu();
    quiet.seconds = same_seconds;
    bl_tune_search_result r = run(&quiet, (bl_tune_search_point){{0}}, 600, 0);
    assert_int_equal(r.kept, 0);
    assert_true(r.enough); /* the bound says so: no pair was made */
    assert_int_equal(quiet.held, 0);
}

/* A machine on which somebody else works: the best is found all the same, and it is said. */
static void busy_machine(void **state) {
    (void)state;
    machine m = cpu();
    bl_tune_search_point best;
    m.noise = 0.3;
    m.random = 7;
    double least = exhaustive(&m, &best);
    bl_tune_search_result r = run(&m, (bl_tune_search_point){{0}}, 600, 0);
    assert_true(m.seconds(&r.best) <= least / 0.97);
    assert_true(r.spread > BL_SEARCH_BUSY);
}

/* What may be faster only because others use the machine is not kept where no later run is held against it.
 */
static void when_quiet(void **state) {
    (void)state;
    for (int which = 0; which < 3; which++) { /* nobody there, others, others whom the spread alone shows */
        machine m = cpu();
        m.rows[0].when_quiet = true;
        m.others = which == 1;
        m.noise = which == 2 ? 0.3 : 0;
        m.random = 7;
        bl_tune_search_result r = run(&m, (bl_tune_search_point){{0}}, 600, 0);
        assert_int_equal(r.best.value[0] > 0, which == 0);
        assert_true(r.best.value[1] == 1 || m.noise > 0); /* this row may be */
    }
}

static bool threads_change_bits(const bl_tune_search_point *p) {
    return p->value[0] > 1;
}

/* A row that should leave every bit as it is, and does not, is no choice. */
static void other_bits(void **state) {
    (void)state;
    machine m = cpu();
    m.changes_bits = threads_change_bits;
    bl_tune_search_result r = run(&m, (bl_tune_search_point){{0}}, 600, 0);
    assert_int_equal(r.best.value[0], 0);
    assert_true(r.psnr == 0);
    m = cpu();
    m.changes_bits = threads_change_bits;
    m.rows[0].same_bits = false; /* asked for */
    r = run(&m, (bl_tune_search_point){{0}}, 600, 0);
    assert_true(r.best.value[0] > 1);
    assert_true(r.psnr > 0);
    m.no_numbers = true; /* which nobody asks for */
    r = run(&m, (bl_tune_search_point){{0}}, 600, 0);
    assert_int_equal(r.best.value[0], 0);
    assert_true(r.psnr == 0);
}

/* It ends by its time, however little that is. */
static void in_time(void **state) {
    (void)state;
    for (double limit = 1; limit < 300; limit *= 1.5) {
        machine m = cpu();
        bl_tune_search_result r = run(&m, (bl_tune_search_point){{0}}, limit, 0);
        assert_true(m.clock <= 1.1 * limit);
        assert_true(m.seconds(&r.best) <= m.seconds(&(bl_tune_search_point){{0}}));
    }
}

/* Where not all can be measured in time, some are, and there are pairs for the best of them. */
static void not_all_in_time(void **state) {
    (void)state;
    machine m = cpu();
    m.rough = 3;
    bl_tune_search_result r = run(&m, (bl_tune_search_point){{0}}, 70, 0);
    assert_int_equal(r.best.value[0], 4); /* the second of its row */
    assert_false(r.in_time);
    assert_int_equal(m.tries, 8); /* threads=2 is of a row that is decided */
    assert_true(m.clock <= 77);
}

/* What was found before somebody stopped it is there. */
static void stopped(void **state) {
    (void)state;
    machine m = cpu();
    m.stop_after = 1;
    bl_tune_search_result r = run(&m, (bl_tune_search_point){{0}}, 600, BL_E_CANCELLED);
    assert_int_equal(r.kept, 1);
    assert_true(m.seconds(&r.best) < m.seconds(&(bl_tune_search_point){{0}}));
}

/* ---- a card that nobody has: plans are made with the rates that it is believed to have, and run with its
 * own */

static bl_problem *believed, *hidden;
static bl_sim_card hidden_card;

/* Of each mode, and of copies that run ahead in `sequential` or not, with and without the fit check; 0: not
 * run yet. The first has one slot. */
static double known_seconds[4][2][2];

/* What a plan takes on the card as it is; with `c` it is learned from. */
static double run_on_card(const bl_plan *plan, bl_calibration *c) {
    static const char *const names[BL_PROBLEM_PHASES] = {"1", "2", "3", "4", "5", "6", "7", "8"};
    const bl_calibration_key key = {.device = "card", .dtype = "bf16", .models = names, .shapes = names};
    described_machine x;
    machine_open(&x, hidden, &hidden_card, NULL);
    CHECK(machine_run(&x, hidden, plan, &described_error));
    double seconds = bl_ledger_device_seconds(&x.ledger);
    if (c) {
        CHECK(bl_calibration_learn(c, &key, believed, plan, &x.ledger, &described_error));
        CHECK(bl_calibration_apply(c, &key, believed, NULL, &described_error));
    }
    machine_close(&x);
    return seconds;
}

/* Seconds of what is planned for this problem; INFINITY: it is refused. */
static double run_settings(const bl_problem *p, const bl_offload_settings *s, bl_calibration *c) {
    bl_plan *plan = NULL;
    bl_error refused = {0};
    if (bl_plan_make(&plan, p, s, &refused)) {
        return INFINITY;
    }
    double seconds = run_on_card(plan, c);
    bl_plan_free(&plan);
    return seconds;
}

static bl_offload_settings settings_at(const bl_tune_search_point *p) {
    static const bl_offload modes[] = {BL_OFFLOAD_SEQUENTIAL, BL_OFFLOAD_MODEL, BL_OFFLOAD_BALANCED,
                                       BL_OFFLOAD_AUTO};
    bl_offload_settings s = bl_offload_defaults();
    s.mode = modes[p->value[0]];
    s.ahead = p->value[1];
    s.fit_check = !p->value[2];
    return s;
}

static double run_plan(const bl_tune_search_point *p) {
    bl_offload_settings s = settings_at(p);
    return run_settings(believed, &s, NULL);
}

static double plan_seconds(const bl_tune_search_point *p) {
    double *known = &known_seconds[p->value[0]][p->value[1]][p->value[2]];
    *known = *known > 0 ? *known : run_plan(p);
    return *known;
}

static void hidden_rates(void **state) {
    (void)state;
    static const double copies[] = {3e9, 12e9, 50e9};
    for (int i = 0; i < 3; i++) {
        bl_sim_card card = described_card();
        hidden_card = card;
        hidden_card.copy_rate = copies[i];
        hidden_card.copy_latency = 1e-4;
        believed = small_budget(&card, 1500ull << 20);
        hidden = small_budget(&hidden_card, 1500ull << 20);
        machine m = {.rows = {{"mode", 3, {1, 2, 3}, true}, {"ahead", 1, {1}, true}, {"fit", 1, {1}, true}},
                     .row_count = 3,
                     .rough = 0.1,
                     .seconds = plan_seconds};
        bl_tune_search_point best;
        double least = exhaustive(&m, &best);
        bl_tune_search_result r = run(&m, (bl_tune_search_point){{0}}, 1e6, 0); /* from one slot on */
        assert_true(plan_seconds(&r.best) <= least / 0.97);
        bl_problem_free(&believed);
        bl_problem_free(&hidden);
        memset(known_seconds, 0, sizeof known_seconds);
    }
}

/* The fastest of all plans that anybody makes for the card: in each mode, copies ahead or not, with the rates
 * that it is believed to have and with its own. */
static double fastest_plan(void) {
    double least = INFINITY;
    for (int i = 0; i < 32; i++) {
        const bl_tune_search_point at = {{i & 3, i >> 2 & 1, i >> 3 & 1}};
        bl_offload_settings s = settings_at(&at);
        double seconds = run_settings(i & 16 ? hidden : believed, &s, NULL);
        least = seconds < least ? seconds : least;
    }
    return least;
}

/* Slots, how far copies run ahead, what stays where: the planner chooses them by rates. On cards that nobody
 * knows it has them after one run, which tuning makes, and then no way of planning is faster. */
static void measured_rates(void **state) {
    (void)state;
    static const struct {
        double copies, flops;
    } cards[] = {{3e9, 60e12}, {12e9, 240e12}, {25e9, 30e12}, {100e9, 240e12}};
    const bl_offload_settings automatic = bl_offload_defaults();
    int helped = 0;
    for (size_t i = 0; i < sizeof cards / sizeof *cards; i++) {
        bl_sim_card card = described_card();
        bl_calibration *c;
        CHECK(bl_calibration_open(&c, NULL, NULL, &described_error));
        hidden_card = card;
        hidden_card.copy_rate = cards[i].copies;
        hidden_card.copy_latency = 1e-4;
        hidden_card.flops_bf16 = cards[i].flops;
        believed = small_budget(&card, 1500ull << 20);
        hidden = small_budget(&hidden_card, 1500ull << 20);
        double least = fastest_plan();
        double before = run_settings(believed, &automatic, c),
               after = run_settings(believed, &automatic, NULL);
        assert_true(after <= least * 1.01);
        helped += after < before * 0.999;
        bl_problem_free(&believed);
        bl_problem_free(&hidden);
        bl_calibration_close(&c);
    }
    assert_true(helped >= 3);
}

/* ---- the numbers below it */

static void verdicts(void **state) {
    (void)state;
    assert_true(fabs(bl_sign_test(8, 8) - 1.0 / 256) < 1e-12);
    assert_true(fabs(bl_sign_test(7, 8) - 9.0 / 256) < 1e-12);
    assert_true(fabs(bl_sign_test(0, 5) - 1) < 1e-12);
    bl_pairs p = {.count = 8};
    for (int i = 0; i < 8; i++) {
        p.present[i] = 1 + 0.1 * i;
        p.other[i] = 0.9 * p.present[i];
    }
    bl_verdict v = bl_pairs_judge(&p);
    assert_true(v.faster && !v.slower);
    assert_true(fabs(v.ratio - 0.9) < 1e-9 && v.low <= v.ratio + 1e-9 && v.high >= v.ratio - 1e-9);
    p.other[0] = p.present[0] * 1.5;
    p.other[1] = p.present[1] * 1.5;
    v = bl_pairs_judge(&p);
    assert_false(v.faster); /* six of eight */
    p.count = 0;
    v = bl_pairs_judge(&p);
    assert_true(!v.faster && v.ratio == 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handicapped), cmocka_unit_test(nothing_to_win), cmocka_unit_test(busy_machine),
        cmocka_unit_test(other_bits),  cmocka_unit_test(in_time),        cmocka_unit_test(not_all_in_time),
        cmocka_unit_test(stopped),     cmocka_unit_test(hidden_rates),   cmocka_unit_test(measured_rates),
        cmocka_unit_test(when_quiet),  cmocka_unit_test(verdicts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
