#include "support/synth.h"

#include "checkpoint/hash.h"
#include "core/parallel.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- one tensor */

static uint64_t fnv1a(uint64_t h, const char *text) {
    for (; *text; text++) {
        h = (h ^ (unsigned char)*text) * 0x100000001b3u;
    }
    return h;
}

typedef struct maker {
    uint64_t key;
    int64_t offset;
    float scale;
    bool f16_exact;
    float *out;
} maker;

static void make_range(void *context, int64_t begin, int64_t end, int thread) {
    const maker *m = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        uint64_t s = m->key + (uint64_t)(i + 1) * 0x9e3779b97f4a7c15u;
        s = (s ^ s >> 30) * 0xbf58476d1ce4e5b9u;
        s = (s ^ s >> 27) * 0x94d049bb133111ebu;
        s ^= s >> 31;
        int64_t n = (int64_t)((s & 0xffff) + (s >> 16 & 0xffff) + (s >> 32 & 0xffff) + (s >> 48)) - 131070;
        float w = (float)(n + m->offset) * m->scale;
        m->out[i] = m->f16_exact ? bl_f16_to_f32(bl_f32_to_f16(w)) : w;
    }
}

static int64_t elements(const json_t *shape) {
    int64_t n = 1;
    for (size_t i = 0; i < json_array_size(shape); i++) {
        n *= json_integer_value(json_array_get(shape, i));
    }
    return n;
}

/* `entry`: [name, shape, scale, offset] or [name, shape, scale, offset, fixed]. Owner: the caller; free(). */
static float *make_tensor(const json_t *weights, const char *component, const json_t *entry) {
    char seed[32];
    snprintf(seed, sizeof seed, "%lld", (long long)json_integer_value(json_object_get(weights, "seed")));
    const char *const words[] = {seed,
                                 ":",
                                 json_string_value(json_object_get(weights, "family")),
                                 ":",
                                 component,
                                 ":",
                                 json_string_value(json_array_get(entry, 0))};
    maker m = {.key = 0xcbf29ce484222325u};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        m.key = fnv1a(m.key, words[i]);
    }
    int64_t n = elements(json_array_get(entry, 1));
    m.scale = (float)json_number_value(json_array_get(entry, 2));
    m.offset = json_integer_value(json_array_get(entry, 3));
    m.f16_exact = json_is_true(json_object_get(weights, "f16_exact"));
    m.out = malloc((size_t)n * sizeof(float));
    assert_non_null(m.out);
    bl_parallel_for(n, 1 << 18, make_range, &m);
    size_t i;
    json_t *fixed;
    json_array_foreach(json_array_get(entry, 4), i, fixed) {
        m.out[json_integer_value(json_array_get(fixed, 0))] =
            (float)json_number_value(json_array_get(fixed, 1));
    }
    return m.out;
}

/* ---- the tensors of a single file that are not weights */

/* The DDPM buffers that LDM's files carry: 1000 steps, "scaled linear" betas. */
static float *make_schedule(const char *key) {
    float *out = malloc(1000 * sizeof *out);
    assert_non_null(out);
    double first = pow(0.00085, 0.5), last = pow(0.012, 0.5), step = (last - first) / 999, product = 1;
    for (int i = 0; i < 1000; i++) {
        double root = i == 999 ? last : i * step + first, beta = root * root, before = product;
        product *= 1 - beta;
        double var = beta * (1 - before) / (1 - product);
        const struct {
            const char *key;
            double value;
        } values[] = {{"betas", beta},
                      {"alphas_cumprod", product},
                      {"alphas_cumprod_prev", before},
                      {"sqrt_alphas_cumprod", sqrt(product)},
                      {"sqrt_one_minus_alphas_cumprod", sqrt(1 - product)},
                      {"log_one_minus_alphas_cumprod", log(1 - product)},
                      {"sqrt_recip_alphas_cumprod", sqrt(1 / product)},
                      {"sqrt_recipm1_alphas_cumprod", sqrt(1 / product - 1)},
                      {"posterior_variance", var},
                      {"posterior_log_variance_clipped", log(fmax(var, 1e-20))},
                      {"posterior_mean_coef1", beta * sqrt(before) / (1 - product)},
                      {"posterior_mean_coef2", (1 - before) * sqrt(1 - beta) / (1 - product)}};
        size_t k = 0;
        while (strcmp(values[k].key, key) != 0) {
            k++;
        }
        out[i] = (float)values[k].value;
    }
    return out;
}

