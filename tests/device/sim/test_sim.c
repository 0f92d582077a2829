/* The simulated device: cards from JSON, clocks of streams and events, faults by script, graphs prepared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/checked.h"
#include "device/sim/sim.h"

#include <math.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

static bl_error err;

static const char card_text[] =
    "{\"name\": \"test\", \"memory_bytes\": 1000000, \"copy_rate\": 1000, \"copy_latency\": 0.5,"
    "\"memory_rate\": 1e6, \"flops\": {\"f32\": 1e6, \"bf16\": 2e6}}";

static bl_device *open_sim(bool shares_cores) {
    bl_sim_card card;
    assert_int_equal(bl_sim_card_parse(&card, card_text, strlen(card_text), "test", &err), 0);
    card.shares_cores = shares_cores;
    bl_device *d;
    assert_int_equal(bl_sim_open(&d, &card, NULL, &err), 0);
    return d;
}

static void cards_are_checked(void **state) {
    (void)state;
    bl_sim_card card = {.name = "untouched"};
    static const char *const bad[] = {
        "",
        "[]",
        "{",
        "{\"name\": \"x\"}",
        "{\"name\": \"x\", \"memory_bytes\": -1, \"copy_rate\": 1, \"copy_latency\": 0, \"memory_rate\": 1, "
        "\"flops\": "
        "{\"f32\": 1, \"bf16\": 1}}",
        "{\"name\": \"x\", \"memory_bytes\": 1, \"copy_rate\": 0, \"copy_latency\": 0, \"memory_rate\": 1, "
        "\"flops\": "
        "{\"f32\": 1, \"bf16\": 1}}",
        "{\"name\": \"x\", \"memory_bytes\": 1, \"copy_rate\": \"1\", \"copy_latency\": 0, \"memory_rate\": "
        "1, "
        "\"flops\": {\"f32\": 1, \"bf16\": 1}}",
        "{\"name\": \"x\", \"memory_bytes\": 1, \"copy_rate\": 1, \"copy_latency\": 0, \"memory_rate\": 1, "
        "\"flops\": {\"f32\": 1, \"bf16\": 1}, \"copy_slowdown\": 10.5}",
        "{\"shares_core\": true}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(bl_sim_card_parse(&card, bad[i], strlen(bad[i]), "a card", &err), BL_E_FORMAT);
        assert_non_null(strstr(err.message, "a card"));
        assert_string_equal(card.name, "untouched");
    }
    assert_non_null(strstr(err.message, "no \"shares_core\""));
    assert_int_equal(bl_sim_card_load(&card, "/nowhere/card.json", &err), BL_E_NOT_FOUND);
}

static void shipped_cards_load(void **state) {
    (void)state;
    static const char *const names[] = {"rtx5090",
                                        "rtx4090",
                                        "rtx3090",
                                        "rtx3060-12gb",
                                        "rtx4060-laptop",
                                        "h200",
                                        "rtx4060-laptop-16gb",
                                        "rtx4060ti-16gb"};
    const char *data = getenv("BALLAST_TEST_DATA");
    assert_non_null(data);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512];
        bl_sim_card card;
        snprintf(path, sizeof path, "%s/../../share/devices/%s.json", data, names[i]);
        if (bl_sim_card_load(&card, path, &err)) {
            fail_msg("%s", err.message);
        }
        assert_true(card.memory_bytes > 8000000000u && card.flops_bf16 > card.flops_f32 &&
                    !card.shares_cores);
    }
}

typedef struct parts {
    bl_device *d;
    bl_device_module *m;
    bl_executable *x;
    bl_region *r;
    bl_event *a, *b;
} parts;

static parts open_parts(bool shares_cores) {
    parts p = {.d = open_sim(shares_cores)};
    bl_block_cost costs[2] = {{.packed_bytes = 1000}, {.packed_bytes = 2000}};
    double seconds[2] = {3, 4};
    assert_int_equal(bl_sim_module_describe(&p.m, p.d, costs, 2, &err), 0);
    assert_int_equal(bl_sim_executable_describe(&p.x, p.m, 100, seconds, &err), 0);
    assert_int_equal(bl_device_region_open(&p.r, p.d, 10000, &err), 0);
    assert_int_equal(bl_device_event_open(&p.a, p.d, &err), 0);
    assert_int_equal(bl_device_event_open(&p.b, p.d, &err), 0);
    return p;
}

static void close_parts(parts *p) {
    bl_device_event_close(p->d, p->a);
    bl_device_event_close(p->d, p->b);
    bl_device_region_close(p->d, p->r);
    bl_device_executable_close(p->d, p->x);
    bl_device_module_close(p->d, p->m);
    bl_device_close(&p->d);
}

static void streams_run_beside_each_other(void **state) {
    (void)state;
    parts p = open_parts(false);
    uint64_t at[2] = {1000, 2000};
    bl_binding binding = {.region = p.r, .block_offset = at};
    /* copy 0: 0 to 1.5; run 0 waits for it: 1.5 to 4.5; copy 1 beside it: 1.5 to 4; run 1: 4.5 to 8.5 */
    assert_int_equal(bl_device_pack(p.d, p.m, 0, bl_device_region_host(p.d, p.r), 1000, BL_STREAM_COPY, &err),
                     0);
    bl_device_event_record(p.d, p.a, BL_STREAM_COPY, &err);
    bl_device_stream_wait(p.d, BL_STREAM_COMPUTE, p.a, &err);
    assert_int_equal(bl_device_run(p.d, p.x, 0, &binding, BL_STREAM_COMPUTE, &err), 0);
    assert_int_equal(bl_device_pack(p.d, p.m, 1, bl_device_region_host(p.d, p.r), 2000, BL_STREAM_COPY, &err),
                     0);
    bl_device_event_record(p.d, p.b, BL_STREAM_COPY, &err);
    assert_int_equal(bl_device_run(p.d, p.x, 1, &binding, BL_STREAM_COMPUTE, &err), 0);
    assert_true(bl_device_event_seconds(p.d, p.a) == 1.5 && bl_device_event_seconds(p.d, p.b) == 4);
    assert_true(bl_device_now(p.d) == 0);
    bl_device_event_record(p.d, p.a, BL_STREAM_COMPUTE, &err);
    bl_device_event_wait(p.d, p.a, &err);
    assert_true(bl_device_now(p.d) == 8.5);
    /* Nothing begins before the host asks for it. */
    assert_int_equal(bl_device_pack(p.d, p.m, 0, bl_device_region_host(p.d, p.r), 1000, BL_STREAM_COPY, &err),
                     0);
    bl_device_event_record(p.d, p.b, BL_STREAM_COPY, &err);
    assert_true(bl_device_event_seconds(p.d, p.b) == 10);
    bl_device_caps caps = bl_device_caps_of(p.d);
    assert_true(caps.async_copy && caps.free_bytes == 990000);
    assert_true(bl_sim_open_bytes(p.d) == 10000 && bl_sim_peak_bytes(p.d) == 10000);
    bl_region_use use;
    bl_exec_info info = bl_device_executable_info(p.d, p.x);
    use = bl_device_region_used(p.d, p.r);
    assert_true(use.arena == info.arena_bytes && use.arena > 0);
    assert_true(use.end == bl_align_up(2000 + bl_device_module_costs(p.d, p.m)[1].packed_bytes, BL_ALIGN));
    use = bl_device_region_used(p.d, p.r);
    assert_true(use.arena == 0 && use.end == 0);
    close_parts(&p);
}

