/* The page: index.html and its pictures, and the contact sheet. */
#include "rerank/page.h"
#include "common/err.h"
#include "common/image.h"
#include "common/utf8.h"
#include <pango/pangocairo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHEET_ROWS 60   /* the sheet shows the first captions; the page shows all */
#define PANEL_ROWS 20   /* rows below each other; more go beside them */
#define CELL 100        /* pixels a picture takes on the sheet */
#define LINE 22         /* pixels a line of text takes */
#define CAPTION_MAX 400 /* bytes of a caption that are drawn */

struct cell {
    struct image image;
    double score;
};

struct row {
    char *caption;
    struct cell truth, *cells; /* truth.image.rgb NULL: none given */
    int count;
};

struct page {
    char *dir, *title;
    int columns, count, shown;
    struct row rows[SHEET_ROWS]; /* what the sheet needs; the page's text is made as rows come */
    struct buf html;
    bool truths;
};

struct page *page_new(const char *dir, const char *title, int columns)
{
    struct page *p = xcalloc(1, sizeof *p);
    p->dir = xstrdup(dir);
    p->title = xstrdup(title);
    p->columns = columns;
    return p;
}

static void append_escaped(struct buf *b, const char *text)
{
    for (; *text; text++)
        if (*text == '<')
            buf_printf(b, "&lt;");
        else if (*text == '&')
            buf_printf(b, "&amp;");
        else if (*text == '"')
            buf_printf(b, "&quot;");
        else
            buf_append(b, text, 1);
}

/* What the sheet keeps of a picture: no more than it shows, however large the picture is. Takes `im` over. */
static struct image shrink(struct image *im)
{
    int longest = im->width > im->height ? im->width : im->height;
    struct image small;
    if (longest <= CELL)
        return *im;
    int w = (int)((int64_t)im->width * CELL / longest), h = (int)((int64_t)im->height * CELL / longest);
    image_resize_area(im, 0, 0, im->width, im->height, w > 0 ? w : 1, h > 0 ? h : 1, &small);
    image_free(im);
    return small;
}

/* Decodes for the sheet, keeps the file for the page. 0 or -1. */
static int add_picture(struct page *p, const struct buf *encoded, const char *name, const char *alt,
                       struct image *image)
{
    struct image im;
    struct buf png = {0};
    char *dir = xasprintf("%s/pictures", p->dir), *path = xasprintf("%s/%s.png", dir, name);
    int rc = image_decode(&im, encoded->data, encoded->len, 0, 1);
    if (!rc)
        rc = file_make_dirs(dir) || image_encode_png(&im, &png) || file_write(path, png.data, png.len) ? -1 : 0;
    if (rc) {
        err_wrap("page picture %s", name);
    } else {
        buf_printf(&p->html, "<figure><img src=\"pictures/%s.png\" alt=\"", name);
        append_escaped(&p->html, alt);
        buf_printf(&p->html, "\">");
        if (image)
            *image = shrink(&im);
        else
            image_free(&im);
    }
    buf_free(&png);
    free(dir);
    free(path);
    return rc;
}

static struct row *sheet_row(struct page *p)
{
    return p->count <= SHEET_ROWS ? &p->rows[p->count - 1] : NULL;
}

int page_row(struct page *p, const char *caption, const struct buf *truth)
{
    if (p->count++)
        buf_printf(&p->html, "</div></section>\n");
    p->shown = 0;
    buf_printf(&p->html, "<section><h2>");
    append_escaped(&p->html, caption);
    buf_printf(&p->html, "</h2><div>\n");
    struct row *row = sheet_row(p);
    if (row)
        *row = (struct row){.caption = xstrdup(caption), .cells = xcalloc((size_t)p->columns, sizeof *row->cells)};
    if (!truth)
        return 0;
    char name[32];
    snprintf(name, sizeof name, "%05d-true", p->count);
    p->truths = true;
    if (add_picture(p, truth, name, "the true picture", row ? &row->truth.image : NULL))
        return -1;
    buf_printf(&p->html, "<figcaption>true</figcaption></figure>\n");
    return 0;
}

int page_candidate(struct page *p, const struct record *r)
{
    if (p->shown == p->columns)
        return 0;
    char name[32];
    struct row *row = sheet_row(p);
    struct cell *cell = row ? &row->cells[row->count] : NULL;
    snprintf(name, sizeof name, "%05d-%03d", p->count, p->shown);
    p->shown++;
    if (add_picture(p, &r->image, name, "a candidate", cell ? &cell->image : NULL))
        return -1;
    buf_printf(&p->html, "<figcaption>%.2f</figcaption></figure>\n", r->score);
    if (cell) {
        cell->score = r->score;
        row->count++;
    }
    return 0;
}

static void draw_text(cairo_t *c, const char *text, double x, double y, int width, int size)
{
    PangoLayout *layout = pango_cairo_create_layout(c);
    PangoFontDescription *font = pango_font_description_from_string("sans");
    pango_font_description_set_absolute_size(font, size * PANGO_SCALE);
    pango_layout_set_font_description(layout, font);
    pango_font_description_free(font);
    pango_layout_set_width(layout, width * PANGO_SCALE);
    pango_layout_set_height(layout, 0); /* one line */
    pango_layout_set_ellipsize(layout, PANGO_ELLIPSIZE_END);
    pango_layout_set_text(layout, text, (int)utf8_cut(text, strlen(text), CAPTION_MAX));
    cairo_move_to(c, x, y);
    pango_cairo_show_layout(c, layout);
    g_object_unref(layout);
}

