/// Looks at the store at a step.
pub(crate) struct Hook(Box<dyn FnMut(&'static str) + Send>);

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

impl Hook {
    pub(crate) fn reach(&mut self, name: &'static str) {
        (self.0)(name);
    }
}
