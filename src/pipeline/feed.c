#include "pipeline/feed.h"

#include "model/flux1.h"
#include "model/flux2.h"
#include "model/sd3.h"
#include "model/zimage.h"

#include <stdlib.h>
#include <string.h>

/* What a kind of network wants. */
typedef struct kind {
    int (*open)(bl_feed *f, bl_error *err); /* buffers of its own and all ports */
    void (*told)(bl_feed *f);               /* what follows from context and lengths; may be NULL */
    float (*time)(double timestep);
    uint64_t (*bytes)(const bl_feed_shape *s); /* of its own buffers */
    double velocity;
} kind;

static size_t rows_of(const bl_feed_shape *s) {
    return (size_t)s->condition->rows * (size_t)s->batch;
}

static void bind(bl_feed *f, const char *name, void *data) {
    f->inputs[f->input_count++] = (bl_port){name, data};
}

static void *zeros(size_t n, size_t size, bl_error *err, int *result) {
    void *p = calloc(n ? n : 1, size);
    if (!p && !*result) {
        *result = bl_fail_memory(err, "a buffer of the denoiser", (unsigned long long)n * size);
    }
    return p;
}

/* ---- the UNet */

static int open_unet(bl_feed *f, bl_error *err) {
    const bl_condition *c = f->shape.condition;
    int result = 0;
    f->pooled = zeros(f->rows * (size_t)c->pooled_dim, sizeof *f->pooled, err, &result);
    f->time_ids = zeros(f->rows * BL_SIZE_VALUES, sizeof *f->time_ids, err, &result);
    /* no crop: original and target size are the picture's */
    for (size_t i = 0; i < f->rows && !result; i++) {
        float *t = f->time_ids + i * BL_SIZE_VALUES;
        t[0] = t[4] = (float)f->shape.told_height;
        t[1] = t[5] = (float)f->shape.told_width;
    }
    bind(f, "sample", f->sample);
    bind(f, "timestep", f->timestep);
    bind(f, "context", f->context);
    f->prologue[0] = (bl_port){"context", f->context};
    bind(f, "time_ids", f->time_ids);
    if (c->pooled_dim) {
        bind(f, "text_embeds", f->pooled);
    }
    if (f->lengths) {
        bind(f, "context_rows", f->lengths);
    }
    return result;
}

static float same_time(double timestep) {
    return (float)timestep;
}

static uint64_t unet_bytes(const bl_feed_shape *s) {
    return rows_of(s) * ((uint64_t)s->condition->pooled_dim + BL_SIZE_VALUES) * sizeof(float);
}

/* ---- Z-Image */

enum { IMAGE_ROPE, CAPTION_ROPE, ROPE };                   /* tables */
enum { CAPTION_ROWS, IMAGE_FILL, CAPTION_COUNTS, COUNTS }; /* indices */

/* Of one row, whose caption has so many tokens. */
static bl_zimage_shape zimage_shape(const bl_feed_shape *s, int caption) {
    return (bl_zimage_shape){.batch = 1, .height = s->height, .width = s->width, .caption = caption};
}

static int zimage_fill(const bl_feed_shape *s) {
    const bl_zimage_shape one = zimage_shape(s, 1);
    return bl_zimage_image_tokens(&one) - s->height / BL_ZIMAGE_PATCH * (s->width / BL_ZIMAGE_PATCH);
}

static size_t zimage_head(const bl_feed_shape *s) {
    return (size_t)(s->arch->zimage.width / s->arch->zimage.heads);
}

static int open_zimage(bl_feed *f, bl_error *err) {
    const bl_zimage_shape one = zimage_shape(&f->shape, f->shape.condition->tokens);
    const size_t images = (size_t)bl_zimage_image_tokens(&one), captions = (size_t)one.caption,
                 head = zimage_head(&f->shape), fill = (size_t)zimage_fill(&f->shape);
    const size_t tables[BL_FEED_TABLES] = {images * head, captions * head, (images + captions) * head},
                 indices[BL_FEED_INDICES] = {captions, fill, 1, 1};
    int result = 0;
    for (int i = 0; i < BL_FEED_TABLES; i++) {
        f->tables[i] = zeros(f->rows * tables[i], sizeof(float), err, &result);
    }
    for (int i = 0; i < BL_FEED_INDICES; i++) {
        f->indices[i] = zeros(f->rows * indices[i], sizeof(int32_t), err, &result);
    }
    bind(f, "latents", f->sample);
    bind(f, "t", f->timestep);
    bind(f, "caption", f->context);
    bind(f, "caption_rows", f->indices[CAPTION_ROWS]);
    bind(f, "image_rope", f->tables[IMAGE_ROPE]);
    bind(f, "caption_rope", f->tables[CAPTION_ROPE]);
    bind(f, "rope", f->tables[ROPE]);
    if (fill) {
        bind(f, "image_fill", f->indices[IMAGE_FILL]);
    }
    if (f->shape.condition->own_lengths) {
        bind(f, "caption_counts", f->indices[CAPTION_COUNTS]);
        bind(f, "counts", f->indices[COUNTS]);
    }
    return result;
}

