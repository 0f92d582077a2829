/* Weights that stay small: widened late, before their op, they give the bits that they give widened early,
 * whatever form they are stored in, and whatever reads them. */
#include "device/cpu/cpu.h"
#include "device/run_once.h"
#include "graph/levels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "device/stock.h"

static void run(stock_run *r, bl_device *d, const bl_graph *g, stock *s, int level) {
    const bl_source source = stock_source(s);
    bl_error err = {0};
    stock_begin(r, g);
    if (bl_run_once(d, g, &source, &(bl_prepare_options){.arena_level = level}, r->inputs, r->outputs,
                    &err)) {
        fail_msg("%s", err.message);
    }
}

static void compare(bl_device *d, const bl_graph *g, const stock *s, int level, const char *what) {
    stock early = *s, late = *s;
    stock_run a, b;
    early.wide = true;
    run(&a, d, g, &early, level);
    run(&b, d, g, &late, level);
    stock_same(&a, &b, what, level);
    stock_end(&a);
    stock_end(&b);
}

/* Each form, and three in one weight at every level. */
static void compare_all(bl_dtype dtype) {
    bl_device *d;
    bl_error err;
    if (bl_cpu_open(&d, &(bl_cpu_options){.threads = 2}, &err)) {
        fail_msg("%s", err.message);
    }
    const bool bf16 = bl_device_caps_of(d).bf16;
    if (dtype == BL_F32 || bf16) {
        bl_graph *g = stock_network(dtype, 1), *pair = stock_network(dtype, 2);
        for (int s = BL_STORED_PLAIN + 1; s < BL_STORAGE_COUNT; s++) {
            stock one = {{(bl_storage)s, (bl_storage)s, (bl_storage)s}, .rotation = 64};
            if (dtype == BL_BF16 || !bf16 || s % 4 == 1) { /* the same text makes F32 of all of them */
                compare(d, g, &one, 0, bl_storage_of((bl_storage)s)->name);
            }
        }
        stock mixed = {{BL_STORED_Q4_K, BL_STORED_F8_E4M3, BL_STORED_Q6_K}, .rotation = 0};
        for (int level = 0; level < BL_LEVELS; level++) {
            compare(d, level ? g : pair, &mixed, level, "mixed");
        }
        compare(d, pair, &mixed, 1, "apart");
        bl_graph_free(&pair);
        bl_graph_free(&g);
    }
    bl_device_close(&d);
}

static void late_is_early(void **state) {
    (void)state;
    compare_all(BL_BF16);
    compare_all(BL_F32);
}

/* What lies in the region are codes; what they are widened to is in the arena. */
static void blocks_are_as_small_as_stored(void **state) {
    (void)state;
    bl_error err;
    bl_device *d;
    bl_device_module *m[2];
    bl_executable *x[2];
    assert_int_equal(bl_cpu_open(&d, &(bl_cpu_options){.threads = 2}, &err), 0);
    bl_graph *g = stock_network(BL_F32, 1);
    stock s[2] = {{{BL_STORED_Q8_0, BL_STORED_Q8_0, BL_STORED_Q8_0}, .wide = false},
                  {{BL_STORED_Q8_0, BL_STORED_Q8_0, BL_STORED_Q8_0}, .wide = true}};
    bl_exec_info info[2];
    for (int i = 0; i < 2; i++) {
        bl_source source = stock_source(&s[i]);
        assert_int_equal(bl_device_module_open(&m[i], d, g, &source, &err), 0);
        assert_int_equal(bl_device_prepare(&x[i], d, m[i], g, NULL, &err), 0);
        info[i] = bl_device_executable_info(d, x[i]);
    }
    for (int b = 0; b < g->block_count; b++) {
        const bl_block_cost *small = &bl_device_module_costs(d, m[0])[b];
        const bl_block_cost *wide = &bl_device_module_costs(d, m[1])[b];
        assert_true(small->packed_bytes * 10 < wide->packed_bytes * 3);
        assert_true(small->packed_bytes == small->small_bytes && small->wide_bytes == wide->packed_bytes);
        assert_true(wide->small_bytes == 0 && wide->wide_bytes == 0);
        assert_true(info[0].block_widened[b] >= WIDE * WIDE);
    }
    assert_true(info[0].arena_bytes >= info[1].arena_bytes);
    assert_true(info[1].block_widened == NULL);
    s[0].wide = true; /* an adapter came */
    bl_device_module_refresh(d, m[0]);
    for (int b = 0; b < g->block_count; b++) {
        const bl_block_cost *now = &bl_device_module_costs(d, m[0])[b];
        assert_true(now->packed_bytes == now->wide_bytes);
    }
    s[0].wide = false; /* and went */
    bl_device_module_refresh(d, m[0]);
    for (int b = 0; b < g->block_count; b++) {
        const bl_block_cost *now = &bl_device_module_costs(d, m[0])[b];
        assert_true(now->packed_bytes == now->small_bytes);
    }
    for (int i = 0; i < 2; i++) {
        bl_device_executable_close(d, x[i]);
        bl_device_module_close(d, m[i]);
    }
    bl_graph_free(&g);
    bl_device_close(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(late_is_early),
        cmocka_unit_test(blocks_are_as_small_as_stored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