static void shared_cores_add_up(void **state) {
    (void)state;
    parts p = open_parts(true);
    uint64_t at[2] = {1000, 2000};
    bl_binding binding = {.region = p.r, .block_offset = at};
    assert_int_equal(bl_device_pack(p.d, p.m, 0, bl_device_region_host(p.d, p.r), 1000, BL_STREAM_COPY, &err),
                     0);
    assert_int_equal(bl_device_run(p.d, p.x, 0, &binding, BL_STREAM_COMPUTE, &err), 0);
    assert_int_equal(bl_device_pack(p.d, p.m, 1, bl_device_region_host(p.d, p.r), 2000, BL_STREAM_COPY, &err),
                     0);
    assert_true(bl_device_now(p.d) == 1.5 + 3 + 2.5);
    bl_device_caps caps = bl_device_caps_of(p.d);
    assert_false(caps.async_copy);
    close_parts(&p);
}

static void faults_happen_by_script(void **state) {
    (void)state;
    parts p = open_parts(false);
    uint64_t at[2] = {1000, 2000};
    bl_binding binding = {.region = p.r, .block_offset = at};
    bl_sim_set_faults(p.d, &(bl_sim_faults){.vanished_bytes = 980000, .fail_copy = 2, .fail_run = 1});
    bl_device_caps caps;
    bl_region *r;
    caps = bl_device_caps_of(p.d);
    assert_true(caps.free_bytes == 990000);
    assert_int_equal(bl_device_region_open(&r, p.d, 20000, &err), BL_E_MEMORY);
    caps = bl_device_caps_of(p.d);
    assert_true(caps.free_bytes == 10000);
    assert_int_equal(bl_device_pack(p.d, p.m, 0, bl_device_region_host(p.d, p.r), 1000, BL_STREAM_COPY, &err),
                     0);
    assert_int_equal(bl_device_pack(p.d, p.m, 0, bl_device_region_host(p.d, p.r), 1000, BL_STREAM_COPY, &err),
                     BL_E_DEVICE);
    assert_int_equal(bl_device_run(p.d, p.x, 0, &binding, BL_STREAM_COMPUTE, &err), BL_E_DEVICE);
    /* Addresses outside the region, or weights in the arena, are a caller's mistake that is noticed. */
    assert_int_equal(bl_device_pack(p.d, p.m, 1, bl_device_region_host(p.d, p.r), 9000, BL_STREAM_COPY, &err),
                     BL_E_INTERNAL);
    at[0] = 64;
    assert_int_equal(bl_device_run(p.d, p.x, 0, &binding, BL_STREAM_COMPUTE, &err), BL_E_INTERNAL);
    close_parts(&p);
}

