import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.ExecutionException;

/**
 * Apache Kafka's clients and tools in one JVM, driven by a test: one JSON command a line on stdin, one JSON reply a line on stdout.
 * A command has an id, which its reply repeats; commands run at the same time, except tools, which share System.out.
 */
public final class Driver {
    static final ObjectMapper JSON = new ObjectMapper();

    private final PrintStream replies = System.out;
    private final Tools tools = new Tools();
    private final AdminCommands admin = new AdminCommands();
    private final ClientCommands clients = new ClientCommands();

    public static void main(String[] args) throws Exception {
        new Driver().run(new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8)));
        System.exit(0);
    }

    private void run(BufferedReader commands) throws Exception {
        for (String line; (line = commands.readLine()) != null; ) {
            JsonNode command = JSON.readTree(line);
            Thread t = new Thread(() -> reply(command), command.path("op").asText());
            t.setDaemon(true);
            t.start();
        }
    }

    private void reply(JsonNode command) {
        ObjectNode reply = JSON.createObjectNode();
        reply.put("id", command.path("id").asLong());
        try {
            reply.set("result", JSON.valueToTree(execute(command)));
        } catch (Throwable e) {
            Throwable cause = e instanceof ExecutionException && e.getCause() != null ? e.getCause() : e;
            reply.put("class", cause.getClass().getSimpleName());
            reply.put("message", String.valueOf(cause.getMessage()));
        }
        synchronized (replies) {
            replies.println(reply);
            replies.flush();
        }
    }

    private Object execute(JsonNode c) throws Exception {
        String op = c.path("op").asText();
        if (op.equals("tool")) return tools.run(c);
        Object result = admin.execute(op, c);
        if (result == null) result = clients.execute(op, c);
        if (result == null) throw new IllegalArgumentException("unknown command " + op);
        return result;
    }
}
