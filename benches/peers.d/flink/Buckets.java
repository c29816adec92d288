/** The work of all peers on Flink's DataStream: one source, one keyed window of event time, one file, in one JVM with its cluster inside. */

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.File;
import java.io.IOException;
import java.time.Duration;
import java.time.LocalDate;
import java.time.ZoneOffset;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.file.src.FileSource;
import org.apache.flink.connector.file.src.reader.SimpleStreamFormat;
import org.apache.flink.core.fs.FSDataInputStream;
import org.apache.flink.core.fs.Path;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.windowing.ProcessWindowFunction;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.util.Collector;

public final class Buckets {
    private static final Duration BUCKET = Duration.ofMinutes(5);
    private static final Duration DISORDER = Duration.ofMinutes(2);

    public static void main(String[] arguments) throws Exception {
        String events = arguments[0], models = arguments[1], out = arguments[2];
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.createLocalEnvironment(1, new Configuration());
        environment.getConfig().enableObjectReuse();
        WatermarkStrategy<Event> watermarks =
                WatermarkStrategy.<Event>forBoundedOutOfOrderness(DISORDER).withTimestampAssigner((event, ignored) -> event.time);
        TypeInformation<Bucket> open = Types.GENERIC(Bucket.class);
        environment
                .fromSource(FileSource.forRecordStreamFormat(new JsonLines(), new Path(new File(events).toURI())).build(), watermarks, "events")
                .keyBy(event -> event.server)
                .window(TumblingEventTimeWindows.of(BUCKET))
                .aggregate(new Fold(), new Score(models), open, open, Types.STRING)
                .sinkTo(new RowsFile(out + ".csv"));
        environment.execute();
    }

    /** One event: a POJO by Flink's rules, so that it is written without reflection from one operator to the next. */
    public static class Event {
        public String server;
        public long time;
        public double cpuUsage, memoryUsage, cpuTemperature, power, received, sent;
    }

    /** JSON lines, parsed token by token from the stream: no line becomes a string first. */
    public static class JsonLines extends SimpleStreamFormat<Event> {
        private static final JsonFactory FACTORY = new JsonFactory();

        @Override
        public Reader<Event> createReader(Configuration configuration, FSDataInputStream stream) throws IOException {
            JsonParser parser = FACTORY.createParser(stream);
            Clock clock = new Clock();
            return new Reader<>() {
                @Override
                public Event read() throws IOException {
                    return parser.nextToken() == null ? null : event(parser, clock);
                }

                @Override
                public void close() throws IOException {
                    parser.close();
                }
            };
        }

        @Override
        public TypeInformation<Event> getProducedType() {
            return Types.POJO(Event.class);
        }

        private static Event event(JsonParser parser, Clock clock) throws IOException {
            Event event = new Event();
            while (parser.nextToken() == JsonToken.FIELD_NAME) {
                // Names are interned by the parser, and a switch over strings compares hashes that are cached.
                String name = parser.currentName();
                parser.nextToken();
                switch (name) {
                    case "timestamp" -> event.time = clock.milliseconds(parser.getText());
                    case "server_id" -> event.server = parser.getText();
                    case "cpu_usage_percent" -> event.cpuUsage = parser.getDoubleValue();
                    case "memory_usage_percent" -> event.memoryUsage = parser.getDoubleValue();
                    case "cpu_temperature_celsius" -> event.cpuTemperature = parser.getDoubleValue();
                    case "power_consumption_watts" -> event.power = parser.getDoubleValue();
                    case "network_rx_mbps" -> event.received = parser.getDoubleValue();
                    case "network_tx_mbps" -> event.sent = parser.getDoubleValue();
                    default -> { }
                }
            }
            return event;
        }
    }

    /** Times as text, of which the day is the same for long. */
    private static final class Clock {
        private String day = "";
        private long midnight;

        long milliseconds(String text) {
            if (!text.startsWith(day) || day.isEmpty()) {
                day = text.substring(0, 10);
                midnight = LocalDate.parse(day).atStartOfDay().toEpochSecond(ZoneOffset.UTC);
            }
            return 1_000 * (midnight + 3_600 * number(text, 11) + 60 * number(text, 14) + number(text, 17));
        }

        private static long number(String text, int at) {
            return 10 * (text.charAt(at) - '0') + text.charAt(at + 1) - '0';
        }
    }

    /** What is kept of an open bucket of a server: of each metric sum, squares, least and largest. */
    public static class Bucket {
        long count;
        final double[] sums = new double[6], squares = new double[6], minima = new double[6], maxima = new double[6];

        void add(int metric, double value) {
            sums[metric] += value;
            squares[metric] += value * value;
            minima[metric] = count == 0 ? value : Math.min(minima[metric], value);
            maxima[metric] = count == 0 ? value : Math.max(maxima[metric], value);
        }
    }

    /** An event into its bucket. */
    public static class Fold implements AggregateFunction<Event, Bucket, Bucket> {
        @Override
        public Bucket createAccumulator() {
            return new Bucket();
        }

        @Override
        public Bucket add(Event event, Bucket bucket) {
            bucket.add(0, event.cpuUsage);
            bucket.add(1, event.memoryUsage);
            bucket.add(2, event.cpuTemperature);
            bucket.add(3, event.power);
            bucket.add(4, event.received);
            bucket.add(5, event.sent);
            bucket.count++;
            return bucket;
        }

        @Override
        public Bucket getResult(Bucket bucket) {
            return bucket;
        }

        @Override
        public Bucket merge(Bucket one, Bucket other) {
            throw new UnsupportedOperationException("tumbling windows do not merge");
        }
    }

    /** A complete bucket into its rows. */
    public static class Score extends ProcessWindowFunction<Bucket, String, String, TimeWindow> {
        private final String folder;
        private transient Rows rows;

        Score(String folder) {
            this.folder = folder;
        }

        @Override
        public void open(OpenContext context) throws IOException {
            rows = new Rows(folder);
        }

        @Override
        public void process(String server, Context context, Iterable<Bucket> buckets, Collector<String> collected) {
            Bucket bucket = buckets.iterator().next();
            double n = bucket.count;
            rows.begin(server, context.window().getStart() / 1_000, bucket.count);
            for (int metric = 0; metric < Rows.METRICS.size(); metric++) {
                double mean = bucket.sums[metric] / n;
                double spread = Math.max(bucket.squares[metric] - bucket.sums[metric] * mean, 0);
                rows.add(metric, mean, bucket.minima[metric], bucket.maxima[metric], n > 1 ? Math.sqrt(spread / (n - 1)) : 0);
            }
            collected.collect(rows.text());
        }
    }
}