/* Beside a copy compute takes longer: what the card says, or, by script, what it does not say. */
static void copies_slow_compute_down(void **state) {
    (void)state;
    for (int hidden = 0; hidden < 2; hidden++) {
        bl_sim_card card;
        parts p;
        uint64_t at[2] = {1000, 2000};
        assert_int_equal(bl_sim_card_parse(&card, card_text, strlen(card_text), "test", &err), 0);
        assert_true(card.copy_slowdown == 0);
        card.copy_slowdown = hidden ? 0 : 1;
        bl_block_cost costs[2] = {{.packed_bytes = 1000}, {.packed_bytes = 2000}};
        double seconds[2] = {3, 4};
        assert_int_equal(bl_sim_open(&p.d, &card, NULL, &err), 0);
        assert_int_equal(bl_sim_module_describe(&p.m, p.d, costs, 2, &err), 0);
        assert_int_equal(bl_sim_executable_describe(&p.x, p.m, 100, seconds, &err), 0);
        assert_int_equal(bl_device_region_open(&p.r, p.d, 10000, &err), 0);
        assert_int_equal(bl_device_event_open(&p.a, p.d, &err), 0);
        assert_int_equal(bl_device_event_open(&p.b, p.d, &err), 0);
        bl_sim_set_faults(p.d, &(bl_sim_faults){.slowdown = hidden});
        assert_true(bl_device_caps_of(p.d).copy_slowdown == !hidden);
        bl_binding binding = {.region = p.r, .block_offset = at};
        bl_host *h = bl_device_region_host(p.d, p.r);
        /* copy 0: 0 to 1.5; copy 1 beside run 0: 1.5 to 4, in which half of 2.5 s is lost: 1.5 to 5.75 */
        assert_int_equal(bl_device_pack(p.d, p.m, 0, h, 1000, BL_STREAM_COPY, &err), 0);
        bl_device_event_record(p.d, p.a, BL_STREAM_COPY, &err);
        bl_device_stream_wait(p.d, BL_STREAM_COMPUTE, p.a, &err);
        assert_int_equal(bl_device_pack(p.d, p.m, 1, h, 2000, BL_STREAM_COPY, &err), 0);
        assert_int_equal(bl_device_run(p.d, p.x, 0, &binding, BL_STREAM_COMPUTE, &err), 0);
        bl_device_event_record(p.d, p.b, BL_STREAM_COMPUTE, &err);
        assert_int_equal(bl_device_event_wait(p.d, p.b, &err), 0);
        assert_true(bl_device_now(p.d) == 5.75);
        close_parts(&p);
    }
}

