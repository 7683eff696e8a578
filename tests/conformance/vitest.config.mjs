// SPDX-License-Identifier: Apache-2.0
import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["*.test.mjs"],
    fileParallelism: false,
    // A sanitized server on a busy machine is slow; a hang is still found.
    testTimeout: 30_000,
    hookTimeout: 30_000,
  },
})
