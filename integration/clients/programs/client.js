// kafkajs: client.js BOOTSTRAP TOPIC GROUP COUNT CODEC...
//
// Creates TOPIC with three partitions, writes COUNT records with each codec by an
// idempotent producer, reads them as a member of GROUP and commits, and prints
// what it saw as one line of JSON.
const { Kafka, CompressionTypes, logLevel } = require('kafkajs')

const [bootstrap, topic, group, n, ...codecs] = process.argv.slice(2)
const count = Number(n)
const types = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP }
const kafka = new Kafka({ clientId: 'kafkajs', brokers: [bootstrap], logLevel: logLevel.ERROR })

async function main() {
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic, numPartitions: 3, replicationFactor: 1 }] })

  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  for (const codec of codecs) {
    const messages = []
    for (let i = 0; i < count; i++) messages.push({ key: `${codec}-${i}`, value: `value-${codec}-${i}`, headers: { codec } })
    await producer.send({ topic, acks: -1, compression: types[codec], messages })
  }
  await producer.disconnect()

  const values = []
  const want = count * codecs.length
  const consumer = kafka.consumer({ groupId: group })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`only ${values.length} of ${want} records came`)), 60000).unref()
    consumer.run({
      eachMessage: async ({ message }) => {
        if (message.headers.codec.toString() !== message.value.toString().split('-')[1]) reject(new Error('the headers are wrong'))
        values.push(message.value.toString())
        if (values.length === want) resolve()
      },
    })
  })
  await consumer.disconnect() // commits what was resolved
  const offsets = await admin.fetchOffsets({ groupId: group, topics: [topic] })
  const committed = offsets[0].partitions.reduce((sum, p) => sum + Math.max(0, Number(p.offset)), 0)
  await admin.disconnect()
  console.log(JSON.stringify({ values, committed }))
}

main().then(() => process.exit(0), (err) => { console.error(err); process.exit(1) })
