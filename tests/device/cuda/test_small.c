/* Weights that stay small on a card: what its kernels make of codes is what core/storage.c makes of them, and
 * networks have the bits that they have of the same weights made wide while they are packed. */
#include "rig.h"

#define SIDE 4
#define TOKENS 8
#include "device/stock.h"

#include "device/cuda/args.h"

/* ---- the kernels alone */

enum { ROWS = 6, COLUMNS = 4096, MOST = 7 * COLUMNS };

typedef struct call {
    bl_small form;
    int columns, positions;
    const int32_t *ids; /* of rows; NULL: all */
    int count, first;   /* of them; the number of the part's first row */
} call;

static void launch(const char *name, bool bf16, const void *args, int blocks) {
    bool known = false;
    for (const fake_kernel *k = bf16 ? fake_kernels_bf16 : fake_kernels_f32; k->name; k++) {
        for (fake_block = 0; strcmp(k->name, name) == 0 && fake_block < blocks; fake_block++) {
            known = true;
            k->run(args);
        }
    }
    assert_true(known);
}

static void run_kernel(const call *c, bool bf16, const uint8_t *codes, const float *scales, void *y) {
    if (c->form.rotation) {
        struct widen_rotated_args a = {.codes = (uintptr_t)codes,
                                       .scales = (uintptr_t)scales,
                                       .ids = (uintptr_t)c->ids,
                                       .y = (uintptr_t)y,
                                       .rows = ROWS,
                                       .first = c->first,
                                       .columns = c->columns,
                                       .positions = c->positions,
                                       .group = c->form.rotation,
                                       .shrink = 1.0f / sqrtf((float)c->form.rotation)};
        launch("widen_rotated", bf16, &a, c->count);
        return;
    }
    struct widen_args a = {.codes = (uintptr_t)codes,
                           .scales = (uintptr_t)(c->form.scaled ? scales : NULL),
                           .ids = (uintptr_t)c->ids,
                           .y = (uintptr_t)y,
                           .rows = ROWS,
                           .first = c->first,
                           .row_bytes = (long long)bl_small_row_bytes(&c->form, c->columns),
                           .columns = c->columns,
                           .positions = c->positions,
                           .form = (int)c->form.storage};
    launch("widen", bf16, &a, c->count);
}

/* Codes of every kind, finite scales of every size. */
static void fill(uint8_t *codes, const bl_small *form, int64_t blocks) {
    const bl_storage_form *f = bl_storage_of(form->storage);
    for (int64_t i = 0; i < blocks * f->bytes; i++) {
        codes[i] = (uint8_t)stock_hash((uint32_t)i + (uint32_t)form->storage * 7001);
    }
    for (int64_t i = 0; f->values > 1 && i < blocks; i++) {
        uint8_t *b = codes + i * f->bytes + (form->storage == BL_STORED_Q6_K ? 208 : 0);
        const uint16_t scale = (uint16_t)stock_hash((uint32_t)i * 13 + 1), other = (uint16_t)(scale * 31);
        b[0] = (uint8_t)scale;
        b[1] = (uint8_t)(scale >> 8 & 0xbb); /* no infinity, no NaN */
        if (form->storage != BL_STORED_Q6_K && form->storage != BL_STORED_Q8_0) {
            b[2] = (uint8_t)other;
            b[3] = (uint8_t)(other >> 8 & 0xbb);
        }
    }
}

