// SPDX-License-Identifier: Apache-2.0
// The official JavaScript client as an application uses it: write, catch up, tail, lose the
// connection, resume, end.  Each test has a stream of its own on the server at SERVER_URL.
import { randomUUID } from "node:crypto"
import { DurableStream, IdempotentProducer, StaleEpochError, stream } from "@durable-streams/client"
import { describe, expect, test, vi } from "vitest"

const JSON_TYPE = "application/json"

function newUrl(kind) {
  return `${process.env.SERVER_URL}/v1/stream/client/${kind}/${randomUUID()}`
}

function create(kind, contentType) {
  return DurableStream.create({ url: newUrl(kind), contentType, warnOnHttp: false })
}

async function appendNumbered(handle, from, to) {
  for (let n = from; n < to; n++) {
    await handle.append(JSON.stringify({ n }))
  }
}

function numbers(from, to) {
  return Array.from({ length: to - from }, (_, i) => from + i)
}

// What an application keeps: what it has seen, and the offset up to which it has seen it.
function newReader() {
  return { seen: [], offset: undefined }
}

async function tailJson(url, reader, live) {
  const session = await stream({ url, live, json: true, offset: reader.offset, warnOnHttp: false })
  session.subscribeJson((batch) => {
    reader.seen.push(...batch.items.map((item) => item.n))
    reader.offset = batch.offset
  })
  return session
}

async function readJson(url, offset) {
  const session = await stream({ url, offset, live: false, json: true, warnOnHttp: false })
  return { items: await session.json(), offset: session.offset, closed: session.streamClosed }
}

function until(condition) {
  return vi.waitFor(() => expect(condition()).toBe(true), { timeout: 20_000, interval: 10 })
}

describe("reading", () => {
  test("catch-up returns every message in order, and its offset starts the next read", async () => {
    const handle = await create("catch-up", JSON_TYPE)
    await appendNumbered(handle, 0, 20)
    const first = await readJson(handle.url)
    expect(first.items.map((item) => item.n)).toEqual(numbers(0, 20))

    await appendNumbered(handle, 20, 25)
    const second = await readJson(handle.url, first.offset)
    expect(second.items.map((item) => item.n)).toEqual(numbers(20, 25))
    expect((await readJson(handle.url, second.offset)).items).toEqual([])
  })

  test("head tells the offset that a full read ends at", async () => {
    const handle = await create("head", JSON_TYPE)
    await appendNumbered(handle, 0, 3)
    const head = await handle.head()
    expect(head.exists).toBe(true)
    expect(head.contentType).toBe(JSON_TYPE)
    expect(head.offset).toBe((await readJson(handle.url)).offset)
  })

  test("bytes over SSE arrive as they were sent", async () => {
    const handle = await create("bytes", "application/octet-stream")
    const sent = Uint8Array.from({ length: 1024 }, (_, i) => i % 256)
    const got = []
    const session = await stream({ url: handle.url, live: "sse", warnOnHttp: false })
    session.subscribeBytes((chunk) => void got.push(...chunk.data))
    await handle.append(sent.slice(0, 300))
    await handle.append(sent.slice(300))
    await until(() => got.length >= sent.length)
    session.cancel()
    expect(got).toEqual([...sent])
  })
})

