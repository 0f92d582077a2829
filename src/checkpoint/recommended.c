#include "checkpoint/recommended.h"

#include "checkpoint/internal.h"
#include "core/decimal.h"

#include <math.h>

/* The number that an entry holds; `absent` where there is none or it is not in range. */
static double number_of(bl_recommended *r, const bl_checkpoint *ckpt, const char *key, double least,
                        bool whole, double absent) {
    const char *text = bl_safetensors_metadata(bl_checkpoint_file(ckpt, 0), key);
    double number = 0;
    const char *end = text ? bl_decimal(text, &number) : NULL;
    bool fine = end && !*end && number >= least && number <= 1000 && (!whole || number == floor(number));
    r->unread = text && !fine ? key : r->unread;
    return fine ? number : absent;
}

bl_recommended bl_recommended_of(const bl_checkpoint *ckpt, const bl_family *family) {
    bl_recommended r = {0};
    r.steps = (int)number_of(&r, ckpt, "ballast.steps", 1, true, 0);
    r.cfg = number_of(&r, ckpt, "ballast.cfg", 0, false, -1);
    r.whose = "the model's file";
    if (!r.steps && r.cfg < 0 && family->steps) {
        const bool full = family->full_steps && json_is_false(json_object_get(ckpt->index, "is_distilled"));
        r.steps = full ? family->full_steps : family->steps;
        r.cfg = full ? family->full_cfg : family->cfg;
        r.whose = family->name;
    }
    return r;
}
