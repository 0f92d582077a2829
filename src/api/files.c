#include "api/api.h"

#include "image/png.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Our own struct, whose pixels are there. */
static int take_png(ballast_png_options *own, const ballast_png_options *given, bl_error *err) {
    int result = bl_take_png_options(own, given, err);
    if (!result && !own->rgb) {
        result = bl_fail(err, BL_E_ARGUMENT, "png options: `rgb` is NULL");
    }
    if (!result && own->parameters && !*own->parameters) {
        own->parameters = NULL;
    }
    return result;
}

int ballast_image_encode_png(uint8_t **png, size_t *bytes, const ballast_png_options *options,
                             ballast_error *err) {
    ballast_png_options o;
    BL_NEED(png);
    *png = NULL;
    BL_NEED(bytes);
    *bytes = 0;
    BL_NEED(options);
    int result = take_png(&o, options, err);
    return result ? result : bl_png_encode(png, bytes, o.rgb, o.height, o.width, o.parameters, err);
}

int ballast_image_write_png(const ballast_png_options *options, const char *path, int overwrite,
                            ballast_error *err) {
    ballast_png_options o;
    BL_NEED(options);
    BL_NEED(path);
    int result = take_png(&o, options, err);
    return result ? result : bl_png_write(path, o.rgb, o.height, o.width, o.parameters, overwrite != 0, err);
}

int ballast_image_read_png(uint8_t **rgb, int *width, int *height, const char *path, ballast_error *err) {
    bl_picture picture;
    BL_NEED(rgb);
    *rgb = NULL;
    BL_NEED(width);
    *width = 0;
    BL_NEED(height);
    *height = 0;
    BL_NEED(path);
    int result = bl_png_read(&picture, path, err);
    if (!result) {
        *rgb = picture.rgb;
        *width = (int)picture.width;
        *height = (int)picture.height;
        picture.rgb = NULL;
        bl_picture_clear(&picture);
    }
    return result;
}

void ballast_bytes_free(uint8_t **bytes) {
    if (bytes) {
        free(*bytes);
        *bytes = NULL;
    }
}

void ballast_floats_free(float **data) {
    if (data) {
        free(*data);
        *data = NULL;
    }
}

static int read_tensor(float **data, int shape[4], const bl_safetensors *file, const char *tensor,
                       bl_error *err) {
    int count;
    const bl_file_tensor *all = bl_safetensors_tensors(file, &count);
    const bl_file_tensor *t = tensor ? bl_safetensors_find(file, tensor) : count == 1 ? all : NULL;
    const char *path = bl_safetensors_path(file);
    if (!t && !tensor) {
        return bl_fail(err, BL_E_ARGUMENT, "%s: holds %d tensors; say which, as FILE:TENSOR", path, count);
    }
    if (!t) {
        return bl_fail(err, BL_E_NOT_FOUND, "%s: no tensor \"%s\"; the first there is \"%s\"", path, tensor,
                       count ? all[0].name : "");
    }
    if (t->dtype != BL_F32 || t->rank != 4) {
        return bl_fail(err, BL_E_FORMAT,
                       "%s: tensor \"%s\" is %s of rank %d; latents are F32 [n, channels, height, width]",
                       path, t->name, t->dtype_name, t->rank);
    }
    for (int i = 0; i < 4; i++) {
        if (t->shape[i] <= 0 || t->shape[i] > 1 << 20) {
            return bl_fail(err, BL_E_FORMAT, "%s: tensor \"%s\" has a side of %lld", path, t->name,
                           (long long)t->shape[i]);
        }
        shape[i] = (int)t->shape[i];
    }
    float *values = malloc(t->bytes);
    if (!values) {
        return bl_fail_memory(err, "the latents", t->bytes);
    }
    int result = bl_safetensors_read(file, t->offset, t->bytes, values, err);
    if (result) {
        free(values);
        return result;
    }
    *data = values;
    return 0;
}

int ballast_latents_read(float **data, int shape[4], const char *path, const char *tensor,
                         ballast_error *err) {
    bl_safetensors *file = NULL;
    BL_NEED(data);
    *data = NULL;
    BL_NEED(shape);
    memset(shape, 0, 4 * sizeof *shape);
    BL_NEED(path);
    int result = bl_safetensors_open(&file, path, err);
    if (!result) {
        result = read_tensor(data, shape, file, tensor, err);
    }
    bl_safetensors_close(&file);
    if (result) {
        memset(shape, 0, 4 * sizeof *shape);
    }
    return result;
}

int ballast_latents_write(const float *data, const int shape[4], const char *path, int overwrite,
                          ballast_error *err) {
    BL_NEED(data);
    BL_NEED(shape);
    BL_NEED(path);
    bl_tensor_data t = {.name = "latents", .dtype = BL_F32, .rank = 4, .data = data};
    for (int i = 0; i < 4; i++) {
        if (shape[i] <= 0) {
            return bl_fail(err, BL_E_ARGUMENT, "latents: [%d, %d, %d, %d] is no shape", shape[0], shape[1],
                           shape[2], shape[3]);
        }
        t.shape[i] = shape[i];
    }
    if (!overwrite && !access(path, F_OK)) {
        return bl_fail(err, BL_E_ARGUMENT, "%s exists; give another name or --overwrite", path);
    }
    return bl_safetensors_write(path, &t, 1, NULL, 0, err);
}
