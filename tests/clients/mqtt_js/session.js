// One half of a story: "before" leaves a session with messages behind, "after" finds them. Exits with 0 if all is well.
const assert = require("node:assert");
const fs = require("node:fs");
const mqtt = require("mqtt");

const [url, authority, step] = process.argv.slice(2);
const ca = fs.readFileSync(authority);
setTimeout(() => { console.error("it took too long"); process.exit(1); }, 30000).unref();

function connect(clientId, protocolVersion, clean) {
  const properties = protocolVersion === 5 ? { sessionExpiryInterval: clean ? 0 : 3600 } : undefined;
  const client = mqtt.connect(url, { ca, clientId, protocolVersion, clean, properties, reconnectPeriod: 0 });
  client.heard = [];
  client.on("message", (topic, payload, packet) => client.heard.push([topic, payload.toString(), packet.qos, packet.retain]));
  return new Promise((resolve, reject) => {
    client.once("connect", (connack) => resolve([client, connack.sessionPresent]));
    client.once("error", reject);
  });
}

async function hears(client, count) {
  while (client.heard.length < count) await new Promise((resolve) => setTimeout(resolve, 10));
  return client.heard;
}

async function before(version) {
  const [client, present] = await connect(`js-${version}`, version, false);
  assert.strictEqual(present, false);
  await client.subscribeAsync(`js/${version}/#`, { qos: 2 });
  await client.endAsync();
  const [publisher] = await connect(`pub-${version}`, version, true);
  for (const qos of [1, 2]) await publisher.publishAsync(`js/${version}/ä`, `missed ${qos}`, { qos });
  await publisher.publishAsync(`kept/${version}`, "retained", { qos: 1, retain: true });
  await publisher.endAsync();
}

async function after(version) {
  const [client, present] = await connect(`js-${version}`, version, false);
  assert.strictEqual(present, true);
  const topic = `js/${version}/ä`;
  assert.deepStrictEqual(await hears(client, 2), [[topic, "missed 1", 1, false], [topic, "missed 2", 2, false]]);
  await client.subscribeAsync(`kept/${version}`, { qos: 1 });
  assert.deepStrictEqual((await hears(client, 3))[2], [`kept/${version}`, "retained", 1, true]);
  await client.publishAsync(topic, "own", { qos: 2 });
  assert.deepStrictEqual((await hears(client, 4))[3].slice(1), ["own", 2, false]);
  await client.endAsync();
}

(async () => {
  for (const version of [4, 5]) await (step === "before" ? before : after)(version);
})().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
