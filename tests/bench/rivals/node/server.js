// Rival (c), the same idea in Node: Fastify and better-sqlite3, one commit per event.
import { createHmac, timingSafeEqual } from "node:crypto";
import Database from "better-sqlite3";
import Fastify from "fastify";

const secret = process.env.BENCH_SECRET;
const database = new Database(process.env.DATABASE);
database.pragma("journal_mode = WAL");
database.pragma("synchronous = FULL");
database.exec(
  "CREATE TABLE IF NOT EXISTS event (id TEXT PRIMARY KEY, received_at REAL NOT NULL, status TEXT NOT NULL, " +
    "body BLOB NOT NULL)",
);
const insert = database.prepare(
  "INSERT INTO event (id, received_at, status, body) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
);

function handle(_document) {}

const app = Fastify({ logger: false, keepAliveTimeout: 15_000 });
app.removeAllContentTypeParsers();
app.addContentTypeParser("*", { parseAs: "buffer" }, (_request, body, done) => done(null, body));
app.post("/callbacks/:provider/:token", (request, reply) => {
  const expected = Buffer.from(`sha256=${createHmac("sha256", secret).update(request.body).digest("hex")}`);
  const given = Buffer.from(request.headers["x-signature"] ?? "");
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
    reply.code(401).send();
    return;
  }
  const document = JSON.parse(request.body);
  const { changes } = insert.run(document.id, Date.now() / 1000, document.status, request.body);
  if (changes === 1) {
    setImmediate(handle, document);
  }
  reply.send({ duplicate: changes === 0 });
});
await app.listen({ host: "127.0.0.1", port: Number(process.argv[2]) });
