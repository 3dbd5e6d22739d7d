//! Compiled filters by profile, so that a node compiles each of its few profiles once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::json::{Conditions, parse};
use super::{Program, SeccompError, compile, default_profile};

/// The most filters that are kept. One takes some kilobytes; a node has a handful.
const MAX_KEPT: usize = 64;

/// What a filter was made from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    /// The text of a profile, or the default one.
    text: Option<Vec<u8>>,
    conditions: Conditions,
}

/// Filters that were compiled before. The least recently used one is evicted.
#[derive(Debug, Default)]
pub struct Cache {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    clock: u64,
    filters: HashMap<Key, (u64, Arc<Program>)>,
}

impl Cache {
    /// The filter of the default profile.
    ///
    /// # Errors
    /// Those of [`compile`].
    pub fn default_profile(&self, conditions: Conditions) -> Result<Arc<Program>, SeccompError> {
        self.get(Key { text: None, conditions }, |_| {
            compile(&default_profile(conditions.bounding, conditions.native), conditions.native)
        })
    }

    /// The filter of a profile's text, in the OCI or Docker's form.
    ///
    /// # Errors
    /// Those of [`parse`] and [`compile`]. Failures are not kept.
    pub fn json(&self, text: &[u8], conditions: Conditions) -> Result<Arc<Program>, SeccompError> {
        if text.len() > super::MAX_PROFILE {
            return Err(SeccompError::TooLarge(text.len()));
        }
        self.get(Key { text: Some(text.to_vec()), conditions }, |text| {
            compile(&parse(text.unwrap_or_default(), conditions)?, conditions.native)
        })
    }

    fn get(
        &self,
        key: Key,
        make: impl FnOnce(Option<&[u8]>) -> Result<Program, SeccompError>,
    ) -> Result<Arc<Program>, SeccompError> {
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = lock().find(&key) {
            return Ok(found);
        }
        // Compiled outside the lock: two that miss at once both compile, and get the same.
        let program = Arc::new(make(key.text.as_deref())?);
        lock().keep(key, Arc::clone(&program));
        Ok(program)
    }
}

impl Kept {
    fn find(&mut self, key: &Key) -> Option<Arc<Program>> {
        self.clock += 1;
        let (used, program) = self.filters.get_mut(key)?;
        *used = self.clock;
        Some(Arc::clone(program))
    }

    fn keep(&mut self, key: Key, program: Arc<Program>) {
        if self.filters.len() >= MAX_KEPT {
            let oldest = self.filters.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| self.filters.remove(&oldest));
        }
        self.filters.insert(key, (self.clock, program));
    }
}
