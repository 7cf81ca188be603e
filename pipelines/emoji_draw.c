/* One emoji as a picture, through Pango and Cairo. */
#include "common/err.h"
#include "pipelines/emoji.h"
#include <pango/pangocairo.h>

#define FONT "Noto Color Emoji"
#define MAX_ASPECT 1.35 /* wider: the font drew the sequence's parts side by side */

static int draw(cairo_t *c, PangoLayout *layout, const char *text, int size)
{
    PangoFontDescription *font = pango_font_description_from_string(FONT);
    pango_font_description_set_absolute_size(font, size * 0.8 * PANGO_SCALE);
    pango_layout_set_font_description(layout, font);
    pango_font_description_free(font);
    pango_layout_set_text(layout, text, -1);
    PangoRectangle ink;
    pango_layout_get_pixel_extents(layout, &ink, NULL);
    if (pango_layout_get_unknown_glyphs_count(layout) || ink.width < 1 || ink.height < 1 ||
        ink.width > MAX_ASPECT * ink.height)
        return err_set(ERR_DATA, "emoji '%s': the font '%s' (Debian's package fonts-noto-color-emoji) has no picture",
                       text, FONT);
    double scale = (double)size / (ink.width > ink.height ? ink.width : ink.height);
    cairo_translate(c, size / 2.0, size / 2.0);
    cairo_scale(c, scale, scale);
    cairo_translate(c, -ink.x - ink.width / 2.0, -ink.y - ink.height / 2.0);
    pango_cairo_show_layout(c, layout);
    return 0;
}

int emoji_draw(const char *text, int size, struct image *out)
{
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, size, size);
    cairo_t *c = cairo_create(surface);
    cairo_set_source_rgb(c, 1, 1, 1);
    cairo_paint(c);
    PangoLayout *layout = pango_cairo_create_layout(c);
    int rc = draw(c, layout, text, size);
    if (!rc) {
        cairo_surface_flush(surface);
        const unsigned char *pixels = cairo_image_surface_get_data(surface);
        int stride = cairo_image_surface_get_stride(surface);
        image_alloc(out, size, size);
        for (int y = 0; y < size; y++)
            for (int x = 0; x < size; x++) {
                uint32_t p = ((const uint32_t *)(const void *)(pixels + (size_t)y * stride))[x];
                uint8_t *to = out->rgb + ((size_t)y * size + x) * 3;
                to[0] = (uint8_t)(p >> 16);
                to[1] = (uint8_t)(p >> 8);
                to[2] = (uint8_t)p;
            }
    }
    g_object_unref(layout);
    cairo_destroy(c);
    cairo_surface_destroy(surface);
    return rc;
}
