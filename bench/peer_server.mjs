// SPDX-License-Identifier: Apache-2.0
// The Node server from npm as bench/run compares it, in memory or, with a folder, in files:
// node peer_server.mjs PORT [FOLDER]
import { DurableStreamTestServer } from "@durable-streams/server"

const server = new DurableStreamTestServer({
  port: Number(process.argv[2]),
  host: "127.0.0.1",
  compression: false,
  ...(process.argv[3] ? { dataDir: process.argv[3] } : {}),
})
await server.start()
console.log("listening")
process.on("SIGTERM", () => process.exit(0))