/* A machine of 100 kB around the card: blocks pass through host memory. */
static void blocks_pass_through_host_memory(void **state) {
    (void)state;
    bl_sim_card card = {.memory_bytes = 100000,
                        .copy_rate = 1000,
                        .copy_latency = 0.5,
                        .memory_rate = 1e9,
                        .flops_f32 = 1e9,
                        .flops_bf16 = 1e9,
                        .host_bytes = 100000,
                        .file_rate = 500,
                        .file_latency = 1};
    bl_device *d;
    bl_device_module *m;
    bl_executable *x;
    bl_region *r;
    bl_host *h;
    bl_event *loaded, *ran;
    bl_block_cost costs[2] = {{.packed_bytes = 1000, .source_bytes = 2000}, {.packed_bytes = 2000}};
    double seconds[2] = {3, 4};
    uint64_t at[2] = {1024, 2048};
    assert_int_equal(bl_sim_open(&d, &card, NULL, &err), 0);
    bl_device_caps caps = bl_device_caps_of(d);
    assert_true(caps.kind == BL_DEVICE_GPU && caps.host_store && caps.host_free_bytes == 100000);
    assert_true(caps.file_rate == 500 && caps.file_latency == 1);
    assert_int_equal(bl_sim_module_describe(&m, d, costs, 2, &err), 0);
    assert_int_equal(bl_sim_executable_describe(&x, m, 100, seconds, &err), 0);
    assert_int_equal(bl_device_region_open(&r, d, 10000, &err), 0);
    assert_null(bl_device_region_host(d, r));
    bl_sim_set_faults(d, &(bl_sim_faults){.refuse_pinned = true});
    assert_int_equal(bl_device_host_open(&h, d, 5000, true, &err), BL_E_MEMORY);
    assert_int_equal(bl_device_host_open(&h, d, 200000, false, &err), BL_E_MEMORY);
    assert_int_equal(bl_device_host_open(&h, d, 5000, false, &err), 0);
    assert_int_equal(bl_device_event_open(&loaded, d, &err), 0);
    assert_int_equal(bl_device_event_open(&ran, d, &err), 0);
    /* packed from 0 to 5, copied to 6.5, run to 9.5 */
    assert_int_equal(bl_device_pack(d, m, 0, h, 64, BL_STREAM_LOAD, &err), 0);
    bl_device_event_record(d, loaded, BL_STREAM_LOAD, &err);
    bl_device_stream_wait(d, BL_STREAM_COPY, loaded, &err);
    assert_int_equal(bl_device_copy(d, m, 0, h, 64, r, 1024, BL_STREAM_COPY, &err), 0);
    bl_device_event_record(d, loaded, BL_STREAM_COPY, &err);
    bl_device_stream_wait(d, BL_STREAM_COMPUTE, loaded, &err);
    bl_binding binding = {.region = r, .block_offset = at};
    assert_int_equal(bl_device_run(d, x, 0, &binding, BL_STREAM_COMPUTE, &err), 0);
    bl_device_event_record(d, ran, BL_STREAM_COMPUTE, &err);
    assert_int_equal(bl_device_event_wait(d, ran, &err), 0);
    assert_true(bl_device_now(d) == 9.5);
    /* Weights that are not there are noticed, and those that have not arrived yet. */
    assert_int_equal(bl_device_copy(d, m, 1, h, 64, r, 2048, BL_STREAM_COPY, &err), BL_E_INTERNAL);
    assert_int_equal(bl_device_run(d, x, 1, &binding, BL_STREAM_COMPUTE, &err), BL_E_INTERNAL);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(bl_device_copy(d, m, 0, h, 64, r, 4096, BL_STREAM_COPY, &err), 0);
    }
    at[0] = 4096;
    assert_int_equal(bl_device_run(d, x, 0, &binding, BL_STREAM_COMPUTE, &err), BL_E_INTERNAL);
    bl_device_event_close(d, loaded);
    bl_device_event_close(d, ran);
    bl_device_host_close(d, h);
    bl_device_region_close(d, r);
    bl_device_executable_close(d, x);
    bl_device_module_close(d, m);
    bl_device_close(&d);
}

