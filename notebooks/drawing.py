"""How the notebooks look: one theme, colours that keep their order in grey, the chart of a series, and sentences with numbers in them."""

import altair as alt
import polars as pl
from IPython.display import Markdown, display

SEVERITIES = ["low", "medium", "high", "critical"]
# Each darker than the one before: printed in grey they are still told apart.
SEVERITY_COLOURS = alt.Scale(domain=SEVERITIES, range=["#f2b701", "#e8743b", "#b5174b", "#3d0a47"])
LINE, EXPECTED, BAND = "#1b3a57", "#5c7d99", "#c5d5e4"


@alt.theme.register("tidewatch", enable=True)
def theme():
    """The look of every chart."""
    axis = {"gridColor": "#e6e6e6", "labelColor": "#333333", "titleColor": "#333333", "titleFontWeight": "normal"}
    title = {"anchor": "start", "fontSize": 13, "fontWeight": 600, "frame": "group", "subtitleColor": "#555555"}
    return {"config": {"background": "white", "view": {"stroke": None, "continuousWidth": 640}, "axis": axis, "title": title}}


# JupyterLab and VS Code draw these themselves: nothing is loaded from elsewhere.
alt.renderers.enable("mimetype")
alt.data_transformers.disable_max_rows()


def say(sentence):
    """An answer, as text under the code that found it."""
    display(Markdown(sentence))


def table(frame, rows=40):
    """A whole table, not abridged in the middle."""
    bare = {"tbl_hide_column_data_types": True, "tbl_hide_dataframe_shape": True}
    with pl.Config(tbl_rows=rows, tbl_cols=-1, tbl_width_chars=200, fmt_str_lengths=60, **bare):
        display(frame)


def counted(number, noun):
    """A number with its noun: 1 anomaly, 2 anomalies."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun if noun.endswith("series") else noun + "s"
    return f"{number:,} {noun if number == 1 else plural}"


UNITS = {
    "percent": "%",
    "celsius": "°C",
    "watts": "W",
    "mbps": "Mbit/s",
    "ms": "ms",
    "rps": "requests/s",
}


def unit(metric):
    """The name of a metric as an axis has it, with the unit that ends it."""
    words = metric.split("_")
    return f"{' '.join(words[:-1])}, {UNITS[words[-1]]}" if words[-1] in UNITS else " ".join(words)


def curve(buckets, anomalies, name, threshold=3.0, width=640, height=120):
    """A series: its means, what was expected with the band in which nothing is said, and its anomalies."""
    buckets = buckets.with_columns(
        (pl.col("expected") - threshold * pl.col("sigma")).alias("from"), (pl.col("expected") + threshold * pl.col("sigma")).alias("to")
    )
    scale = alt.Scale(zero=False)
    axis = alt.Axis(format="%d %b %H:%M", tickCount=6)
    base = alt.Chart(buckets).encode(alt.X("bucket_start:T", title=None, scale=alt.Scale(type="utc"), axis=axis))
    band = base.mark_area(color=BAND).encode(alt.Y("from:Q", scale=scale, title=unit(name["metric"])), alt.Y2("to:Q"))
    expected = base.mark_line(color=EXPECTED, strokeDash=[4, 3], strokeWidth=1).encode(alt.Y("expected:Q"))
    mean = base.mark_line(color=LINE, strokeWidth=1.3).encode(alt.Y("mean:Q"))
    points = (
        alt.Chart(anomalies)
        .mark_point(filled=True, size=38, opacity=1, stroke="white", strokeWidth=0.5)
        .encode(alt.X("timestamp:T"), alt.Y("mean:Q"), alt.Color("severity:N", scale=SEVERITY_COLOURS, title="severity"))
    )
    title = f"{name['metric']} of {name['entity_type']} {name['entity_id']}"
    return (band + expected + mean + points).properties(width=width, height=height, title=title)
