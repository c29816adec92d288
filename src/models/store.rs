//! What all stores of models agree on: the keys, and what a push does to the model that was there.

use super::{ModelsError, Trained, document};
use crate::series::SeriesName;
use dataflows::{Calendar, Model};
use std::sync::Arc;

/// The key of the counter of complete pushes.
pub(super) const GENERATION: &str = "models:generation";

/// What the key of a series' newest model begins with.
pub(super) const NEWEST: &str = "model:";

/// What the key of the model before it begins with.
pub(super) const PREVIOUS: &str = "previous_model:";

/// Models read or written per round trip: 300 documents are 3 MB at most.
pub(super) const CHUNK_MODELS: usize = 300;

/// The documents of one series as they are in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stored {
    /// The newest model.
    pub(super) newest: Option<String>,
    /// The one before it.
    pub(super) previous: Option<String>,
}

impl Stored {
    /// What is to be stored once the `document` of `model` is pushed. The last push wins; the previous model is
    /// always one whose training ended earlier. So pushing the same again changes nothing, and pushing an older one
    /// goes back in time. What cannot be read is not kept. That a series is warming is no news where there is a model.
    pub(super) fn push(self, document: String, model: &Model) -> Self {
        let is_model = |text: &String| document::read(text).is_ok_and(|stored| stored.model.as_warming().is_none());
        if model.as_warming().is_some() && self.newest.as_ref().is_some_and(is_model) {
            return self;
        }
        let earlier = |text: &String| document::read(text).is_ok_and(|stored| stored.model.trained_until < model.trained_until);
        Self { newest: Some(document), previous: self.newest.filter(earlier).or(self.previous.filter(earlier)) }
    }
}

/// A model's document, or the error that names it.
pub(super) fn document(place: &str, trained: &Trained) -> Result<String, ModelsError> {
    document::write(trained).map_err(|problem| ModelsError::Document {
        place: place.into(),
        key: format!("{NEWEST}{}", trained.series),
        problem,
    })
}

/// What a store holds, as it is read: one document after another, so that not all of them are in memory as texts.
#[derive(Default)]
pub(super) struct Loaded {
    models: Vec<Trained>,
    broken: Vec<String>,
}

impl Loaded {
    /// Reads a document.
    pub(super) fn add(&mut self, key: &str, text: &str) {
        match read(key, text) {
            Ok(model) => self.models.push(model),
            Err(problem) => self.broken.push(format!("{key}: {problem}")),
        }
    }

    /// The models, ordered by series, the previous before the newest, and the documents that hold none, with the reason.
    pub(super) fn finish(self) -> (Vec<Trained>, Vec<String>) {
        let Self { mut models, mut broken } = self;
        models.sort_by(|a, b| (&a.series, a.model.trained_until).cmp(&(&b.series, b.model.trained_until)));
        broken.sort_unstable();
        share_calendars(&mut models);
        (models, broken)
    }
}

/// Calendars are few and models are many: those that say the same become one.
fn share_calendars(models: &mut [Trained]) {
    let mut calendars: Vec<Arc<Calendar>> = Vec::new();
    for model in models.iter_mut().map(|trained| Arc::make_mut(&mut trained.model)) {
        match calendars.iter().find(|known| **known == model.calendar) {
            Some(known) => model.calendar = Arc::clone(known),
            None => calendars.push(Arc::clone(&model.calendar)),
        }
    }
}

/// A document that is of the series its key names.
pub(super) fn read(key: &str, text: &str) -> Result<Trained, String> {
    let trained = document::read(text)?;
    let name = key.strip_prefix(NEWEST).or_else(|| key.strip_prefix(PREVIOUS));
    if name == Some(trained.series.to_string().as_str()) { Ok(trained) } else { Err(format!("it is of the series {}", trained.series)) }
}

/// The keys of a series' newest model and of the one before it.
pub(super) fn keys(series: &SeriesName) -> (String, String) {
    (format!("{NEWEST}{series}"), format!("{PREVIOUS}{series}"))
}

#[cfg(test)]
mod tests {
    use super::super::Provenance;
    use super::super::samples::trained;
    use super::*;
    use dataflows::{Time, Warming};

    fn text(until: Time, level: f64) -> String {
        document("here", &trained("a", until, level)).unwrap()
    }

    /// A push of a model that was trained until then.
    fn push(stored: Stored, until: Time, level: f64) -> Stored {
        stored.push(text(until, level), &trained("a", until, level).model)
    }

    #[test]
    fn a_series_that_is_warming_keeps_the_model_it_has_and_a_model_takes_its_place() {
        let young = |first: Time, seen| {
            let warming = Warming { seen, needed: 288, as_of: 1_000 };
            let model = Model::warming(300_000, first, warming);
            let trained = Trained {
                model: Arc::new(model),
                provenance: Provenance { method: "warming".into(), ..trained("a", 0, 0.0).provenance },
                ..trained("a", 0, 0.0)
            };
            (document("here", &trained).unwrap(), trained)
        };
        let (text_of, first) = young(100, 3);
        let stored = Stored::default().push(text_of.clone(), &first.model);
        assert_eq!(read("model:server:a:cpu_usage_percent", stored.newest.as_deref().unwrap()), Ok(first));
        let ready = push(stored, 200, 1.0);
        assert_eq!((&ready.newest, &ready.previous), (&Some(text(200, 1.0)), &Some(text_of)));
        let (later, model) = young(300, 5);
        assert_eq!(ready.clone().push(later, &model.model), ready, "a model was taken out of force");
    }

    #[test]
    fn the_previous_model_is_always_an_earlier_one() {
        let first = push(Stored::default(), 100, 1.0);
        assert_eq!(first.previous, None);
        let second = push(first.clone(), 200, 2.0);
        assert_eq!(second.previous, Some(text(100, 1.0)));
        let again = push(second.clone(), 200, 3.0);
        assert_eq!((again.newest, again.previous), (Some(text(200, 3.0)), Some(text(100, 1.0))));
        let back = push(second, 50, 4.0);
        assert_eq!((back.newest, back.previous), (Some(text(50, 4.0)), None));
    }

    #[test]
    fn a_document_under_a_wrong_key_is_named() {
        let documents = [
            ("model:server:a:cpu_usage_percent".to_owned(), text(1, 1.0)),
            ("model:server:b:cpu_usage_percent".to_owned(), text(1, 1.0)),
            ("model:server:c:cpu_usage_percent".to_owned(), "{".to_owned()),
        ];
        let mut loaded = Loaded::default();
        documents.iter().for_each(|(key, text)| loaded.add(key, text));
        let (models, broken) = loaded.finish();
        assert_eq!(models.len(), 1);
        assert!(broken[0].starts_with("model:server:b:cpu_usage_percent: it is of the series server:a"), "{broken:?}");
        assert!(broken[1].starts_with("model:server:c:cpu_usage_percent: EOF"), "{broken:?}");
    }
}
