/*
 * The scans of a progressive JPEG (T.81, annex G), for a small square of a large picture. libjpeg-turbo is as fast as
 * can be with sequential files, and twice as slow as this with progressive ones, where most bits come in refining
 * scans: a bit for each coefficient that is not 0, and runs of those that are. Here a mask of each block says which are
 * not, so runs are found without looking at coefficients; outside the square nothing else is kept.
 *
 * Nothing is rejected here. Whatever libjpeg might warn of, and whatever is rare (restart marks that are missing,
 * tables that change between scans, scans left out), ends in `false`, and libjpeg decides.
 */
#include "common/image_huffman.h"
#include "common/image_private.h"
#include <stdlib.h>
#include <string.h>

#define MAX_SCANS 100 /* as many as image_jpeg.c lets pass */

enum { DHT = 0xC4, SOS = 0xDA, DRI = 0xDD }; /* markers that jpeglib.h does not name */
enum { NOT_SEEN = -1 };

struct component {
    unsigned id;
    int h, v;                     /* blocks in an MCU of several components */
    int columns, rows;            /* blocks that hold pixels */
    int stride;                   /* blocks, whole MCUs */
    int left, top, right, bottom; /* the window, in blocks */
    float quant[64];              /* this and what follows in zigzag order */
    int8_t low_bit[64];           /* the lowest bit that has come, or NOT_SEEN */
    uint64_t *set;                /* which coefficients are not 0, of each block ... */
    int16_t *number;              /* ... and what they are, of the window's blocks */
    int last_dc;
};

struct picture {
    struct component component[3];
    int components, mcus_wide, mcus_high, restart_interval;
    struct huffman dc[4], ac[4];
    struct square *square;
    struct square_window window;
    const uint8_t *at, *end;
    uint8_t *segment; /* the present one, without stuffing */
};

/* A block of an MCU. */
struct member {
    struct component *component;
    const struct huffman *dc, *ac;
    int across, down; /* blocks of this component in an MCU ... */
    int column, row;  /* ... and which of them this is */
};

struct scan {
    struct picture *picture;
    int components, members;
    int last_component; /* the only one, where other coefficients than DC's come */
    struct member member[D_MAX_BLOCKS_IN_MCU];
    int first, last, high_bit, low_bit; /* Ss, Se, Ah, Al */
    int zero_blocks;                    /* of a run of blocks without more coefficients: what is left */
    struct bits bits;
};

static const uint8_t natural_order[64] = {0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,
                                          12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6,  7,  14, 21, 28,
                                          35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
                                          58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};

/* Decodes a part of a row of MCUs. */
typedef bool decoder(struct scan *s, int row, int from, int to);

static uint64_t span_of(int first, int last)
{
    return (~0ull >> (63 - last)) & (~0ull << first);
}

static bool in_window(const struct component *c, int column, int row)
{
    return row >= c->top && row < c->bottom && column >= c->left && column < c->right;
}

/* Where the numbers of a block of the window are. */
static int16_t *numbers(const struct component *c, int column, int row)
{
    return c->number + ((size_t)(row - c->top) * (size_t)(c->right - c->left) + (size_t)(column - c->left)) * 64;
}

BITS_INLINE bool next_dc(struct bits *b, const struct huffman *h, int *last)
{
    bits_fill(b);
    struct huffman_entry e = huffman_code(b, h);
    if (e.length == 0 || e.run > 0)
        return false;
    if (e.size > 0)
        *last += huffman_number(b, e);
    else
        bits_drop(b, e.length);
    return *last >= INT16_MIN && *last <= INT16_MAX;
}

/* ---- rows of MCUs ---- */

static bool dc_first(struct scan *s, int row, int from, int to)
{
    struct bits b = s->bits;
    for (int x = from; x < to; x++)
        for (const struct member *m = s->member; m < s->member + s->members; m++) {
            struct component *c = m->component;
            int column = x * m->across + m->column, line = row * m->down + m->row;
            if (!next_dc(&b, m->dc, &c->last_dc))
                return false;
            if (in_window(c, column, line))
                numbers(c, column, line)[0] = (int16_t)((unsigned)c->last_dc << s->low_bit);
        }
    s->bits = b;
    return true;
}

