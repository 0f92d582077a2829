/* Each table of kernels that this CPU can run against the plain one, on random and on extreme input, in both
 * types and at lengths around the vectors' width. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/checked.h"
#include "core/dtype.h"
#include "core/storage.h"
#include "device/cpu/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST 4096

static const int lengths[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 100, 320};
#define LENGTHS (sizeof lengths / sizeof *lengths)

typedef struct variant {
    const bl_kernels *table;
    bool bf16;
} variant;

static int variants(variant *out) {
    int n = 0;
    for (bl_cpu_isa isa = BL_ISA_AVX2; isa <= bl_cpu_isa_find(BL_ISA_BEST); isa++) {
        for (int bf16 = 0; bf16 < 2; bf16++) {
            out[n++] = (variant){bl_kernels_for(isa), bf16};
        }
    }
    return n;
}

static const bl_typed_kernels *tested(const variant *v) {
    return v->bf16 ? &v->table->bf16 : &v->table->f32;
}

static const bl_typed_kernels *plain(const variant *v) {
    return v->bf16 ? &bl_kernels_plain.bf16 : &bl_kernels_plain.f32;
}

/* Random numbers of many sizes; with `extreme` also zeros, infinities, NaN, the smallest and the largest. */
static void fill(float *x, int n, unsigned seed, bool extreme) {
    static const float odd[] = {0.0f,     -0.0f,    INFINITY, -INFINITY, NAN,    1e-45f,  -1e-45f, 3.4e38f,
                                -3.4e38f, 1.2e-38f, 88.8f,    -88.8f,    104.0f, -104.0f, 1e4f,    -1e4f};
    for (int i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        float v = (float)(seed >> 8) / 8388608.0f - 1.0f;
        x[i] = extreme && seed % 3 == 0 ? odd[seed / 3 % 16] : v * (seed % 5 ? 4.0f : 30.0f);
    }
}

static void store(void *y, const float *x, int n, bool bf16) {
    bl_convert(y, bf16 ? BL_BF16 : BL_F32, x, BL_F32, (size_t)n);
}

static void read_back(float *y, const void *x, int n, bool bf16) {
    bl_convert(y, BL_F32, x, bf16 ? BL_BF16 : BL_F32, (size_t)n);
}

/* Equal up to `relative` of the value and `absolute`; NaN and infinities exactly. */
static void check(const variant *v, const char *what, const void *got, const void *want, int n,
                  float relative, float absolute) {
    float a[MOST], b[MOST];
    read_back(a, got, n, v->bf16);
    read_back(b, want, n, v->bf16);
    relative += v->bf16 ? 1.0f / 128 : 0.0f; /* one step of bf16 */
    for (int i = 0; i < n; i++) {
        bool same = isnan(a[i]) ? isnan(b[i])
                                : a[i] == b[i] || fabsf(a[i] - b[i]) <= fabsf(b[i]) * relative + absolute;
        if (!same) {
            fail_msg("%s %s %s: element %d of %d is %g, not %g", v->table->name, v->bf16 ? "bf16" : "f32",
                     what, i, n, (double)a[i], (double)b[i]);
        }
    }
}

typedef struct buffers {
    float raw[3][MOST];
    float in[3][MOST], got[MOST], want[MOST]; /* of either type */
} buffers;

static void prepare(buffers *b, int n, unsigned seed, bool extreme, bool bf16) {
    for (int i = 0; i < 3; i++) {
        fill(b->raw[i], n, seed + (unsigned)i * 77, extreme);
        store(b->in[i], b->raw[i], n, bf16);
    }
    memset(b->got, 0x55, sizeof b->got);
    memcpy(b->want, b->got, sizeof b->want);
}

static void elementwise(void **state) {
    (void)state;
    variant all[8];
    static buffers b;
    for (int i = 0, n = variants(all); i < n; i++) {
        const bl_typed_kernels *k = tested(&all[i]), *p = plain(&all[i]);
        for (size_t j = 0; j < LENGTHS * 2; j++) {
            int length = lengths[j / 2];
            bool extreme = j % 2;
            prepare(&b, length, (unsigned)j + 1, extreme, all[i].bf16);
            k->from_f32(b.got, b.raw[0], length);
            p->from_f32(b.want, b.raw[0], length);
            assert_memory_equal(b.got, b.want, sizeof b.got); /* what is behind the end too */
            k->to_f32(b.got, b.in[0], length);
            p->to_f32(b.want, b.in[0], length);
            check(&(variant){all[i].table, false}, "to_f32", b.got, b.want, length, 0, 0);
            k->add(b.got, b.in[0], b.in[1], length);
            p->add(b.want, b.in[0], b.in[1], length);
            check(&all[i], "add", b.got, b.want, length, 0, 0);
            const bl_act acts[] = {BL_ACT_SILU, BL_ACT_GELU, BL_ACT_QUICK_GELU, BL_ACT_GELU_TANH};
            for (size_t m = 0; m < sizeof acts / sizeof *acts; m++) {
                const bl_act act = acts[m];
                k->act(b.got, b.in[0], length, act);
                p->act(b.want, b.in[0], length, act);
                /* The cube's rounding is in the exponent: far below zero few digits are left. */
                check(&all[i], "act", b.got, b.want, length, 2e-6f, act == BL_ACT_GELU_TANH ? 1e-9f : 1e-30f);
            }
            k->gate(b.got, b.in[0], b.in[1], length);
            p->gate(b.want, b.in[0], b.in[1], length);
            check(&all[i], "gate", b.got, b.want, length, 4e-6f, 1e-30f);
        }
    }
}

