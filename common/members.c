/*
 * A record as files of one stem (members.h).
 */
#include "common/members.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum member member_of(const char *extension)
{
    static const struct {
        const char *extension;
        enum member member;
    } known[] = {{"jpg", MEMBER_IMAGE},   {"jpeg", MEMBER_IMAGE},      {"png", MEMBER_IMAGE}, {"webp", MEMBER_IMAGE},
                 {"txt", MEMBER_CAPTION}, {"caption", MEMBER_CAPTION}, {"json", MEMBER_JSON}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcasecmp(extension, known[i].extension) == 0)
            return known[i].member;
    return MEMBER_OTHER;
}

void member_set_caption(struct record *r, const void *text, size_t present, uint64_t whole)
{
    const char *p = text;
    while (present == whole && whole > 0 && (p[whole - 1] == '\n' || p[whole - 1] == '\r'))
        present = --whole;
    record_set_caption(r, text, present, whole);
}

/* By content; what is no picture keeps the commonest name of one, so that its reader sees that it is broken. */
static const char *image_extension(const struct buf *image)
{
    static const unsigned char png[] = {0x89, 'P', 'N', 'G'};
    if (image->len >= sizeof png && memcmp(image->data, png, sizeof png) == 0)
        return "png";
    if (image->len >= 12 && memcmp(image->data, "RIFF", 4) == 0 && memcmp(image->data + 8, "WEBP", 4) == 0)
        return "webp";
    return "jpg";
}

int members_write(const struct record *r, int (*put)(void *to, const char *name, const void *data, size_t len),
                  void *to)
{
    char stem[48], name[64];
    int used = snprintf(stem, sizeof stem, "%09" PRIu64, r->id);
    if (record_has(r, FIELD_CANDIDATE))
        snprintf(stem + used, sizeof stem - (size_t)used, "-%04" PRIu32, r->candidate);
    if (record_has(r, FIELD_IMAGE)) {
        snprintf(name, sizeof name, "%s.%s", stem, image_extension(&r->image));
        if (put(to, name, r->image.data, r->image.len) < 0)
            return -1;
    }
    if (record_has(r, FIELD_CAPTION)) {
        snprintf(name, sizeof name, "%s.txt", stem);
        if (put(to, name, r->caption.data, r->caption.len) < 0)
            return -1;
    }
    struct record rest = *r; /* a view without the picture: the buffers stay r's */
    struct buf json = {0};
    record_drop(&rest, FIELD_IMAGE);
    record_to_json(&rest, &json);
    snprintf(name, sizeof name, "%s.json", stem);
    int result = put(to, name, json.data, json.len);
    buf_free(&json);
    return result;
}
