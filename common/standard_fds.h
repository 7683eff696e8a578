/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/standard_fds.h -- stdin, stdout and stderr are there, whoever started the program.
 *
 * Where one is closed (`>&-`, some service managers), the next socket or file would get its number,
 * and what is printed or logged would be written into it: into the connection to Postgres, say.
 */
#pragma once

/* First of all in main.  What was closed is open then, and each read or write of it fails. */
void standard_fds_hold(void);