static bool dc_refine(struct scan *s, int row, int from, int to)
{
    struct bits b = s->bits;
    for (int x = from; x < to; x++)
        for (const struct member *m = s->member; m < s->member + s->members; m++) {
            int column = x * m->across + m->column, line = row * m->down + m->row;
            bits_fill(&b);
            unsigned bit = bits_take(&b, 1) << s->low_bit;
            if (in_window(m->component, column, line))
                numbers(m->component, column, line)[0] |= (int16_t)bit;
        }
    s->bits = b;
    return true;
}

/* The length of a run of blocks, this one included. */
BITS_INLINE int block_run(struct bits *b, int n)
{
    return (1 << n) + (n ? (int)bits_take(b, n) : 0);
}

static bool ac_first(struct scan *s, int row, int from, int to)
{
    struct bits b = s->bits;
    struct component *c = &s->picture->component[s->last_component];
    const struct huffman *h = s->member[0].ac;
    int16_t outside[64] = {0};
    for (int x = from; x < to; x++) {
        if (s->zero_blocks > 0) {
            int skip = s->zero_blocks < to - x ? s->zero_blocks : to - x;
            s->zero_blocks -= skip;
            x += skip - 1;
            continue;
        }
        int16_t *block = in_window(c, x, row) ? numbers(c, x, row) : outside;
        uint64_t set = 0;
        for (int k = s->first; k <= s->last; k++) {
            bits_fill(&b);
            struct huffman_entry e = huffman_code(&b, h);
            k += e.run;
            if (e.size == 0) {
                bits_drop(&b, e.length);
                if (e.length == 0)
                    return false;
                if (e.run == 15)
                    continue;
                s->zero_blocks = block_run(&b, e.run) - 1;
                break;
            }
            if (k > s->last)
                return false;
            block[k] = (int16_t)((unsigned)huffman_number(&b, e) << s->low_bit);
            set |= 1ull << k;
        }
        c->set[(size_t)row * c->stride + x] |= set;
    }
    s->bits = b;
    return true;
}

/* One more bit for each of the coefficients `which`; block: NULL where nobody wants them. 32 bits are filled before. */
BITS_INLINE void correct(struct bits *b, int16_t *block, uint64_t which, int low_bit)
{
    if (!block) {
        int n = __builtin_popcountll(which);
        if (n > 32) {
            bits_drop(b, 32);
            bits_fill(b);
            n -= 32;
        }
        bits_drop(b, n);
        return;
    }
    for (int n = 1; which; n++, which &= which - 1) {
        int16_t *number = block + __builtin_ctzll(which);
        int sign = *number < 0 ? -1 : 1;
        *number = (int16_t)(*number + sign * (int)(bits_take(b, 1) << low_bit));
        if (n % 32 == 0)
            bits_fill(b);
    }
}

/* `bits` without its lowest n. The first ones go without branches: short runs are common, and no branch is predicted.
 */
BITS_INLINE uint64_t drop_lowest(uint64_t bits, int n)
{
    for (int i = 0; i < 4; i++)
        bits &= bits - (n > i);
    for (; n > 4; n--)
        bits &= bits - 1;
    return bits;
}

BITS_INLINE bool refine_block(struct bits *b, struct scan *s, int16_t *block, uint64_t *set)
{
    int k = s->first, low = s->low_bit;
    while (s->zero_blocks == 0 && k <= s->last) {
        int fresh = 0;
        bits_fill(b);
        struct huffman_entry e = huffman_code(b, s->member[0].ac);
        if (e.length == 0 || e.size > 1)
            return false;
        if (e.size == 1) {
            fresh = huffman_number(b, e);
        } else {
            bits_drop(b, e.length);
            if (e.run < 15) {
                s->zero_blocks = block_run(b, e.run);
                break;
            }
        }
        uint64_t rest = span_of(k, s->last), zeros = drop_lowest(~*set & rest, e.run), place = zeros & -zeros;
        correct(b, block, *set & rest & (place - 1), low);
        if (!place)
            return fresh == 0;
        k = __builtin_ctzll(place);
        if (fresh) {
            *set |= place;
            if (block)
                block[k] = (int16_t)(fresh * (1 << low));
        }
        k++;
    }
    if (s->zero_blocks > 0) {
        bits_fill(b);
        if (k <= s->last)
            correct(b, block, *set & span_of(k, s->last), low);
        s->zero_blocks--;
    }
    return true;
}

