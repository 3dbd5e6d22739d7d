//! Which plugin set what, so that no two set the same. Pure.

use std::collections::BTreeMap;

use crate::api::{CompoundFieldOwners, Field, FieldOwners, OwningPlugins};

/// Two plugins want the same thing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plugins {first:?} and {second:?} both tried to set {what}")]
pub struct Conflict {
    /// Who set it.
    pub first: String,
    /// Who wants to.
    pub second: String,
    /// The field, and of several of a kind which.
    pub what: String,
}

#[derive(Debug, Clone)]
struct Owner {
    plugin: String,
    /// It took what another had set away, and may set it itself.
    took_away: bool,
}

/// Who set what, of which container.
#[derive(Debug, Default)]
pub struct Owners(BTreeMap<(String, Field, String), Owner>);

impl Owners {
    /// A plugin sets a field of a container, of several of its kind the one with this key.
    ///
    /// # Errors
    /// Another did, or took away what a third had set.
    pub fn claim(&mut self, container: &str, field: Field, key: &str, plugin: &str) -> Result<(), Conflict> {
        let place = (container.to_owned(), field, key.to_owned());
        if let Some(owner) = self.0.get(&place)
            && !(owner.took_away && owner.plugin == plugin)
        {
            let what = format!("{} {key}", field.as_str_name());
            return Err(Conflict {
                first: owner.plugin.clone(),
                second: plugin.to_owned(),
                what: what.trim_end().to_owned(),
            });
        }
        self.0.insert(place, Owner { plugin: plugin.to_owned(), took_away: false });
        Ok(())
    }

    /// Those of one container alone, to be tried and put back by [`Owners::put`].
    pub fn of(&self, container: &str) -> Self {
        let all = self.0.range((container.to_owned(), Field::None, String::new())..);
        let own = all.take_while(|((of, _, _), _)| of == container);
        Self(own.map(|(place, owner)| (place.clone(), owner.clone())).collect())
    }

    /// Takes over who set what.
    pub fn put(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// Whether a plugin set this.
    pub fn has(&self, container: &str, field: Field, key: &str) -> bool {
        self.0.contains_key(&(container.to_owned(), field, key.to_owned()))
    }

    /// A plugin takes away what another may have set.
    pub fn take_away(&mut self, container: &str, field: Field, key: &str, plugin: &str) {
        let place = (container.to_owned(), field, key.to_owned());
        self.0.insert(place, Owner { plugin: plugin.to_owned(), took_away: true });
    }

    /// Adds a plugin to those of a field that several may set.
    pub fn join(&mut self, container: &str, field: Field, plugin: &str) {
        let owner = self.0.entry((container.to_owned(), field, String::new()));
        let joined = |owner: &mut Owner| owner.plugin = format!("{},{plugin}", owner.plugin);
        owner.and_modify(joined).or_insert(Owner { plugin: plugin.to_owned(), took_away: false });
    }

    /// As validators are told.
    pub fn message(&self) -> OwningPlugins {
        let mut all = OwningPlugins::default();
        for ((container, field, key), owner) in &self.0 {
            let name = if owner.took_away { format!("-{}", owner.plugin) } else { owner.plugin.clone() };
            let of: &mut FieldOwners = all.owners.entry(container.clone()).or_default();
            if key.is_empty() {
                of.simple.insert(*field as i32, name);
            } else {
                let compound: &mut CompoundFieldOwners = of.compound.entry(*field as i32).or_default();
                compound.owners.insert(key.clone(), name);
            }
        }
        all
    }
}
