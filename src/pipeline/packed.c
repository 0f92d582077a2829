#include "pipeline/packed.h"

size_t bl_packed_place(const bl_family *family, int height, int width, int channel, int y, int x) {
    const int side = bl_family_packed(family);
    const size_t at = (size_t)(channel * side * side + y % side * side + x % side);
    return (at * (size_t)height + (size_t)(y / side)) * (size_t)width + (size_t)(x / side);
}

/* One value of the autoencoder's; `place`: of the denoiser's; `plane`: floats of one channel there. */
static float to_vae(const bl_architecture *a, float v, size_t place, size_t plane) {
    const bl_vae_architecture *vae = &a->vae;
    return a->family->packed ? v * vae->deviation[place / plane] + vae->mean[place / plane]
                             : v / (float)vae->scale + (float)vae->shift;
}

static float from_vae(const bl_architecture *a, float v, size_t place, size_t plane) {
    const bl_vae_architecture *vae = &a->vae;
    return a->family->packed ? (v - vae->mean[place / plane]) / vae->deviation[place / plane]
                             : (v - (float)vae->shift) * (float)vae->scale;
}

/* Walks the autoencoder's values in their order. */
static void walk(float *to, const bl_architecture *a, const float *from, int height, int width, bool back) {
    const int side = bl_family_packed(a->family), channels = bl_family_vae_channels(a->family);
    const size_t plane = (size_t)height * (size_t)width;
    size_t i = 0;
    for (int c = 0; c < channels; c++) {
        for (int y = 0; y < side * height; y++) {
            for (int x = 0; x < side * width; x++, i++) {
                const size_t place = bl_packed_place(a->family, height, width, c, y, x);
                if (back) {
                    to[place] = from_vae(a, from[i], place, plane);
                } else {
                    to[i] = to_vae(a, from[place], place, plane);
                }
            }
        }
    }
}

void bl_latents_unpacked(float *z, const bl_family *family, const float *latents, int height, int width) {
    const int side = bl_family_packed(family);
    size_t i = 0;
    for (int c = 0; c < bl_family_vae_channels(family); c++) {
        for (int y = 0; y < side * height; y++) {
            for (int x = 0; x < side * width; x++) {
                z[i++] = latents[bl_packed_place(family, height, width, c, y, x)];
            }
        }
    }
}

void bl_latents_to_vae(float *z, const bl_architecture *arch, const float *latents, int height, int width) {
    walk(z, arch, latents, height, width, false);
}

void bl_latents_from_vae(float *latents, const bl_architecture *arch, const float *z, int height, int width) {
    walk(latents, arch, z, height, width, true);
}