/* What fails late is taken; who waits for it learns, on other streams too, and sync names it. */
static void late_faults_reach_who_waits(void **state) {
    (void)state;
    parts p = open_parts(false);
    uint64_t at[2] = {1024, 2048};
    bool lost = true;
    bl_binding binding = {.region = p.r, .block_offset = at};
    bl_host *h = bl_device_region_host(p.d, p.r);
    bl_sim_set_faults(p.d, &(bl_sim_faults){.late = 2});
    assert_int_equal(bl_device_pack(p.d, p.m, 0, h, 1024, BL_STREAM_COPY, &err), 0);
    bl_device_event_record(p.d, p.a, BL_STREAM_COPY, &err);
    assert_int_equal(bl_device_pack(p.d, p.m, 1, h, 2048, BL_STREAM_COPY, &err), 0);
    bl_device_event_record(p.d, p.b, BL_STREAM_COPY, &err);
    assert_int_equal(bl_device_event_wait(p.d, p.a, &err), 0);
    bl_device_stream_wait(p.d, BL_STREAM_COMPUTE, p.b, &err);
    assert_int_equal(bl_device_run(p.d, p.x, 1, &binding, BL_STREAM_COMPUTE, &err), 0);
    bl_device_event_record(p.d, p.a, BL_STREAM_COMPUTE, &err);
    assert_int_equal(bl_device_event_wait(p.d, p.a, &err), BL_E_DEVICE);
    assert_int_equal(bl_device_sync(p.d, &lost, &err), BL_E_DEVICE);
    assert_false(lost);
    assert_string_equal(err.message, "packing of block 1 failed late, as scripted");
    assert_int_equal(bl_device_sync(p.d, &lost, &err), 0);
    assert_int_equal(bl_device_run(p.d, p.x, 0, &binding, BL_STREAM_COMPUTE, &err), 0);
    assert_int_equal(bl_device_run(p.d, p.x, 1, &binding, BL_STREAM_COMPUTE, &err), BL_E_INTERNAL);
    close_parts(&p);
}

/* One linear layer of 64 x 32 on 16 rows: 2 * 16 * 64 * 32 operations, 64 * 32 f32 weights. */
static bl_graph *one_layer(void) {
    bl_graph *g = bl_graph_new(BL_UNET, BL_F32, NULL);
    bl_graph_block(g, "only");
    bl_tensor_id x = bl_import(g, bl_input(g, "x", BL_F32, BL_CHANNELS_LAST, 1, 16, 1, 32));
    const char *name = "w";
    bl_weight_id w = bl_weight_new(g, BL_W_LINEAR, (int64_t[]){64, 32}, 2, &name, 1);
    bl_export(g, bl_linear(g, x, w, BL_NONE, BL_ACT_NONE, BL_NONE), "y", BL_CHANNELS_LAST);
    assert_int_equal(bl_graph_finish(g, &err), 0);
    return g;
}

