/* SPDX-License-Identifier: Apache-2.0 */
/* Carries the interpreter that build-blob.sh made. */
#include "parasite/blob.h"

const unsigned char interpreter_blob[] __attribute__((aligned(64))) = {
#include "interpreter-blob.h"
};
_Static_assert(BLOB_landing_end - BLOB_landing <= LANDING_ROOM, "the landing has grown");
const size_t interpreter_blob_size = sizeof(interpreter_blob);
const unsigned char *const interpreter_landing = interpreter_blob + BLOB_landing;
const size_t interpreter_landing_size = BLOB_landing_end - BLOB_landing;
const unsigned char *const interpreter_return = interpreter_blob + BLOB_return_to_application;
const size_t interpreter_return_size = BLOB_landing_end - BLOB_return_to_application;