/* Nearest-neighbour enlargement: small pictures keep their pixels. */
static void draw_picture(cairo_t *c, const struct image *im, double x, double y)
{
    cairo_surface_t *s = cairo_image_surface_create(CAIRO_FORMAT_RGB24, im->width, im->height);
    unsigned char *to = cairo_image_surface_get_data(s);
    int stride = cairo_image_surface_get_stride(s);
    cairo_surface_flush(s);
    for (int row = 0; row < im->height; row++)
        for (int i = 0; i < im->width; i++) {
            const uint8_t *from = im->rgb + ((size_t)row * im->width + i) * 3;
            ((uint32_t *)(void *)(to + (size_t)row * stride))[i] =
                (uint32_t)from[0] << 16 | (uint32_t)from[1] << 8 | from[2];
        }
    cairo_surface_mark_dirty(s);
    double scale = (CELL - 4.0) / (im->width > im->height ? im->width : im->height);
    cairo_save(c);
    cairo_translate(c, x, y);
    cairo_scale(c, scale, scale);
    cairo_set_source_surface(c, s, 0, 0);
    cairo_pattern_set_filter(cairo_get_source(c), scale > 1 ? CAIRO_FILTER_NEAREST : CAIRO_FILTER_GOOD);
    cairo_paint(c);
    cairo_restore(c);
    cairo_surface_destroy(s);
}

static void draw_row(cairo_t *c, const struct page *p, const struct row *row, int x, int y)
{
    char score[32];
    cairo_set_source_rgb(c, 0, 0, 0);
    draw_text(c, row->caption, x, y, (p->columns + 1) * CELL, 14);
    y += LINE;
    if (p->truths) {
        if (row->truth.image.rgb)
            draw_picture(c, &row->truth.image, x, y);
        cairo_set_source_rgb(c, 0.3, 0.3, 0.3);
        draw_text(c, "true", x, y + CELL - 2, CELL, 12);
        x += CELL + 10;
    }
    for (int i = 0; i < row->count; i++, x += CELL) {
        draw_picture(c, &row->cells[i].image, x, y);
        snprintf(score, sizeof score, "%.2f", row->cells[i].score);
        cairo_set_source_rgb(c, 0.3, 0.3, 0.3);
        draw_text(c, score, x, y + CELL - 2, CELL, 12);
    }
}

static int write_sheet(const struct page *p)
{
    int rows = p->count < SHEET_ROWS ? p->count : SHEET_ROWS, panels = (rows + PANEL_ROWS - 1) / PANEL_ROWS;
    int width = (p->columns + p->truths) * CELL + 30, height = CELL + 2 * LINE;
    cairo_surface_t *s = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (panels ? panels : 1) * width,
                                                    (rows < PANEL_ROWS ? rows : PANEL_ROWS) * height + 2 * LINE);
    cairo_t *c = cairo_create(s);
    cairo_set_source_rgb(c, 1, 1, 1);
    cairo_paint(c);
    cairo_set_source_rgb(c, 0, 0, 0);
    draw_text(c, p->title, 10, 8, p->columns * CELL, 18);
    for (int i = 0; i < rows; i++)
        draw_row(c, p, &p->rows[i], 10 + i / PANEL_ROWS * width, 2 * LINE + i % PANEL_ROWS * height);
    char *path = xasprintf("%s/sheet.png", p->dir);
    cairo_status_t status = cairo_surface_write_to_png(s, path);
    int rc = status == CAIRO_STATUS_SUCCESS ? 0 : err_set(ERR_IO, "%s: %s", path, cairo_status_to_string(status));
    free(path);
    cairo_destroy(c);
    cairo_surface_destroy(s);
    return rc;
}

int page_write(struct page *p)
{
    struct buf out = {0};
    buf_printf(&out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                     "<meta name=\"viewport\" content=\"width=device-width\"><title>");
    append_escaped(&out, p->title);
    buf_printf(&out, "</title>\n<style>body{font:15px sans-serif;margin:2em auto;max-width:76em;padding:0 1em}"
                     "h2{font-size:1.05em;font-weight:600;margin:1.6em 0 .4em}div{display:flex;flex-wrap:wrap;gap:6px}"
                     "figure{margin:0;text-align:center}img{width:112px;height:112px;object-fit:contain;"
                     "image-rendering:pixelated}figcaption{font-size:.8em;color:#555}</style></head><body>\n<h1>");
    append_escaped(&out, p->title);
    buf_printf(&out, "</h1>\n<p>%d captions, their best candidates first, each with its score by CLIP.</p>\n",
               p->count);
    buf_append(&out, p->html.data, p->html.len);
    buf_printf(&out, "%s</body></html>\n", p->count ? "</div></section>\n" : "");
    char *path = xasprintf("%s/index.html", p->dir);
    int rc = file_make_dirs(p->dir) || file_write(path, out.data, out.len) || write_sheet(p) ? -1 : 0;
    free(path);
    buf_free(&out);
    return rc;
}

void page_free(struct page **page)
{
    struct page *p = *page;
    for (int i = 0; p && i < p->count && i < SHEET_ROWS; i++) {
        for (int j = 0; j < p->rows[i].count; j++)
            image_free(&p->rows[i].cells[j].image);
        image_free(&p->rows[i].truth.image);
        free(p->rows[i].cells);
        free(p->rows[i].caption);
    }
    if (p) {
        buf_free(&p->html);
        free(p->dir);
        free(p->title);
    }
    free(p);
    *page = NULL;
}
