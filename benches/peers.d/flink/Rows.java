/** The rows of a bucket as text, each with its score against the model of its series. */

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.File;
import java.io.IOException;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

public final class Rows {
    static final List<String> METRICS = List.of(
            "cpu_usage_percent", "memory_usage_percent", "cpu_temperature_celsius", "power_consumption_watts", "network_rx_mbps", "network_tx_mbps");
    private static final int BUCKET_SECONDS = 300;
    private static final int PHASES = 288;

    /** By server: for each metric 288 values, and a sigma. */
    private record Model(double[][] expected, double[] sigma) {}

    private final Map<String, Model> models = new HashMap<>();
    private final StringBuilder text = new StringBuilder(1_000);
    private String server;
    private long start, count;
    private Model model;

    /** Reads the models in a folder. */
    Rows(String folder) throws IOException {
        JsonNode document = new ObjectMapper().readTree(new File(folder, "models.json"));
        document.get("expected").properties().forEach(entry -> {
            double[][] expected = new double[entry.getValue().size()][];
            for (int metric = 0; metric < expected.length; metric++) {
                expected[metric] = numbers(entry.getValue().get(metric));
            }
            models.put(entry.getKey(), new Model(expected, numbers(document.get("sigma").get(entry.getKey()))));
        });
    }

    /** Begins the rows of another bucket of a server; `start` in seconds since the epoch. */
    void begin(String server, long start, long count) {
        this.server = server;
        this.start = start;
        this.count = count;
        model = models.get(server);
        text.setLength(0);
    }

    /** Adds the row of one metric. */
    void add(int metric, double mean, double least, double most, double stddev) {
        int phase = (int) (start / BUCKET_SECONDS % PHASES);
        text.append(server).append(',').append(METRICS.get(metric)).append(',').append(start).append(',').append(count);
        text.append(',').append(mean).append(',').append(least).append(',').append(most).append(',').append(stddev);
        text.append(',').append((mean - model.expected[metric][phase]) / model.sigma[metric]).append('\n');
    }

    /** The rows of this bucket. */
    String text() {
        return text.toString();
    }

    private static double[] numbers(JsonNode array) {
        double[] numbers = new double[array.size()];
        for (int i = 0; i < numbers.length; i++) {
            numbers[i] = array.get(i).doubleValue();
        }
        return numbers;
    }
}
