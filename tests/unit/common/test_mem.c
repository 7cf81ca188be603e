/*
 * Errors, memory, whole files, and the small tools for bytes and text: crc32c, base64, UTF-8, braces.
 */
#include "scratch.h"

#include "common/base64.h"
#include "common/crc32c.h"
#include "common/err.h"
#include "common/expand.h"
#include "common/utf8.h"
#include <errno.h>

static void test_err(void **state)
{
    (void)state;
    assert_int_equal(err_set(ERR_DATA, "a %d", 1), -1);
    assert_int_equal(err_wrap("in %s", "b"), -1);
    assert_string_equal(err_text(), "in b: a 1");
    assert_int_equal(err_code(), ERR_DATA);
    err_set(ERR_BUG, "again %s", err_text()); /* its own text as an argument */
    assert_string_equal(err_text(), "again in b: a 1");
    errno = ENOSPC;
    err_sys("x");
    assert_int_equal(err_code(), ERR_AGAIN);
    assert_string_equal(err_text(), "x: No space left on device");
    errno = EPIPE;
    err_sys("x");
    assert_int_equal(err_code(), ERR_PIPE);
    errno = EIO;
    err_sys("x");
    assert_int_equal(err_code(), ERR_IO);

    char *longest = xmalloc(100001);
    memset(longest, 'y', 100000);
    longest[100000] = 0;
    err_set(ERR_DATA, "%s", longest);
    err_wrap("%s", longest);
    assert_in_range(strlen(err_text()), 100, 10000);
    free(longest);
}

static void test_bounds(void **state)
{
    (void)state;
    assert_null(mem_try(11, 10, "thing"));
    assert_int_equal(err_code(), ERR_DATA);
    assert_string_equal(err_text(), "thing: 11 bytes, limit 10");

    struct buf b = {0};
    assert_int_equal(buf_try(&b, 8, 10, "thing"), 0);
    buf_append(&b, "12345678", 8);
    assert_int_equal(buf_try(&b, 2, 10, "thing"), 0);
    assert_int_equal(buf_try(&b, 3, 10, "thing"), -1);
    assert_int_equal(buf_try(&b, SIZE_MAX, SIZE_MAX, "thing"), -1);
    buf_printf(&b, "%s-%d", "tail", 7);
    assert_string_equal(buf_string(&b), "12345678tail-7");
    assert_int_equal(b.len, 14);
    buf_free(&b);
}

static void test_files(void **state)
{
    (void)state;
    struct buf b = {0};
    assert_int_equal(file_make_dirs(scratch_path("a/b/c/")), 0);
    assert_int_equal(file_make_dirs(scratch_path("a/b")), 0);
    const char *path = scratch_path("a/b/c/file");
    assert_int_equal(file_write(path, "hello", 5), 0);
    assert_int_equal(file_write(path, "hell", 4), 0);
    assert_int_equal(file_read(path, 4, &b), 0);
    assert_int_equal(file_read(path, 4, &b), 0);
    assert_string_equal(buf_string(&b), "hellhell");
    assert_int_equal(file_read(path, 3, &b), -1);
    assert_int_equal(err_code(), ERR_DATA);
    assert_int_equal(b.len, 8);
    assert_int_equal(file_read("/dev/zero", 1 << 20, &b), -1); /* a size that no stat knows */
    assert_int_equal(err_code(), ERR_DATA);
    assert_int_equal(file_read(scratch, 100, &b), -1);
    assert_int_equal(file_read(scratch_path("none"), 100, &b), -1);
    assert_int_equal(err_code(), ERR_IO);
    assert_int_equal(file_make_dirs(scratch_path("a/b/c/file")), -1);
    assert_int_equal(file_make_dirs(scratch_path("a/b/c/file/d")), -1);
    assert_int_equal(file_write(scratch_path("none/file"), "x", 1), -1);
    buf_free(&b);
}

