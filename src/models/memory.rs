//! Models that live as long as the process: what a backtest trains.

use super::{Models, ModelsError, Trained};
use crate::series::SeriesName;

/// One generation of models.
pub struct Memory {
    models: Vec<Trained>,
    generation: u64,
}

impl Memory {
    /// These models, as generation 1.
    pub fn new(models: Vec<Trained>) -> Self {
        Self { models, generation: 1 }
    }
}

impl Models for Memory {
    fn generation(&mut self) -> Result<u64, ModelsError> {
        Ok(self.generation)
    }

    fn load(&mut self) -> Result<(Vec<Trained>, Vec<String>), ModelsError> {
        Ok((self.models.clone(), Vec::new()))
    }

    fn push(&mut self, models: &[Trained]) -> Result<u64, ModelsError> {
        self.models.retain(|known| models.iter().all(|new| new.series != known.series));
        self.models.extend_from_slice(models);
        self.generation += 1;
        Ok(self.generation)
    }

    fn get(&mut self, series: &SeriesName) -> Result<Option<Trained>, ModelsError> {
        Ok(self.models.iter().find(|model| model.series == *series).cloned())
    }
}