static void tell_zimage(bl_feed *f) {
    const size_t tokens = (size_t)f->shape.condition->tokens, head = zimage_head(&f->shape);
    for (size_t row = 0; row < f->rows; row++) {
        const bl_zimage_shape one = zimage_shape(&f->shape, f->lengths[row]);
        const size_t images = (size_t)bl_zimage_image_tokens(&one) * head, captions = tokens * head;
        float *image = f->tables[IMAGE_ROPE] + row * images,
              *caption = f->tables[CAPTION_ROPE] + row * captions,
              *both = f->tables[ROPE] + row * (images + captions);
        bl_zimage_rope(image, caption, &f->shape.arch->zimage, &one);
        memcpy(both, image, images * sizeof *both);
        memcpy(both + images, caption, captions * sizeof *both);
        for (size_t i = 0; i < tokens; i++) {
            f->indices[CAPTION_ROWS][row * tokens + i] = (int32_t)i >= f->lengths[row];
        }
        f->indices[CAPTION_COUNTS][row] = bl_zimage_caption_tokens(&one);
        f->indices[COUNTS][row] = bl_zimage_image_tokens(&one) + bl_zimage_caption_tokens(&one);
    }
}

/* The time runs from noise to picture; rounded as the model's own code does. */
static float zimage_time(double timestep) {
    return (1000.0f - (float)timestep) / 1000.0f * 1000.0f;
}

static uint64_t zimage_bytes(const bl_feed_shape *s) {
    const bl_zimage_shape one = zimage_shape(s, s->condition->tokens);
    const uint64_t images = (uint64_t)bl_zimage_image_tokens(&one), captions = (uint64_t)one.caption;
    return rows_of(s) * (2 * (images + captions) * zimage_head(s) + captions + images) * sizeof(float);
}

/* ---- FLUX.1 and FLUX.2 */

enum { POSITIONS, TIMES, VECTORS, GUIDANCE }; /* tables */
enum { STEP };                                /* indices */

/* All but the positions' values, which the graph calls `name`; `rope`: floats of one row's. */
static int open_flux(bl_feed *f, const char *name, size_t rope, bl_error *err) {
    int result = 0;
    f->tables[POSITIONS] = zeros(f->rows * rope, sizeof(float), err, &result);
    f->tables[TIMES] = zeros(f->rows * (size_t)f->shape.times, sizeof(float), err, &result);
    f->indices[STEP] = zeros(f->rows, sizeof(int32_t), err, &result);
    bind(f, "latents", f->sample);
    bind(f, "step", f->indices[STEP]);
    bind(f, "context", f->context);
    bind(f, name, f->tables[POSITIONS]);
    f->prologue[0] = (bl_port){"t", f->tables[TIMES]};
    return result;
}

/* Rounded as the models' own code does. */
static float flux_time(double timestep) {
    return (float)timestep / 1000.0f * 1000.0f;
}

static uint64_t flux_bytes(const bl_feed_shape *s, size_t rope) {
    return (uint64_t)(rows_of(s) * (rope + (size_t)s->times + 1)) * sizeof(float);
}

static bl_flux1_shape flux1_shape(const bl_feed_shape *s) {
    return (bl_flux1_shape){
        .batch = 1, .height = s->height, .width = s->width, .tokens = s->condition->tokens};
}

static size_t flux1_rope(const bl_feed_shape *s) {
    const bl_flux1_shape one = flux1_shape(s);
    return ((size_t)one.tokens + (size_t)bl_flux1_image_tokens(&one)) * (size_t)s->arch->flux1.head_dim;
}

/* The prologue reads the text's vector, too, once more for each step. */
static int open_vectors(bl_feed *f, bl_error *err) {
    const size_t pooled = (size_t)f->shape.condition->pooled_dim;
    int result = 0;
    f->pooled = zeros(f->rows * pooled, sizeof(float), err, &result);
    f->tables[VECTORS] = zeros(f->rows * (size_t)f->shape.times * pooled, sizeof(float), err, &result);
    f->prologue[1] = (bl_port){"pooled", f->tables[VECTORS]};
    return result;
}