describe.each(["sse", "long-poll"])("tailing over %s", (live) => {
  test("a reader that is cut again and again resumes without loss or duplicates", async () => {
    const total = 300
    const cuts = 5
    const handle = await create(`cut-${live}`, JSON_TYPE)
    const reader = newReader()
    const writing = appendNumbered(handle, 0, total)
    for (let cut = 1; cut <= cuts; cut++) {
      const session = await tailJson(handle.url, reader, live)
      await until(() => reader.seen.length >= (total * cut) / (cuts + 1))
      session.cancel()
    }
    await writing
    const session = await tailJson(handle.url, reader, live)
    await until(() => reader.seen.length >= total)
    // One more message: had the server repeated anything, it would stand before it.
    await appendNumbered(handle, total, total + 1)
    await until(() => reader.seen.includes(total))
    session.cancel()
    expect(reader.seen).toEqual(numbers(0, total + 1))
  })

  test("the end of the stream ends the session, after the last message", async () => {
    const handle = await create(`end-${live}`, JSON_TYPE)
    const reader = newReader()
    const session = await tailJson(handle.url, reader, live)
    await appendNumbered(handle, 0, 3)
    await handle.close({ body: JSON.stringify({ n: 3 }) })
    await session.closed
    // The client may settle `closed` a moment before it hands over the last batch.
    await until(() => reader.seen.length >= 4)
    expect(reader.seen).toEqual(numbers(0, 4))
    expect(session.streamClosed).toBe(true)

    const again = await readJson(handle.url)
    expect(again.items.map((item) => item.n)).toEqual(numbers(0, 4))
    expect(again.closed).toBe(true)
    await expect(handle.append(JSON.stringify({ n: 4 }))).rejects.toThrow()
  })

  test("a reader at the tail waits for what comes", async () => {
    const handle = await create(`wait-${live}`, JSON_TYPE)
    await appendNumbered(handle, 0, 5)
    const reader = newReader()
    reader.offset = (await handle.head()).offset
    const session = await tailJson(handle.url, reader, live)
    await appendNumbered(handle, 5, 8)
    await until(() => reader.seen.length >= 3)
    session.cancel()
    expect(reader.seen).toEqual(numbers(5, 8))
  })
})

describe("the idempotent producer", () => {
  // Carries every request twice, as a retry after a lost answer does.
  async function twice(...request) {
    await (await fetch(...request)).arrayBuffer()
    return fetch(...request)
  }

  test("writes each message once, in order, though each request arrives twice", async () => {
    const handle = await create("producer", JSON_TYPE)
    const errors = []
    const producer = new IdempotentProducer(handle, "producer-1", {
      maxBatchBytes: 256,
      maxInFlight: 1,
      fetch: twice,
      onError: (error) => errors.push(error),
    })
    for (const n of numbers(0, 200)) {
      producer.append(JSON.stringify({ n }))
    }
    await producer.flush()
    await producer.close(JSON.stringify({ n: 200 }))
    expect(errors).toEqual([])
    const { items, closed } = await readJson(handle.url)
    expect(items.map((item) => item.n)).toEqual(numbers(0, 201))
    expect(closed).toBe(true)
  })

  test("several batches in flight keep their order", async () => {
    const handle = await create("pipelined", JSON_TYPE)
    const errors = []
    const producer = new IdempotentProducer(handle, "producer-1", {
      maxBatchBytes: 128,
      maxInFlight: 5,
      onError: (error) => errors.push(error),
    })
    for (const n of numbers(0, 300)) {
      producer.append(JSON.stringify({ n }))
    }
    await producer.flush()
    expect(errors).toEqual([])
    expect((await readJson(handle.url)).items.map((item) => item.n)).toEqual(numbers(0, 300))
  })

  test("is fenced by a successor with a higher epoch", async () => {
    const handle = await create("fenced", JSON_TYPE)
    const errors = []
    const onError = (error) => errors.push(error)
    const old = new IdempotentProducer(handle, "producer-1", { epoch: 0, onError })
    old.append(JSON.stringify({ n: 0 }))
    await old.flush()
    const successor = new IdempotentProducer(handle, "producer-1", { epoch: 1, onError })
    successor.append(JSON.stringify({ n: 1 }))
    await successor.flush()
    expect(errors).toEqual([])

    old.append(JSON.stringify({ n: 2 }))
    await old.flush().catch(onError)
    expect(errors.some((error) => error instanceof StaleEpochError)).toBe(true)
    expect((await readJson(handle.url)).items.map((item) => item.n)).toEqual([0, 1])
  })
})

test("a deleted stream is gone", async () => {
  const handle = await create("deleted", JSON_TYPE)
  await handle.append(JSON.stringify({ n: 0 }))
  await handle.delete()
  await expect(readJson(handle.url)).rejects.toMatchObject({ status: 404 })
})
