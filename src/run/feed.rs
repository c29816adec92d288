//! Models on their way from their store to the graph.

use super::{Job, Part, Statistics};
use crate::models::{Models, ModelsError, Trained};
use dataflows::Time;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A model older than this has missed a whole season of its series. In milliseconds.
const MODEL_AGE: Time = 86_400_000;

/// Where the trainings of the models in use ended: of each series the newest one counts, and none of those that are warming.
fn trained_until(trained: &[Trained]) -> Vec<Time> {
    let ready = trained.iter().filter(|one| one.model.as_warming().is_none());
    let newest: std::collections::BTreeMap<_, _> = ready.map(|one| (&one.series, one.model.trained_until)).collect();
    newest.into_values().collect()
}

/// A model never expires by itself; an old one is worth a word.
fn warn_of_age(trained_until: &[Time], now: Time) {
    let old = trained_until.iter().filter(|until| now - **until > MODEL_AGE).count();
    if old > 0 {
        tracing::warn!("{old} of {} models were trained more than a day ago; is the trainer running?", trained_until.len());
    }
}

/// The models on their way to worker 0: all of them at the start, then again whenever their generation moves.
pub struct Feed<'scope> {
    /// What is run.
    pub job: &'scope Job,
    /// Where the generation is shown.
    pub statistics: &'scope Statistics,
    /// Set when the run is over.
    pub over: &'scope AtomicBool,
    /// The way to worker 0.
    pub sender: crossbeam_channel::Sender<Vec<Trained>>,
}

impl<'scope> Feed<'scope> {
    /// Hands over all models, and then, in the background, whatever comes after.
    ///
    /// # Errors
    /// A store that cannot be read at the start; later it is merely away.
    pub fn start<'env>(self, scope: &'scope std::thread::Scope<'scope, 'env>, models: Option<Box<dyn Models>>) -> Result<(), ModelsError>
    where
        'env: 'scope,
    {
        let Some(mut models) = models else {
            let _ = self.sender.send(Vec::new());
            return Ok(());
        };
        let mut generation = models.generation()?;
        self.hand_over(&mut *models, generation)?;
        scope.spawn(move || {
            let mut looked_at = Instant::now();
            while !self.over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20).min(self.job.models_interval));
                if looked_at.elapsed() < self.job.models_interval {
                    continue;
                }
                looked_at = Instant::now();
                let outcome = models.generation().and_then(|now| {
                    if now != generation {
                        self.hand_over(&mut *models, now)?;
                        generation = now;
                    }
                    Ok(())
                });
                let problem = outcome.err().map(|error| error.to_string());
                self.statistics.health.note(Part::Models, 0, problem.as_deref());
            }
        });
        Ok(())
    }

    fn hand_over(&self, models: &mut dyn Models, generation: u64) -> Result<(), ModelsError> {
        let (mut trained, unusable) = models.load()?;
        let width = self.job.timing.bucket_width;
        let foreign = trained.extract_if(.., |one| one.model.bucket_width != width).count();
        if foreign > 0 {
            tracing::warn!(
                "{foreign} models were trained on buckets of another width and are left out, {} are not; train with the --bucket of the run",
                trained.len()
            );
        }
        for problem in unusable {
            tracing::warn!(%problem, "a model was skipped");
        }
        let ends = trained_until(&trained);
        if trained.is_empty() && !self.job.until_end {
            tracing::warn!("there are no models yet: buckets stay unscored until `tidewatch train` has run");
        } else if ends.is_empty() && !self.job.until_end {
            tracing::warn!("all series are warming: buckets stay unscored until a training finds enough of them");
        }
        self.statistics.set_trained(&ends);
        if !self.job.until_end {
            warn_of_age(&ends, self.job.source.now());
        }
        self.statistics.generation.store(generation, Ordering::Relaxed);
        // Nobody listens any more once the run is over.
        let _ = self.sender.send(trained);
        Ok(())
    }
}
