/* libFuzzer: PyTorch's containers. Bytes that start otherwise are read as the object of a legacy file. */
#include "tests/fuzz/fuzz.h"

static const unsigned char legacy_head[] = "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19." /* magic number */
                                           "\x80\x02M\xe9\x03."                            /* protocol 1001 */
                                           "\x80\x02}X\x0d\0\0\0little_endian\x88s."       /* system */
                                           "\x80\x02";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf file = {0};
    if (size > 0 && data[0] != 'P' && data[0] != 0x80)
        buf_append(&file, legacy_head, sizeof legacy_head - 1);
    buf_append(&file, data, size);
    unsigned char *exact = xmalloc(file.len);
    for (size_t i = 0; i < file.len; i++)
        exact[i] = file.data[i];
    fuzz_read_weights(exact, file.len);
    free(exact);
    buf_free(&file);
    return 0;
}
