/*
 * A register tile, for tile.c alone, which includes this once for each width: function TILE takes up to ROWS rows and
 * VECTORS vectors of LANES columns. The sums live in registers while the summed index runs.
 */

/* rows is a constant where this is expanded. */
static inline __attribute__((always_inline)) void FN_EXPAND(tile, TILE)(const int rows, const struct block *t,
                                                                        const struct tile_at *at)
{
    typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
    typedef int32_t bits __attribute__((vector_size(4 * LANES)));
    lanes sum[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            sum[i][v] = at->start ? *(const lanes *)(at->start + i * t->start_row + v * LANES) : (lanes){0};
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            __builtin_prefetch(at->c + i * t->c_row + v * LANES, 1);
    const ptrdiff_t a_row = t->a_row, a_col = t->a_col, b_row = t->b_row, ahead_step = at->ahead_step;
    const float *b = at->b, *ahead = at->ahead;
    for (int o = 0; o < t->outer; o++) {
        const float *x = at->a + o * t->a_outer;
        for (int k = 0; k < t->depth; k++, x += a_col, b += b_row, ahead += ahead_step) {
            lanes y[VECTORS];
            __builtin_prefetch(ahead, 0, 2);
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++)
                y[v] = *(const lanes *)(b + v * LANES);
#pragma GCC unroll 8
            for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
                for (int v = 0; v < VECTORS; v++)
                    sum[i][v] += x[i * a_row] * y[v];
        }
    }
    const struct conv_fusion *f = t->fusion;
    if (f && f->gain != 0) {
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++)
                sum[i][v] = *(const lanes *)(at->c + i * t->c_row + v * LANES) + f->gain * sum[i][v];
    }
    if (f && f->relu_out) {
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++)
                sum[i][v] = (lanes)((bits)sum[i][v] & (bits)(sum[i][v] > 0));
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++)
            *(lanes *)(at->c + i * t->c_row + v * LANES) = sum[i][v];
}

static void TILE(int rows, const struct block *t, const struct tile_at *at)
{
    switch (rows) {
    case 1:
        return FN_EXPAND(tile, TILE)(1, t, at);
    case 2:
        return FN_EXPAND(tile, TILE)(2, t, at);
    case 3:
        return FN_EXPAND(tile, TILE)(3, t, at);
    case 4:
        return FN_EXPAND(tile, TILE)(4, t, at);
    case 5:
        return FN_EXPAND(tile, TILE)(5, t, at);
#if ROWS > 6
    case 6:
        return FN_EXPAND(tile, TILE)(6, t, at);
    case 7:
        return FN_EXPAND(tile, TILE)(7, t, at);
#endif
    default:
        return FN_EXPAND(tile, TILE)(ROWS, t, at);
    }
}

#undef TILE
#undef LANES
#undef VECTORS
#undef ROWS
