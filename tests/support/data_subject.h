/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/support/data_subject.h -- payload files for tests, in a folder of their own: each byte is
 * known from its place alone, so that what is read can be checked.
 */
#pragma once

#include "server/data_file.h"
#include "tests/support/folder.h"

#define ID       0x1234u
#define MESSAGES 20 /* of data_subject; message i is i + 1 bytes */

extern char data_folder[FOLDER_PATH_SIZE];
extern char data_dir[FOLDER_PATH_SIZE + 16]; /* of the files, in the folder */
extern DataFiles *data_files;

void data_subject_setup(void); /* of a TestSuite */
void data_subject_teardown(void);

char data_byte_at(uint64_t offset);
void data_payload_fill(char *out, uint64_t first, size_t len);
/* Messages of these lengths behind *end, which moves. */
bool data_try_append(uint64_t id, DataEnd *end, const uint32_t *lengths, size_t count, Error *err);
DataEnd data_subject(uint64_t id);        /* MESSAGES of them, made durable */
uint64_t data_start_of(uint64_t message); /* its first byte in a data_subject */

void data_expect_range(const Range *range, uint64_t first_byte, uint64_t bytes);
void data_must_read(const DataRead *read, Range *range);
/* ERR_NONE: it was read.  out_text is as long as Error.text. */
ErrorCode data_read_error(const DataRead *read, char *out_text);
