mod default;
mod json;
mod kernel;
mod machine;
mod model;
mod oracle;
mod profiles;
mod rules;
