#include "pipeline/host_bytes.h"

#include "pipeline/feed.h"
#include "pipeline/request_schedule.h"
#include "sample/sampler.h"

#define BROWNIAN_FLOATS 9 /* for each value of a path: brownian.h */
#define TILE_SIDE 1024    /* pixels of the largest tile's side */

/* What is counted for: the request, with what it is made by. */
typedef struct job {
    const bl_request *r;
    const bl_condition *c;
    const bl_architecture *arch;
    const bl_family *family;
    uint64_t batch;
    bool tiled;
} job;

static uint64_t higher(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

/* Floats of the latents of a picture. */
static uint64_t latents(const job *j, uint64_t pixels) {
    uint64_t square = (uint64_t)j->family->downscale * (uint64_t)j->family->downscale;
    return (uint64_t)j->family->latent_channels * pixels / square;
}

/* The prompt through the encoders: context and pooled vectors of all texts, an encoder's output, and what the
 * denoiser is told, for each picture. */
static uint64_t prompt_bytes(const job *j) {
    uint64_t told = (uint64_t)j->c->tokens * (uint64_t)j->c->context_dim + (uint64_t)j->c->pooled_dim;
    if (j->c->words) { /* each text goes through alone */
        uint64_t rows = bl_condition_rows_before(j->c, j->c->texts.count) + (uint64_t)j->c->tokens;
        return (2 * rows * (uint64_t)j->c->context_dim + told * (uint64_t)j->c->rows * j->batch) *
               sizeof(float);
    }
    uint64_t encoded = (uint64_t)bl_condition_encoded(j->c);
    encoded += j->c->zero_row +
               (encoded > BL_ENCODED_AT_ONCE ? BL_ENCODED_AT_ONCE : 0); /* the last pass is filled up */
    uint64_t chunk = BL_CHUNK_TOKENS * (uint64_t)j->c->context_dim + (uint64_t)j->c->pooled_dim;
    uint64_t texts = encoded * chunk;
    bool cached = j->c->encoded && j->c->encoded[0].key.data;
    uint64_t kept = cached ? (uint64_t)j->c->missing * chunk : 0; /* in the cache, from then on */
    return (2 * texts + kept + told * (uint64_t)j->c->rows * j->batch) * sizeof(float);
}

/* A picture on its way through the VAE: as floats, in a tile, as bytes; its latents with their spread. */
static uint64_t picture_bytes(const job *j, uint64_t pixels) {
    uint64_t tile = TILE_SIDE * TILE_SIDE, cut = pixels < tile ? pixels : tile;
    return pixels * 3 * (sizeof(float) + 1) + (j->tiled ? cut * 3 * sizeof(float) : 0) +
           3 * latents(j, pixels) * sizeof(float);
}

/* One pass of the sampler: itself, its noise, the network's input and output, the small picture of a preview;
 * and the latents of the pass before. */
static uint64_t denoise_bytes(const job *j, int width, int height, bool second) {
    const uint64_t pixels = (uint64_t)width * (uint64_t)height;
    const bl_feed_shape feed = {.arch = j->arch,
                                .condition = j->c,
                                .batch = (int)j->batch,
                                .height = height / j->family->downscale,
                                .width = width / j->family->downscale,
                                .times = bl_request_times(j->r, j->family, second)};
    uint64_t n = latents(j, pixels), floats = j->batch * n * (2 + 2 * (uint64_t)j->c->rows) + 2 * n;
    bool brownian = bl_sampler_noise(j->r->sampler, j->r->compat) == BL_NOISE_BROWNIAN;
    return floats * sizeof(float) + bl_feed_bytes(&feed) +
           bl_sampler_bytes(j->r->sampler, (size_t)(j->batch * n)) +
           (brownian ? j->batch * BROWNIAN_FLOATS * n * sizeof(float) : 0) + 3 * n +
           (j->r->previews == BL_PREVIEW_TAESD ? picture_bytes(j, pixels) : 0);
}

/* Resizing: what lies between its two passes, and its weights, which grow with a side alone. */
static uint64_t resize_bytes(int out_width, int out_height, int in_width, int in_height) {
    uint64_t between =
        higher((uint64_t)out_height * (uint64_t)in_width, (uint64_t)in_height * (uint64_t)out_width);
    uint64_t taps = 8 * (uint64_t)(out_width + out_height + in_width + in_height) * 12;
    return 3 * between + taps;
}

/* The second pass, and its start. */
static uint64_t second_bytes(const job *j, uint64_t base, uint64_t last) {
    const bl_request *r = j->r;
    uint64_t resized =
        3 * (base + j->batch * last) + resize_bytes(r->hires_width, r->hires_height, r->width, r->height);
    uint64_t start = r->upscaler->latent ? 0 : resized + picture_bytes(j, last);
    return higher(start, denoise_bytes(j, r->hires_width, r->hires_height, true));
}

/* A start picture made to fit: itself and, where its shape is another, the whole that a part is taken of. */
static uint64_t start_bytes(const bl_request *r, uint64_t base) {
    int64_t height, width;
    bl_fit_size(&height, &width, r->height, r->width, r->o->init_height, r->o->init_width, r->fit);
    uint64_t whole = (uint64_t)height * (uint64_t)width;
    return 3 * (base + (whole == base ? 0 : whole)) +
           resize_bytes((int)width, (int)height, r->o->init_width, r->o->init_height);
}

uint64_t bl_host_bytes(const bl_request *r, const bl_condition *c, const bl_architecture *arch, bool tiled) {
    job j = {
        .r = r, .c = c, .arch = arch, .family = arch->family, .batch = (uint64_t)r->o->batch, .tiled = tiled};
    uint64_t base = (uint64_t)r->width * (uint64_t)r->height;
    uint64_t last = r->second ? (uint64_t)r->hires_width * (uint64_t)r->hires_height : base;
    uint64_t most =
        higher(denoise_bytes(&j, r->width, r->height, false), r->second ? second_bytes(&j, base, last) : 0);
    if (r->o->init_rgb) {
        most = higher(most, picture_bytes(&j, base) + start_bytes(r, base));
    }
    most = higher(most, picture_bytes(&j, last) + 6 * last); /* a PNG that grows is there twice */
    most += r->o->enough ? j.batch * latents(&j, last) * sizeof(float) : 0;
    /* Latents of the picture that it starts from and of the batch last throughout. */
    return prompt_bytes(&j) + (latents(&j, base) + j.batch * latents(&j, base + last)) * sizeof(float) + most;
}