static void tell_vectors(bl_feed *f) {
    const size_t times = (size_t)f->shape.times, pooled = (size_t)f->shape.condition->pooled_dim;
    for (size_t i = 0; i < f->rows * times; i++) {
        memcpy(f->tables[VECTORS] + i * pooled, f->pooled + i / times * pooled, pooled * sizeof(float));
    }
}

static uint64_t vector_bytes(const bl_feed_shape *s) {
    return rows_of(s) * ((uint64_t)s->times + 1) * (uint64_t)s->condition->pooled_dim * sizeof(float);
}

/* And the guidance. */
static int open_flux1(bl_feed *f, bl_error *err) {
    const bl_flux1_shape one = flux1_shape(&f->shape);
    const size_t n = flux1_rope(&f->shape), times = f->rows * (size_t)f->shape.times;
    int result = open_flux(f, "rope", n, err);
    result = result ? result : open_vectors(f, err);
    f->tables[GUIDANCE] = zeros(times, sizeof(float), err, &result);
    if (f->shape.arch->flux1.guided) {
        f->prologue[2] = (bl_port){"guidance", f->tables[GUIDANCE]};
    }
    for (size_t row = 0; row < f->rows && !result; row++) {
        bl_flux1_rope(f->tables[POSITIONS] + row * n, &f->shape.arch->flux1, &one);
    }
    for (size_t i = 0; i < times && !result; i++) {
        f->tables[GUIDANCE][i] = (float)f->shape.guidance * 1000;
    }
    return result;
}

static uint64_t flux1_bytes(const bl_feed_shape *s) {
    return flux_bytes(s, flux1_rope(s)) + vector_bytes(s) + rows_of(s) * (uint64_t)s->times * sizeof(float);
}

static bl_flux2_shape flux2_shape(const bl_feed_shape *s) {
    return (bl_flux2_shape){
        .batch = 1, .height = s->height, .width = s->width, .tokens = s->condition->tokens};
}

static size_t flux2_rope(const bl_feed_shape *s) {
    const size_t rows = (size_t)s->condition->tokens + (size_t)s->height * (size_t)s->width;
    return rows * (size_t)s->arch->flux2.head_dim;
}

static int open_flux2(bl_feed *f, bl_error *err) {
    const bl_flux2_shape one = flux2_shape(&f->shape);
    const size_t n = flux2_rope(&f->shape);
    const int result = open_flux(f, "rope", n, err);
    for (size_t row = 0; row < f->rows && !result; row++) {
        bl_flux2_rope(f->tables[POSITIONS] + row * n, &f->shape.arch->flux2, &one);
    }
    return result;
}

static uint64_t flux2_bytes(const bl_feed_shape *s) {
    return flux_bytes(s, flux2_rope(s));
}

/* ---- SD3: as FLUX.1, with rows of a table for positions */

static size_t sd3_positions(const bl_feed_shape *s) {
    const bl_sd3_shape one = {.height = s->height, .width = s->width};
    return (size_t)bl_sd3_image_tokens(&one) * (size_t)s->arch->width;
}

/* Of the table the rows of the picture's tokens alone are read. */
static int read_positions(float *to, const bl_feed_shape *s, bl_error *err) {
    const bl_sd3 *a = &s->arch->sd3;
    const bl_sd3_shape one = {.height = s->height, .width = s->width};
    const int64_t shape[2] = {(int64_t)a->positions * a->positions, s->arch->width},
                  columns = s->width / BL_SD3_PATCH;
    const size_t values = (size_t)columns * (size_t)s->arch->width;
    bl_view table;
    int result = bl_checkpoint_require(&table, s->ckpt, BL_TRANSFORMER, BL_SD3_TABLE, shape, 2, err);
    if (result) {
        return result;
    }
    void *stored = malloc(values * bl_dtype_size(table.dtype)); /* of a row of tokens */
    result = stored ? 0 : bl_fail_memory(err, "the picture's positions", values * bl_dtype_size(table.dtype));
    for (int y = 0; y < s->height / BL_SD3_PATCH && !result; y++) {
        const int64_t first = bl_sd3_position(a, &one, y);
        result = bl_view_read(&table, first, first + columns, stored, err);
        if (!result && bl_convert(to + (size_t)y * values, BL_F32, stored, table.dtype, values)) {
            result = bl_fail(err, BL_E_INTERNAL, "positions of a type that cannot be converted");
        }
    }
    free(stored);
    return result;
}

