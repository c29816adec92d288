//! Models that live as long as the process: what a backtest trains.

use super::{Models, ModelsError, Trained};
use crate::series::SeriesName;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// One generation of models.
pub struct Memory {
    models: BTreeMap<SeriesName, Trained>,
    generation: u64,
}

impl Memory {
    /// These models, as generation 1.
    pub fn new(models: Vec<Trained>) -> Self {
        Self { models: models.into_iter().map(|trained| (trained.series.clone(), trained)).collect(), generation: 1 }
    }
}

impl Models for Memory {
    fn generation(&mut self) -> Result<u64, ModelsError> {
        Ok(self.generation)
    }

    fn load(&mut self) -> Result<(Vec<Trained>, Vec<String>), ModelsError> {
        Ok((self.models.values().cloned().collect(), Vec::new()))
    }

    fn put(&mut self, models: &[Trained]) -> Result<(), ModelsError> {
        let is_model = |one: &Trained| one.model.as_warming().is_none();
        for new in models {
            match self.models.entry(new.series.clone()) {
                // That a series is warming is no news where there is a model.
                Entry::Occupied(known) if is_model(known.get()) && !is_model(new) => {}
                Entry::Occupied(mut known) => {
                    known.insert(new.clone());
                }
                Entry::Vacant(place) => {
                    place.insert(new.clone());
                }
            }
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<u64, ModelsError> {
        self.generation += 1;
        Ok(self.generation)
    }

    fn get(&mut self, series: &SeriesName) -> Result<Option<Trained>, ModelsError> {
        Ok(self.models.get(series).cloned())
    }
}
