/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/support/folder.h -- a folder of small files for one test: made, copied into memory, put
 * back, and removed.
 */
#pragma once

#include "common/str.h"

#define FOLDER_PATH_SIZE 256
#define FOLDER_FILES_MAX 64

typedef struct FolderFile {
    char name[64];
    char *bytes;
    size_t len;
} FolderFile;

/* What was in a folder; folders inside it are left out. */
typedef struct FolderImage {
    FolderFile files[FOLDER_FILES_MAX]; /* by name */
    size_t count;
} FolderImage;

void folder_make(char *out_path); /* FOLDER_PATH_SIZE bytes */
void folder_remove(const char *path);

void folder_take(const char *path, FolderImage *out);
/* Removes what is there and writes the image. */
void folder_put(const char *path, const FolderImage *image);
void folder_image_done(FolderImage *image);
/* The first file whose name ends so, the n-th of them, or NULL. */
FolderFile *folder_file(FolderImage *image, const char *suffix, size_t nth);
size_t folder_count(const char *path, const char *suffix);
