/* A card that is not here: a file of its properties, written where one is, from which graphs are prepared and
 * plans made. cuDNN makes its plans from these properties where it is installed; cuBLASLt does not start
 * without a card, so scratch of products is what the file has, or a guess. Nothing runs. */
#include "device/cuda/dnn.h"
#include "device/cuda/internal.h"

#include "core/size_text.h"

#include <stdlib.h>
#include <string.h>

static void described_close(bl_device *d) {
    bl_cuda *c = (bl_cuda *)d;
    bl_cuda_attentions_close(c);
    bl_cuda_convs_close(c);
    bl_cuda_products_close(c);
    if (c->properties) {
        c->libs->dnn.cudnnBackendDestroyDescriptor(c->properties);
    }
    pthread_mutex_destroy(&c->lock);
    bl_cuda_card_free(&c->card);
    free(c->own_libs);
    free(c);
}

static int refuse(const bl_device *d, bl_error *err) {
    return bl_fail(err, BL_E_UNSUPPORTED, "cuda: %s is described by a file: it can be planned for alone",
                   ((const bl_cuda *)d)->card.name);
}

static int no_region(bl_region **out, bl_device *d, uint64_t bytes, bl_error *err) {
    (void)bytes;
    *out = NULL;
    return refuse(d, err);
}

static int no_host(bl_host **out, bl_device *d, uint64_t bytes, bool pinned, bl_error *err) {
    (void)bytes, (void)pinned;
    *out = NULL;
    return refuse(d, err);
}

static int no_event(bl_event **out, bl_device *d, bl_error *err) {
    *out = NULL;
    return refuse(d, err);
}

static int no_work(bl_device *d, bool *lost, bl_error *err) {
    (void)d, (void)err;
    *lost = false;
    return 0;
}

/* Without regions, host memory and events nothing else can be called. */
static const bl_device_ops described_ops = {.version = BL_DEVICE_VERSION,
                                            .name = "cuda",
                                            .close = described_close,
                                            .caps = bl_cuda_caps,
                                            .module_open = bl_cuda_module_open,
                                            .module_close = bl_cuda_module_close,
                                            .module_costs = bl_cuda_module_costs,
                                            .module_refresh = bl_cuda_module_refresh,
                                            .prepare = bl_cuda_prepare,
                                            .executable_close = bl_cuda_executable_close,
                                            .executable_info = bl_cuda_executable_info,
                                            .region_open = no_region,
                                            .host_open = no_host,
                                            .event_open = no_event,
                                            .now = bl_cuda_now,
                                            .sync = no_work};

/* cuDNN's own form of the card; without it guesses do. */
static void find_properties(bl_cuda *c) {
    bl_dnn_graph g = {.dnn = &c->libs->dnn};
    if (!c->card.properties || !c->libs->dnn.cudnnBackendCreateDescriptor) {
        return;
    }
    bl_dnn_descriptor d = bl_dnn_make(&g, BL_DNN_KIND_PROPERTIES, "the card's properties");
    bl_dnn_set(&g, d, BL_DNN_PROPERTIES_JSON, BL_DNN_OF_CHAR, (int64_t)strlen(c->card.properties),
               c->card.properties);
    bl_dnn_finalize(&g, d);
    if (g.status) {
        bl_log_line(c->head.log, BL_LOG_WARNING, "cuda: cuDNN does not take the properties of %s: %s",
                    c->card.name, c->libs->dnn.cudnnGetErrorString(g.status));
        bl_dnn_free(&g);
    } else {
        c->properties = d;
    }
}

void bl_cuda_tell_guesses(bl_cuda *c) {
    if (c->plans.estimated && !c->told) {
        c->told = true;
        bl_log_line(c->head.log, BL_LOG_INFO,
                    "%s is planned for from its file: %s. What its table lacks is taken for %s of scratch",
                    c->card.name,
                    c->properties ? "cuDNN makes its plans here, cuBLASLt cannot without a card"
                                  : "cuDNN, which would make its plans here, is missing or was not described",
                    bl_size_of(BL_CUDA_WORKSPACE).text);
    }
}

int bl_cuda_describe(bl_device **out, bl_cuda_libs *libs, const char *path, const bl_log *log,
                     bl_error *err) {
    *out = NULL;
    bl_cuda *c = calloc(1, sizeof *c);
    if (!c) {
        free(libs);
        return bl_fail_memory(err, "the cuda device", sizeof *c);
    }
    c->head = (bl_device){.ops = &described_ops, .log = log};
    c->libs = c->own_libs = libs;
    c->planning = true;
    pthread_mutex_init(&c->lock, NULL);
    int rc = bl_cuda_card_load(&c->card, path, err);
    if (!rc && c->card.own_bytes >= c->card.memory_bytes) {
        rc = bl_fail(err, BL_E_FORMAT, "%.400s: \"own_bytes\" is not less than \"memory_bytes\"", path);
    }
    if (rc) {
        described_close(&c->head);
        return rc;
    }
    c->own_bytes = c->card.own_bytes;
    libs->cudnn = libs->cudnn ? libs->cudnn : c->card.cudnn;
    libs->cublaslt = c->card.cublaslt ? c->card.cublaslt : libs->cublaslt;
    bl_cuda_name(c);
    find_properties(c);
    *out = &c->head;
    return 0;
}
