import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.config.ConfigResource;

/** The Java Admin client by commands. Each names its bootstrap servers; one client is kept for each. */
final class AdminCommands {
    private static final Map<String, Boolean> DONE = Map.of("done", true);
    private final Map<String, Admin> admins = new ConcurrentHashMap<>();

    /** Runs one command; null when there is none of that name. */
    Object execute(String op, JsonNode c) throws Exception {
        switch (op) {
            case "create-topic": return createTopic(c);
            case "delete-topic": admin(c).deleteTopics(List.of(text(c, "topic"))).all().get(); return DONE;
            case "add-partitions":
                admin(c).createPartitions(Map.of(text(c, "topic"), NewPartitions.increaseTo(c.get("partitions").asInt()))).all().get();
                return DONE;
            case "list-topics": return Map.of("topics", sorted(admin(c).listTopics().names().get()));
            case "describe-topic": return describeTopic(c);
            case "alter-config": return alterConfig(c);
            case "describe-config": return describeConfig(c);
            case "reassign": return reassign(c);
            case "list-reassignments": return listReassignments(c);
            case "elect": return elect(c);
            case "describe-cluster": return describeCluster(c);
            default: return null;
        }
    }

    private Admin admin(JsonNode c) {
        return admins.computeIfAbsent(text(c, "bootstrap"), servers -> {
            Properties p = new Properties();
            p.put("bootstrap.servers", servers);
            return Admin.create(p);
        });
    }

    private Object createTopic(JsonNode c) throws Exception {
        NewTopic topic;
        if (c.has("assignment")) {
            Map<Integer, List<Integer>> assignment = new HashMap<>();
            for (JsonNode replicas : c.get("assignment")) assignment.put(assignment.size(), ints(replicas));
            topic = new NewTopic(text(c, "topic"), assignment);
        } else {
            topic = new NewTopic(text(c, "topic"), Optional.of(c.path("partitions").asInt(1)), Optional.of((short) c.path("replication").asInt(1)));
        }
        Map<String, String> configs = new HashMap<>();
        c.path("configs").fields().forEachRemaining(e -> configs.put(e.getKey(), e.getValue().asText()));
        var result = admin(c).createTopics(List.of(topic.configs(configs)), new CreateTopicsOptions().validateOnly(c.path("validateOnly").asBoolean()));
        result.all().get();
        return Map.of("partitions", result.numPartitions(topic.name()).get(), "replication", result.replicationFactor(topic.name()).get());
    }

    private Object describeTopic(JsonNode c) throws Exception {
        TopicDescription d = admin(c).describeTopics(List.of(text(c, "topic"))).allTopicNames().get().get(text(c, "topic"));
        List<Object> partitions = new ArrayList<>();
        for (TopicPartitionInfo p : d.partitions()) {
            Map<String, Object> row = new LinkedHashMap<>();
            row.put("partition", p.partition());
            row.put("leader", p.leader() == null ? -1 : p.leader().id());
            row.put("replicas", ids(p.replicas()));
            row.put("isr", sorted(ids(p.isr())));
            partitions.add(row);
        }
        return Map.of("name", d.name(), "id", d.topicId().toString(), "partitions", partitions);
    }

    private static ConfigResource resource(JsonNode c) {
        return new ConfigResource(ConfigResource.Type.valueOf(text(c, "type").toUpperCase()), text(c, "name"));
    }

    private Object alterConfig(JsonNode c) throws Exception {
        List<AlterConfigOp> ops = new ArrayList<>();
        c.path("set").fields().forEachRemaining(e -> ops.add(new AlterConfigOp(new ConfigEntry(e.getKey(), e.getValue().asText()), AlterConfigOp.OpType.SET)));
        c.path("append").fields().forEachRemaining(e -> ops.add(new AlterConfigOp(new ConfigEntry(e.getKey(), e.getValue().asText()), AlterConfigOp.OpType.APPEND)));
        for (JsonNode key : c.path("delete")) ops.add(new AlterConfigOp(new ConfigEntry(key.asText(), ""), AlterConfigOp.OpType.DELETE));
        admin(c).incrementalAlterConfigs(Map.of(resource(c), ops)).all().get();
        return DONE;
    }

    /** The keys that are set away from their default, and each one's source. */
    private Object describeConfig(JsonNode c) throws Exception {
        Map<String, Object> set = new TreeMap<>();
        for (ConfigEntry e : admin(c).describeConfigs(List.of(resource(c))).all().get().get(resource(c)).entries()) {
            if (e.source().name().startsWith("DYNAMIC")) set.put(e.name(), Map.of("value", String.valueOf(e.value()), "source", e.source().name()));
        }
        return Map.of("configs", set);
    }

    private static TopicPartition partition(JsonNode c) {
        return new TopicPartition(text(c, "topic"), c.get("partition").asInt());
    }

    /** Begins a reassignment to "replicas", or cancels one when they are missing. */
    private Object reassign(JsonNode c) throws Exception {
        Optional<NewPartitionReassignment> to = c.has("replicas") ? Optional.of(new NewPartitionReassignment(ints(c.get("replicas")))) : Optional.empty();
        admin(c).alterPartitionReassignments(Map.of(partition(c), to)).all().get();
        return DONE;
    }

    private Object listReassignments(JsonNode c) throws Exception {
        Map<String, Object> rows = new TreeMap<>();
        admin(c).listPartitionReassignments().reassignments().get().forEach((tp, r) ->
            rows.put(tp.toString(), Map.of("replicas", r.replicas(), "adding", r.addingReplicas(), "removing", r.removingReplicas())));
        return Map.of("reassignments", rows);
    }

    /** Elects a leader of one partition; the error of that partition is the error of the command. */
    private Object elect(JsonNode c) throws Exception {
        var outcome = admin(c).electLeaders(ElectionType.valueOf(text(c, "election").toUpperCase()), Set.of(partition(c))).partitions().get();
        for (Optional<Throwable> error : outcome.values()) if (error.isPresent()) throw new java.util.concurrent.ExecutionException(error.get());
        return DONE;
    }

    private Object describeCluster(JsonNode c) throws Exception {
        var d = admin(c).describeCluster();
        return Map.of("cluster", d.clusterId().get(), "nodes", sorted(ids(new ArrayList<>(d.nodes().get()))));
    }

    static String text(JsonNode c, String field) {
        if (!c.hasNonNull(field)) throw new IllegalArgumentException("the command has no " + field);
        return c.get(field).asText();
    }

    private static List<Integer> ints(JsonNode array) {
        List<Integer> out = new ArrayList<>();
        for (JsonNode n : array) out.add(n.asInt());
        return out;
    }

    private static List<Integer> ids(List<Node> nodes) {
        List<Integer> out = new ArrayList<>();
        for (Node n : nodes) out.add(n.id());
        return out;
    }

    private static <T extends Comparable<T>> List<T> sorted(java.util.Collection<T> values) {
        return values.stream().sorted().toList();
    }
}