static void set_shape(bl_tensor_data *t, const json_t *shape) {
    t->rank = (int)json_array_size(shape);
    for (int i = 0; i < t->rank; i++) {
        t->shape[i] = json_integer_value(json_array_get(shape, (size_t)i));
    }
}

/* [key, "const" | "arange" | "schedule", dtype, value or shape] */
static void make_other(bl_tensor_data *t, const json_t *item, const char *op) {
    bool ints = strcmp(json_string_value(json_array_get(item, 2)), "I32") == 0;
    json_t *last = json_array_get(item, 3);
    t->dtype = ints ? BL_I32 : BL_F32;
    if (strcmp(op, "schedule") == 0) {
        set_shape(t, last);
        t->data = make_schedule(t->name);
    } else if (strcmp(op, "arange") == 0) {
        t->dtype = BL_I64;
        set_shape(t, last);
        int64_t n = elements(last), *out = malloc((size_t)n * sizeof *out);
        assert_non_null(out);
        for (int64_t i = 0; i < n; i++) {
            out[i] = i;
        }
        t->data = out;
    } else {
        float *out = malloc(sizeof *out); /* one F32 or I32 */
        assert_non_null(out);
        int32_t whole = (int32_t)json_integer_value(last);
        *out = (float)json_number_value(last);
        if (ints) {
            memcpy(out, &whole, sizeof whole);
        }
        t->data = out;
    }
}

/* [key, "copy" | "conv1x1" | "transpose" | "concat", component, index...] */
static void make_weight(bl_tensor_data *t, const json_t *weights, const json_t *item, const char *op) {
    const char *component = json_string_value(json_array_get(item, 2));
    json_t *list = json_object_get(json_object_get(weights, "components"), component);
    float *parts[3] = {NULL, NULL, NULL};
    int count = (int)json_array_size(item) - 3;
    for (int i = 0; i < count; i++) {
        json_t *entry =
            json_array_get(list, (size_t)json_integer_value(json_array_get(item, (size_t)(3 + i))));
        parts[i] = make_tensor(weights, component, entry);
        set_shape(t, json_array_get(entry, 1));
    }
    t->dtype = BL_F32;
    t->data = parts[0];
    if (strcmp(op, "conv1x1") == 0) {
        t->shape[t->rank++] = 1;
        t->shape[t->rank++] = 1;
    } else if (strcmp(op, "transpose") == 0) {
        int64_t rows = t->shape[0], columns = t->shape[1];
        float *out = malloc((size_t)(rows * columns) * sizeof *out); /* [columns][rows] */
        assert_non_null(out);
        for (int64_t i = 0; i < rows * columns; i++) {
            out[i % columns * rows + i / columns] = parts[0][i];
        }
        free(parts[0]);
        t->data = out;
        t->shape[0] = columns;
        t->shape[1] = rows;
    } else if (strcmp(op, "concat") == 0) {
        size_t n = (size_t)t->shape[0] * (size_t)(t->rank > 1 ? t->shape[1] : 1);
        float *out = malloc(3 * n * sizeof *out);
        assert_non_null(out);
        for (int i = 0; i < 3; i++) {
            memcpy(out + (size_t)i * n, parts[i], n * sizeof *out);
            free(parts[i]);
        }
        t->data = out;
        t->shape[0] *= 3;
    }
}

/* ---- files */

static void write_file(const char *path, bl_tensor_data *tensors, int count, const json_t *metadata) {
    const char *pairs[32], *key;
    json_t *value;
    int n = 0;
    json_object_foreach((json_t *)(uintptr_t)metadata, key, value) {
        pairs[2 * n] = key;
        pairs[2 * n++ + 1] = json_string_value(value);
    }
    bl_error err;
    if (bl_safetensors_write(path, tensors, count, pairs, n, &err)) {
        fail_msg("%s", err.message);
    }
    for (int i = 0; i < count; i++) {
        free((void *)(uintptr_t)tensors[i].data);
    }
    free(tensors);
}

