import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** The Java producer and consumer by commands. */
final class ClientCommands {

    /** Runs one command; null when there is none of that name. */
    Object execute(String op, JsonNode c) throws Exception {
        switch (op) {
            case "produce": return produce(c);
            case "consume": return consume(c);
            default: return null;
        }
    }

    private static Properties properties(JsonNode c) {
        Properties p = new Properties();
        p.put("bootstrap.servers", AdminCommands.text(c, "bootstrap"));
        c.path("properties").fields().forEachRemaining(e -> p.put(e.getKey(), e.getValue().asText()));
        return p;
    }

    /** Produces "count" records "prefix-0", "prefix-1", ... with acks=all, in a transaction when the properties name a transactional id. */
    private Object produce(JsonNode c) throws Exception {
        Properties p = properties(c);
        p.putIfAbsent("acks", "all");
        List<Long> offsets = new ArrayList<>();
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(p, new StringSerializer(), new StringSerializer())) {
            boolean transaction = p.containsKey("transactional.id");
            if (transaction) {
                producer.initTransactions();
                producer.beginTransaction();
            }
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int i = 0; i < c.path("count").asInt(1); i++) {
                String value = AdminCommands.text(c, "prefix") + "-" + i;
                sent.add(producer.send(new ProducerRecord<>(AdminCommands.text(c, "topic"), value, value)));
            }
            producer.flush();
            for (Future<RecordMetadata> f : sent) offsets.add(f.get().offset());
            if (transaction) producer.commitTransaction();
        }
        return Map.of("offsets", offsets);
    }

    /** Consumes as a member of "group" from the beginning until "count" records are there, commits, and returns their values. */
    private Object consume(JsonNode c) {
        Properties p = properties(c);
        p.put("group.id", AdminCommands.text(c, "group"));
        p.putIfAbsent("auto.offset.reset", "earliest");
        p.putIfAbsent("enable.auto.commit", "false");
        long deadline = System.nanoTime() + Duration.ofMillis(c.path("timeoutMs").asLong(60_000)).toNanos();
        List<String> values = new ArrayList<>();
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(p, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of(AdminCommands.text(c, "topic")));
            while (values.size() < c.path("count").asInt(1)) {
                if (System.nanoTime() > deadline) throw new IllegalStateException("consumed " + values.size() + " of " + c.path("count") + " records in time");
                for (ConsumerRecord<String, String> r : consumer.poll(Duration.ofMillis(100))) values.add(r.value());
            }
            consumer.commitSync();
        }
        return Map.of("values", values);
    }
}
