// SPDX-License-Identifier: Apache-2.0
// A sync service of the usual shape, for bench/run: SSE by fetch, one INSERT for each event.
//
// usage: node node_sync.mjs STREAM_URL STREAM_NAME ROWS     (POSTGRES_URL says where)
import pg from "pg";

const [url, name, rows] = process.argv.slice(2);
const client = new pg.Client({ connectionString: process.env.POSTGRES_URL });
const insert = `INSERT INTO ds_sync.session_events
    (stream_name, generation, seq, ds_offset, event_key, event_type, operation, payload)
    VALUES ($1, 1, $2, $3, $4, $5, $6, $7)`;
let seq = 0;

async function load(messages, offset) {
    for (const message of messages) {
        await client.query({ name: "insert", text: insert, values: [
            name, seq++, offset, message.key, message.type, message.headers?.operation,
            JSON.stringify(message)] });
        if (seq === Number(rows)) {
            await client.end();
            process.exit(0);
        }
    }
}

await client.connect();
const reply = await fetch(`${url}?offset=-1&live=sse`);
const decoder = new TextDecoder();
let text = "";
for await (const bytes of reply.body) {
    text += decoder.decode(bytes, { stream: true });
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
        const lines = text.slice(0, end).split("\n");
        if (lines[0] === "event: data") {
            const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5));
            const value = JSON.parse(data.join("\n"));
            await load(Array.isArray(value) ? value : [value], "-1");
        }
    }
}
