"""librdkafka by confluent-kafka: client.py BOOTSTRAP TOPIC GROUP COUNT CODEC...

Creates TOPIC with three partitions, writes COUNT records with each codec by an
idempotent producer, reads them as a member of GROUP and commits, and prints what
it saw as one line of JSON.
"""
import json
import sys

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

bootstrap, topic, group, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
codecs = sys.argv[5:]

admin = AdminClient({"bootstrap.servers": bootstrap})
admin.create_topics([NewTopic(topic, 3, 1)])[topic].result(60)

failed = []
for codec in codecs:
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "compression.type": codec, "linger.ms": 5})
    for i in range(count):
        producer.produce(topic, key=f"{codec}-{i}", value=f"value-{codec}-{i}", headers={"codec": codec},
                         on_delivery=lambda err, _: failed.append(str(err)) if err else None)
    producer.flush(60)
if failed:
    sys.exit(f"{len(failed)} records were not delivered: {failed[0]}")

consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False})
consumer.subscribe([topic])
values, want = [], count * len(codecs)
while len(values) < want:
    message = consumer.poll(60)
    if message is None:
        sys.exit(f"only {len(values)} of {want} records came")
    if message.error():
        sys.exit(str(message.error()))
    if message.headers() != [("codec", message.value().decode().split("-")[1].encode())]:
        sys.exit(f"the headers are {message.headers()}")
    values.append(message.value().decode())
consumer.commit(asynchronous=False)
committed = consumer.committed([TopicPartition(topic, p) for p in range(3)], 60)
consumer.close()
print(json.dumps({"values": values, "committed": sum(max(p.offset, 0) for p in committed)}))
