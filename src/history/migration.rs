//! The numbered migrations of both stores, compiled in.

mod postgres {
    refinery::embed_migrations!("migrations/postgres");
}

mod embedded {
    refinery::embed_migrations!("migrations/embedded");
}

/// The migrations of PostgreSQL and TimescaleDB.
pub(super) fn for_postgres() -> refinery::Runner {
    whole(postgres::migrations::runner())
}

/// The migrations of SQLite.
pub(super) fn for_embedded() -> refinery::Runner {
    whole(embedded::migrations::runner())
}

/// All that is to be applied in one transaction. Otherwise a migration and the note that it was applied are two, and whoever is killed between them
/// finds tables at the next start that nobody knows of.
fn whole(runner: refinery::Runner) -> refinery::Runner {
    runner.set_grouped(true)
}

/// The names of what was applied: `V1__tables`.
pub(super) fn names(report: &refinery::Report) -> Vec<String> {
    report.applied_migrations().iter().map(ToString::to_string).collect()
}

/// Why a migration did not happen, and what to do.
pub(super) fn problem(error: &refinery::Error) -> String {
    let text = with_causes(error);
    match error.kind() {
        refinery::error::Kind::MissingVersion(_) | refinery::error::Kind::DivergentVersion(..) => {
            format!("{text}: the tables were made by another release of Tidewatch: use that one, or a new database")
        }
        _ => text,
    }
}

/// An error and everything that caused it, each said once.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let sentence = error.to_string();
        if !text.contains(&sentence) {
            text = format!("{text}: {sentence}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_stores_tell_the_same_story() {
        let story = |runner: refinery::Runner| -> Vec<String> {
            let mut migrations: Vec<_> = runner.get_migrations().iter().map(|one| (one.version(), one.to_string())).collect();
            migrations.sort();
            migrations.into_iter().map(|(_, name)| name).collect()
        };
        assert_eq!(story(for_postgres()), story(for_embedded()));
        assert_eq!(story(for_embedded())[0], "V1__tables");
    }
}