static void build_single(const char *path, const json_t *weights, bool f16) {
    json_t *items = json_object_get(weights, "single_file");
    size_t count = json_array_size(items);
    bl_tensor_data *tensors = calloc(count, sizeof *tensors);
    assert_non_null(tensors);
    for (size_t i = 0; i < count; i++) {
        json_t *item = json_array_get(items, i);
        const char *op = json_string_value(json_array_get(item, 1));
        bl_tensor_data *t = &tensors[i];
        t->name = json_string_value(json_array_get(item, 0));
        if (strcmp(op, "const") == 0 || strcmp(op, "arange") == 0 || strcmp(op, "schedule") == 0) {
            make_other(t, item, op);
        } else {
            make_weight(t, weights, item, op);
        }
        if (f16 && t->dtype == BL_F32) {
            size_t n = 1;
            for (int d = 0; d < t->rank; d++) {
                n *= (size_t)t->shape[d];
            }
            void *half = malloc(n * 2);
            assert_non_null(half);
            assert_int_equal(bl_convert(half, BL_F16, t->data, BL_F32, n), 0);
            free((void *)(uintptr_t)t->data);
            t->data = half;
            t->dtype = BL_F16;
        }
    }
    write_file(path, tensors, (int)count, json_object_get(weights, "metadata"));
}

static void build_component(const char *path, const json_t *weights, const char *component) {
    json_t *list = json_object_get(json_object_get(weights, "components"), component), *entry;
    size_t count = json_array_size(list), i;
    bl_tensor_data *tensors = calloc(count, sizeof *tensors);
    assert_non_null(tensors);
    json_array_foreach(list, i, entry) {
        tensors[i].name = json_string_value(json_array_get(entry, 0));
        tensors[i].dtype = BL_F32;
        tensors[i].data = make_tensor(weights, component, entry);
        set_shape(&tensors[i], json_array_get(entry, 1));
    }
    json_t *metadata = json_pack("{s:s}", "format", "pt");
    write_file(path, tensors, (int)count, metadata);
    json_decref(metadata);
}

static void check_digest(const char *path, const json_t *weights, const char *name) {
    const char *expected = json_string_value(json_object_get(json_object_get(weights, "sha256"), name));
    char digest[BL_HASH_TEXT];
    bl_error err;
    bl_hash *h;
    int rc = bl_hash_open(&h, path, &err);
    rc = rc ? rc : bl_hash_go_on(digest, h, NULL, NULL, &err);
    bl_hash_close(&h);
    if (rc) {
        fail_msg("%s", err.message);
    }
    if (!expected || strcmp(digest, expected) != 0) {
        unlink(path);
        fail_msg("%s was rebuilt with SHA-256 %s; it should be %s", name, digest,
                 expected ? expected : "in weights.json");
    }
}

static void make_folder(const char *path) {
    if (mkdir(path, 0777) && errno != EEXIST) {
        fail_msg("cannot make %s: %s", path, strerror(errno));
    }
}

/* Copies a configuration file of tests/data, if it is there. */
static void copy_config(const char *folder, const char *family, const char *name) {
    char from[BL_TEST_PATH], source[BL_TEST_PATH], to[BL_TEST_PATH + 64], part[BL_TEST_PATH + 80];
    snprintf(source, sizeof source, "%s/diffusers/%s", family, name);
    bl_test_data(from, source);
    if (access(from, F_OK)) {
        return;
    }
    snprintf(to, sizeof to, "%s/%s", folder, name);
    snprintf(part, sizeof part, "%s.part", to);
    json_t *config = bl_test_json(source);
    if (json_dump_file(config, part, JSON_COMPACT) || rename(part, to)) {
        fail_msg("cannot write %s: %s", to, strerror(errno));
    }
    json_decref(config);
}

static void build_folder(const char *folder, const json_t *weights, const char *family) {
    const char *component;
    json_t *file;
    char path[BL_TEST_PATH + 64], name[BL_TEST_PATH];
    json_object_foreach(json_object_get(weights, "files"), component, file) {
        snprintf(path, sizeof path, "%s/%s", folder, component);
        make_folder(path);
        snprintf(path, sizeof path, "%s/%s", folder, json_string_value(file));
        if (access(path, F_OK)) {
            build_component(path, weights, component);
            snprintf(name, sizeof name, "diffusers/%s", json_string_value(file));
            if (json_object_size(json_object_get(weights, "sha256"))) {
                check_digest(path, weights, name);
            }
        }
        snprintf(name, sizeof name, "%s/config.json", component);
        copy_config(folder, family, name);
    }
    snprintf(path, sizeof path, "%s/scheduler", folder);
    make_folder(path);
    copy_config(folder, family, "scheduler/scheduler_config.json");
    copy_config(folder, family, "model_index.json");
}