static bool ac_refine(struct scan *s, int row, int from, int to)
{
    struct bits b = s->bits;
    struct component *c = &s->picture->component[s->last_component];
    for (int x = from; x < to; x++)
        if (!refine_block(&b, s, in_window(c, x, row) ? numbers(c, x, row) : NULL,
                          &c->set[(size_t)row * c->stride + x]))
            return false;
    s->bits = b;
    return true;
}

/* ---- a scan ---- */

/* The next segment, up to a marker; where there is none, up to what it has to be at least. */
static void segment_begin(struct picture *p, struct scan *s)
{
    uint8_t *to = p->segment;
    const uint8_t *stuffed;
    while ((stuffed = memchr(p->at, 0xFF, (size_t)(p->end - p->at))) != NULL && p->end - stuffed > 1 &&
           stuffed[1] == 0) {
        size_t n = (size_t)(stuffed + 1 - p->at);
        memcpy(to, p->at, n);
        to += n;
        p->at = stuffed + 2;
    }
    size_t rest = (size_t)((stuffed ? stuffed : p->end) - p->at);
    memcpy(to, p->at, rest);
    memset(to + rest, 0, BITS_PADDING);
    p->at += rest;
    s->bits = (struct bits){.at = p->segment, .end = to + rest};
    s->zero_blocks = 0;
    for (int i = 0; i < p->components; i++)
        p->component[i].last_dc = 0;
}

/* All of a segment's bytes must have been read, and a marker must follow. */
static bool segment_done(const struct picture *p, const struct scan *s)
{
    return bits_left(&s->bits) < 8 && p->end - p->at >= 2;
}

static bool decode_scan(struct picture *p, struct scan *s, decoder *decode)
{
    const struct component *only = s->components == 1 ? &p->component[s->last_component] : NULL;
    int columns = only ? only->columns : p->mcus_wide, rows = only ? only->rows : p->mcus_high;
    int left = p->restart_interval, restarts = 0;
    segment_begin(p, s);
    for (int row = 0; row < rows; row++)
        for (int from = 0, to; from < columns; from = to) {
            if (p->restart_interval && left == 0) {
                if (!segment_done(p, s) || p->at[1] != JPEG_RST0 + restarts % 8)
                    return false;
                p->at += 2;
                restarts++;
                left = p->restart_interval;
                segment_begin(p, s);
            }
            to = p->restart_interval && columns - from > left ? from + left : columns;
            left -= to - from;
            if (!decode(s, row, from, to) || bits_left(&s->bits) < 0)
                return false;
        }
    return segment_done(p, s);
}

/* Notes what the scan brings of a component, and checks that it is its turn. */
static bool in_turn(const struct scan *s, int8_t low_bit[64])
{
    if (s->first > 0 && low_bit[0] == NOT_SEEN)
        return false;
    for (int k = s->first; k <= s->last; k++) {
        if (s->high_bit ? low_bit[k] != s->high_bit || s->low_bit != s->high_bit - 1 : low_bit[k] != NOT_SEEN)
            return false;
        low_bit[k] = (int8_t)s->low_bit;
    }
    return true;
}

static bool run_scan(struct picture *p, struct scan *s)
{
    bool dc = s->first == 0;
    if (dc ? s->last != 0 : s->last < s->first || s->last > 63 || s->components != 1)
        return false;
    if (s->low_bit > 13)
        return false;
    for (int i = 0; i < s->members; i++) {
        const struct member *m = &s->member[i];
        if (m->column == 0 && m->row == 0 && !in_turn(s, m->component->low_bit))
            return false;
        if (dc ? !s->high_bit && !m->dc->given : !m->ac->given)
            return false;
    }
    return decode_scan(p, s, dc ? s->high_bit ? dc_refine : dc_first : s->high_bit ? ac_refine : ac_first);
}