static void check_kernel(const call *c, bool bf16, const uint8_t *codes, const float *scales) {
    static float wide[ROWS * COLUMNS], wanted[MOST], got[MOST];
    const int channels = c->columns / c->positions, size = bf16 ? 2 : 4;
    bl_widen_rows(wide, &c->form, codes, scales, ROWS, c->columns);
    memset(wanted, 0xff, sizeof wanted);
    memset(got, 0xff, sizeof got);
    for (int r = 0; r < c->count; r++) {
        const int row = c->ids ? c->ids[r] - c->first : r;
        for (int k = 0; k < c->columns && row >= 0 && row < ROWS; k++) {
            const int to = k % c->positions * channels + k / c->positions;
            fake_store(wanted, bf16, (int64_t)r * c->columns + to, wide[row * c->columns + k]);
        }
    }
    run_kernel(c, bf16, codes, scales, got);
    if (memcmp(wanted, got, sizeof got) != 0) {
        for (int64_t i = 0; i < (int64_t)c->count * c->columns; i++) {
            if (memcmp((char *)wanted + i * size, (char *)got + i * size, (size_t)size) != 0) {
                fail_msg("%s, group %d, %d columns, %d positions: value %lld is %g, not %g",
                         bl_storage_of(c->form.storage)->name, c->form.rotation, c->columns, c->positions,
                         (long long)i, fake_load(got, bf16, i), fake_load(wanted, bf16, i));
            }
        }
        fail_msg("%s: rows that nobody asked for", bl_storage_of(c->form.storage)->name);
    }
}

static void check_form(bl_small form) {
    static const int32_t ids[] = {2, 8, 3, 3, 7, 0, 5};
    static uint8_t codes[2 * ROWS * COLUMNS]; /* at most 34 bytes for 32 values */
    static const float scales[ROWS] = {1.0f, 0.37f, -2.5f, 1e-3f, 0.11f, 3.0f};
    const int least = form.rotation > 256 ? form.rotation : 256;
    const int rows = least < COLUMNS ? ROWS : 2, twice = 2 * least > COLUMNS ? least : 2 * least;
    fill(codes, &form, (int64_t)ROWS * COLUMNS / bl_storage_of(form.storage)->values);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        for (int columns = least; columns <= COLUMNS; columns += least < 1024 ? 1280 : least) {
            check_kernel(&(call){form, columns, 1, NULL, rows, 0}, bf16, codes, scales);
        }
        check_kernel(&(call){form, twice, 4, NULL, rows, 0}, bf16, codes, scales);
        /* ids 0 and 8 are another part's */
        check_kernel(&(call){form, least, 1, ids, rows + 1, 2}, bf16, codes, scales);
    }
}

/* Of every code and scale, those that no checkpoint may have too: infinities and NaN of e4m3 and e5m2. */
static void kernels_are_the_definition(void **state) {
    (void)state;
    for (int s = BL_STORED_PLAIN + 1; s < BL_STORAGE_COUNT; s++) {
        check_form((bl_small){.storage = (bl_storage)s});
        if (bl_storage_of((bl_storage)s)->values == 1) {
            check_form((bl_small){.storage = (bl_storage)s, .scaled = true});
        }
    }
    for (int group = 4; group <= COLUMNS; group *= 4) {
        check_form((bl_small){.storage = BL_STORED_I8, .scaled = true, .rotation = group});
    }
}

/* ---- networks */

static void run(stock_run *r, bl_device *d, const bl_graph *g, stock *s, how h, double *widened) {
    const bl_source source = stock_source(s);
    stock_begin(r, g);
    h.source = &source;
    h.widened = widened;
    run_well(d, g, h, r->inputs, r->outputs);
}

static void late_is_early(void **state) {
    static const how ways[] = {{.store = false}, {.store = true}, {.store = true, .unpinned = true}};
    (void)state;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        bl_graph *g = stock_network(bf16 ? BL_BF16 : BL_F32, 2);
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
            bl_device *d = open_fake(&(fake_script){.seed = i + 3});
            stock early = {.rotation = 64, .in_turn = true, .wide = true}, late = early;
            stock_run a, b;
            double none = 1, some = 0;
            late.wide = false;
            run(&a, d, g, &early, ways[i], &none);
            run(&b, d, g, &late, ways[i], &some);
            assert_true(none == 0 && some > 0);
            stock_same(&a, &b, bf16 ? "BF16" : "F32", (int)i);
            stock_end(&a);
            stock_end(&b);
            close_fake(&d);
        }
        bl_graph_free(&g);
    }
}