static void test_crc32c(void **state)
{
    (void)state;
    unsigned char zeros[32] = {0}, bytes[10000];
    /* RFC 3720, B.4, and the check value of the catalogues. */
    assert_int_equal(crc32c(0, "123456789", 9), 0xE3069283);
    assert_int_equal(crc32c(0, zeros, 32), 0x8A9136AA);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 167 + i / 256 + 13);
    for (size_t start = 0; start < 9; start++) {
        for (size_t len = 0; start + len < sizeof bytes; len += len < 300 ? 7 : 61) {
            uint32_t whole = crc32c(0, bytes + start, len);
            assert_int_equal(whole, crc32c_table(0, bytes + start, len));
            assert_int_equal(whole, crc32c(crc32c(0, bytes + start, len / 3), bytes + start + len / 3, len - len / 3));
        }
    }
}

static void test_base64(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {{"", ""},        {"f", "Zg=="},        {"fo", "Zm8="},
                                           {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"\xFF\xFE\xFD", "//79"}};
    static const char *const bad[] = {"A", "AB", "ABC", "AB=C", "====", "A===", "AB!=", "Zm9v\n", "=AAA"};
    struct buf b = {0};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        b.len = 0;
        base64_encode(pairs[i][0], strlen(pairs[i][0]), &b);
        assert_string_equal(buf_string(&b), pairs[i][1]);
        b.len = 0;
        assert_int_equal(base64_decode(pairs[i][1], strlen(pairs[i][1]), &b), 0);
        assert_string_equal(buf_string(&b), pairs[i][0]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        b.len = 0;
        assert_int_equal(base64_decode(bad[i], strlen(bad[i]), &b), -1);
        assert_int_equal(b.len, 0);
    }
    buf_free(&b);
}

static void test_utf8(void **state)
{
    (void)state;
    struct buf b = {0};
    utf8_append_valid(&b, "a\xC3\xA4\xFFz\xE2\x82", 7);
    assert_string_equal(buf_string(&b), "a\xC3\xA4\xEF\xBF\xBDz\xEF\xBF\xBD\xEF\xBF\xBD");
    assert_true(utf8_is_valid("\xF0\x9F\xA5\x91", 4));
    assert_false(utf8_is_valid("\xF0\x9F\xA5", 3));
    assert_false(utf8_is_valid("\xED\xA0\x80", 3)); /* a surrogate */
    assert_int_equal(utf8_cut("abc", 3, 5), 3);
    assert_int_equal(utf8_cut("ab\xF0\x9F\xA5\x91", 6, 5), 2);
    assert_int_equal(utf8_cut("ab\xF0\x9F\xA5\x91", 6, 6), 6);
    assert_int_equal(utf8_cut("\x80\x80\x80\x80\x80\x80\x80", 7, 6), 6); /* no characters to split */
    buf_free(&b);
}

static void check_expansion(const char *pattern, const char *joined)
{
    struct names names;
    struct buf b = {0};
    assert_int_equal(expand_braces(&names, pattern), 0);
    for (size_t i = 0; i < names.count; i++)
        buf_printf(&b, "%s%s", i ? " " : "", names.name[i]);
    assert_string_equal(buf_string(&b), joined);
    buf_free(&b);
    names_free(&names);
}

static void test_expand(void **state)
{
    (void)state;
    struct names names;
    check_expansion("a.tar", "a.tar");
    check_expansion("{08..11}.tar", "08.tar 09.tar 10.tar 11.tar");
    check_expansion("{8..11}", "8 9 10 11");
    check_expansion("{2..0}", "2 1 0");
    check_expansion("{0..0}", "0");
    check_expansion("{000..1}", "000 001");
    check_expansion("x{a,b}{0..1}", "xa0 xa1 xb0 xb1");
    check_expansion("{a,b{1..2},}z", "az b1z b2z z");
    check_expansion("a{b}c{", "a{b}c{");
    check_expansion("{..3}{a..c}", "{..3}{a..c}");
    check_expansion("{x}{1..2}", "{x}1 {x}2");
    assert_int_equal(expand_braces(&names, "{0..999999999999999999}"), -1);
    assert_int_equal(err_code(), ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_err),    cmocka_unit_test(test_bounds), cmocka_unit_test(test_files),
        cmocka_unit_test(test_crc32c), cmocka_unit_test(test_base64), cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_expand),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