static void rows(void **state) {
    (void)state;
    variant all[8];
    static buffers b;
    for (int i = 0, n = variants(all); i < n; i++) {
        const bl_typed_kernels *k = tested(&all[i]), *p = plain(&all[i]);
        for (size_t j = 0; j < LENGTHS; j++) {
            int c = lengths[j], count = 11;
            prepare(&b, c * count, (unsigned)j + 1, false, all[i].bf16);
            k->layer_norm(b.got, b.in[0], b.raw[1], b.raw[2], count, c, 1e-5f);
            p->layer_norm(b.want, b.in[0], b.raw[1], b.raw[2], count, c, 1e-5f);
            check(&all[i], "layer_norm", b.got, b.want, c * count, 1e-5f, 1e-4f);
            k->rms_norm(b.got, b.in[0], b.raw[1], count, c, 1e-6f);
            p->rms_norm(b.want, b.in[0], b.raw[1], count, c, 1e-6f);
            check(&all[i], "rms_norm", b.got, b.want, c * count, 1e-5f, 0);
            k->add_row(b.got, b.in[0], b.raw[1], count, c);
            p->add_row(b.want, b.in[0], b.raw[1], count, c);
            check(&all[i], "add_row", b.got, b.want, c * count, 0, 0);
            k->scale_shift(b.got, b.in[0], b.raw[1], b.raw[2], count, c, BL_ACT_SILU);
            p->scale_shift(b.want, b.in[0], b.raw[1], b.raw[2], count, c, BL_ACT_SILU);
            check(&all[i], "scale_shift", b.got, b.want, c * count, 1e-5f, 1e-4f);
            for (int groups = 1; groups <= c; groups++) {
                bl_moments got[320], want[320];
                if (c % groups) {
                    continue;
                }
                k->group_moments(got, b.in[0], count, c, groups);
                p->group_moments(want, b.in[0], count, c, groups);
                for (int g = 0; g < groups; g++) {
                    assert_true(fabs(got[g].mean - want[g].mean) <= 1e-5 * sqrt(want[g].square + 1));
                    assert_true(fabs(got[g].square - want[g].square) <= 1e-5 * (want[g].square + 1));
                }
            }
        }
    }
}

/* The whole output of one table's attention. */
static void attend(const bl_typed_kernels *k, bl_attention_job *a) {
    a->packed = aligned_alloc(64, (k->attention_packed(a) + 63) / 64 * 64);
    void *scratch = aligned_alloc(64, (k->attention_scratch(a) + 63) / 64 * 64);
    k->attention_pack(a, 0, k->attention_pack_items(a));
    k->attention_run(a, 0, k->attention_items(a), scratch);
    free(scratch);
    free(a->packed);
}

static void attention(void **state) {
    (void)state;
    static const struct {
        int rows, keys, heads, dim;
        bool causal;
        float size; /* of the queries: large ones make softmax pick one key */
    } cases[] = {{5, 9, 2, 8, false, 1},
                 {33, 33, 1, 40, true, 1},
                 {3, 300, 1, 13, false, 1000},
                 {50, 2, 1, 64, false, 0}};
    variant all[8];
    static buffers b;
    for (int i = 0, n = variants(all); i < n; i++) {
        for (size_t j = 0; j < sizeof cases / sizeof *cases; j++) {
            int c = cases[j].heads * cases[j].dim;
            prepare(&b, MOST, (unsigned)j + 9, false, false);
            for (int e = 0; e < MOST; e++) {
                b.raw[0][e] *= cases[j].size / 4;
            }
            for (int t = 0; t < 3; t++) {
                store(b.in[t], b.raw[t], MOST, all[i].bf16);
            }
            bl_attention_job a = {.q = b.in[0],
                                  .k = b.in[1],
                                  .v = b.in[2],
                                  .q_stride = c,
                                  .k_stride = c,
                                  .v_stride = c,
                                  .y_stride = c,
                                  .heads = cases[j].heads,
                                  .kv_heads = cases[j].heads,
                                  .head_dim = cases[j].dim,
                                  .q_rows = cases[j].rows,
                                  .k_rows = cases[j].keys,
                                  .scale = 0.2f,
                                  .causal = cases[j].causal};
            a.y = b.got;
            attend(tested(&all[i]), &a);
            a.y = b.want;
            attend(plain(&all[i]), &a);
            check(&all[i], "attention", b.got, b.want, cases[j].rows * c, all[i].bf16 ? 1e-2f : 1e-4f,
                  all[i].bf16 ? 2e-1f : 1e-4f);
        }
    }
}

/* Any cut of the work gives the same bits: that is what makes results independent of the number of threads.
 */
