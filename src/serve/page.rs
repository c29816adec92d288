//! The page: HTML, styles and scripts that are compiled in, and the charting library that its crate carries. Nothing is loaded from elsewhere.

use super::desk::Problem;
use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{StatusCode, Uri};
use axum::response::{Html, IntoResponse, Response};
use std::sync::LazyLock;

/// What `/api/v1` answers to.
pub const OPENAPI: &str = include_str!("page/openapi.json");

const SHELL: &str = include_str!("page/shell.html");

/// Where the crate's two scripts meet: behind the first begins another that draws formulas, which we have none of.
const BORDER: &str = "</script>\n\n";

/// Plotly's script, without the tags that the crate puts around it.
static PLOTLY: LazyLock<String> = LazyLock::new(|| {
    let tags = plotly::Plot::offline_js_sources();
    let script = tags.split_once('>').map_or("", |(_, rest)| rest);
    script.split_once(BORDER).map_or(script, |(script, _)| script).to_owned()
});

/// A page: what stands in its `main`, and the script that fills it.
fn page(title: &str, main: &str, script: &str) -> Html<String> {
    Html(SHELL.replace("{title}", title).replace("{main}", main).replace("{script}", script))
}

/// `GET /`.
pub async fn overview() -> Html<String> {
    page("Overview", include_str!("page/overview.html"), "overview.js")
}

/// `GET /series`.
pub async fn names() -> Html<String> {
    page("Series", include_str!("page/names.html"), "names.js")
}

/// `GET /series/{series}`, and `GET /series/{entity}/{metric}` for those who know no more of it.
pub async fn series() -> Html<String> {
    page("Series", include_str!("page/series.html"), "series.js")
}

/// `GET /incidents`.
pub async fn incidents() -> Html<String> {
    page("Incidents", include_str!("page/incidents.html"), "incidents.js")
}

/// `GET /incidents/{id}`.
pub async fn incident() -> Html<String> {
    page("Incident", include_str!("page/incident.html"), "incident.js")
}

/// `GET /silences`.
pub async fn silences() -> Html<String> {
    page("Silences", include_str!("page/silences.html"), "silences.js")
}

/// Everything else.
pub async fn absent(address: Uri) -> Response {
    if address.path().starts_with("/api/") {
        return Problem::NotFound(format!("there is no {}; /api/v1/openapi.json says what there is", address.path())).into_response();
    }
    nothing()
}

fn nothing() -> Response {
    let main = "<h1>There is nothing here</h1><p><a href=\"/\">To the overview</a></p>";
    (StatusCode::NOT_FOUND, page("Nothing here", main, "page.js")).into_response()
}

/// `GET /api/v1/openapi.json`.
pub async fn description() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// `GET /assets/{name}`.
pub async fn asset(Path(name): Path<String>) -> Response {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    let (kind, text): (&str, &'static str) = match name.as_str() {
        "page.css" => ("text/css; charset=utf-8", include_str!("page/page.css")),
        "page.js" => (SCRIPT, include_str!("page/page.js")),
        "chart.js" => (SCRIPT, include_str!("page/chart.js")),
        "overview.js" => (SCRIPT, include_str!("page/overview.js")),
        "names.js" => (SCRIPT, include_str!("page/names.js")),
        "series.js" => (SCRIPT, include_str!("page/series.js")),
        "incidents.js" => (SCRIPT, include_str!("page/incidents.js")),
        "incident.js" => (SCRIPT, include_str!("page/incident.js")),
        "silences.js" => (SCRIPT, include_str!("page/silences.js")),
        "icon.svg" => ("image/svg+xml", include_str!("page/icon.svg")),
        "plotly.js" => (SCRIPT, PLOTLY.as_str()),
        _ => return nothing(),
    };
    // Ours change with every release; the library is large.
    let keep = if name == "plotly.js" { "max-age=86400" } else { "no-cache" };
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, keep)], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_charting_library_comes_without_its_tags_and_alone() {
        assert!(PLOTLY.trim_start().starts_with("/**\n* plotly.js v3"), "{}", &PLOTLY[..200]);
        assert!(!PLOTLY.contains("MathJax={"), "the other script is left out");
        assert!((3_000_000..5_000_000).contains(&PLOTLY.len()), "{} bytes", PLOTLY.len());
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/serve/page");
        let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() > 15, "{files:?}");
        // A name space is no address to load from.
        for text in files.iter().map(|file| std::fs::read_to_string(file).unwrap().replace("http://www.w3.org/2000/svg", "")) {
            for word in ["http:", "https:", "@import", "//cdn"] {
                assert!(!text.contains(word), "{word}");
            }
        }
    }
}