static void graphs_are_prepared(void **state) {
    (void)state;
    bl_graph *g = one_layer();
    bl_device *d = open_sim(false);
    bl_device_module *m;
    bl_executable *e;
    bl_prepare_options options = {0};
    assert_int_equal(bl_device_module_open(&m, d, g, NULL, &err), 0);
    assert_true(bl_device_module_costs(d, m)[0].packed_bytes == 64 * 32 * 4);
    assert_int_equal(bl_device_prepare(&e, d, m, g, &options, &err), 0);
    bl_exec_info info = bl_device_executable_info(d, e);
    assert_int_equal(info.block_count, 1);
    assert_true(info.block_flops[0] == 2.0 * 16 * 64 * 32);
    assert_true(info.arena_bytes >= (16 * 32 + 16 * 64) * 4 && info.arena_bytes % 64 == 0);
    assert_true(fabs(bl_sim_block_seconds(e)[0] - 65536 / 1e6) < 1e-12);
    bl_device_executable_close(d, e);
    bl_device_module_close(d, m);
    bl_device_close(&d);
    bl_graph_free(&g);
}

static bl_dtype small_dtype(void *payload, const bl_weight *w, int part) {
    (void)payload, (void)w, (void)part;
    return BL_F32;
}

static uint64_t small_bytes(void *payload, const bl_weight *w, int part) {
    (void)payload, (void)w, (void)part;
    return 64 * 34;
}

/* `payload`: whether it stays small. */
static bool stays_small(void *payload, const bl_weight *w, int part, bl_small *form) {
    (void)w, (void)part;
    *form = (bl_small){.storage = BL_STORED_Q8_0};
    return *(const bool *)payload;
}

static double run_seconds(bl_device *d, bl_device_module *m, bl_executable *x, uint64_t arena) {
    bl_region *r;
    uint64_t at[1] = {bl_align_up(arena, BL_ALIGN)};
    bl_binding binding = {.block_offset = at};
    assert_int_equal(bl_device_region_open(&r, d, at[0] + 8192, &err), 0);
    binding.region = r;
    assert_int_equal(bl_device_pack(d, m, 0, bl_device_region_host(d, r), at[0], BL_STREAM_COMPUTE, &err), 0);
    bl_event *e[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(bl_device_event_open(&e[i], d, &err), 0);
        bl_device_event_record(d, e[i], BL_STREAM_COMPUTE, &err);
        assert_int_equal(i || bl_device_run(d, x, 0, &binding, BL_STREAM_COMPUTE, &err), i);
    }
    assert_int_equal(bl_device_event_wait(d, e[1], &err) || bl_device_event_wait(d, e[0], &err), 0);
    double seconds = bl_device_event_seconds(d, e[1]) - bl_device_event_seconds(d, e[0]);
    bl_device_event_close(d, e[0]);
    bl_device_event_close(d, e[1]);
    bl_device_region_close(d, r);
    return seconds;
}

/* The same layer of weights that stay small: fewer bytes, room for the wide ones in the arena, and time to
 * make them. */
