// SPDX-License-Identifier: Apache-2.0
// The Node server from npm, in memory, as bench/run compares it: node peer_server.mjs PORT
import { DurableStreamTestServer } from "@durable-streams/server"

const server = new DurableStreamTestServer({
  port: Number(process.argv[2]),
  host: "127.0.0.1",
  compression: false,
})
await server.start()
console.log("listening")
process.on("SIGTERM", () => process.exit(0))
