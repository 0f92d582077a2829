/* What was measured of a card before, where it is this one: which of the libraries' proposals was the fastest
 * for a shape, what driver and libraries take, rates. A table belongs to a kind of card and to versions of
 * libraries; with others their own heuristics choose. */
#include "device/cuda/internal.h"

#include <string.h>

static bool is_of_this(const bl_cuda_card *m, const bl_cuda *c) {
    return m->major == c->card.major && m->minor == c->card.minor && m->processors == c->card.processors &&
           m->cudnn == c->libs->cudnn && m->cublaslt == c->libs->cublaslt;
}

/* Takes what is in m over. */
static void take(bl_cuda *c, bl_cuda_card *m) {
    c->card.choices = m->choices;
    c->card.choice_count = m->choice_count;
    c->card.graphs = m->graphs;
    c->card.copy_rate = m->copy_rate;
    c->card.copy_slowdown = m->copy_slowdown;
    c->card.flops_f32 = m->flops_f32;
    c->card.flops_bf16 = m->flops_bf16;
    m->choices = NULL;
}

int bl_cuda_measured(bl_cuda *c, const char *given, bl_error *err) {
    bl_cuda_card m;
    if (given && *given) {
        int rc = bl_cuda_card_load(&m, given, err);
        if (!rc && is_of_this(&m, c)) {
            take(c, &m);
        } else if (!rc) {
            bl_log_line(c->head.log, BL_LOG_WARNING,
                        "cuda: %.400s was measured on another card or with other libraries: it is not used",
                        given);
        }
        bl_cuda_card_free(&m);
        return rc;
    }
    for (const char *const *text = bl_cuda_shipped_cards; *text; text++) {
        if (!bl_cuda_card_parse(&m, *text, strlen(*text), "a card that comes with Ballast", NULL)) {
            bool mine = is_of_this(&m, c);
            if (mine) {
                take(c, &m);
            }
            bl_cuda_card_free(&m);
            if (mine) {
                break;
            }
        }
    }
    return 0;
}