static void small_weights_are_widened(void **state) {
    (void)state;
    bl_graph *g = one_layer();
    bl_device *d = open_sim(false);
    bl_device_module *m;
    bl_executable *e;
    bool small = true;
    bl_source source = {.payload = &small, .dtype = small_dtype, .bytes = small_bytes, .small = stays_small};
    assert_int_equal(bl_device_module_open(&m, d, g, &source, &err), 0);
    const bl_block_cost *cost = bl_device_module_costs(d, m);
    assert_true(cost->packed_bytes == 64 * 34 && cost->small_bytes == 64 * 34);
    assert_true(cost->wide_bytes == 64 * 32 * 4);
    assert_int_equal(bl_device_prepare(&e, d, m, g, NULL, &err), 0);
    bl_exec_info info = bl_device_executable_info(d, e);
    const double widening = (8192 + 64 * 34) / 1e6, wide = 65536 / 1e6;
    assert_true(info.arena_bytes >= (16 * 32 + 16 * 64) * 4 + 8192);
    assert_true(info.block_widened[0] == 64 * 32);
    assert_true(fabs(info.block_widen_seconds[0] - widening) < 1e-12);
    assert_true(fabs(info.block_seconds[0] - wide - widening) < 1e-12);
    assert_true(fabs(run_seconds(d, m, e, info.arena_bytes) - wide - widening) < 1e-9);
    assert_true(fabs(bl_device_executable_widened(d, e) - widening) < 1e-12);
    small = false; /* an adapter changes it */
    bl_device_module_refresh(d, m);
    assert_true(cost->packed_bytes == cost->wide_bytes);
    assert_true(fabs(run_seconds(d, m, e, info.arena_bytes) - wide) < 1e-9);
    assert_true(fabs(bl_device_executable_widened(d, e) - widening) < 1e-12);
    bl_device_executable_close(d, e);
    bl_device_module_close(d, m);
    bl_device_close(&d);
    bl_graph_free(&g);
}

/* Two rows, each a batch's item, through 512 channels and back: 131072 operations on as many bytes of
 * weights. Apart, one item is 512 channels wide at a time, and the weights are read twice. */
static void levels_are_prepared(void **state) {
    (void)state;
    const uint64_t arenas[] = {2 * (32 + 512) * 4, (32 + 512) * 4};
    const double seconds[] = {0.131072, 2 * 0.131072};
    const char *name = "w";
    bl_graph *g = bl_graph_new(BL_UNET, BL_F32, NULL);
    bl_graph_block(g, "only");
    bl_tensor_id x = bl_import(g, bl_input(g, "x", BL_F32, BL_CHANNELS_LAST, 2, 1, 1, 32));
    bl_weight_id up = bl_weight_new(g, BL_W_LINEAR, (int64_t[]){512, 32}, 2, &name, 1);
    bl_weight_id down = bl_weight_new(g, BL_W_LINEAR, (int64_t[]){32, 512}, 2, &name, 1);
    x = bl_linear(g, x, up, BL_NONE, BL_ACT_NONE, BL_NONE);
    x = bl_linear(g, x, down, BL_NONE, BL_ACT_NONE, BL_NONE);
    bl_export(g, x, "y", BL_CHANNELS_LAST);
    assert_int_equal(bl_graph_finish(g, &err), 0);
    bl_device *d = open_sim(false);
    bl_device_caps caps;
    bl_device_module *m;
    caps = bl_device_caps_of(d);
    assert_int_equal(bl_device_module_open(&m, d, g, NULL, &err), 0);
    for (int level = 0; level < caps.arena_levels; level++) {
        bl_executable *e;
        bl_exec_info info;
        assert_int_equal(bl_device_prepare(&e, d, m, g, &(bl_prepare_options){.arena_level = level}, &err),
                         0);
        info = bl_device_executable_info(d, e);
        assert_int_equal(info.arena_bytes, arenas[level > 0]);
        assert_true(info.block_flops[0] == 131072);
        assert_true(fabs(info.block_seconds[0] - seconds[level > 0]) < 1e-12);
        bl_device_executable_close(d, e);
    }
    bl_device_module_close(d, m);
    bl_device_close(&d);
    bl_graph_free(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cards_are_checked),
        cmocka_unit_test(shipped_cards_load),
        cmocka_unit_test(streams_run_beside_each_other),
        cmocka_unit_test(shared_cores_add_up),
        cmocka_unit_test(faults_happen_by_script),
        cmocka_unit_test(copies_slow_compute_down),
        cmocka_unit_test(blocks_pass_through_host_memory),
        cmocka_unit_test(late_faults_reach_who_waits),
        cmocka_unit_test(graphs_are_prepared),
        cmocka_unit_test(small_weights_are_widened),
        cmocka_unit_test(levels_are_prepared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
