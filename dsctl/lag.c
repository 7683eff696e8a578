/* SPDX-License-Identifier: Apache-2.0 */
#include "dsctl/lag.h"

#include "common/ds_proto.h"
#include "common/offset.h"

Lag
lag_between(Str committed, uint64_t skip, Str tail)
{
    Offset from = {.position = 0};
    Offset to;

    if (skip == 0 && str_eq(committed, tail)) {
        return (Lag){LAG_NONE, 0};
    }
    if (!offset_parse(tail, &to)) {
        return (Lag){LAG_UNKNOWN, 0};
    }
    if (str_eq(committed, STR(DS_OFFSET_START))) {
        from.era = to.era; /* the start, of whichever era */
    } else if (!offset_parse(committed, &from)) {
        return (Lag){LAG_UNKNOWN, 0};
    }
    if (from.era != to.era || from.position + skip > to.position) {
        return (Lag){LAG_OTHER_ERA, 0};
    }
    uint64_t behind = to.position - from.position - skip;
    return behind == 0 ? (Lag){LAG_NONE, 0} : (Lag){LAG_COUNTED, behind};
}
