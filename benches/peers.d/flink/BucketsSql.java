/** The work of all peers in Flink's SQL: a table over the file, a windowed query of event time, one file of rows. */

import java.io.File;
import java.io.IOException;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.util.stream.Collectors;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.Table;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.types.Row;

public final class BucketsSql {
    public static void main(String[] arguments) throws Exception {
        String events = arguments[0], models = arguments[1], out = arguments[2];
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.createLocalEnvironment(1, new Configuration());
        environment.getConfig().enableObjectReuse();
        StreamTableEnvironment tables = StreamTableEnvironment.create(environment);
        tables.getConfig().setLocalTimeZone(ZoneOffset.UTC);
        String columns = Rows.METRICS.stream().map(name -> name + " DOUBLE").collect(Collectors.joining(", "));
        tables.executeSql(
                "CREATE TABLE events (`timestamp` TIMESTAMP_LTZ(3), server_id STRING, " + columns
                        + ", WATERMARK FOR `timestamp` AS `timestamp` - INTERVAL '2' MINUTE) WITH ('connector' = 'filesystem', 'format' = 'json', "
                        + "'json.timestamp-format.standard' = 'ISO-8601', 'path' = '" + new File(events).toURI() + "')");
        String aggregates = Rows.METRICS.stream()
                .map(name -> "AVG(%1$s), MIN(%1$s), MAX(%1$s), COALESCE(STDDEV_SAMP(%1$s), 0)".formatted(name))
                .collect(Collectors.joining(", "));
        Table buckets = tables.sqlQuery(
                "SELECT server_id, window_start, COUNT(*), " + aggregates
                        + " FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(`timestamp`), INTERVAL '5' MINUTES)) GROUP BY server_id, window_start, window_end");
        tables.toDataStream(buckets).map(new Score(models)).sinkTo(new RowsFile(out + ".csv"));
        environment.execute();
    }

    /** A complete bucket into its rows. */
    public static class Score extends RichMapFunction<Row, String> {
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
        public String map(Row bucket) {
            long start = ((LocalDateTime) bucket.getField(1)).toEpochSecond(ZoneOffset.UTC);
            rows.begin((String) bucket.getField(0), start, (long) bucket.getField(2));
            for (int metric = 0; metric < Rows.METRICS.size(); metric++) {
                int first = 3 + 4 * metric;
                rows.add(metric, number(bucket, first), number(bucket, first + 1), number(bucket, first + 2), number(bucket, first + 3));
            }
            return rows.text();
        }

        private static double number(Row bucket, int field) {
            return (double) bucket.getField(field);
        }
    }
}
