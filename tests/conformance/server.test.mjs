// SPDX-License-Identifier: Apache-2.0
// The protocol's own conformance suite, all of it, against the server at SERVER_URL.
// tests/conformance/run starts that server and judges the outcome.
import { runConformanceTests } from "@durable-streams/server-conformance-tests"

runConformanceTests({ baseUrl: process.env.SERVER_URL, subscriptions: true })