static void cuts(void **state) {
    (void)state;
    enum { queries = 150, keys = 40, dim = 24 };
    variant all[8];
    static buffers b;
    for (int i = 0, n = variants(all); i < n; i++) {
        const bl_typed_kernels *k = tested(&all[i]);
        prepare(&b, MOST, 5, false, all[i].bf16);
        bl_attention_job a = {.q = b.in[0],
                              .k = b.in[1],
                              .v = b.in[2],
                              .y = b.want,
                              .q_stride = dim,
                              .k_stride = dim,
                              .v_stride = dim,
                              .y_stride = dim,
                              .heads = 1,
                              .kv_heads = 1,
                              .head_dim = dim,
                              .q_rows = queries,
                              .k_rows = keys,
                              .scale = 0.2f};
        memset(b.want, 0x55, sizeof b.want);
        attend(k, &a);
        a.y = b.got;
        a.packed = aligned_alloc(64, (k->attention_packed(&a) + 63) / 64 * 64);
        void *scratch = aligned_alloc(64, (k->attention_scratch(&a) + 63) / 64 * 64);
        for (int64_t item = k->attention_pack_items(&a) - 1; item >= 0; item--) {
            k->attention_pack(&a, item, item + 1);
        }
        for (int64_t item = k->attention_items(&a) - 1; item >= 0; item--) {
            k->attention_run(&a, item, item + 1, scratch);
        }
        assert_memory_equal(b.got, b.want, sizeof b.got);
        free(scratch);
        free(a.packed);
    }
}

/* Words of any bits, rows further apart than they are long, and places in no order. */
static void transpose(void **state) {
    (void)state;
    enum { most = 320, stride = most + 3, height = BL_TRANSPOSE_ROWS };
    static uint32_t src[height * stride], want[most * height], got[most * height];
    uint32_t seed = 5;
    for (int i = 0; i < height * stride; i++) {
        src[i] = seed = seed * 1664525u + 1013904223u;
    }
    const bl_kernels *tables[] = {&bl_kernels_plain, bl_kernels_for(BL_ISA_AVX2),
                                  bl_kernels_for(bl_cpu_isa_find(BL_ISA_BEST))};
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
        for (size_t l = 0; l < LENGTHS; l++) {
            int64_t place[most], n = lengths[l];
            for (int64_t i = 0; i < n; i++) {
                place[i] = (n - 1 - i) * height;
            }
            memset(want, 0xa5, sizeof want);
            for (int64_t i = 0; i < n; i++) {
                for (int r = 0; r < height; r++) {
                    want[place[i] + r] = src[r * stride + i];
                }
            }
            for (int past = 0; past < 2; past++) {
                memset(got, 0xa5, sizeof got);
                tables[t]->transpose(got, place, src, stride, n, past);
                assert_memory_equal(got, want, sizeof want);
            }
        }
    }
}

/* Every scale that F16 has, infinities, NaN and subnormals too, to codes of both signs. */
static void widening(void **state) {
    (void)state;
    enum { height = BL_TRANSPOSE_ROWS, blocks = 65536 / height, bytes = 34, pairs = 16 };
    const size_t size = (size_t)blocks * pairs * height * sizeof(uint32_t);
    uint8_t *codes = malloc((size_t)65536 * bytes);
    uint32_t *want = malloc(size), *got = aligned_alloc(BL_ALIGN, size);
    int64_t *place = malloc((size_t)blocks * pairs * sizeof *place);
    assert_true(codes && want && got && place);
    for (size_t i = 0; i < 65536; i++) {
        float values[2 * pairs];
        uint8_t *b = codes + i * bytes;
        b[0] = (uint8_t)i;
        b[1] = (uint8_t)(i >> 8);
        for (size_t k = 0; k < 2 * pairs; k++) {
            b[2 + k] = (uint8_t)((i * 37 + k * 101) >> 2);
        }
        bl_widen(values, BL_STORED_Q8_0, b, 1);
        for (size_t k = 0; k < pairs; k++) {
            want[(i % blocks * pairs + k) * height + i / blocks] =
                bl_f32_to_bf16(values[2 * k]) | (uint32_t)bl_f32_to_bf16(values[2 * k + 1]) << 16;
        }
    }
    for (int64_t i = 0; i < blocks * pairs; i++) {
        place[i] = i * height;
    }
    const bl_kernels *tables[] = {&bl_kernels_plain, bl_kernels_for(bl_cpu_isa_find(BL_ISA_AVX2)),
                                  bl_kernels_for(bl_cpu_isa_find(BL_ISA_AVX512)),
                                  bl_kernels_for(bl_cpu_isa_find(BL_ISA_BEST))};
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
        memset(got, 0xa5, size);
        tables[t]->widen_q8_0(got, place, codes, (int64_t)blocks * bytes, blocks);
        assert_memory_equal(got, want, size);
    }
    free(place);
    free(got);
    free(want);
    free(codes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transpose), cmocka_unit_test(widening),  cmocka_unit_test(elementwise),
        cmocka_unit_test(rows),      cmocka_unit_test(attention), cmocka_unit_test(cuts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
