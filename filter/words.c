/* Words of a caption (words.h). */
#include "filter/words.h"
#include <utf8proc.h>

uint32_t words_wide_char(const char *text, size_t len, int *bytes)
{
    utf8proc_int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)len, &c);
    if (n <= 0)
        return 0xFFFD;
    *bytes = (int)n;
    return (uint32_t)c;
}

bool words_is_wide_letter(uint32_t c)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

bool words_is_wide_digit(uint32_t c)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO;
}

static bool is_spaceless(uint32_t c)
{
    static const uint32_t blocks[][2] = {
        {0x0E00, 0x0FFF},   /* Thai, Lao, Tibetan */
        {0x1000, 0x109F},   /* Myanmar */
        {0x1780, 0x17FF},   /* Khmer */
        {0x1950, 0x19FF},   /* Tai Le, New Tai Lue, Khmer signs */
        {0x1A20, 0x1AAF},   /* Tai Tham */
        {0x1B00, 0x1B7F},   /* Balinese */
        {0x2E80, 0x312F},   /* radicals, Hiragana, Katakana, Bopomofo */
        {0x31A0, 0x31FF},   /* Bopomofo, Katakana extensions */
        {0x3400, 0xA4CF},   /* Han, Yi */
        {0xA980, 0xA9DF},   /* Javanese */
        {0xAA60, 0xAADF},   /* Myanmar extended, Tai Viet */
        {0xF900, 0xFAFF},   /* Han, compatibility */
        {0xFF66, 0xFF9F},   /* Katakana, half width */
        {0x1B000, 0x1B16F}, /* Kana supplements */
        {0x20000, 0x3FFFF}, /* Han extensions */
    };
    for (size_t i = 0; c >= blocks[0][0] && i < sizeof blocks / sizeof *blocks; i++)
        if (c >= blocks[i][0] && c <= blocks[i][1])
            return true;
    return false;
}

void words_count(struct word_count *count, const char *text, size_t len)
{
    bool counted = false;
    int bytes;
    for (size_t i = 0; i < len; i += (size_t)bytes) {
        uint32_t c = words_char(text + i, len - i, &bytes);
        if (c == ' ') {
            counted = false;
            continue;
        }
        bool letter = words_is_letter(c);
        if (letter && is_spaceless(c))
            count->letters++;
        if (!counted && (letter || words_is_digit(c))) {
            counted = true;
            count->words++;
        }
    }
}

bool words_enough(const struct word_count *count, size_t least)
{
    return count->words >= least || count->letters > least;
}