static int open_sd3(bl_feed *f, bl_error *err) {
    const size_t n = sd3_positions(&f->shape);
    int result = open_flux(f, "positions", n, err);
    result = result ? result : open_vectors(f, err);
    result = result ? result : read_positions(f->tables[POSITIONS], &f->shape, err);
    for (size_t row = 1; row < f->rows && !result; row++) {
        memcpy(f->tables[POSITIONS] + row * n, f->tables[POSITIONS], n * sizeof(float));
    }
    return result;
}

static uint64_t sd3_bytes(const bl_feed_shape *s) {
    return flux_bytes(s, sd3_positions(s)) + vector_bytes(s);
}

/* ---- all */

static const kind kinds[] = {
    [BL_NET_UNET] = {.open = open_unet, .time = same_time, .bytes = unet_bytes, .velocity = 1},
    [BL_NET_ZIMAGE] = {.open = open_zimage,
                       .told = tell_zimage,
                       .time = zimage_time,
                       .bytes = zimage_bytes,
                       .velocity = -1},
    [BL_NET_FLUX1] =
        {.open = open_flux1, .told = tell_vectors, .time = flux_time, .bytes = flux1_bytes, .velocity = 1},
    [BL_NET_FLUX2] = {.open = open_flux2, .time = flux_time, .bytes = flux2_bytes, .velocity = 1},
    [BL_NET_SD3] =
        {.open = open_sd3, .told = tell_vectors, .time = same_time, .bytes = sd3_bytes, .velocity = 1},
};

static const kind *kind_of(const bl_feed_shape *s) {
    return &kinds[s->arch->family->net];
}

int bl_feed_open(bl_feed *f, const bl_feed_shape *s, int pass, bl_error *err) {
    const bl_condition *c = s->condition;
    *f = (bl_feed){.shape = *s,
                   .rows = rows_of(s),
                   .n = (size_t)s->arch->family->latent_channels * (size_t)s->height * (size_t)s->width,
                   .velocity = kind_of(s)->velocity};
    int result = 0;
    f->sample = zeros(f->rows * f->n, sizeof *f->sample, err, &result);
    f->output = zeros(f->rows * f->n, sizeof *f->output, err, &result);
    f->timestep = zeros(f->rows, sizeof *f->timestep, err, &result);
    f->context =
        zeros(f->rows * (size_t)c->tokens * (size_t)c->context_dim, sizeof *f->context, err, &result);
    if (c->own_lengths || c->words) {
        f->lengths = zeros(f->rows, sizeof *f->lengths, err, &result);
    }
    result = result ? result : kind_of(s)->open(f, err);
    if (result) {
        return result;
    }
    f->outputs[0] = (bl_port){"output", f->output};
    bl_feed_tell(f, pass, 0);
    return 0;
}

void bl_feed_close(bl_feed *f) {
    free(f->sample);
    free(f->output);
    free(f->timestep);
    free(f->context);
    free(f->lengths);
    free(f->pooled);
    free(f->time_ids);
    for (int i = 0; i < BL_FEED_TABLES; i++) {
        free(f->tables[i]);
    }
    for (int i = 0; i < BL_FEED_INDICES; i++) {
        free(f->indices[i]);
    }
}

void bl_feed_tell(bl_feed *f, int pass, int call) {
    const kind *k = kind_of(&f->shape);
    bl_condition_fill(f->context, f->pooled, f->lengths, f->shape.condition, pass, call, f->shape.batch);
    if (k->told) {
        k->told(f);
    }
}

void bl_feed_times(bl_feed *f, const double *timesteps, int count) {
    const size_t times = (size_t)f->shape.times;
    for (size_t i = 0; i < f->rows * times; i++) {
        const size_t call = i % times;
        f->tables[TIMES][i] = call < (size_t)count ? kind_of(&f->shape)->time(timesteps[call]) : 0;
    }
}

void bl_feed_time(bl_feed *f, double timestep, int call) {
    const float t = kind_of(&f->shape)->time(timestep);
    for (size_t i = 0; i < f->rows; i++) {
        f->timestep[i] = t;
        if (f->shape.times) {
            f->indices[STEP][i] = call;
        }
    }
}

uint64_t bl_feed_bytes(const bl_feed_shape *s) {
    return kind_of(s)->bytes(s);
}