/* What lies in the store and the region are codes, what they are widened to is in the arena, and both are in
 * the plan: with an adapter on one of its weights a block is wide. */
static void blocks_are_as_small_as_stored(void **state) {
    (void)state;
    bl_error err = {0};
    bl_device *d = open_fake(&(fake_script){.seed = 1});
    bl_graph *g = stock_network(BL_BF16, 1);
    stock s[2] = {{.stored = {BL_STORED_Q8_0, BL_STORED_Q8_0, BL_STORED_Q8_0}},
                  {.stored = {BL_STORED_Q8_0, BL_STORED_Q8_0, BL_STORED_Q8_0}, .wide = true}};
    bl_device_module *m[2];
    bl_executable *x[2];
    bl_exec_info info[2];
    for (int i = 0; i < 2; i++) {
        bl_source source = stock_source(&s[i]);
        assert_int_equal(bl_device_module_open(&m[i], d, g, &source, &err), 0);
        assert_int_equal(bl_device_prepare(&x[i], d, m[i], g, &(bl_prepare_options){0}, &err), 0);
        info[i] = bl_device_executable_info(d, x[i]);
    }
    assert_null(info[1].block_widened);
    assert_null(info[1].block_widen_seconds);
    for (int b = 0; b < g->block_count; b++) {
        const bl_block_cost *small = &bl_device_module_costs(d, m[0])[b];
        const bl_block_cost *wide = &bl_device_module_costs(d, m[1])[b];
        uint64_t stored = 0; /* to the byte */
        for (int i = g->blocks[b].first_weight; i < g->blocks[b].first_weight + g->blocks[b].weight_count;
             i++) {
            const bl_weight *w = &g->weights[i];
            const uint64_t values = (uint64_t)bl_weight_elements(w);
            stored += w->kind == BL_W_VECTOR ? 0 : values / 32 * 34;
        }
        assert_true(small->packed_bytes >= stored && small->packed_bytes < stored + 32768);
        assert_true(small->packed_bytes == small->small_bytes && small->wide_bytes == wide->packed_bytes);
        assert_true(wide->small_bytes == 0 && wide->wide_bytes == 0);
        assert_true(info[0].block_widened[b] >= WIDE * WIDE);
        const double widen = info[0].block_widen_seconds[b];
        assert_true(widen > 0 && fabs(info[0].block_seconds[b] - info[1].block_seconds[b] - widen) < 1e-12);
    }
    /* the largest is the gate, [8 WIDE, WIDE]; its own scratch is there at the same time */
    assert_true(info[0].arena_bytes >= info[1].arena_bytes);
    assert_true(info[0].arena_bytes >= (uint64_t)8 * WIDE * WIDE * 2);
    for (int wide = 1; wide >= 0; wide--) { /* an adapter comes, and goes */
        s[0].wide = wide;
        bl_device_module_refresh(d, m[0]);
        for (int b = 0; b < g->block_count; b++) {
            const bl_block_cost *now = &bl_device_module_costs(d, m[0])[b];
            assert_true(now->packed_bytes == (wide ? now->wide_bytes : now->small_bytes));
        }
    }
    for (int i = 0; i < 2; i++) {
        bl_device_executable_close(d, x[i]);
        bl_device_module_close(d, m[i]);
    }
    bl_graph_free(&g);
    close_fake(&d);
}

