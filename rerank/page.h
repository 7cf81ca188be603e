/*
 * What a person looks at: index.html, with each caption's best candidates and their scores (and the true picture beside
 * them, where one is given), and sheet.png, the same in one picture.
 */
#ifndef ATELIER_RERANK_PAGE_H
#define ATELIER_RERANK_PAGE_H

#include "common/record.h"

struct page;

/* Files go to `dir`, pictures to dir/pictures; `title` heads both. `columns`: candidates shown a caption. */
struct page *page_new(const char *dir, const char *title, int columns);
/* A caption's row, its text valid UTF-8; `truth`: the encoded true picture, or NULL. Then its candidates, best first. 0
 * or -1. */
int page_row(struct page *p, const char *caption, const struct buf *truth);
int page_candidate(struct page *p, const struct record *r);
/* Writes index.html and sheet.png. 0 or -1. */
int page_write(struct page *p);
void page_free(struct page **p);

#endif