/* ---- markers ---- */

static unsigned two_bytes(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static bool read_tables(struct picture *p, const uint8_t *at, size_t len)
{
    for (size_t total; len >= 17; at += total, len -= total) {
        uint8_t counts[17] = {0}, symbols[256] = {0};
        unsigned place = *at & 15, count = 0;
        memcpy(counts + 1, at + 1, 16);
        for (int i = 1; i <= 16; i++)
            count += counts[i];
        total = 17 + count;
        if (*at > 0x1F || place > 3 || count > 256 || total > len)
            return false;
        memcpy(symbols, at + 17, count);
        if (!huffman_build(*at >> 4 ? &p->ac[place] : &p->dc[place], counts, symbols))
            return false;
    }
    return len == 0;
}

/* The header of a scan, without its length. */
static bool read_scan(struct picture *p, struct scan *s, const uint8_t *at, size_t len)
{
    *s = (struct scan){.picture = p, .components = len ? at[0] : 0};
    if (s->components < 1 || s->components > p->components || len != 4 + 2 * (size_t)s->components)
        return false;
    struct component *c = p->component;
    for (int i = 0; i < s->components; i++, c++) {
        unsigned id = at[1 + 2 * i], dc = at[2 + 2 * i] >> 4, ac = at[2 + 2 * i] & 15;
        while (c < p->component + p->components && c->id != id)
            c++;
        if (c == p->component + p->components || dc > 3 || ac > 3)
            return false;
        s->last_component = (int)(c - p->component);
        int across = s->components > 1 ? c->h : 1, down = s->components > 1 ? c->v : 1;
        for (int n = 0; n < across * down; n++) {
            if (s->members == D_MAX_BLOCKS_IN_MCU)
                return false;
            s->member[s->members++] = (struct member){c, &p->dc[dc], &p->ac[ac], across, down, n % across, n / across};
        }
    }
    at += len - 3;
    s->first = at[0];
    s->last = at[1];
    s->high_bit = at[2] >> 4;
    s->low_bit = at[2] & 15;
    return true;
}

/* From the first scan's header to the end of the file. */
static bool read_scans(struct picture *p)
{
    for (int scans = 0; scans <= MAX_SCANS;) {
        if (p->end - p->at < 2 || p->at[0] != 0xFF)
            return false;
        unsigned marker = p->at[1];
        if (marker == JPEG_EOI)
            return scans > 0;
        if (p->end - p->at < 4)
            return false;
        const uint8_t *body = p->at + 4;
        size_t len = two_bytes(p->at + 2);
        if (len < 2 || len > (size_t)(p->end - p->at - 2))
            return false;
        p->at += 2 + len;
        if (marker == DHT && read_tables(p, body, len - 2))
            continue;
        if (marker == DRI && len == 4) {
            p->restart_interval = (int)two_bytes(body);
            continue;
        }
        if (marker == JPEG_COM)
            continue;
        struct scan s;
        if (marker != SOS || !read_scan(p, &s, body, len - 2) || !run_scan(p, &s))
            return false;
        scans++;
    }
    return false;
}

/* ---- a picture ---- */

static bool complete(const struct component *c)
{
    for (int k = 0; k < 64; k++)
        if (c->low_bit[k] != 0)
            return false;
    return true;
}

/* The window's blocks of all components, when all scans have been. */
static void show(struct picture *p)
{
    float block[64] = {0};
    for (int row = p->window.top; row < p->window.bottom; row++) {
        for (int i = 0; i < p->components; i++) {
            const struct component *c = &p->component[i];
            for (int line = 0; line < c->v; line++)
                for (int x = c->left; x < c->right; x++) {
                    const int16_t *number = numbers(c, x, row * c->v + line);
                    uint64_t left = c->set[(size_t)(row * c->v + line) * c->stride + x] | 1, set = 0;
                    for (; left; left &= left - 1) {
                        int k = __builtin_ctzll(left);
                        block[natural_order[k]] = (float)number[k] * c->quant[k];
                        set |= 1ull << natural_order[k];
                    }
                    square_block(p->square, i, x - c->left, line, block, set);
                }
        }
        square_row_done(p->square, row);
    }
}

static bool prepare_tables(struct picture *p, const struct jpeg_decompress_struct *d)
{
    for (int i = 0; i < NUM_HUFF_TBLS; i++) {
        const JHUFF_TBL *dc = d->dc_huff_tbl_ptrs[i], *ac = d->ac_huff_tbl_ptrs[i];
        if ((dc && !huffman_build(&p->dc[i], dc->bits, dc->huffval)) ||
            (ac && !huffman_build(&p->ac[i], ac->bits, ac->huffval)))
            return false;
    }
    return true;
}

static bool prepare_component(struct picture *p, const struct jpeg_decompress_struct *d, int i)
{
    const jpeg_component_info *info = &d->comp_info[i];
    struct component *c = &p->component[i];
    const int table = info->quant_tbl_no;
    const JQUANT_TBL *quant = table >= 0 && table < NUM_QUANT_TBLS ? d->quant_tbl_ptrs[table] : NULL;
    *c = (struct component){.id = (unsigned)info->component_id, .h = info->h_samp_factor, .v = info->v_samp_factor};
    c->columns = (int)info->width_in_blocks;
    c->rows = (int)info->height_in_blocks;
    c->stride = p->mcus_wide * c->h;
    c->left = p->window.left * c->h;
    c->right = p->window.right * c->h;
    c->top = p->window.top * c->v;
    c->bottom = p->window.bottom * c->v;
    memset(c->low_bit, NOT_SEEN, sizeof c->low_bit);
    if (!quant)
        return false;
    for (int k = 0; k < 64; k++)
        c->quant[k] = quant->quantval[natural_order[k]];
    c->set = calloc((size_t)c->stride * p->mcus_high * c->v, sizeof *c->set);
    c->number = calloc((size_t)(c->right - c->left) * (c->bottom - c->top), 64 * sizeof *c->number);
    return c->set && c->number;
}

bool scans_square(struct image *im, const struct jpeg_decompress_struct *d, const void *data, size_t len,
                  int scale_down, int side)
{
    bool known = d->progressive_mode && d->data_precision == 8 && !d->arith_code &&
                 ((d->num_components == 3 && d->jpeg_color_space == JCS_YCbCr) ||
                  (d->num_components == 1 && d->jpeg_color_space == JCS_GRAYSCALE));
    struct square *square = known ? square_new(d, scale_down, side) : NULL;
    if (!square)
        return false;
    struct picture *p = xcalloc(1, sizeof *p);
    p->square = square;
    p->window = square_window(square);
    p->components = d->num_components;
    int across = 8 * d->max_h_samp_factor, down = 8 * d->max_v_samp_factor;
    p->mcus_wide = ((int)d->image_width + across - 1) / across;
    p->mcus_high = ((int)d->image_height + down - 1) / down;
    p->restart_interval = (int)d->restart_interval;
    p->end = (const uint8_t *)data + len;
    p->segment = xmalloc(len + BITS_PADDING);
    /* libjpeg stands behind the header of the first scan, which is read here again. */
    p->at = d->src->next_input_byte - 8 - 2 * (ptrdiff_t)d->comps_in_scan;
    bool done = prepare_tables(p, d);
    for (int i = 0; i < p->components; i++)
        done = done && prepare_component(p, d, i);
    done = done && read_scans(p);
    for (int i = 0; i < p->components; i++)
        done = done && complete(&p->component[i]);
    if (done) {
        show(p);
        square_take(square, im);
    }
    for (int i = 0; i < p->components; i++) {
        free(p->component[i].set);
        free(p->component[i].number);
    }
    square_free(square);
    free(p->segment);
    free(p);
    return done;
}
