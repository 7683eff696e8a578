/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/folder.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"

void
folder_make(char *out_path)
{
    const char *base = getenv("TMPDIR");

    if (base == NULL) {
        base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"; /* a sync costs nothing there */
    }
    int len = snprintf(out_path, FOLDER_PATH_SIZE, "%s/ds_test_XXXXXX", base);

    cr_assert(len > 0 && len < FOLDER_PATH_SIZE);
    cr_assert_not_null(mkdtemp(out_path));
}

static int
remove_one(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)status;
    (void)type;
    (void)where;
    return remove(path);
}

void
folder_remove(const char *path)
{
    cr_assert_eq(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static void
path_join(const char *path, const char *name, char *out)
{
    int len = snprintf(out, FOLDER_PATH_SIZE, "%s/%s", path, name);

    cr_assert(len > 0 && len < FOLDER_PATH_SIZE);
}

static void
file_take(const char *path, const char *name, FolderFile *out)
{
    char full[FOLDER_PATH_SIZE];
    struct stat status;

    cr_assert(strlen(name) < sizeof(out->name));
    memcpy(out->name, name, strlen(name) + 1);
    path_join(path, name, full);
    int fd = open(full, O_RDONLY | O_CLOEXEC);

    cr_assert(fd >= 0 && fstat(fd, &status) == 0);
    out->len = (size_t)status.st_size;
    out->bytes = mem_alloc(out->len + 1);
    cr_assert_eq(read(fd, out->bytes, out->len), (ssize_t)out->len);
    (void)close(fd);
}

static int
file_compare(const void *a, const void *b)
{
    return strcmp(((const FolderFile *)a)->name, ((const FolderFile *)b)->name);
}

void
folder_take(const char *path, FolderImage *out)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;

    cr_assert_not_null(dir);
    out->count = 0;
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_type == DT_REG) {
            cr_assert(out->count < FOLDER_FILES_MAX);
            file_take(path, entry->d_name, &out->files[out->count++]);
        }
    }
    (void)closedir(dir);
    qsort(out->files, out->count, sizeof(out->files[0]), file_compare);
}

static void
files_remove(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    char full[FOLDER_PATH_SIZE];

    cr_assert_not_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_type == DT_REG) {
            path_join(path, entry->d_name, full);
            cr_assert_eq(unlink(full), 0);
        }
    }
    (void)closedir(dir);
}

void
folder_put(const char *path, const FolderImage *image)
{
    char full[FOLDER_PATH_SIZE];

    files_remove(path);
    for (size_t i = 0; i < image->count; i++) {
        const FolderFile *file = &image->files[i];

        path_join(path, file->name, full);
        int fd = open(full, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

        cr_assert(fd >= 0);
        cr_assert_eq(write(fd, file->bytes, file->len), (ssize_t)file->len);
        (void)close(fd);
    }
}

void
folder_image_done(FolderImage *image)
{
    for (size_t i = 0; i < image->count; i++) {
        free(image->files[i].bytes);
    }
    image->count = 0;
}

FolderFile *
folder_file(FolderImage *image, const char *suffix, size_t nth)
{
    for (size_t i = 0; i < image->count; i++) {
        if (str_ends(str_c(image->files[i].name), str_c(suffix)) && nth-- == 0) {
            return &image->files[i];
        }
    }
    return NULL;
}

size_t
folder_count(const char *path, const char *suffix)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    size_t count = 0;

    cr_assert_not_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        count += entry->d_type == DT_REG && str_ends(str_c(entry->d_name), str_c(suffix));
    }
    (void)closedir(dir);
    return count;
}