/* As CUDA's graphs, too: what is captured while a block is small is not what runs while it is wide. */
static void small_and_wide_as_graphs(void **state) {
    (void)state;
    bl_error err = {0};
    bl_device *d = open_fake(&(fake_script){.seed = 2});
    bl_graph *g = stock_network(BL_F32, 1);
    stock s = {.rotation = 16, .in_turn = true};
    bl_source source = stock_source(&s);
    const bl_prepare_options options = {.tuning = {.graphs = 2}};
    bl_device_module *m;
    bl_executable *x;
    bl_region *r;
    uint64_t offsets[MOST_BLOCKS], at;
    double before = 0;
    bool lost;
    stock_run first, now;
    assert_int_equal(bl_device_module_open(&m, d, g, &source, &err), 0);
    assert_int_equal(bl_device_prepare(&x, d, m, g, &options, &err), 0);
    at = bl_device_executable_info(d, x).arena_bytes;
    for (int b = 0; b < g->block_count; b++) {
        offsets[b] = at;
        at += bl_device_module_costs(d, m)[b].wide_bytes;
    }
    assert_int_equal(bl_device_region_open(&r, d, at, &err), 0);
    stock_begin(&first, g);
    stock_begin(&now, g);
    for (int pass = 0; pass < 12; pass++) { /* four small, four wide, four small */
        stock_run *to = pass ? &now : &first;
        bl_binding binding = {
            .region = r, .block_offset = offsets, .inputs = to->inputs, .outputs = to->outputs};
        s.wide = pass / 4 == 1;
        bl_device_module_refresh(d, m);
        for (int b = 0; b < g->block_count && pass % 4 == 0; b++) {
            assert_int_equal(
                bl_device_pack(d, m, b, bl_device_region_host(d, r), offsets[b], BL_STREAM_COMPUTE, &err), 0);
        }
        for (int b = 0; b < g->block_count; b++) {
            assert_int_equal(bl_device_run(d, x, b, &binding, BL_STREAM_COMPUTE, &err), 0);
        }
        assert_int_equal(bl_device_sync(d, &lost, &err), 0);
        stock_same(to, &first, "as graphs", pass);
        const double after = bl_device_executable_widened(d, x);
        assert_true(s.wide ? after == before : after > before);
        before = after;
    }
    assert_true(fake_graphs() >= 6);
    bl_device_executable_close(d, x);
    bl_device_region_close(d, r);
    bl_device_module_close(d, m);
    stock_end(&first);
    stock_end(&now);
    bl_graph_free(&g);
    close_fake(&d);
}

/* Whatever call fails: a message, nothing left open, or the right bits. */
static void calls_that_fail(void **state) {
    (void)state;
    bl_graph *g = stock_network(BL_BF16, 1);
    stock s = {.in_turn = true};
    bl_source source = stock_source(&s);
    stock_run wanted, got;
    int calls = 1, refused = 0;
    stock_begin(&wanted, g);
    for (int i = 0; i < calls; i += 37) {
        bl_error err = {0};
        bl_device *d = NULL;
        stock_run *to = i ? &got : &wanted;
        if (i) {
            stock_begin(&got, g);
        }
        int rc = bl_cuda_open(&d, fake_begin(&(fake_script){.seed = 1, .fail = i}), "", NULL, &err);
        rc = rc ? rc : run_on(d, g, (how){.store = i % 2, .source = &source}, to->inputs, to->outputs, &err);
        bl_device_close(&d);
        calls = i ? calls : fake_calls();
        const char *fault = fake_end();
        if (fault || (rc && !err.message[0])) {
            fail_msg("call %d: %s", i, fault ? fault : "no message");
        }
        if (i) {
            refused += rc != 0;
            if (!rc) {
                stock_same(&got, &wanted, "a call that fails", i);
            }
            stock_end(&got);
        }
    }
    assert_true(calls > 200 && refused > calls / 37 / 2);
    stock_end(&wanted);
    bl_graph_free(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_are_the_definition),
        cmocka_unit_test(late_is_early),
        cmocka_unit_test(blocks_are_as_small_as_stored),
        cmocka_unit_test(small_and_wide_as_graphs),
        cmocka_unit_test(calls_that_fail),
    };
    setenv("XDG_CACHE_HOME", "/nonexistent", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
