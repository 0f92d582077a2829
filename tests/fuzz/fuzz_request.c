/* Any JSON as the body of a picture's request: it is read within its ranges, or the field is named. */
#include "fuzz.h"

#include "server/api/sdapi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct field *const tables[] = {sd_txt2img_fields, sd_img2img_fields, sd_setting_fields};
    if (!size) {
        return 0;
    }
    union {
        struct sd_body body;
        struct sd_settings settings;
    } out = {.body = {.eta = -1}};
    const struct field *table = tables[data[0] % 3];
    json_t *object = json_loadb((const char *)data + 1, size - 1, JSON_DECODE_ANY, NULL),
           *warnings = json_array();
    struct problem p = {0};
    if (json_is_object(object)) {
        int status = fields_read(&out, table, object, warnings, &p);
        MUST(!status || (status == 422 && p.text[0] && p.field[0]));
        MUST(status || table == sd_setting_fields || (out.body.steps >= 1 && out.body.steps <= 1000));
        MUST(status || table == sd_setting_fields || (out.body.cfg_scale >= 0 && out.body.cfg_scale <= 1000));
        json_t *echo = status ? NULL : fields_echo(table, object);
        MUST(status || json_is_object(echo));
        json_decref(echo);
    }
    json_decref(object);
    json_decref(warnings);
    return 0;
}
