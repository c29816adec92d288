//! Models that live as long as the process: what a backtest trains or scores by.

use super::{Models, ModelsError, Trained};
use crate::series::SeriesName;
use std::collections::BTreeMap;

/// One generation of models.
pub struct Memory {
    /// Of each series in the order in which they were trained.
    models: BTreeMap<SeriesName, Vec<Trained>>,
    unusable: Vec<String>,
    generation: u64,
}

impl Memory {
    /// What a store has loaded, as generation 1.
    pub fn new((loaded, unusable): (Vec<Trained>, Vec<String>)) -> Self {
        let mut models: BTreeMap<SeriesName, Vec<Trained>> = BTreeMap::new();
        loaded.into_iter().for_each(|trained| models.entry(trained.series.clone()).or_default().push(trained));
        models.values_mut().for_each(|models| models.sort_by_key(|trained| trained.model.trained_until));
        Self { models, unusable, generation: 1 }
    }
}

impl Models for Memory {
    fn generation(&mut self) -> Result<u64, ModelsError> {
        Ok(self.generation)
    }

    fn load(&mut self) -> Result<(Vec<Trained>, Vec<String>), ModelsError> {
        Ok((self.models.values().flatten().cloned().collect(), self.unusable.clone()))
    }

    fn put(&mut self, models: &[Trained]) -> Result<(), ModelsError> {
        let is_model = |one: &Trained| one.model.as_warming().is_none();
        for new in models {
            let known = self.models.entry(new.series.clone()).or_default();
            // That a series is warming is no news where there is a model.
            if is_model(new) || !known.iter().any(is_model) {
                *known = vec![new.clone()];
            }
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<u64, ModelsError> {
        self.generation += 1;
        Ok(self.generation)
    }

    fn get(&mut self, series: &SeriesName) -> Result<Option<Trained>, ModelsError> {
        Ok(self.models.get(series).and_then(|models| models.last()).cloned())
    }
}
