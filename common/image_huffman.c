/* JPEG's Huffman tables (image_huffman.h), from counts and symbols as T.81, annex C has them. */
#include "common/image_huffman.h"

bool huffman_build(struct huffman *h, const uint8_t counts[17], const uint8_t symbols[256])
{
    *h = (struct huffman){0};
    unsigned code = 0, place = 0;
    for (int length = 1; length <= 16; length++, code <<= 1) {
        h->shift[length] = (int32_t)place - (int32_t)code;
        for (int i = 0; i < counts[length]; i++, code++, place++) {
            if (place >= 256 || code >= 1u << length)
                return false;
            h->symbol[place] = symbols[place];
            const int size = symbols[place] & 15, free = HUFFMAN_LOOK - length;
            for (unsigned rest = 0; free >= 0 && rest < 1u << free; rest++)
                h->entry[code << free | rest] = (struct huffman_entry){(uint8_t)length, (uint8_t)(length + size),
                                                                       symbols[place] >> 4, (uint8_t)size};
        }
        h->end[length] = code << (16 - length);
    }
    h->given = true;
    return true;
}
