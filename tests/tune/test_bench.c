/* Whole passes in pairs: bits that a choice changes are seen, and bits that it leaves are. */
#include "pipeline/rig.h"

#include "api/api.h"
#include "pipeline/job.h"
#include "tune/bench_parts.h"

static int asked, stop_at; /* the time of asking; 0: nobody stops it */

static int stops(void *payload) {
    (void)payload;
    return ++asked == stop_at;
}

/* Between any two blocks somebody may stop it, where they are measured by themselves, too. */
static void check_stops(bl_bench *b) {
    const bl_tuning as_it_is = {0};
    double seconds;
    bl_error err = {0};
    asked = 0;
    assert_int_equal(bl_bench_blocks(b, &seconds, &as_it_is, 1, 1, &err), 0);
    const int all = asked;
    assert_true(b->group_count > 1 && all >= 2 * b->group_count); /* each warms up */
    for (stop_at = 1; stop_at <= all; stop_at++) {
        asked = 0;
        assert_int_equal(bl_bench_blocks(b, &seconds, &as_it_is, 1, 1, &err), BL_E_CANCELLED);
        assert_int_equal(asked, stop_at);
    }
    stop_at = 0;
    assert_int_equal(bl_bench_blocks(b, &seconds, &as_it_is, 1, 1, &err), 0);
    assert_true(seconds > 0); /* what was stopped is no measurement */
}

static bl_pairs pairs_of(bl_bench *b, const bl_tuning *other) {
    const bl_tuning as_it_is = {0};
    bl_pairs p;
    bl_error err = {0};
    if (bl_bench_pairs(b, &p, &as_it_is, other, 2, &err)) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(p.count, 2);
    for (int i = 0; i < p.count; i++) {
        assert_true(p.present[i] > 0 && p.other[i] > 0);
    }
    return p;
}

static void bits(void **state) {
    (void)state;
    char checkpoint[BL_TEST_PATH];
    rig_studio s;
    rig_pictures taken = {0};
    bl_job job;
    bl_placement placement;
    bl_phase_of phase;
    bl_bench *b;
    bl_error err = {0};
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    rig_open(&s, checkpoint, "bf16", "");
    ballast_generate_options o = rig_request(&taken, 64);
    o.offload = "auto";
    o.fit_check = 1;
    bl_pipeline p = bl_pipeline_of(s.model);
    const bl_device_caps *caps = bl_memory_caps(bl_modules_given(p.modules)->memory);
    assert_int_equal(bl_job_open(&job, &p, &o, &err), 0);
    assert_int_equal(bl_placement_parse(&placement, &o, caps, &err), 0);
    assert_int_equal(bl_job_declare(&job, &placement, &err), 0);
    assert_true(bl_generation_phase_at(&phase, job.generation, job.at.decode));
    const bl_bench_options options = {
        .modules = p.modules, .placement = &placement, .phase = &phase, .poll = stops};
    assert_int_equal(bl_bench_open(&b, &options, &err), 0);
    bl_pairs same = pairs_of(b, &(bl_tuning){.level = 1, .pin = 1});
    assert_true(same.same_bits && same.psnr == 0);
    if (caps->convolves) { /* in two ways */
        bl_pairs one = pairs_of(b, &(bl_tuning){.winograd = {1, 1, 1, 1}}),
                 two = pairs_of(b, &(bl_tuning){.winograd = {2, 2, 2, 2}});
        assert_true(!one.same_bits || !two.same_bits);
        assert_true(one.same_bits ? one.psnr == 0 : one.psnr > 20);
        assert_true(two.same_bits ? two.psnr == 0 : two.psnr > 20);
    }
    check_stops(b);
    bl_bench_close(&b);
    bl_job_close(&job);
    rig_close(&s);
    rig_release(&taken);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
