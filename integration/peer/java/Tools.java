import com.fasterxml.jackson.databind.JsonNode;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import org.apache.kafka.common.utils.Exit;

/** Runs the main method of Apache's command line tools and keeps what it prints and its exit code. */
final class Tools {
    private Integer exitCode;
    private volatile Runnable onExit; // set while a tool runs
    private final List<Runnable> hooks = new CopyOnWriteArrayList<>(); // what a tool does when its JVM ends: close its clients, print its last words

    /** Ends a tool where it would have ended the JVM. */
    @SuppressWarnings("serial")
    private static final class Ended extends Error {
        private static final String MESSAGE = "the tool has ended";
        Ended() { super(MESSAGE, null, false, false); }

        /** Takes away what a tool printed when it caught this on its way out. */
        static String removed(String text) {
            return text.replace(Ended.class.getName() + ": " + MESSAGE + "\n", "").replace(MESSAGE + "\n", "");
        }
    }

    Tools() {
        org.slf4j.LoggerFactory.getLogger(Tools.class); // binds the logs to the JVM's own stderr before a tool's is in its place
        Exit.setExitProcedure(this::exit);
        Exit.setHaltProcedure(this::exit);
        Exit.setShutdownHookAdder((name, hook) -> hooks.add(hook));
        // A few tools leave by System.exit itself when they cannot parse their arguments: then at least their words come out.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            Runnable words = onExit;
            if (words != null) words.run();
        }));
    }

    private void exit(int code, String message) {
        if (exitCode == null) { // a tool may catch Ended and exit again: the first code is the one a shell would have seen
            exitCode = code;
            if (message != null) System.err.println(message);
        }
        throw new Ended();
    }

    private Object invoke(Method main, String[] args) {
        try {
            main.invoke(null, (Object) args);
        } catch (InvocationTargetException e) {
            if (!(e.getCause() instanceof Ended) && exitCode == null) {
                e.getCause().printStackTrace();
                exitCode = 1;
            }
        } catch (IllegalAccessException e) {
            throw new IllegalStateException(e);
        }
        hooks.forEach(Runnable::run);
        return null;
    }

    synchronized Object run(JsonNode c) throws Exception {
        PrintStream out = System.out, err = System.err;
        InputStream in = System.in;
        ByteArrayOutputStream outBytes = new ByteArrayOutputStream(), errBytes = new ByteArrayOutputStream();
        String[] args = Driver.JSON.convertValue(c.get("args"), String[].class);
        exitCode = null;
        hooks.clear();
        onExit = () -> err.println("a tool ended the JVM: " + String.join(" ", args) + "\n" + outBytes + errBytes);
        System.setOut(new PrintStream(outBytes, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(errBytes, true, StandardCharsets.UTF_8));
        System.setIn(new ByteArrayInputStream(c.path("stdin").asText("").getBytes(StandardCharsets.UTF_8)));
        try {
            Method main = Class.forName(c.get("class").asText()).getMethod("main", String[].class);
            // Scala keeps the System.out of its first use; the tools that are written in it need to be told.
            scala.Console.withOut(System.out, () -> scala.Console.withErr(System.err, () -> invoke(main, args)));
        } finally {
            onExit = null;
            System.out.flush();
            System.err.flush();
            System.setOut(out);
            System.setErr(err);
            System.setIn(in);
        }
        Map<String, Object> result = new LinkedHashMap<>();
        result.put("stdout", Ended.removed(outBytes.toString(StandardCharsets.UTF_8)));
        result.put("stderr", Ended.removed(errBytes.toString(StandardCharsets.UTF_8)));
        result.put("exit", exitCode == null ? 0 : exitCode);
        return result;
    }
}