static void cache_folder(char path[BL_TEST_PATH]) {
    const char *wanted = getenv("BALLAST_TEST_CACHE");
    if (wanted) {
        snprintf(path, BL_TEST_PATH, "%s", wanted);
    } else { /* programs lie in <build>/bin */
        char self[BL_TEST_PATH];
        ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
        assert_true(n > 0);
        self[n] = '\0';
        n = snprintf(path, BL_TEST_PATH, "%.*s/../test-checkpoints", (int)(strrchr(self, '/') - self), self);
        assert_true(n < BL_TEST_PATH);
    }
    make_folder(path);
}

/* Of the cache, by the thread that builds in it. What fails a test leaves with the lock held: then the next
 * of this thread that takes it gives that one back first. */
static _Thread_local int lock = -1;

static void give_lock(void) {
    close(lock);
    lock = -1;
}

static void take_lock(const char *cache) {
    char path[BL_TEST_PATH];
    if (lock >= 0) {
        give_lock();
    }
    snprintf(path, sizeof path, "%.4000s/lock", cache);
    lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    assert_true(lock >= 0 && flock(lock, LOCK_EX) == 0);
}

void bl_synth_checkpoint(char path[BL_TEST_PATH], const char *family, bl_synth_layout layout) {
    char cache[BL_TEST_PATH], name[BL_TEST_PATH];
    static const char *const files[] = {[BL_SYNTH_SINGLE] = "single_file/model.safetensors",
                                        [BL_SYNTH_SINGLE_F16] = "single_file/model_f16.safetensors",
                                        [BL_SYNTH_FOLDER] =
                                            "diffusers/unet/diffusion_pytorch_model.safetensors"};
    snprintf(name, sizeof name, "%s/weights.json", family);
    json_t *weights = bl_test_json(name);
    const char *digest =
        json_string_value(json_object_get(json_object_get(weights, "sha256"), files[layout]));
    assert_non_null(digest);
    cache_folder(cache);
    int n = snprintf(path, BL_TEST_PATH, "%s/%s-%.16s%s", cache, family, digest,
                     layout == BL_SYNTH_FOLDER ? "" : ".safetensors");
    assert_true(n < BL_TEST_PATH);
    take_lock(cache);
    if (layout == BL_SYNTH_FOLDER) {
        make_folder(path);
        build_folder(path, weights, family);
    } else if (access(path, F_OK)) {
        build_single(path, weights, layout == BL_SYNTH_SINGLE_F16);
        check_digest(path, weights, files[layout]);
    }
    give_lock();
    json_decref(weights);
}

/* A path below the cache that is another for other weights; takes the lock. */
static void lock_path(char path[BL_TEST_PATH], const json_t *weights, const char *name, const char *suffix) {
    char cache[BL_TEST_PATH];
    char *text = json_dumps(weights, JSON_COMPACT | JSON_SORT_KEYS);
    assert_non_null(text);
    const unsigned long long key = fnv1a(0xcbf29ce484222325u, text);
    free(text);
    cache_folder(cache);
    int n = snprintf(path, BL_TEST_PATH, "%s/%s-%016llx%s", cache, name, key, suffix);
    assert_true(n < BL_TEST_PATH);
    take_lock(cache);
}

void bl_synth_folder(char path[BL_TEST_PATH], const char *family) {
    char name[BL_TEST_PATH];
    snprintf(name, sizeof name, "%s/weights.json", family);
    json_t *weights = bl_test_json(name);
    const char *last = strrchr(family, '/'); /* "flux2/klein_2_2": a folder in the cache all the same */
    lock_path(path, weights, last ? last + 1 : family, "");
    make_folder(path);
    build_folder(path, weights, family);
    give_lock();
    json_decref(weights);
}

void bl_synth_component(char path[BL_TEST_PATH], const char *family, const char *component) {
    char name[BL_TEST_PATH];
    snprintf(name, sizeof name, "%s/weights.json", family);
    json_t *weights = bl_test_json(name);
    lock_path(path, weights, component, ".safetensors");
    if (access(path, F_OK)) {
        build_component(path, weights, component);
    }
    give_lock();
    json_decref(weights);
}
