/* What a request holds while it is worked on: declare.c plans it, generate.c runs it, batch by batch; job_*.c
 * are the pieces of a batch. */
#ifndef BALLAST_PIPELINE_JOB_H
#define BALLAST_PIPELINE_JOB_H

#include "pipeline/adapters.h"
#include "pipeline/embeddings.h"
#include "pipeline/condition.h"
#include "pipeline/denoise.h"
#include "pipeline/generate.h"
#include "pipeline/pictures.h"
#include "sample/noise.h"

/* Numbers of the phases of one batch; -1 where there is none. */
typedef struct bl_job_phases {
    int encode_init, prologue, denoise, decode_base, encode_hires, prologue_hires, denoise_hires, decode;
} bl_job_phases;

#define BL_MOST_PREVIEWS 20 /* by TAESD, of a pass: each makes two more phases of it */

/* A pass of the sampler: one phase, or, with previews by TAESD, parts with a phase between each two in which
 * it makes them. */
typedef struct bl_job_walk {
    int first, last; /* phases; first: as in bl_job_phases */
    int every;       /* steps of a part; 0: there is but one */
} bl_job_walk;

typedef struct bl_job {
    const bl_pipeline *p;
    bl_generation *generation; /* of the batch; NULL before the first */
    bl_request r;
    bl_condition condition;
    bl_adapters adapters;
    bl_embeddings embeddings;
    float *init_latents; /* [c, h, w] of the init image; NULL until encoded */
    bl_job_phases at;
    bl_job_walk walk[2];    /* base, second pass */
    const bl_job_walk *now; /* that is at work */
    int phase;              /* of it */
    bl_generation *after;   /* the batch after this one, where that is another: declared, never started */
    bool later;             /* declared as a batch after the first: texts and start picture are encoded */
    int hits, misses;       /* chunks of text that the batch found encoded, and those that it encoded */
    bool untuned;           /* what was tuned does not fit the budget, and is left out */
    bool looked_at;         /* planned and not run: the smallest budget is told */
    bool in_two;            /* the denoiser is a prologue and a step (unet.h) */
    bool weigh;             /* which form is the better is not plain */
    uint64_t least;         /* the smallest budget without tiles, of either form */
    int side;               /* of the tiles in which the VAE works, in its latents; 0: whole pictures */
    uint64_t tiled_least;   /* the smallest budget with tiles, where the one without is refused; else 0 */
    uint64_t taesd_least;   /* the same with TAESD as decoder, if there is one; else 0 */
    bool taesd_might;       /* there is none, and what does not fit is the decode */
    uint64_t whole_least;   /* the smallest budget without the tiles that there are; 0: they were asked for */
    uint64_t budget;        /* that there is beside it */
    float *x;               /* [batch, c, h, w], the latents now in work */
    int height, width;      /* theirs */
    int first_image;        /* of the batch */
    bool enough[64];        /* of its pictures: they stay as they are */
    float *kept;            /* [batch, c, h, w], those that are enough, while the denoiser works; else NULL */
    bl_noise *noise[64];    /* of the batch's pictures */
    struct bl_job *followers; /* [follower_count] what is expected next, declared */
    int follower_count;
    ballast_progress progress;
    double stage_began;
} bl_job;

static inline const bl_family *bl_job_family(const bl_job *j) {
    return j->p->arch->family;
}

/* Floats of one picture's latents of this size. */
static inline size_t bl_job_floats(const bl_job *j, int height, int width) {
    return (size_t)bl_job_family(j)->latent_channels * (size_t)height * (size_t)width;
}

/* Pixels of a picture of latents of this size. */
static inline size_t bl_job_pixels(const bl_job *j, int height, int width) {
    size_t side = (size_t)bl_job_family(j)->downscale;
    return side * side * (size_t)height * (size_t)width;
}

/* Checks the request and reads its prompts. Begin here; bl_job_close, also after a failure. */
int bl_job_open(bl_job *j, const bl_pipeline *p, const ballast_generate_options *o, bl_error *err);
/* Says what becomes of it that its caller may not expect; once it is sure to be done. */
void bl_job_tell(const bl_job *j, const bl_placement *placement);
void bl_job_close(bl_job *j);

/* Steps that a prologue of times works for in a pass, a few more than there are, so that requests of nearly
 * as many share it; 0: the family has none. */
int bl_job_times(const bl_job *j, bool second);

/* Declares the batch's phases as a new generation, with the denoiser in the better of its forms, and with
 * tiles where they are wanted, or allowed and needed: then with the largest that fit the budget. */
int bl_job_declare(bl_job *j, const bl_placement *placement, bl_error *err);

/* Whether the batches after the declared one have less to encode than it. */
bool bl_job_differs_later(const bl_job *j);
/* Declares such a batch, j->after, and tells the declared generation that it comes next. */
int bl_job_declare_after(bl_job *j, bl_error *err);

/* Tells the declared generation of the requests that are expected after it. */
int bl_job_expect(bl_job *j, const bl_placement *placement, bl_error *err);

/* What planning came to (`result`): that there are tiles is said once a request, and not before the plan
 * works; of a budget that was refused, whether tiles help, or TAESD. */
int bl_job_mention(const bl_job *j, int result, bl_error *err);

/* ---- what the caller is told and asked: job_watch.c */

/* Of a picture. As A1111 counts: each has the next seed, or with variation the same seed and the next
 * variation. */
uint64_t bl_job_seed(const bl_job *j, int index);

/* A stage begins, of so many steps. BL_E_CANCELLED: the caller wants no more. */
int bl_job_enter(bl_job *j, const char *stage, int steps, bl_error *err);

/* Is it to stop? `payload`: the job. */
int bl_job_poll(void *payload);

/* Whether nobody wants the batch that would begin now. */
bool bl_job_unwanted(const bl_job *j);

/* After each step of the sampler; `payload`: the job, `denoised`: [batch, c, h, w]. */
int bl_job_after_step(bl_after_step *after, void *payload, int step, int steps, const float *denoised,
                      bl_error *err);

/* ---- how a pass of the sampler is cut for previews: job_walk.c */

/* Declares its phases: of the base pass or of the second one, with the denoiser's graph `key`. */
int bl_job_declare_walk(bl_job *j, bool second, bl_shape_key key, bl_error *err);

/* Whether the sampler is one of which nobody knows beforehand how long it takes: TAESD has no turn there. */
bool bl_job_cannot_preview(const bl_job *j);

/* ---- its latents: job_latents.c */

/* Fills j->init_latents from the start picture. */
int bl_job_encode_init(bl_job *j, bl_error *err);

/* One pass of the sampler. j->x holds the latents to start from if `has_latents`, and the result afterwards.
 */
int bl_job_denoise(bl_job *j, int prologue, int phase, const bl_schedule *schedule, bool has_latents,
                   bl_error *err);

/* Replaces j->x by larger latents: interpolated, or through pictures. */
int bl_job_upscale(bl_job *j, bl_error *err);

/* ---- and what comes of them: job_deliver.c */

int bl_job_deliver(bl_job *j, bl_error *err);

#endif
